from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from snapedge_hooks.rootfs import LayerRefusedError, RootfsCache, resolve, unpack


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


def archive(*entries: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, content in entries:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    buffer.seek(0)
    return buffer


def add(cache: RootfsCache, diff_id: str, content: io.BytesIO) -> None:
    @contextlib.contextmanager
    def open_it() -> Iterator[IO[bytes]]:
        yield content

    cache.add_layer(diff_id, open_it)


@pytest.mark.parametrize(
    "bad",
    [
        entry("../out"),
        entry("/etc/passwd"),
        entry("a/../../out"),
        entry("null", tarfile.CHRTYPE),
        entry("pipe", tarfile.FIFOTYPE),
        entry("link", tarfile.LNKTYPE, "/etc/passwd"),
        entry("link", tarfile.LNKTYPE, "missing"),
    ],
)
def test_hostile_entries_are_refused(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    folder = tmp_path / "layer"
    folder.mkdir()
    with pytest.raises(LayerRefusedError):
        unpack(archive((bad, b"")), folder)
    assert sorted(tmp_path.iterdir()) == [folder]


def test_truncated_archive_is_refused(tmp_path: Path) -> None:
    whole = archive((entry("file"), b"x" * 5000)).getvalue()
    with pytest.raises(LayerRefusedError, match="not a whole tar archive"):
        unpack(io.BytesIO(whole[:2000]), tmp_path)


def test_links_on_the_way_stay_within_the_tree(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = tmp_path / "layer"
    folder.mkdir()
    unpack(
        archive(
            (entry("up", tarfile.SYMTYPE, "../outside"), b""),
            (entry("absolute", tarfile.SYMTYPE, str(outside)), b""),
            (entry("up/one"), b"1"),
            (entry("absolute/two"), b"2"),
        ),
        folder,
    )
    assert list(outside.iterdir()) == []
    assert (folder / "outside" / "one").read_bytes() == b"1"


def test_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(LayerRefusedError, match="too many symbolic links"):
        resolve(tmp_path, "a/file")


def test_set_id_bits_are_dropped(tmp_path: Path) -> None:
    unpack(archive((entry("sudo", mode=0o4755), b"x")), tmp_path)
    assert (tmp_path / "sudo").stat().st_mode & 0o7777 == 0o755


def test_tree_is_made_of_links_with_upper_layers_on_top(tmp_path: Path) -> None:
    cache = RootfsCache(tmp_path)
    add(cache, "sha256:low", archive((entry("etc/a"), b"low"), (entry("etc/b"), b"b"), (entry("old/x"), b"x")))
    add(
        cache,
        "sha256:high",
        archive(
            (entry("etc/a"), b"high"),
            (entry("etc/.wh.b"), b""),
            (entry("old/.wh..wh..opq"), b""),
            (entry("old/y"), b"y"),
        ),
    )
    tree = cache.tree(["sha256:low", "sha256:high"])
    assert (tree / "etc" / "a").read_bytes() == b"high"
    assert not (tree / "etc" / "b").exists()
    assert [path.name for path in (tree / "old").iterdir()] == ["y"]
    assert (tree / "etc" / "a").stat().st_nlink == 2
    assert all((tree / name).is_dir() for name in ("proc", "dev", "tmp", "var/tmp"))
    assert cache.tree(["sha256:low", "sha256:high"]) == tree
    assert (cache.tree(["sha256:low"]) / "etc" / "a").read_bytes() == b"low"


def test_layer_that_fails_leaves_nothing_and_may_be_tried_again(tmp_path: Path) -> None:
    cache = RootfsCache(tmp_path)
    with pytest.raises(LayerRefusedError):
        add(cache, "sha256:x", archive((entry("fine"), b"1"), (entry("../bad"), b"")))
    assert not cache.has_layer("sha256:x")
    assert list((tmp_path / "layers").iterdir()) == []
    add(cache, "sha256:x", archive((entry("fine"), b"1")))
    assert cache.has_layer("sha256:x")


def test_second_comer_does_not_unpack_again(tmp_path: Path) -> None:
    add(RootfsCache(tmp_path), "sha256:x", archive((entry("file"), b"1")))

    def not_to_be_opened() -> contextlib.AbstractContextManager[IO[bytes]]:
        raise AssertionError

    RootfsCache(tmp_path).add_layer("sha256:x", not_to_be_opened)
