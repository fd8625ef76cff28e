"""The smallest ELF files that say what a test wants them to say."""

from __future__ import annotations

import struct
from collections.abc import Sequence

MACHINES = {"EM_X86_64": 62, "EM_AARCH64": 183}
_DT_NEEDED, _DT_SONAME, _DT_STRTAB = 1, 14, 5
_SHT_PROGBITS, _SHT_STRTAB, _SHT_DYNAMIC, _SHT_VERNEED = 1, 3, 6, 0x6FFFFFFE


def shared_object(
    machine: str = "EM_X86_64",
    *,
    soname: str = "",
    needed: Sequence[str] = (),
    versions: Sequence[str] = (),
    interpreter: str = "",
) -> bytes:
    """A 64-bit little-endian shared object with a dynamic section, and a need for symbol versions of libc.so.6."""
    strings = _Strings()
    tags = [(_DT_NEEDED, strings.add(name)) for name in needed]
    if soname:
        tags.append((_DT_SONAME, strings.add(soname)))
    tags += [(_DT_STRTAB, 0), (0, 0)]
    verneed = b""
    if versions:
        verneed = struct.pack("<HHIII", 1, len(versions), strings.add("libc.so.6"), 16, 0)
        for index, version in enumerate(versions):
            following = 16 if index + 1 < len(versions) else 0
            verneed += struct.pack("<IHHII", 0, 0, 2 + index, strings.add(version), following)
    sections = [
        (".dynamic", _SHT_DYNAMIC, b"".join(struct.pack("<qQ", *tag) for tag in tags), 2, 16),
        (".dynstr", _SHT_STRTAB, bytes(strings), 0, 0),
    ]
    if verneed:
        sections.append((".gnu.version_r", _SHT_VERNEED, verneed, 2, 0))
    if interpreter:
        sections.append((".interp", _SHT_PROGBITS, interpreter.encode() + b"\0", 0, 0))
    return _assemble(MACHINES[machine], sections)


class _Strings:
    def __init__(self) -> None:
        self._data = b"\0"

    def add(self, text: str) -> int:
        offset = len(self._data)
        self._data += text.encode() + b"\0"
        return offset

    def __bytes__(self) -> bytes:
        return self._data


def _assemble(machine: int, sections: list[tuple[str, int, bytes, int, int]]) -> bytes:
    names = _Strings()
    headers = [struct.pack("<IIQQQQIIQQ", *([0] * 10))]
    body = b""
    count = len(sections) + 2
    for name, kind, data, link, entry_size in sections:
        fields = (names.add(name), kind, 0, 0, 64 + len(body), len(data), link, 1, 1, entry_size)
        headers.append(struct.pack("<IIQQQQIIQQ", *fields))
        body += data
    table = (names.add(".shstrtab"), _SHT_STRTAB, 0, 0, 64 + len(body), len(bytes(names)), 0, 0, 1, 0)
    headers.append(struct.pack("<IIQQQQIIQQ", *table))
    body += bytes(names)
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    start = struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 0, 64 + len(body), 0, 64, 56, 0, 64, count, count - 1)
    return identity + start + body + b"".join(headers)
