"""Reading ELF files."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snapedge_builder import elf
from snapedge_builder.elf import Elf, ElfDamagedError
from snapedge_builder.trees import File, Slice
from tests.fakes.elffile import shared_object


def test_a_shared_object_says_what_it_is_and_needs() -> None:
    data = shared_object(
        "EM_AARCH64",
        soname="libone.so.1",
        needed=["libc.so.6", "libm.so.6"],
        versions=["GLIBC_2.17", "GLIBC_2.34", "GLIBC_PRIVATE"],
        interpreter="/lib/ld-linux-aarch64.so.1",
    )
    assert elf.read(File(content=data)) == Elf(
        machine="EM_AARCH64",
        soname="libone.so.1",
        needed=("libc.so.6", "libm.so.6"),
        glibc=(2, 34),
        loader="/lib/ld-linux-aarch64.so.1",
    )


def test_versions_compare_as_numbers() -> None:
    assert elf.read(File(content=shared_object(versions=["GLIBC_2.4", "GLIBC_2.36", "GLIBC_2.3.4"]))).glibc == (2, 36)


def test_this_interpreter_is_read_from_disk() -> None:
    path = Path(sys.executable).resolve()
    file = File(content=Slice(path=path, offset=0, size=path.stat().st_size))
    assert elf.is_elf(file)
    assert elf.read(file).machine in ("EM_X86_64", "EM_AARCH64")


@pytest.mark.parametrize("content", [b"", b"\x7fEL", b"#!/bin/sh\n", b"\x7fELF"])
def test_other_files_are_not_elf(content: bytes) -> None:
    assert not elf.is_elf(File(content=content))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    whole = bytearray(shared_object(soname="a.so", needed=["b.so"], versions=["GLIBC_2.2"]))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(4, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(5, len(whole)))
    with contextlib.suppress(ElfDamagedError):
        elf.read(File(content=bytes(whole[:cut])))
