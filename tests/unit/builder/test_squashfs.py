"""Names are read from a squashfs file's own tables; mksquashfs is real, and what it would never write is patched in."""

from __future__ import annotations

import lzma
import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snapedge_builder import squashfs
from snapedge_builder.containercheck import Entry, walk
from snapedge_builder.squashfs import SquashfsError

ROOT, USED, INODES, FOLDERS = 32, 40, 64, 72
"""Where the superblock has them."""


def pack(tree: Path, *options: str) -> Path:
    out = tree.with_name("x.snap")
    command: list[str | Path] = [
        "mksquashfs",
        tree,
        out,
        "-noappend",
        "-comp",
        "xz",
        "-no-fragments",
        "-all-root",
        *options,
    ]
    subprocess.run(command, check=True, capture_output=True)
    return out


def names(file: Path) -> list[Entry]:
    with file.open("rb") as opened:
        return list(squashfs.read_names(opened, squashfs.read_superblock(opened)))


def refusal(file: Path) -> str:
    with pytest.raises(SquashfsError) as caught:
        names(file)
    return str(caught.value)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Two folders with a file each, and a link; its tables are not compressed, so that they can be patched."""
    tree = tmp_path_factory.mktemp("plain") / "tree"
    for name in ("folder-1/file-1", "folder-2/file-2"):
        (tree / name).parent.mkdir(parents=True)
        (tree / name).write_bytes(b"x")
    (tree / "link").symlink_to("where")
    return pack(tree, "-noI").read_bytes()


@pytest.mark.parametrize("options", [(), ("-noI",), ("-Xbcj", "x86", "-b", "1M")])
def test_every_name_is_found_as_it_was_packed(tmp_path: Path, options: tuple[str, ...]) -> None:
    tree = tmp_path / "tree"
    for index in range(600):  # several blocks of either table
        path = tree / f"folder {index % 7}" / f"ünï-{index:03} -> {'long' * (index % 40)}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * index)
        path.chmod(0o4755 if index % 5 == 0 else 0o640)
    (tree / "empty").mkdir(mode=0o1777)
    (tree / "a -> b").symlink_to("c -> /etc")
    os.mkfifo(tree / "pipe")
    os.link(tree / "folder 1" / "ünï-001 -> long", tree / "again")
    with (tree / "sparse").open("wb") as file:
        file.truncate(1 << 20)
    sizes = {entry.path: entry.size if entry.mode & 0o170000 == 0o100000 else 0 for entry in walk(tree)}
    expected = [(one.path, one.mode, sizes[one.path], one.target) for one in walk(tree)]

    found = names(pack(tree, *options))

    assert found[0].path == ""
    assert sorted((one.path, one.mode, one.size, one.target) for one in found) == sorted(expected)


FORGED = "\n-rwsr-xr-x 0/0                 5 2020-01-01 00:00 squashfs-root"


@pytest.mark.parametrize(
    "name",
    ["a\nb", "a\rb", "a\x1b[2Kb", "a\tb", "a\x7fb", "a\u202eb", "a\u2028b", f"a{FORGED}", f"a{FORGED}/meta/snap.yaml"],
)
def test_a_name_that_does_not_print_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "tree" / name).mkdir(parents=True)
    assert refusal(pack(tmp_path / "tree")) == (
        f"holds a name or a link of characters that do not print: {name.split('/')[0]!r}"
    )


def test_so_is_what_a_link_says(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to(f"there{FORGED}/evil")
    assert "characters that do not print: 'there\\n-rwsr" in refusal(pack(tmp_path / "tree"))


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "tree") + b"/a\xffb")).touch()
    assert "'a\\\\xffb'" in refusal(pack(tmp_path / "tree"))


def set_field(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + struct.pack("<Q", value) + data[at + 8 :]


def field(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<Q", data, at)[0])


def looped(data: bytes) -> bytes:
    """folder-2 is a second name of folder-1's inode."""
    one, two = (data.index(name) - 8 for name in (b"folder-1", b"folder-2"))
    return data[:two] + data[one : one + 2] + data[two + 2 :]


@pytest.mark.parametrize(
    ("patch", "problem"),
    [
        (lambda data: data.replace(b"file-1", b"../../"), "is damaged: a folder holds the name '../../', of type 2"),
        (lambda data: data.replace(b"folder-2", b"folder-1"), "is damaged: 'folder-1' is there twice"),
        (looped, "is damaged: 'folder-2' stands in more than one folder"),
        (lambda data: set_field(data, ROOT, field(data, ROOT) + (1 << 20)), "is damaged: its tables end too early"),
        (lambda data: set_field(data, ROOT, 0xFFFF), "is damaged: its tables point behind a block"),
        (lambda data: set_field(data, ROOT, 0), "is damaged: '' is not what its folder says"),
        (lambda data: set_field(data, FOLDERS, field(data, USED)), "is damaged: its tables end too early"),
        (lambda data: set_field(data, INODES, 1 << 62), "is damaged: its tables end too early"),
    ],
)
def test_tables_that_lie_are_refused(
    tmp_path: Path, plain: bytes, patch: Callable[[bytes], bytes], problem: str
) -> None:
    (tmp_path / "x.snap").write_bytes(patch(plain))
    assert refusal(tmp_path / "x.snap") == problem


def test_a_folder_inside_itself_ends(tmp_path: Path, plain: bytes) -> None:
    inside = plain.index(b"file-1") - 8
    # The entry for file-1 in folder-1 becomes one for the top folder, of a folder's type.
    patched = plain[:inside] + struct.pack("<HhH", field(plain, ROOT), 0, 1) + plain[inside + 6 :]
    (tmp_path / "x.snap").write_bytes(patched)
    assert refusal(tmp_path / "x.snap") == "is damaged: 'folder-1/file-1' stands in more than one folder"


def test_more_names_than_allowed_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(squashfs, "MAX_NAMES", 3)
    (tmp_path / "tree").mkdir()
    for index in range(3):
        (tmp_path / "tree" / f"{index}").touch()
    assert len(names(pack(tmp_path / "tree"))) == 4
    (tmp_path / "tree" / "3").touch()
    assert refusal(pack(tmp_path / "tree")).startswith("holds too many or too long names: 3 names, 4096 bytes")


def test_a_path_longer_than_allowed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tree" / "ab").mkdir(parents=True)
    (tmp_path / "tree" / "ab" / "ü").touch()
    file = pack(tmp_path / "tree")
    monkeypatch.setattr(squashfs, "MAX_PATH", 5)
    assert len(names(file)) == 3
    monkeypatch.setattr(squashfs, "MAX_PATH", 4)
    assert refusal(file).startswith("holds too many or too long names: 500000 names, 4 bytes for a path")


def test_a_table_that_unpacks_to_more_than_a_block_is_refused(tmp_path: Path, plain: bytes) -> None:
    bomb = lzma.compress(bytes(1 << 24), check=lzma.CHECK_CRC32)
    start = field(plain, INODES)
    (tmp_path / "x.snap").write_bytes(plain[:start] + struct.pack("<H", len(bomb)) + bomb + plain[start:])
    file = (tmp_path / "x.snap").read_bytes()
    moved = len(bomb) + 2
    file = set_field(file, FOLDERS, field(plain, FOLDERS) + moved)
    (tmp_path / "x.snap").write_bytes(set_field(file, USED, field(plain, USED) + moved))
    assert refusal(tmp_path / "x.snap") == "is damaged: a block of its tables is too long or cut short"


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_whatever_is_changed_it_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, plain: bytes, data: st.DataObject
) -> None:
    used = field(plain, USED)
    changed = bytearray(plain[:used])
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, used - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.mktemp("changed") / "x.snap"
    file.write_bytes(changed)
    try:
        found = names(file)
    except SquashfsError:
        return
    assert all(entry.path.isprintable() and ".." not in entry.path.split("/") for entry in found)
