"""The build cache under what disks, other builds and power cuts do to it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from snapedge_builder.cache import Cache, CacheBusyError, CacheError, default_root
from snapedge_hooks.vocabulary import Digest

KEY = Digest.of(b"input")


def put(cache: Cache, data: bytes) -> Digest:
    with cache.write_blob() as writer:
        writer.write(data)
    return writer.digest


def run_python(code: str, *arguments: str | Path, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*prefix, sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_file_is_found_by_its_digest(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    digest = put(cache, b"layer")
    assert digest == Digest.of(b"layer")
    found = cache.find_blob(digest)
    assert found is not None
    assert found.read_bytes() == b"layer"
    assert cache.find_blob(Digest.of(b"other")) is None


@pytest.mark.parametrize("damage", [b"", b"laye", b"lAyer", b"layer\n"])
def test_a_file_that_was_changed_counts_as_absent_and_is_removed(tmp_path: Path, damage: bytes) -> None:
    cache = Cache(tmp_path)
    digest = put(cache, b"layer")
    path = cache.blob_path(digest)
    times = path.stat()
    path.write_bytes(damage)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert cache.find_blob(digest) is None
    assert not path.exists()


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def fail() -> None:
        with cache.write_blob() as writer:
            writer.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_note_reads_back_and_a_broken_one_counts_as_absent(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.find_note("base", KEY) is None
    cache.write_note("base", KEY, {"layers": ["ü"]})
    assert cache.find_note("base", KEY) == {"layers": ["ü"]}
    path = tmp_path / "notes" / "base" / f"{KEY.hex}.json"
    for damage in (
        b"",
        b"sha256:0\n{}",
        path.read_bytes()[:-1],
        path.read_bytes().replace(b"layers", b"Layers"),
        b"\xff\n{}",
    ):
        path.write_bytes(damage)
        assert cache.find_note("base", KEY) is None


def test_a_file_is_adopted_only_under_its_own_digest(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    file = tmp_path / "x.deb"
    file.write_bytes(b"deb")
    assert cache.adopt(file, Digest.of(b"another")) is None
    assert file.exists()
    assert cache.adopt(file, Digest.of(b"deb")) == cache.blob_path(Digest.of(b"deb"))
    assert not file.exists()


def test_a_file_made_here_is_kept_under_its_own_digest(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    file = tmp_path / "made"
    file.write_bytes(b"snap")
    assert cache.keep(file) == Digest.of(b"snap")
    assert not file.exists()
    found = cache.find_blob(Digest.of(b"snap"))
    assert found is not None
    assert (found.read_bytes(), found.stat().st_mode & 0o777) == (b"snap", 0o644)


def test_one_works_on_an_input_and_the_others_find_its_result(tmp_path: Path) -> None:
    made: list[str] = []

    def build() -> None:
        cache = Cache(tmp_path)
        with cache.alone("base", KEY):
            if cache.find_note("base", KEY) is None:
                time.sleep(0.05)
                made.append("made")
                cache.write_note("base", KEY, {"digest": put(cache, b"layer")})

    threads = [threading.Thread(target=build) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == ["made"]


def test_two_processes_make_an_input_once(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib\n"
        "from snapedge_builder.cache import Cache\nfrom snapedge_hooks.vocabulary import Digest\n"
        "cache, key = Cache(pathlib.Path(sys.argv[1])), Digest.of(b'input')\n"
        "with cache.alone('base', key):\n"
        "    if cache.find_note('base', key) is None:\n"
        "        time.sleep(0.3); cache.write_note('base', key, {}); print('made', flush=True)\n"
    )
    builds = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [build.communicate(timeout=60)[0] for build in builds]
    assert sorted(outputs) == ["", "made\n"]


def test_an_input_held_for_too_long_is_an_error(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with cache.alone("base", KEY), pytest.raises(CacheBusyError) as caught, cache.alone("base", KEY, seconds=0.1):
        pass
    assert "another build has been making the same base for 0 s; wait for it or end it" in str(caught.value)


def test_what_a_killed_build_left_is_removed_and_what_a_living_one_has_is_kept(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib\nfrom snapedge_builder.cache import Cache\n"
        "cache = Cache(pathlib.Path(sys.argv[1]))\n"
        "with cache.scratch() as folder, cache.write_blob() as writer:\n"
        "    (folder / 'half').write_bytes(b'x'); writer.write(b'half'); print('there', flush=True); time.sleep(60)\n"
    )
    builds = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for build in builds:
        assert build.stdout is not None
        assert build.stdout.readline() == "there\n"
    scratch = tmp_path / "scratch"
    assert len(list(scratch.iterdir())) == 4
    builds[0].send_signal(signal.SIGKILL)
    builds[0].communicate()
    for entry in scratch.iterdir():
        os.utime(entry, (1, 1))
    Cache(tmp_path)
    assert len(list(scratch.iterdir())) == 2
    builds[1].kill()
    builds[1].communicate()
    for entry in scratch.iterdir():
        os.utime(entry, (1, 1))
    Cache(tmp_path)
    assert list(scratch.iterdir()) == []
    assert list((tmp_path / "blobs/sha256").iterdir()) == []


WRITE = (
    "import sys, signal, pathlib, resource\n"
    "from snapedge_builder.cache import Cache, CacheError\n"
    "limit = int(sys.argv[2])\n"
    "if limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))\n"
    "try:\n"
    "    cache = Cache(pathlib.Path(sys.argv[1]))\n"
    "    with cache.write_blob() as writer:\n"
    "        for _ in range(64): writer.write(bytes(65536))\n"
    "except CacheError as error:\n"
    "    print(type(error).__name__, '|', error)\n"
    "print([path.name for path in pathlib.Path(sys.argv[1]).rglob('*') if path.is_file()])\n"
)


def test_a_file_that_the_disk_does_not_take_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    done = run_python(WRITE, tmp_path, "100000")
    assert done.stdout.splitlines() == [
        f"CacheFullError | build cache {tmp_path}: no room left; make room there, or name another folder with --cache",
        "[]",
    ]


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs bubblewrap")
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    bwrap = ("bwrap", "--dev-bind", "/", "/", "--size", "1000000", "--tmpfs", str(tmp_path))
    if run_python("pass", prefix=bwrap).returncode:
        pytest.skip("bubblewrap may not run here")
    done = run_python(WRITE, tmp_path, "0", prefix=bwrap)
    assert done.stdout.splitlines() == [
        f"CacheFullError | build cache {tmp_path}: no room left; make room there, or name another folder with --cache",
        "[]",
    ]


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs bubblewrap")
def test_a_read_only_cache_is_one_line(tmp_path: Path) -> None:
    bwrap = ("bwrap", "--dev-bind", "/", "/", "--ro-bind", str(tmp_path), str(tmp_path))
    if run_python("pass", prefix=bwrap).returncode:
        pytest.skip("bubblewrap may not run here")
    done = run_python(WRITE, tmp_path, "0", prefix=bwrap)
    assert done.stdout.splitlines() == [
        f"CacheReadOnlyError | build cache {tmp_path}: cannot be written: Read-only file system; "
        "name another folder with --cache",
        "[]",
    ]


def test_a_cache_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(CacheError, match="Not a directory"):
        Cache(tmp_path / "cache")


def test_the_default_place_is_an_absolute_one() -> None:
    assert default_root().is_absolute()
    assert default_root().name == "snapedge"
