"""What every snap carries besides its content."""

from __future__ import annotations

from pathlib import Path

import snapedge_hooks
from snapedge_builder import devicelib
from snapedge_hooks import device


def test_the_device_side_is_what_its_own_list_says() -> None:
    ours = {file.path for file in devicelib.device_files() if file.path.startswith("lib/snapedge_hooks/")}
    assert ours == {f"lib/snapedge_hooks/{module}.py" for module in device.MODULES}
    folder = Path(snapedge_hooks.__file__ or "").parent
    assert all((folder / f"{module}.py").is_file() for module in device.MODULES)


def test_shims_run_the_name_they_are_called_by() -> None:
    shims = {file.path: file for file in devicelib.device_files() if file.path.startswith(("bin/", "meta/"))}
    hooks = {f"meta/hooks/{hook}" for hook in device.HOOKS}
    # What systemd runs to have the service look anew is no app of its own.
    assert shims.keys() == {f"bin/{app}" for app in device.APPS} | hooks | {"bin/reload"}
    assert shims["bin/drift"].source == b'#!/bin/sh\nPYTHONPATH="$SNAP/lib" exec python3 -m snapedge_hooks drift\n'
    assert all(file.executable for file in shims.values())
