from __future__ import annotations

import contextlib
import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from snapedge_hooks import unpacking
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

    cache.add_layer(diff_id, len(content.getvalue()), open_it)


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
        unpack(archive((bad, b"")), folder, size=1)
    assert sorted(tmp_path.iterdir()) == [folder]


def zeros(count: int) -> bytes:
    """A compressed archive of that many zeros, in two files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for name in ("one", "two"):
            info = entry(name)
            info.size = count // 2
            with Path("/dev/zero").open("rb") as source:
                tar.addfile(info, source)
    return buffer.getvalue()


def test_an_archive_that_holds_far_more_than_its_size_leaves_no_layer(tmp_path: Path) -> None:
    bomb = zeros(unpacking.ALWAYS + (1 << 20))
    assert len(bomb) < 2 << 20
    cache = RootfsCache(tmp_path)
    with pytest.raises(LayerRefusedError) as caught:
        add(cache, "sha256:bomb", io.BytesIO(bomb))
    most = unpacking.most(len(bomb))
    assert str(caught.value) == f"it unpacks to more than {most} bytes: 200 times its size, or 256 MiB"
    assert not cache.has_layer("sha256:bomb")
    assert list((tmp_path / "layers").iterdir()) == []


def test_a_sparse_file_counts_as_what_it_becomes(tmp_path: Path) -> None:
    # GNU tar, 2 TiB of hole: the whole archive has 10 KiB.
    subprocess.run(["truncate", "-s", "2T", tmp_path / "hole"], check=True)
    command: list[str | Path] = ["tar", "--sparse", "--format=gnu", "-C", tmp_path, "-cf", tmp_path / "x.tar", "hole"]
    subprocess.run(command, check=True)
    (tmp_path / "layer").mkdir()
    with (tmp_path / "x.tar").open("rb") as file, pytest.raises(LayerRefusedError, match="unpacks to more than"):
        unpack(file, tmp_path / "layer", size=(tmp_path / "x.tar").stat().st_size)
    assert list((tmp_path / "layer").iterdir()) == []


def test_members_without_content_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = archive(*((entry("empty"), b"") for _ in range(1000)))
    monkeypatch.setattr(unpacking, "ALWAYS", 999 * 512)
    with pytest.raises(LayerRefusedError, match="unpacks to more than"):
        unpack(names, tmp_path, size=1)


def test_truncated_archive_is_refused(tmp_path: Path) -> None:
    whole = archive((entry("file"), b"x" * 5000)).getvalue()
    with pytest.raises(LayerRefusedError, match="not a whole tar archive"):
        unpack(io.BytesIO(whole[:2000]), tmp_path, size=2000)


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
        size=1,
    )
    assert list(outside.iterdir()) == []
    assert (folder / "outside" / "one").read_bytes() == b"1"


def test_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(LayerRefusedError, match="too many symbolic links"):
        resolve(tmp_path, "a/file")


def test_set_id_bits_are_dropped(tmp_path: Path) -> None:
    unpack(archive((entry("sudo", mode=0o4755), b"x")), tmp_path, size=1)
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

    RootfsCache(tmp_path).add_layer("sha256:x", 1, not_to_be_opened)
