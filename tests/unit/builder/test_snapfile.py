"""What is in a packed snap; mksquashfs and unsquashfs are real."""

from __future__ import annotations

import io
import struct
import subprocess
from pathlib import Path

import pytest

from snapedge_builder import pack
from snapedge_builder.snapfile import SnapFile, SnapFileError


def packed(tmp_path: Path, files: dict[str, bytes]) -> SnapFile:
    for name, data in files.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    pack.pack(tmp_path / "tree", tmp_path / "x.snap", processors=1)
    return SnapFile.open(tmp_path / "x.snap")


@pytest.mark.parametrize("name", ["@(a)", "+(a)", "!(b)", "?", "*", "[a]", "\\a", "a b", "{a,b}", "ä"])
def test_a_name_that_looks_like_a_pattern_is_read_itself(tmp_path: Path, name: str) -> None:
    snap = packed(tmp_path, {f"lib/{name}": b"this", "lib/a": b"another", "lib/aa": b"a third"})
    assert snap.read(f"lib/{name}") == b"this"
    copied = io.BytesIO()
    snap.copy(f"lib/{name}", copied)
    assert copied.getvalue() == b"this"


def test_files_below_a_folder_are_sorted(tmp_path: Path) -> None:
    snap = packed(tmp_path, {"lib/b": b"", "lib/a/c": b"", "library": b""})
    assert snap.files_below("lib") == ["lib/a/c", "lib/b"]


def test_a_name_that_does_not_print_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SnapFileError) as caught:
        packed(tmp_path, {"meta/a\nb": b""})
    assert caught.value.exit_code == 3
    assert str(caught.value) == (
        "x.snap: holds a name or a link of characters that do not print: 'a\\nb'; do not install it, such a name can "
        "make listings lie; if it is yours, rename the file and build again"
    )


def test_what_is_damaged_is_said_of_the_file(tmp_path: Path) -> None:
    snap = packed(tmp_path, {"lib/a": b"x" * 9})
    content = bytearray(snap.path.read_bytes())
    content[96:120] = bytes(24)
    snap.path.write_bytes(content)
    with pytest.raises(SnapFileError, match=r"x\.snap: (is|lib/a is) damaged"):
        SnapFile.open(snap.path).read("lib/a")


def test_a_snap_that_holds_far_more_than_its_size_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "tree" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(b"x" * 4000)
    # Its tables are not compressed, so that the sizes in its two inodes can be patched: 4 GiB less a byte each.
    command: list[str | Path] = ["mksquashfs", tmp_path / "tree", tmp_path / "x.snap", "-comp", "xz", "-noI"]
    subprocess.run([*command, "-no-fragments"], check=True, capture_output=True)
    content = (tmp_path / "x.snap").read_bytes()
    assert content.count(struct.pack("<I", 4000)) == 2
    (tmp_path / "x.snap").write_bytes(content.replace(struct.pack("<I", 4000), b"\xff" * 4))
    with pytest.raises(SnapFileError) as caught:
        SnapFile.open(tmp_path / "x.snap")
    assert str(caught.value) == (
        "x.snap: holds 8589934590 bytes, more than 200 times its size or 4 GiB; do not use it; have whoever made it "
        "leave out what fills it"
    )
