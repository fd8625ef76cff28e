"""Which emulator a kernel has registered, from files as binfmt_misc shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from snapedge_builder import emulation
from snapedge_hooks.vocabulary import Architecture

HEADER = "7f454c460201010000000000000000000200"
ARM64 = Architecture.ARM64


def register(folder: Path, name: str, *, version: str, machine: str = "b700", state: str = "enabled") -> Path:
    folder.mkdir(exist_ok=True)
    program = folder.parent / f"{name}-program"
    program.write_text(f"#!/bin/sh\necho 'qemu-aarch64 version {version} (Debian 1:{version}+dfsg-7)'\n")
    program.chmod(0o755)
    (folder / name).write_text(
        f"{state}\ninterpreter {program}\nflags: PF\noffset 0\nmagic {HEADER}{machine}\nmask {'ff' * 20}\n"
    )
    return program


def test_the_newest_one_for_the_architecture_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "binfmt"
    register(folder, "qemu-aarch64", version="7.2.13")
    newest = register(folder, "other", version="10.0.2")
    register(folder, "qemu-x86_64", version="11.0.0", machine="3e00")
    register(folder, "off", version="12.0.0", state="disabled")
    (folder / "status").write_text("enabled\n")
    found = emulation.registered(ARM64, folder=folder)
    assert found is not None
    assert (found.path, found.version, str(found)) == (newest, (10, 0), "QEMU 10.0")


def test_an_old_one_is_told_apart(tmp_path: Path) -> None:
    register(tmp_path / "binfmt", "qemu-aarch64", version="7.2.13")
    found = emulation.registered(ARM64, folder=tmp_path / "binfmt")
    assert found is not None
    assert found.version < emulation.GOOD


@pytest.mark.parametrize("harm", ["absent", "silent"])
def test_one_that_does_not_say_its_version_is_none(tmp_path: Path, harm: str) -> None:
    program = register(tmp_path / "binfmt", "qemu-aarch64", version="7.2")
    if harm == "absent":
        program.unlink()
    else:
        program.write_text("#!/bin/sh\n")
    assert emulation.registered(ARM64, folder=tmp_path / "binfmt") is None


def test_a_kernel_without_any_has_none(tmp_path: Path) -> None:
    assert emulation.registered(ARM64, folder=tmp_path / "binfmt") is None
