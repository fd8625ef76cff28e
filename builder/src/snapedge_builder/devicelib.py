"""What every snap of ours carries besides its content: the device side, hook shims and app commands.

Only the modules that `snapedge_hooks.device` lists: the formats of builder and fleet stay behind. They need nothing but
the standard library of the base's Python; they are shipped as source, so one set of files serves every architecture and
every Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import snapedge_hooks
from snapedge_hooks import device, reload

from .snaptree import TreeFile, text_file

_PACKAGE = "snapedge_hooks"


@cache
def device_files() -> tuple[TreeFile, ...]:
    """Everything below lib/, bin/ and meta/hooks/."""
    hooks = (text_file(f"meta/hooks/{name}", _shim(name), executable=True) for name in device.HOOKS)
    apps = (text_file(f"bin/{name}", _shim(name), executable=True) for name in device.APPS)
    return (*_modules(), *hooks, *apps, text_file(f"bin/{device.RELOAD}", reload.COMMAND, executable=True))


def _shim(name: str) -> str:
    return f'#!/bin/sh\nPYTHONPATH="$SNAP/lib" exec python3 -m {_PACKAGE} {name}\n'


def _modules() -> Iterator[TreeFile]:
    assert snapedge_hooks.__file__ is not None
    folder = Path(snapedge_hooks.__file__).parent
    for module in device.MODULES:
        yield text_file(f"lib/{_PACKAGE}/{module}.py", (folder / f"{module}.py").read_bytes())
