"""The tar that layers are."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snapedge_builder import layers
from snapedge_builder.cache import Cache
from snapedge_builder.trees import Directory, File, Link, Slice, Tree
from snapedge_hooks.vocabulary import Digest


class Memory:
    """A writer that keeps what it is given."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


def tar_of(tree: Tree) -> bytes:
    memory = Memory()
    layers.write_tar(tree, memory)
    return memory.data


def members(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getmembers()


def test_entries_are_sorted_parents_come_first_and_nothing_of_the_host_is_in_them(tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_bytes(b"..hello")
    tree = Tree()
    tree.add("usr/lib/b.so", File(content=Slice(path=content, offset=2, size=5), executable=True))
    tree.add("usr/lib/a.so", Link(target="b.so"))
    tree.add("tmp", Directory(mode=0o1777))
    found = members(tar_of(tree))
    assert [(member.name, oct(member.mode), member.type) for member in found] == [
        ("tmp", "0o1777", tarfile.DIRTYPE),
        ("usr", "0o755", tarfile.DIRTYPE),
        ("usr/lib", "0o755", tarfile.DIRTYPE),
        ("usr/lib/a.so", "0o777", tarfile.SYMTYPE),
        ("usr/lib/b.so", "0o755", tarfile.REGTYPE),
    ]
    assert {(member.uid, member.gid, member.uname, member.gname, member.mtime) for member in found} == {
        (0, 0, "", "", 0)
    }


def test_the_bytes_of_a_known_tree_never_change() -> None:
    tree = Tree({"etc/a": File(content=b"a"), "etc/" + "n" * 120: File(content=b""), "etc/ü": Link(target="a")})
    assert Digest.of(tar_of(tree)) == "sha256:2fb8df6049a9a1a6423e3d1f43aca210bf1762fea3b0f0c0381f2f90489be69d"


PATHS = st.lists(
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="/\0\\"), min_size=1, max_size=130).filter(
        lambda name: name not in (".", "..")
    ),
    min_size=1,
    max_size=4,
).map("/".join)


@settings(max_examples=60)
@given(st.dictionaries(PATHS, st.binary(max_size=1500), max_size=8))
def test_equal_trees_have_equal_bytes_and_read_back_whole(files: dict[str, bytes]) -> None:
    kept = {path: data for path, data in files.items() if not any(other.startswith(f"{path}/") for other in files)}
    forward = Tree({path: File(content=data) for path, data in kept.items()})
    backward = Tree({path: File(content=data) for path, data in reversed(kept.items())})
    data = tar_of(forward)
    assert tar_of(backward) == data
    assert len(data) % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        read = {
            member.name: (archive.extractfile(member) or io.BytesIO()).read() for member in archive if member.isreg()
        }
    assert read == kept


def test_a_model_layer_has_the_models_files_and_is_a_blob_of_the_cache(tmp_path: Path) -> None:
    model = tmp_path / "model file.onnx"
    model.write_bytes(b"x" * 3_000_000)
    cache = Cache(tmp_path / "cache")
    layer = layers.write_model_layer("wine", {"model.onnx": model, "model.json": b"{}"}, cache=cache)
    tar = cache.blob_path(layer.diff_id)
    assert layer.size == tar.stat().st_size
    assert Digest.of_file(tar) == layer.diff_id
    assert layer.file == "model.tar"
    with tarfile.open(tar) as archive:
        assert [(member.name, member.size) for member in archive if member.isreg()] == [
            ("mnt/models/wine/model.json", 2),
            ("mnt/models/wine/model.onnx", 3_000_000),
        ]


def test_a_model_that_shrinks_while_it_is_read_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"x" * 10)
    cache = Cache(tmp_path / "cache")
    tree = Tree({"m": File(content=Slice(path=model, offset=0, size=11))})
    with pytest.raises(EOFError, match="ended 1 bytes early"):
        layers.write_layer(tree, name="model", cache=cache)
    assert list((cache.root / "blobs/sha256").iterdir()) == []
    assert list((cache.root / "scratch").iterdir()) == []
