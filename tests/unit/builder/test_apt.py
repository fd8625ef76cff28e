"""apt, really run, over a repository in a folder."""

from __future__ import annotations

import random
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from snapedge_builder.apt import Apt, AptError, MirrorsAwayError, PackagesUnknownError, PackageWithdrawnError
from snapedge_builder.cache import Cache
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture
from tests.fakes.debrepository import DebRepository

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt")


@pytest.fixture
def repository(tmp_path: Path) -> DebRepository:
    repository = DebRepository(tmp_path / "repository")
    for architecture in ("amd64", "arm64"):
        repository.add(
            "libc6", "2.36-9", architecture=architecture, files={"lib/libc.so": b"c" + architecture.encode()}
        )
        repository.add(
            "server",
            "1:1.0",
            architecture=architecture,
            files={"usr/bin/server": b"s"},
            depends=["libc6 (>= 2.3)", "data"],
        )
    repository.add("data", "3", architecture="all", files={"usr/share/data": b"d"})
    repository.publish()
    return repository


def door(repository: DebRepository, cache: Cache, *, uri: str = "") -> Apt:
    return Apt(repository.host(uri=uri), suite="bookworm", architecture=Architecture.ARM64, cache=cache)


def test_a_foreign_architecture_is_resolved_with_its_dependencies(repository: DebRepository, tmp_path: Path) -> None:
    packages = door(repository, Cache(tmp_path / "cache")).resolve(["server"])
    assert [(item.name, item.version, item.architecture, item.depends) for item in packages] == [
        ("data", "3", "all", ()),
        ("libc6", "2.36-9", "arm64", ()),
        ("server", "1:1.0", "arm64", ("data", "libc6")),
    ]


def test_files_arrive_in_the_cache_and_are_asked_for_once(repository: DebRepository, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    apt = door(repository, cache)
    packages = apt.resolve(["server"])
    apt.fetch(packages)
    assert all(cache.find_blob(package.digest) for package in packages)
    shutil.rmtree(repository.root)
    apt.fetch(packages)


def test_an_unknown_package_is_named(repository: DebRepository, tmp_path: Path) -> None:
    with pytest.raises(PackagesUnknownError) as caught:
        door(repository, Cache(tmp_path / "cache")).resolve(["server", "nonesuch"])
    assert str(caught.value) == (
        "suite bookworm has no package nonesuch for arm64; correct base.packages in runtime.yaml"
    )


def test_a_package_of_another_content_is_refused(repository: DebRepository, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    apt = door(repository, cache)
    packages = apt.resolve(["server"])
    deb = next((repository.root / "pool").glob("libc6_*_arm64.deb"))
    deb.write_bytes(deb.read_bytes().replace(b"carm64", b"hacked"))
    with pytest.raises(PackageWithdrawnError) as caught:
        apt.fetch(packages)
    assert caught.value.brief.startswith("the mirrors no longer have libc6_2.36-9_arm64.deb as it was resolved")
    assert caught.value.resolution == "build with --refresh to resolve the base anew"
    assert cache.find_blob(packages[1].digest) is None


def test_a_package_that_is_gone_is_named(repository: DebRepository, tmp_path: Path) -> None:
    apt = door(repository, Cache(tmp_path / "cache"))
    packages = apt.resolve(["server"])
    next((repository.root / "pool").glob("libc6_*_arm64.deb")).unlink()
    with pytest.raises(AptError, match=r"libc6_2.36-9_arm64.deb"):
        apt.fetch(packages)


def test_mirrors_that_do_not_answer_are_a_remote_part_away(repository: DebRepository, tmp_path: Path) -> None:
    with pytest.raises(MirrorsAwayError) as caught:
        door(repository, Cache(tmp_path / "cache"), uri="http://127.0.0.1:9").resolve(["server"])
    assert caught.value.exit_code is ExitCode.REMOTE_AWAY
    assert caught.value.brief.startswith("no answer from the package mirrors, needed to read the package lists")


class CuttingMirror:
    """Serves a folder over HTTP and ends the first answer for each package in its middle."""

    def __init__(self, root: Path) -> None:
        self.begun_at: list[int] = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                return

            def do_GET(self) -> None:
                file = root / unquote(self.path).lstrip("/")
                if not file.is_file():
                    self.send_error(404)
                    return
                data = file.read_bytes()
                start = int(self.headers.get("Range", "bytes=0-")[6:].partition("-")[0])
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(data) - start))
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                self.end_headers()
                if file.suffix == ".deb":
                    mirror.begun_at.append(start)
                    if not start:
                        self.wfile.write(data[: len(data) // 2])
                        self.close_connection = True
                        return
                self.wfile.write(data[start:])

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def test_a_download_that_was_cut_off_goes_on_where_it_ended(tmp_path: Path) -> None:
    repository = DebRepository(tmp_path / "repository")
    repository.add("big", "1", architecture="arm64", files={"usr/share/big": random.Random(1).randbytes(400_000)})
    repository.publish()
    cache = Cache(tmp_path / "cache")
    mirror = CuttingMirror(repository.root)
    with mirror as uri:
        for _ in range(3):
            packages = door(repository, cache, uri=uri).resolve(["big"])
            try:
                door(repository, cache, uri=uri).fetch(packages)
            except AptError:
                continue
            break
    assert cache.find_blob(packages[0].digest) is not None
    assert mirror.begun_at.count(0) == 1, "nothing was asked for twice"
    assert max(mirror.begun_at) > 100_000


def test_dependencies_that_cannot_be_met_are_told(repository: DebRepository, tmp_path: Path) -> None:
    repository.add("broken", "1", architecture="arm64", files={"usr/share/b": b"b"}, depends=["nowhere"])
    repository.publish()
    with pytest.raises(AptError) as caught:
        door(repository, Cache(tmp_path / "cache")).resolve(["broken"])
    assert caught.value.brief == (
        "apt could not resolve the packages: broken : Depends: nowhere but it is not installable"
    )
