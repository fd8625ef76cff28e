"""What every snap carries besides its content."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
from pathlib import Path

import snapedge_hooks
from snapedge_builder import devicelib
from snapedge_hooks import device


def test_the_device_side_is_what_its_own_list_says() -> None:
    ours = {file.path for file in devicelib.device_files() if file.path.startswith("lib/snapedge_hooks/")}
    assert ours == {f"lib/snapedge_hooks/{module}.py" for module in device.MODULES}
    folder = Path(snapedge_hooks.__file__ or "").parent
    assert all((folder / f"{module}.py").is_file() for module in device.MODULES)


def test_libraries_are_pure_and_come_with_their_licences() -> None:
    files = {file.path for library in devicelib.libraries() for file in library.files}
    assert {path.rsplit(".", 1)[-1] for path in files if "/licenses/" not in path} == {"py", "pem"}
    for name in devicelib.LIBRARIES:
        package = name.replace("-", "_")
        assert f"lib/{package}/__init__.py" in files
        assert [path for path in files if path.startswith(f"lib/{package}-") and "/licenses/" in path], name
    assert not [path for path in files if "emscripten" in path]


def test_shims_run_the_name_they_are_called_by() -> None:
    shims = {file.path: file for file in devicelib.device_files() if file.path.startswith(("bin/", "meta/"))}
    assert shims.keys() == {f"bin/{app}" for app in device.APPS} | {f"meta/hooks/{hook}" for hook in device.HOOKS}
    assert shims["bin/drift"].source == b'#!/bin/sh\nPYTHONPATH="$SNAP/lib" exec python3 -m snapedge_hooks drift\n'
    assert all(file.executable for file in shims.values())


def test_a_library_changed_after_it_was_installed_is_refused(tmp_path: Path) -> None:
    package, info = tmp_path / "requests", tmp_path / "requests-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").write_text("changed")
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"as it was").digest()).rstrip(b"=").decode()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: requests\nVersion: 1.0\n")
    (info / "RECORD").write_text(f"requests/__init__.py,sha256={digest},9\n")
    script = "from snapedge_builder import devicelib; devicelib.libraries()"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {script}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "the device library requests was changed after it was installed (__init__.py)" in done.stderr
