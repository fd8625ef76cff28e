from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from snapedge_fleet.agent.download import Downloads
from snapedge_fleet.agent.headquarters import Headquarters
from snapedge_fleet.bundle import SnapFile
from snapedge_fleet.errors import DownloadError, ServerAwayError
from snapedge_hooks.channels import Revision
from snapedge_hooks.storeindex import Sha3, SnapKind
from snapedge_hooks.vocabulary import SnapName

CONTENT = bytes(range(256)) * 4_000
FILE = SnapFile(
    snap=SnapName("wine-rater"),
    revision=Revision(1),
    version="1.0.0",
    sha3_384=Sha3(hashlib.sha3_384(CONTENT).hexdigest()),
    size=len(CONTENT),
    kind=SnapKind.MODEL,
)
PATH = "/v1/store/snaps/x.snap"


@dataclass
class Source:
    """A store whose line breaks after so many bytes, or that sends something else."""

    content: bytes = CONTENT
    breaks_after: list[int] = field(default_factory=list)
    status: int = 200
    takes_ranges: bool = True
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def downloads(source: Source, tmp_path: Path) -> Iterator[Downloads]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            source.asked.append(asked)
            if source.status != 200:
                self.send_error(source.status)
                return
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and source.takes_ranges else 0
            body = source.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if source.breaks_after:
                body = body[: source.breaks_after.pop(0)]
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        headquarters = Headquarters(f"http://127.0.0.1:{server.server_port}", "d1", "a")
        yield Downloads(tmp_path / "downloads", headquarters)
        headquarters.close()
        server.shutdown()
        thread.join()


def names(tmp_path: Path) -> list[str]:
    return sorted(path.suffix for path in (tmp_path / "downloads").iterdir())


def test_a_file_comes_once(downloads: Downloads, source: Source) -> None:
    path, came = downloads.fetch(FILE, PATH)
    assert (path.read_bytes(), came) == (CONTENT, len(CONTENT))
    assert downloads.fetch(FILE, PATH) == (path, 0)
    assert source.asked == [""]


def test_a_truncated_download_goes_on_where_it_broke_off(downloads: Downloads, source: Source, tmp_path: Path) -> None:
    source.breaks_after = [300_000]
    with pytest.raises(ServerAwayError):
        downloads.fetch(FILE, PATH)
    assert names(tmp_path) == [".part"]
    started = (tmp_path / "downloads" / f"{FILE.sha3_384}.part").stat().st_size
    path, came = downloads.fetch(FILE, PATH)
    assert path.read_bytes() == CONTENT
    assert source.asked == ["", f"bytes={started}-"]
    assert came == len(CONTENT) - started


def test_a_source_without_ranges_sends_it_all_again(downloads: Downloads, source: Source) -> None:
    source.breaks_after = [300_000]
    source.takes_ranges = False
    with pytest.raises(ServerAwayError):
        downloads.fetch(FILE, PATH)
    path, came = downloads.fetch(FILE, PATH)
    assert (path.read_bytes(), came) == (CONTENT, len(CONTENT))


def test_a_wrong_digest_is_final_and_leaves_nothing(downloads: Downloads, source: Source, tmp_path: Path) -> None:
    source.content = CONTENT[:-1] + b"x"
    with pytest.raises(DownloadError, match="its sha3-384 is not what the release says") as caught:
        downloads.fetch(FILE, PATH)
    assert caught.value.is_final
    assert names(tmp_path) == []


def test_a_wrong_digest_of_a_resumed_file_is_tried_once_more_from_the_start(
    downloads: Downloads, source: Source
) -> None:
    source.breaks_after = [300_000]
    source.content = bytes(len(CONTENT))
    with pytest.raises(ServerAwayError):
        downloads.fetch(FILE, PATH)
    source.content = CONTENT
    with pytest.raises(DownloadError) as caught:
        downloads.fetch(FILE, PATH)
    assert not caught.value.is_final
    assert downloads.fetch(FILE, PATH)[0].read_bytes() == CONTENT


def test_a_file_that_is_shorter_than_the_release_says_is_not_taken(downloads: Downloads, source: Source) -> None:
    source.content = CONTENT[:1_000]
    with pytest.raises(DownloadError, match="1000 of 1024000 bytes came") as caught:
        downloads.fetch(FILE, PATH)
    assert not caught.value.is_final


def test_a_file_that_is_longer_is_not_taken(downloads: Downloads, source: Source, tmp_path: Path) -> None:
    source.content = CONTENT + CONTENT
    with pytest.raises(DownloadError):
        downloads.fetch(FILE, PATH)
    assert ".snap" not in names(tmp_path)


def test_a_file_the_server_does_not_have_is_final(downloads: Downloads, source: Source) -> None:
    source.status = 404
    with pytest.raises(DownloadError, match="the server says 404") as caught:
        downloads.fetch(FILE, PATH)
    assert caught.value.is_final


def test_a_server_that_is_overloaded_is_not(downloads: Downloads, source: Source) -> None:
    source.status = 503
    with pytest.raises(ServerAwayError):
        downloads.fetch(FILE, PATH)


def test_a_disk_without_room_is_said_before_anything_is_fetched(
    downloads: Downloads, source: Source, tmp_path: Path
) -> None:
    huge = replace(FILE, size=2**60)
    with pytest.raises(DownloadError, match=r"wine-rater 1\.0\.0 did not arrive: no room for") as caught:
        downloads.fetch(huge, PATH)
    assert not caught.value.is_final
    assert source.asked == []
    assert names(tmp_path) == []


def test_what_is_not_kept_is_deleted(downloads: Downloads, tmp_path: Path) -> None:
    path, _ = downloads.fetch(FILE, PATH)
    downloads.prune({str(FILE.sha3_384)})
    assert path.exists()
    downloads.prune(set())
    assert names(tmp_path) == []
