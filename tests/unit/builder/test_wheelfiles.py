"""Wheel files by themselves."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from snapedge_builder import wheelfiles
from snapedge_builder.cache import Cache
from snapedge_builder.wheels import IndexAwayError, Wheel, WheelCorruptError, WheelsError, WheelTooLargeError
from snapedge_hooks.vocabulary import Digest

DATA = b"a wheel"


class Index(ThreadingHTTPServer):
    """An index that counts what it is asked, and sends some requests on to itself."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str | None]] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Authorization"]))
        status = {"/moved": 302, "/gone": 404, "/broken": 503}.get(self.path, 200)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/file")
        data = DATA if status == 200 else b""
        self.send_header("Content-Length", str(len(data) + (5 if self.path == "/short" else 0)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_args: object) -> None:
        """Nothing."""


@pytest.fixture
def index() -> Iterator[Index]:
    server = Index()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def wheel(uri: str, data: bytes = DATA) -> Wheel:
    return Wheel(name="a", version="1", file="a-1-py3-none-any.whl", uri=uri, digest=Digest.of(data))


@pytest.mark.parametrize("path", ["/file", "/moved", "/file#sha256=0123"])
def test_a_file_is_fetched_once(index: Index, cache: Cache, path: str) -> None:
    asked = wheel(f"http://{index.address}{path}")
    wheelfiles.fetch([asked], cache)
    before = len(index.asked)
    wheelfiles.fetch([asked], cache)
    assert cache.blob_path(asked.digest).read_bytes() == DATA
    assert len(index.asked) == before


def test_a_file_of_a_folder_is_copied(tmp_path: Path, cache: Cache) -> None:
    place = tmp_path / "a b.whl"
    place.write_bytes(DATA)
    for uri in (place.as_uri(), str(place)):
        wheelfiles.fetch([wheel(uri)], cache)
        cache.blob_path(Digest.of(DATA)).unlink()
    assert place.read_bytes() == DATA


def test_a_login_in_the_address_is_for_the_index_alone(index: Index, cache: Cache) -> None:
    wheelfiles.fetch([wheel(f"http://me:s%40cret@{index.address}/moved")], cache)
    assert index.asked == [("/moved", "Basic bWU6c0BjcmV0"), ("/file", None)]


def test_a_login_is_found_in_netrc(index: Index, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password s@cret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    wheelfiles.fetch([wheel(f"http://{index.address}/file")], cache)
    assert index.asked == [("/file", "Basic bWU6c0BjcmV0")]


def test_a_file_that_is_not_what_was_pinned_is_not_kept(index: Index, cache: Cache) -> None:
    with pytest.raises(WheelCorruptError, match="has another sha256 than was pinned"):
        wheelfiles.fetch([wheel(f"http://{index.address}/file", b"another")], cache)
    assert cache.find_blob(Digest.of(b"another")) is None


@pytest.mark.parametrize("path", ["/broken", "/short"])
def test_an_index_that_fails_may_be_asked_again(index: Index, cache: Cache, path: str) -> None:
    with pytest.raises(IndexAwayError, match=r"could not fetch a-1-py3-none-any.whl: "):
        wheelfiles.fetch([wheel(f"http://{index.address}{path}")], cache)


def test_an_index_that_is_not_there_is_away(index: Index, cache: Cache) -> None:
    index.server_close()
    with pytest.raises(IndexAwayError):
        wheelfiles.fetch([wheel("http://127.0.0.1:1/file")], cache)


def test_a_file_that_is_gone_is_told_without_the_login(index: Index, cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(WheelsError, match="the index answers 404; build with --refresh") as caught:
        wheelfiles.fetch([wheel(f"http://me:secret@{index.address}/gone")], cache)
    assert "secret" not in str(caught.value) + caught.value.details
    with pytest.raises(WheelsError, match="the file is gone"):
        wheelfiles.fetch([wheel(str(tmp_path / "gone.whl"))], cache)


def test_a_wheel_that_holds_far_more_than_its_size_is_not_kept(cache: Cache, tmp_path: Path) -> None:
    file = tmp_path / "bomb.whl"
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("bomb.bin", "w") as member,
    ):
        for _ in range(257):
            member.write(bytes(1 << 20))
    bomb = wheel(file.as_uri(), file.read_bytes())
    with pytest.raises(WheelTooLargeError) as caught:
        wheelfiles.fetch([bomb], cache)
    assert str(caught.value) == (
        "a-1-py3-none-any.whl unpacks to more than 268435456 bytes: 200 times its size, or 256 MiB; do not use it; "
        "lock another version, or take it from another index"
    )
    assert cache.find_blob(bomb.digest) is None
    assert list((cache.root / "scratch").iterdir()) == []
