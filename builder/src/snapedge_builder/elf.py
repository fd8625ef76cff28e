"""What an ELF file says of itself: for which machine it is, and what it wants to find there."""

from __future__ import annotations

import functools
import re
import struct
from dataclasses import dataclass
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from .trees import File

_MAGIC = b"\x7fELF"
_GLIBC = re.compile(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?")


class ElfDamagedError(ValueError):
    """The file begins like ELF and is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elf:
    """One shared object or executable.

    Attributes:
        machine: the header's e_machine by name, such as `EM_AARCH64`.
        soname: what others need it by; empty for executables and most Python extensions.
        needed: the sonames it needs.
        glibc: the highest GLIBC version it asks for, or None.
        loader: the program interpreter's path; empty where there is none.
        dynamic: whether it is linked dynamically; object files are not.
    """

    machine: str
    soname: str = ""
    needed: tuple[str, ...] = ()
    glibc: tuple[int, int] | None = None
    loader: str = ""
    dynamic: bool = True


def is_elf(file: File) -> bool:
    """Whether the file begins like ELF."""
    return file.size > len(_MAGIC) and file.read(len(_MAGIC)) == _MAGIC


@functools.lru_cache(maxsize=4096)
def read(file: File) -> Elf:
    """What the file says.

    Raises:
        ElfDamagedError: it cannot be read to its end.
    """
    try:
        return _read(ELFFile(file.open()))
    except (ELFError, struct.error, UnicodeDecodeError, OverflowError, KeyError, IndexError, AttributeError) as error:
        # pyelftools answers a damaged table with whatever its parser trips over.
        raise ElfDamagedError(f"damaged ELF file ({error})") from error


def _read(elf: ELFFile) -> Elf:
    machine = str(elf.header["e_machine"])
    soname, needed, loader, versions = "", [], "", set[tuple[int, int]]()
    dynamic = False
    for section in elf.iter_sections():
        if isinstance(section, DynamicSection):
            dynamic = True
            for tag in section.iter_tags():
                if tag.entry.d_tag == "DT_NEEDED":
                    needed.append(str(tag.needed))  # type: ignore[attr-defined]  # pyelftools sets it by the tag's kind
                elif tag.entry.d_tag == "DT_SONAME":
                    soname = str(tag.soname)  # type: ignore[attr-defined]  # likewise
        elif isinstance(section, GNUVerNeedSection):
            versions |= _glibc_versions(section)
        elif section.name == ".interp":
            loader = section.data().rstrip(b"\0").decode("utf-8")
    return Elf(
        machine=machine,
        soname=soname,
        needed=tuple(needed),
        glibc=max(versions, default=None),
        loader=loader,
        dynamic=dynamic,
    )


def _glibc_versions(section: Any) -> set[tuple[int, int]]:
    found: set[tuple[int, int]] = set()
    for _, auxiliaries in section.iter_versions():
        for auxiliary in auxiliaries:
            match = _GLIBC.fullmatch(str(auxiliary.name))
            if match:
                found.add((int(match[1]), int(match[2])))
    return found
