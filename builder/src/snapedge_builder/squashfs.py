"""Every name in a squashfs file (4.0, xz), read from its own tables; what files hold is `snapfile`'s.

No tool's listing is parsed: a name may hold whatever looks like a line of one. Rules for files of strangers:

1. A name, and what a link says, is UTF-8 and all of it printable. A name holds no slash and is neither `.` nor `..`.
2. A folder has each name once and stands in one folder only, so that no way leads round in circles.
3. Names, paths and blocks have limits and no table is held whole: what is read is bounded before it is read.
"""

from __future__ import annotations

import lzma
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any

from .containercheck import Entry

MAX_NAMES = 500_000
"""Most names that are read; the snaps of whole kernels hold a tenth of them."""
MAX_PATH = 4096
"""Longest path, and longest target of a link, in bytes; the kernel's."""
MAX_PATHS = 128 << 20
"""Most that all paths hold together, in bytes."""
_MAGIC = b"hsqs"
_XZ = 4
_SUPERBLOCK = struct.Struct("<4s4I6H8Q")
_SHOWN = 120
_BLOCK_BYTES = 8192
_BLOCKS_KEPT = 512
_DECODER_BYTES = 64 << 20
_STORED = 0x8000
_INODE = struct.Struct("<4H2I")
_FILE = struct.Struct("<4I")
_LONG_FILE = struct.Struct("<2Q")
_LINK = struct.Struct("<2I")
_FOLDER = struct.Struct("<2I2HI")
_LONG_FOLDER = struct.Struct("<4I2HI")
_FOLDER_RUN = struct.Struct("<3I")
_FOLDER_ENTRY = struct.Struct("<HhHH")
_UNLISTED_BYTES = 3
"""What a folder's size counts for the two names that its listing leaves out."""
_KINDS = (stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK, stat.S_IFBLK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK)
"""By type, which counts from one; the seven extended types follow, with more fields."""


class SquashfsError(ValueError):
    """A file is no squashfs that can be read; the words go behind its name.

    Attributes:
        resolution: what to do about it.
    """

    def __init__(self, problem: str, resolution: str = "") -> None:
        super().__init__(problem)
        self.resolution = resolution


@dataclass(frozen=True, slots=True, kw_only=True)
class Superblock:
    """Where things are in the file, in bytes from its front.

    Attributes:
        size: of the file.
        root: of the top folder's inode: its block, counted from `inodes` (upper 48 bits), and where in it (16 bits).
        inodes: where the table of inodes begins.
        folders: where the table of folders begins and that of inodes ends.
        end: where all tables end.
    """

    size: int
    root: int
    inodes: int
    folders: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inode:
    """A file, folder or other thing, whatever its name.

    Attributes:
        mode: type and permission bits.
        size: of a file, in bytes.
        target: of a link.
        listing: of a folder: the block where its listing begins, counted from the table's front; where in it; bytes.
    """

    mode: int
    size: int = 0
    target: str = ""
    listing: tuple[int, int, int] = (0, 0, 0)


def read_superblock(file: IO[bytes]) -> Superblock:
    """What a file says of itself, checked against its size.

    Raises:
        SquashfsError: no squashfs, cut short, or not compressed as our snaps are.
        OSError: it cannot be read.
    """
    head = file.read(_SUPERBLOCK.size)
    size = file.seek(0, 2)
    if len(head) < _SUPERBLOCK.size or head[:4] != _MAGIC:
        raise SquashfsError("is no snap: it is not a squashfs file")
    _, _, _, _, _, compression, _, _, _, major, _, root, used, _, _, inodes, folders, _, _ = _SUPERBLOCK.unpack(head)
    if used > size:
        raise SquashfsError(f"is cut short: {size} of {used} bytes are there", "fetch or build it again")
    if major != 4 or compression != _XZ:
        raise SquashfsError("is not compressed with xz, as our snaps are")
    return Superblock(size=size, root=root, inodes=inodes, folders=folders, end=used)


def read_names(file: IO[bytes], where: Superblock) -> Iterator[Entry]:
    """Every name in the file, the top folder first, a folder before what is in it.

    Raises:
        SquashfsError: its tables are damaged, or break a rule above.
        OSError: it cannot be read.
    """
    inodes = _Table(file, where.inodes, where.folders)
    folders = _Table(file, where.folders, where.end)
    waiting = [("", where.root, stat.S_IFDIR)]
    entered: set[int] = set()
    count, length = 0, 0
    while waiting:
        path, reference, kind = waiting.pop()
        inode = _read_inode(inodes, reference)
        if stat.S_IFMT(inode.mode) != kind:
            raise _damaged(f"{path!r} is not what its folder says")
        yield Entry(path=path, mode=inode.mode, size=inode.size, target=inode.target)
        if kind != stat.S_IFDIR:
            continue
        if reference in entered:
            raise _damaged(f"{path!r} stands in more than one folder")
        entered.add(reference)
        names = set()
        below = []
        for name, inside, inside_kind in _read_folder(folders, inode.listing):
            longer = f"{path}/{name}" if path else name
            count, length = count + 1, length + len(longer.encode())
            if name in names:
                raise _damaged(f"{longer!r} is there twice")
            if len(longer.encode()) > MAX_PATH or length > MAX_PATHS or count > MAX_NAMES:
                allowed = f"{MAX_NAMES} names, {MAX_PATH} bytes for a path and {MAX_PATHS} bytes for all"
                raise SquashfsError(f"holds too many or too long names: {allowed} are allowed", "leave files out of it")
            names.add(name)
            below.append((longer, inside, inside_kind))
        waiting.extend(reversed(below))


def _read_inode(table: _Table, reference: int) -> _Inode:
    cursor = table.at(reference >> 16, reference & 0xFFFF)
    kind, permissions, *_ = cursor.unpack(_INODE)
    if not 1 <= kind <= 2 * len(_KINDS):
        raise _damaged(f"an inode is of type {kind}")
    is_extended, index = divmod(kind - 1, len(_KINDS))
    mode = _KINDS[index] | stat.S_IMODE(permissions)
    if _KINDS[index] == stat.S_IFREG:
        *_, size = cursor.unpack(_LONG_FILE if is_extended else _FILE)
        return _Inode(mode=mode, size=size)
    if _KINDS[index] == stat.S_IFLNK:
        _, size = cursor.unpack(_LINK)
        if size > MAX_PATH:
            raise _damaged(f"a link says {size} bytes")
        return _Inode(mode=mode, target=_text(cursor.take(size)))
    if _KINDS[index] == stat.S_IFDIR and is_extended:
        _, size, block, _, _, offset, _ = cursor.unpack(_LONG_FOLDER)
        return _Inode(mode=mode, listing=(block, offset, size))
    if _KINDS[index] == stat.S_IFDIR:
        block, _, size, offset, _ = cursor.unpack(_FOLDER)
        return _Inode(mode=mode, listing=(block, offset, size))
    return _Inode(mode=mode)


def _read_folder(table: _Table, listing: tuple[int, int, int]) -> Iterator[tuple[str, int, int]]:
    """Each name of a folder, where its inode is, and its type."""
    block, offset, size = listing
    cursor = table.at(block, offset)
    while cursor.taken + _UNLISTED_BYTES < size:
        count, inodes, _ = cursor.unpack(_FOLDER_RUN)
        for _ in range(count + 1):
            inside, _, kind, length = cursor.unpack(_FOLDER_ENTRY)
            name = _text(cursor.take(length + 1))
            if name in {".", ".."} or "/" in name or not 1 <= kind <= len(_KINDS):
                raise _damaged(f"a folder holds the name {name!r}, of type {kind}")
            yield name, inodes << 16 | inside, _KINDS[kind - 1]


class _Table:
    """Metadata in blocks of at most 8 KiB, each behind two bytes that say its length in the file."""

    def __init__(self, file: IO[bytes], start: int, end: int) -> None:
        self._file, self._start, self._end = file, start, end
        self.block = lru_cache(_BLOCKS_KEPT)(self._read_block)

    def at(self, block: int, offset: int) -> _Cursor:
        """A place to read from: a block counted in bytes from the table's front, and an offset in it."""
        return _Cursor(self, self._start + block, offset)

    def _read_block(self, position: int) -> tuple[bytes, int]:
        """A block, and where the next one begins."""
        if position >= self._end:
            raise _damaged("its tables end too early")
        self._file.seek(position)
        head = self._file.read(2)
        length = int.from_bytes(head, "little") & ~_STORED
        following = position + 2 + length
        if len(head) < 2 or following > self._end or not 0 < length <= _BLOCK_BYTES:
            raise _damaged("its tables end too early")
        data = self._file.read(length)
        if not head[1] & _STORED >> 8:
            data = _decompressed(data)
        return data, following


class _Cursor:
    """Reads on from a place in a table; `taken` counts the bytes."""

    def __init__(self, table: _Table, position: int, offset: int) -> None:
        self._table, self._position, self._offset = table, position, offset
        self.taken = 0

    def take(self, count: int) -> bytes:
        pieces = b""
        while len(pieces) < count:
            data, following = self._table.block(self._position)
            piece = data[self._offset : self._offset + count - len(pieces)]
            self._offset += len(piece)
            if not piece:
                if self._offset > len(data):
                    raise _damaged("its tables point behind a block")
                self._position, self._offset = following, 0
            pieces += piece
        self.taken += count
        return pieces

    def unpack(self, layout: struct.Struct) -> tuple[Any, ...]:
        return layout.unpack(self.take(layout.size))


def _decompressed(data: bytes) -> bytes:
    try:
        decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_DECODER_BYTES)
        found = decoder.decompress(data, _BLOCK_BYTES + 1)
    except lzma.LZMAError as error:
        raise _damaged(str(error)) from error
    if not decoder.eof or len(found) > _BLOCK_BYTES:
        raise _damaged("a block of its tables is too long or cut short")
    return found


def _text(data: bytes) -> str:
    text = data.decode("utf-8", "backslashreplace")
    if not text.isprintable() or text.encode() != data:
        raise SquashfsError(
            f"holds a name or a link of characters that do not print: {text[:_SHOWN]!r}",
            "do not install it, such a name can make listings lie; if it is yours, rename the file and build again",
        )
    return text


def _damaged(problem: str) -> SquashfsError:
    return SquashfsError(f"is damaged: {problem}", "fetch or build it again")
