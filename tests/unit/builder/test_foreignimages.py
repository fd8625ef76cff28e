"""What is kept of an image that something else wrote."""

from __future__ import annotations

import gzip
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from snapedge_builder import foreignimages
from snapedge_builder.cache import Cache
from snapedge_builder.foreignimages import LayerTooLargeError, LayoutError
from snapedge_builder.layers import write_layer
from snapedge_builder.trees import Directory, File, Link, Tree, TreeError
from snapedge_hooks.vocabulary import Architecture
from tests.fakes import ocilayout
from tests.fakes.ocilayout import DEVICE, FOLDER, HARD, SYMBOLIC, entry, tar


def trees(folder: Path, *layers: bytes) -> tuple[Tree, ...]:
    image = foreignimages.read_layout(ocilayout.write(folder / "layout", layers))
    return foreignimages.read_trees(image, origin="it")


def names(tree: Tree) -> list[str]:
    return sorted(tree.entries)


@pytest.mark.parametrize("attested", [False, True], ids=["bare", "attested"])
def test_an_image_is_found_with_its_settings_and_what_made_each_layer(tmp_path: Path, attested: bool) -> None:
    layers = [tar(entry("a", b"1")), tar(entry("b", b"2"))]
    settings: dict[str, Any] = {"User": "65532:65532", "Cmd": None, "Labels": {}, "Entrypoint": ["/server"]}
    folder = ocilayout.write(tmp_path / "layout", layers, settings=settings, attested=attested)
    image = foreignimages.read_layout(folder)
    assert image.architecture is Architecture.ARM64
    assert image.settings == {"User": "65532:65532", "Env": ["PATH=/usr/bin"], "Entrypoint": ["/server"]}
    assert [path.read_bytes() for path in image.layers] == layers
    assert image.steps == ("COPY 0 / # buildkit", "COPY 1 / # buildkit")


def test_times_owners_order_and_modes_leave_no_trace(tmp_path: Path) -> None:
    one = tar(
        entry("etc", kind=FOLDER, mode=0o700),
        entry("etc/b", b"b", mode=0o600, mtime=1, owner=7),
        entry("etc/a", b"a", mode=0o700, mtime=2),
        entry("tmp", kind=FOLDER, mode=0o755),
    )
    other = tar(
        entry("./tmp/", kind=FOLDER, mode=0o1777),
        entry("./etc/", kind=FOLDER, mode=0o755, owner=0),
        entry("./etc/a", b"a", mode=0o755, owner=0),
        entry("./etc/b", b"b", mode=0o644, mtime=0, owner=0),
    )
    cache = Cache(tmp_path / "cache")
    (tree,) = trees(tmp_path / "one", one)
    (same,) = trees(tmp_path / "other", other)
    made = write_layer(tree, name="a", cache=cache)
    assert made == write_layer(same, name="a", cache=cache)
    with tarfile.open(cache.blob_path(made.diff_id)) as archive:
        assert [(item.name, item.mode, item.mtime, item.uid, item.uname) for item in archive] == [
            ("etc", 0o755, 0, 0, ""),
            ("etc/a", 0o755, 0, 0, ""),
            ("etc/b", 0o644, 0, 0, ""),
            ("tmp", 0o1777, 0, 0, ""),
        ]


def test_what_a_file_was_allowed_is_kept_for_the_gates(tmp_path: Path) -> None:
    (tree,) = trees(tmp_path, tar(entry("su", b"x", mode=0o4755)))
    node = tree.entries["su"]
    assert isinstance(node, File)
    assert node.raw_mode == 0o4755


def test_a_file_is_in_the_last_layer_that_wrote_it(tmp_path: Path) -> None:
    below, above = trees(
        tmp_path,
        tar(entry("etc", kind=FOLDER), entry("etc/a", b"old"), entry("etc/b", b"b")),
        tar(entry("etc", kind=FOLDER), entry("etc/a", b"new")),
    )
    assert names(below) == ["etc", "etc/b"]
    assert names(above) == ["etc/a"]
    assert dict(above.files())["etc/a"].read() == b"new"


def test_what_a_later_layer_removes_is_in_none(tmp_path: Path) -> None:
    below, above = trees(
        tmp_path,
        tar(entry("var", kind=FOLDER), entry("var/lists", kind=FOLDER), entry("var/lists/a", b"a"), entry("x", b"x")),
        tar(entry("var", kind=FOLDER), entry("var/.wh.lists"), entry(".wh.x"), entry("y", b"y")),
    )
    assert names(below) == ["var"]
    assert names(above) == ["y"]


def test_a_folder_that_was_made_anew_holds_only_what_is_new(tmp_path: Path) -> None:
    below, above = trees(
        tmp_path,
        tar(entry("d", kind=FOLDER), entry("d/old", b"a"), entry("d/sub/old", b"a"), entry("dd", b"a")),
        tar(entry("d", kind=FOLDER), entry("d/.wh..wh..opq"), entry("d/new", b"n")),
    )
    assert names(below) == ["d", "dd"]
    assert names(above) == ["d/new"]


def test_a_whole_root_can_be_made_anew(tmp_path: Path) -> None:
    below, above = trees(tmp_path, tar(entry("a", b"a"), entry("b/c", b"c")), tar(entry(".wh..wh..opq"), entry("n")))
    assert (names(below), names(above)) == ([], ["n"])


def test_a_folder_that_becomes_a_link_takes_what_was_in_it_along(tmp_path: Path) -> None:
    below, above = trees(
        tmp_path,
        tar(entry("lib", kind=FOLDER), entry("lib/a", b"a")),
        tar(entry("lib", kind=SYMBOLIC, target="usr/lib")),
    )
    assert names(below) == []
    assert above.entries["lib"] == Link(target="usr/lib", origin="it")


def test_a_hard_link_is_a_file_again(tmp_path: Path) -> None:
    (tree,) = trees(tmp_path, tar(entry("a", b"same"), entry("b", kind=HARD, target="a")))
    assert {path: file.read() for path, file in tree.files()} == {"a": b"same", "b": b"same"}


def test_byte_code_that_would_never_be_used_is_left_out(tmp_path: Path) -> None:
    timed = b"\xa7\r\r\n" + bytes(4) + b"\x01\x02\x03\x04" + b"size" + b"code"
    hashed = b"\xa7\r\r\n" + b"\x01\0\0\0" + b"12345678" + b"code"
    (tree,) = trees(tmp_path, tar(entry("a.pyc", timed), entry("b.pyc", hashed), entry("c.pyc", b"")))
    assert names(tree) == ["b.pyc", "c.pyc"]


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ([entry("../etc/passwd", b"x")], "leads out of its archive"),
        ([entry("/etc/passwd", b"x")], "leads out of its archive"),
        ([entry("dev/null", kind=DEVICE)], "is a device, a pipe or a sparse file"),
        ([entry("a", kind=HARD, target="b")], "is a hard link to 'b', which is not before it"),
        ([entry("a", kind=HARD, target="../../x")], "leads out of its archive"),
        ([entry("lib", kind=SYMBOLIC, target="/etc"), entry("lib/passwd", b"x")], "lies below 'lib'"),
    ],
)
def test_hostile_entries_are_refused(
    tmp_path: Path, entries: list[tuple[tarfile.TarInfo, bytes]], problem: str
) -> None:
    with pytest.raises(TreeError, match=problem):
        trees(tmp_path, tar(*entries))


def test_hard_links_count_as_the_files_they_become(tmp_path: Path) -> None:
    links = [entry(f"link-{number}", kind=HARD, target="file") for number in range(300)]
    with pytest.raises(LayerTooLargeError, match="have no step of the Dockerfile make that many hard links"):
        trees(tmp_path, tar(entry("file", bytes(1 << 20)), *links))


def test_a_file_below_a_link_of_an_earlier_layer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TreeError, match="lies below 'lib', which is no directory"):
        trees(tmp_path, tar(entry("lib", kind=SYMBOLIC, target="usr/lib")), tar(entry("lib/a", b"x")))


def test_a_compressed_layer_is_told(tmp_path: Path) -> None:
    folder = ocilayout.write(tmp_path / "layout", [tar(entry("a", b"a"))])
    (layer,) = foreignimages.read_layout(folder).layers
    layer.write_bytes(gzip.compress(layer.read_bytes()))
    with pytest.raises(LayoutError, match="is compressed or damaged; build again"):
        foreignimages.read_layout(folder)


def test_a_layout_of_two_images_is_told(tmp_path: Path) -> None:
    folder = ocilayout.write(tmp_path / "layout", [tar(entry("a", b"a"))])
    index = json.loads((folder / "index.json").read_text())
    index["manifests"] *= 2
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(LayoutError, match="it holds 2 images, one was asked for"):
        foreignimages.read_layout(folder)


def test_a_layout_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"index.json: No such file"):
        foreignimages.read_layout(tmp_path)


def test_a_folder_node_keeps_its_place_in_the_lowest_layer(tmp_path: Path) -> None:
    below, above = trees(tmp_path, tar(entry("mnt", kind=FOLDER)), tar(entry("mnt", kind=FOLDER), entry("mnt/a")))
    assert below.entries == {"mnt": Directory(origin="it")}
    assert names(above) == ["mnt/a"]
