"""Which file is named where two snaps differ; mksquashfs and unsquashfs are real."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from snapedge_builder import firstdifference, pack
from snapedge_builder.snapfile import SnapFile

FILES: dict[str, bytes] = {
    "meta/snap.yaml": b"name: x",
    "bin/converge": b"#!/bin/sh",
    "payload/payload.json": b"{}",
    "sbom.cdx.json": b"{}",
}
LAYER = {"etc/a": b"1", "usr/__pycache__/m.pyc": b"code", "usr/m.py": b"source"}


def layer(files: Mapping[str, bytes], *, mode: int = 0o644, mtime: int = 0) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(data), mode, mtime
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def packed(folder: Path, files: Mapping[str, bytes]) -> SnapFile:
    for name, data in files.items():
        path = folder / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755 if name.startswith("bin/") else 0o644)
    pack.pack(folder / "tree", folder / "x.snap", processors=1)
    return SnapFile.open(folder / "x.snap")


WHOLE = FILES | {"payload/model.tar": layer(LAYER)}


def told(tmp_path: Path, files: Mapping[str, bytes]) -> str:
    found = firstdifference.find(packed(tmp_path / "one", files), packed(tmp_path / "other", WHOLE))
    return "" if found is None else str(found)


def test_equal_trees_have_none(tmp_path: Path) -> None:
    assert told(tmp_path, WHOLE) == ""


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"bin/converge": b"#!/bin/so"}, "bin/converge has other bytes than it should"),
        ({"lib/more.py": b""}, "lib should not be there"),
        (
            {"payload/payload.json": b"{ }", "sbom.cdx.json": b"[]"},
            "payload/payload.json has other bytes than it should",
        ),
        (
            {"payload/payload.json": b"{ }", "meta/snap.yaml": b"name: y"},
            "meta/snap.yaml has other bytes than it should",
        ),
    ],
)
def test_a_file_is_named(change: dict[str, bytes], difference: str, tmp_path: Path) -> None:
    assert told(tmp_path, WHOLE | change) == difference


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (layer(LAYER | {"etc/a": b"2"}), "etc/a in payload/model.tar has other bytes than it should"),
        (layer(LAYER | {"etc/b": b""}), "etc/b in payload/model.tar should not be there"),
        (layer({"etc/a": b"1"}), "usr/m.py in payload/model.tar is missing"),
        (
            layer(LAYER | {"usr/__pycache__/m.pyc": b"cod2", "usr/m.py": b"sourc2"}),
            "usr/m.py in payload/model.tar has other bytes than it should",
        ),
        (layer(LAYER, mode=0o755), "etc/a in payload/model.tar has another mode"),
        (layer(LAYER, mtime=1), "payload/model.tar holds the same files in another order, or with other times"),
    ],
)
def test_of_a_layer_the_file_in_it_is_named(other: bytes, difference: str, tmp_path: Path) -> None:
    # Every document that repeats the layer's digest differs as well.
    assert told(tmp_path, WHOLE | {"payload/model.tar": other, "payload/payload.json": b"{ }"}) == difference


def test_a_missing_file_and_another_mode_are_told(tmp_path: Path) -> None:
    assert told(tmp_path / "a", {name: data for name, data in WHOLE.items() if name != "sbom.cdx.json"}) == (
        "sbom.cdx.json is missing"
    )
    other = packed(tmp_path / "other", WHOLE)
    (tmp_path / "other" / "tree" / "bin" / "converge").chmod(0o644)
    pack.pack(tmp_path / "other" / "tree", tmp_path / "mode.snap", processors=1)
    assert str(firstdifference.find(SnapFile.open(tmp_path / "mode.snap"), other)) == (
        "bin/converge is a file of mode 0644 and should be a file of mode 0755"
    )
