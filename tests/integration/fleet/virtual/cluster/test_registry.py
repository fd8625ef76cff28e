"""The registry over HTTP: what it takes, what it refuses, and how it fails when told to."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from snapedge_fleet.virtual.registry import Registry

from .image import MANIFEST, TestImage, digest_of, image, layer, push


class Running:
    """A registry in a thread of its own."""

    def __init__(self, root: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.registry = Registry(root, "127.0.0.1", 0)
        self._run(self.registry.start())
        self.base = f"http://{self.registry.host}/v2"

    def _run(self, work: object) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)  # type: ignore[arg-type]

    def close(self) -> None:
        self._run(self.registry.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    yield running
    running.close()


@pytest.fixture
def small() -> TestImage:
    return image([layer({"a": b"one"}), layer({"b": b"two"})])


def codes(answer: requests.Response) -> list[str]:
    return [error["code"] for error in answer.json()["errors"]]


def start_upload(running: Running, name: str = "wine") -> str:
    answer = requests.post(f"{running.base}/{name}/blobs/uploads/", timeout=5)
    assert answer.status_code == 202
    return answer.headers["Location"]


def put_blob(running: Running, content: bytes, name: str = "wine") -> str:
    digest = digest_of(content)
    answer = requests.put(f"{start_upload(running, name)}&digest={digest}", data=content, timeout=5)
    assert answer.status_code == 201, answer.text
    return digest


def test_base_answers_with_its_version(running: Running) -> None:
    answer = requests.get(f"{running.base}/", timeout=5)
    assert (answer.status_code, answer.text) == (200, "{}")
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


def test_pushed_image_comes_back_by_tag_and_digest(running: Running, small: TestImage) -> None:
    push(running.registry.host, "team/wine", small, tag="1.0")
    for reference in ("1.0", small.digest):
        url = f"{running.base}/team/wine/manifests/{reference}"
        answer = requests.get(url, headers={"Accept": MANIFEST}, timeout=5)
        assert answer.content == small.manifest
        assert answer.headers["Docker-Content-Digest"] == small.digest
        assert answer.headers["Content-Type"] == MANIFEST
        head = requests.head(url, headers={"Accept": MANIFEST}, timeout=5)
        assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(small.manifest)))
    assert requests.get(f"{running.base}/team/wine/tags/list", timeout=5).json() == {
        "name": "team/wine",
        "tags": ["1.0"],
    }
    assert requests.get(f"{running.base}/_catalog", timeout=5).json() == {"repositories": ["team/wine"]}


def test_everything_is_there_after_a_restart(tmp_path: Path, small: TestImage) -> None:
    first = Running(tmp_path)
    push(first.registry.host, "wine", small)
    location = start_upload(first)
    requests.patch(location, data=b"12345", timeout=5)
    first.close()
    second = Running(tmp_path)
    try:
        answer = requests.get(f"{second.base}/wine/manifests/1", headers={"Accept": MANIFEST}, timeout=5)
        assert answer.content == small.manifest
        parts = urlsplit(location)
        again = f"http://{second.registry.host}{parts.path}?{parts.query}"
        assert requests.get(again, timeout=5).headers["Range"] == "0-4"
        digest = digest_of(b"1234567890")
        assert requests.put(f"{again}&digest={digest}", data=b"67890", timeout=5).status_code == 201
    finally:
        second.close()


def test_manifest_needs_its_media_type_in_accept(running: Running, small: TestImage) -> None:
    push(running.registry.host, "wine", small)
    answer = requests.get(f"{running.base}/wine/manifests/1", headers={"Accept": "*/*"}, timeout=5)
    assert (answer.status_code, codes(answer)) == (404, ["MANIFEST_UNKNOWN"])
    assert "accept header does not support OCI manifests" in answer.json()["errors"][0]["message"]


def test_blob_ranges(running: Running) -> None:
    digest = put_blob(running, b"0123456789")
    url = f"{running.base}/wine/blobs/{digest}"
    for asked, status, body in (
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-3", 206, b"789"),
        ("bytes=10-", 416, None),
    ):
        answer = requests.get(url, headers={"Range": asked}, timeout=5)
        assert answer.status_code == status
        if body is not None:
            assert answer.content == body
    assert requests.head(url, timeout=5).headers["Content-Length"] == "10"


def test_chunks_and_progress(running: Running) -> None:
    location = start_upload(running)
    first = requests.patch(location, data=b"abc", timeout=5)
    assert (first.status_code, first.headers["Range"]) == (202, "0-2")
    progress = requests.get(first.headers["Location"], timeout=5)
    assert (progress.status_code, progress.headers["Range"]) == (204, "0-2")
    requests.patch(first.headers["Location"], data=b"def", timeout=5)
    assert requests.put(f"{location}&digest={digest_of(b'abcdef')}", timeout=5).status_code == 201


def test_wrong_digest_is_refused_and_the_upload_is_gone(running: Running) -> None:
    location = start_upload(running)
    answer = requests.put(f"{location}&digest={digest_of(b'other')}", data=b"this", timeout=5)
    assert (answer.status_code, codes(answer)) == (400, ["DIGEST_INVALID"])
    again = requests.get(location, timeout=5)
    assert (again.status_code, codes(again)) == (404, ["BLOB_UPLOAD_UNKNOWN"])


def test_upload_without_its_state_is_refused(running: Running) -> None:
    location = start_upload(running).partition("?")[0]
    answer = requests.put(f"{location}?digest={digest_of(b'x')}", data=b"x", timeout=5)
    assert (answer.status_code, codes(answer)) == (404, ["BLOB_UPLOAD_INVALID"])


def test_post_with_a_digest_does_not_finish_the_upload(running: Running) -> None:
    answer = requests.post(f"{running.base}/wine/blobs/uploads/?digest={digest_of(b'x')}", data=b"x", timeout=5)
    assert answer.status_code == 202
    assert requests.put(f"{answer.headers['Location']}&digest={digest_of(b'x')}", data=b"x", timeout=5).ok


def test_mount_takes_a_blob_from_another_repository(running: Running) -> None:
    digest = put_blob(running, b"shared", "snapedge/runtime-onnx")
    there = f"{running.base}/wine/blobs/{digest}"
    assert requests.head(there, timeout=5).status_code == 404
    query = {"mount": digest, "from": "snapedge/runtime-onnx"}
    answer = requests.post(f"{running.base}/wine/blobs/uploads/", params=query, timeout=5)
    assert (answer.status_code, answer.headers["Docker-Content-Digest"]) == (201, digest)
    assert requests.get(there, timeout=5).content == b"shared"


def test_mount_of_what_is_not_there_begins_an_upload(running: Running) -> None:
    query = {"mount": digest_of(b"nowhere"), "from": "snapedge/runtime-onnx"}
    answer = requests.post(f"{running.base}/wine/blobs/uploads/", params=query, timeout=5)
    assert answer.status_code == 202
    assert requests.delete(answer.headers["Location"], timeout=5).status_code == 204


def test_manifest_with_missing_blobs_names_each(running: Running, small: TestImage) -> None:
    url = f"{running.base}/wine/manifests/1"
    answer = requests.put(url, data=small.manifest, headers={"Content-Type": MANIFEST}, timeout=5)
    assert (answer.status_code, codes(answer)) == (400, ["MANIFEST_BLOB_UNKNOWN"] * 3)
    assert {error["detail"]["digest"] for error in answer.json()["errors"]} == set(small.blobs)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "MANIFEST_INVALID"),
        (b"[]", "MANIFEST_INVALID"),
        (b'{"schemaVersion":1}', "MANIFEST_INVALID"),
        (b'{"schemaVersion":2,"mediaType":"text/plain"}', "MANIFEST_INVALID"),
        (b'{"schemaVersion":2,"mediaType":"%s","config":{},"layers":[]}' % MANIFEST.encode(), "MANIFEST_INVALID"),
    ],
)
def test_broken_manifest_is_refused(running: Running, body: bytes, code: str) -> None:
    url = f"{running.base}/wine/manifests/1"
    answer = requests.put(url, data=body, headers={"Content-Type": MANIFEST}, timeout=5)
    assert (answer.status_code, codes(answer)) == (400, [code])


def test_manifest_under_another_digest_is_refused(running: Running, small: TestImage) -> None:
    push(running.registry.host, "wine", small)
    url = f"{running.base}/wine/manifests/{digest_of(b'other')}"
    answer = requests.put(url, data=small.manifest, headers={"Content-Type": MANIFEST}, timeout=5)
    assert (answer.status_code, codes(answer)) == (400, ["DIGEST_INVALID"])


def test_deleting_takes_links_and_tags_but_not_tags_by_name(running: Running, small: TestImage) -> None:
    push(running.registry.host, "wine", small)
    assert codes(requests.delete(f"{running.base}/wine/manifests/1", timeout=5)) == ["DIGEST_INVALID"]
    assert requests.delete(f"{running.base}/wine/manifests/{small.digest}", timeout=5).status_code == 202
    assert requests.get(f"{running.base}/wine/tags/list", timeout=5).json()["tags"] is None
    blob = next(iter(small.blobs))
    assert requests.delete(f"{running.base}/wine/blobs/{blob}", timeout=5).status_code == 202
    assert codes(requests.delete(f"{running.base}/wine/blobs/{blob}", timeout=5)) == ["BLOB_UNKNOWN"]
    assert running.registry.store.blob_path(blob).is_file()


def test_referrers_and_odd_names_are_plain_404(running: Running) -> None:
    for path in (f"wine/referrers/{digest_of(b'x')}", "Wine/tags/list", "../../etc/passwd"):
        answer = requests.get(f"{running.base}/{path}", timeout=5)
        assert answer.status_code == 404
    assert codes(requests.get(f"{running.base}/wine/tags/list", timeout=5)) == ["NAME_UNKNOWN"]


def test_faults_come_and_go(running: Running) -> None:
    faults = running.registry.faults
    digest = put_blob(running, b"0123456789")
    url = f"{running.base}/wine/blobs/{digest}"
    faults.refuse = True
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)
    faults.refuse = False
    for status, code in ((429, "TOOMANYREQUESTS"), (500, "UNKNOWN")):
        faults.status = status
        answer = requests.get(url, timeout=5)
        assert (answer.status_code, codes(answer)) == (status, [code])
    faults.status = None
    faults.drop_download_after = 4
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        requests.get(url, timeout=5)
    faults.drop_download_after = None
    faults.lying.add(digest)
    assert requests.get(url, timeout=5).content == bytes(10)
    faults.lying.clear()
    assert requests.get(url, timeout=5).content == b"0123456789"


def test_connection_cut_within_an_upload_leaves_what_came(running: Running) -> None:
    location = start_upload(running)
    running.registry.faults.drop_upload_after = 4
    with pytest.raises(requests.ConnectionError):
        requests.patch(location, data=b"0123456789", timeout=5)
    running.registry.faults.drop_upload_after = None
    progress = requests.get(location, timeout=5)
    assert (progress.status_code, progress.headers["Range"]) == (204, "0-3")
    answer = requests.put(f"{location}&digest={digest_of(b'0123456789')}", data=b"456789", timeout=5)
    assert answer.status_code == 201


def test_full_disk_is_an_error_and_leaves_no_blob(running: Running) -> None:
    location = start_upload(running)
    running.registry.faults.full = True
    answer = requests.put(f"{location}&digest={digest_of(b'x')}", data=b"x", timeout=5)
    assert (answer.status_code, codes(answer)) == (500, ["UNKNOWN"])
    running.registry.faults.full = False
    assert requests.head(f"{running.base}/wine/blobs/{digest_of(b'x')}", timeout=5).status_code == 404


def test_lost_blob_is_claimed_until_it_is_pushed_again(running: Running) -> None:
    digest = put_blob(running, b"layer")
    url = f"{running.base}/wine/blobs/{digest}"
    running.registry.faults.lost.add(digest)
    assert requests.head(url, timeout=5).status_code == 200
    assert requests.get(url, timeout=5).status_code == 404
    put_blob(running, b"layer")
    assert requests.get(url, timeout=5).content == b"layer"


def test_big_blob_goes_through_in_pieces(running: Running) -> None:
    state = hashlib.sha256()

    def pieces() -> Iterator[bytes]:
        for number in range(64):
            piece = bytes([number]) * 262144
            state.update(piece)
            yield piece

    location = start_upload(running)
    assert requests.patch(location, data=pieces(), timeout=30).status_code == 202
    digest = f"sha256:{state.hexdigest()}"
    assert requests.put(f"{location}&digest={digest}", timeout=30).status_code == 201
    got = requests.get(f"{running.base}/wine/blobs/{digest}", timeout=30).content
    assert f"sha256:{hashlib.sha256(got).hexdigest()}" == digest
