"""A virtual device's registry answers as docker-registry does: one conversation, held with both."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from snapedge_hooks.images import CONFIG_MEDIA_TYPE, LAYER_MEDIA_TYPE, MANIFEST_MEDIA_TYPE
from snapedge_hooks.vocabulary import Digest

from . import registries
from .conftest import give_up

COMPARED = (
    "accept-ranges",
    "content-length",
    "content-range",
    "content-type",
    "docker-content-digest",
    "docker-distribution-api-version",
    "etag",
    "link",
    "location",
    "range",
)
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Conversation:
    """Asks one registry, and keeps what it answers without what differs from run to run."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._session = requests.Session()
        self.answers: list[tuple[str, object]] = []

    def close(self) -> None:
        self._session.close()

    def ask(
        self, what: str, method: str, path: str, data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        url = path if path.startswith("http://") else f"http://{self._address}{path}"
        response = self._session.request(method, url, data=data, headers=headers, timeout=20, allow_redirects=False)
        # JSON is compared by what it says, so a newline at its end and an error's details may differ.
        is_json = "json" in response.headers.get("content-type", "")
        names = [one for one in COMPARED if one != "content-length" or not is_json]
        seen = {one: self._normal(response.headers[one]) for one in names if one in response.headers}
        self.answers.append((what, {"status": response.status_code, "headers": seen, "body": self._body(response)}))
        return response

    def _normal(self, text: str) -> str:
        text = text.replace(self._address, "REGISTRY")
        return re.sub(r"_state=[^&]*", "_state=STATE", UUID.sub("UUID", text))

    def _body(self, response: requests.Response) -> object:
        if "json" not in response.headers.get("content-type", ""):
            return response.content
        document = response.json() if response.content else None
        if isinstance(document, dict) and "errors" in document:
            return [(error["code"], error["message"]) for error in document["errors"]]
        return document

    def upload(self, what: str, repository: str, data: bytes) -> None:
        opened = self.ask(f"{what}: open", "POST", f"/v2/{repository}/blobs/uploads/")
        place = f"{opened.headers['Location']}&digest={Digest.of(data)}"
        self.ask(f"{what}: send", "PUT", place, data, BYTES)


def manifest(*, config: bytes, layer: bytes, **more: object) -> bytes:
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_MEDIA_TYPE,
        "config": {"mediaType": CONFIG_MEDIA_TYPE, "digest": Digest.of(config), "size": len(config)},
        "layers": [{"mediaType": LAYER_MEDIA_TYPE, "digest": Digest.of(layer), "size": len(layer)}],
    }
    return json.dumps(document | more).encode()


CONFIG, LAYER = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}', b"layer" * 1000
BYTES = {"Content-Type": "application/octet-stream"}
ABSENT = Digest.of(b"absent")


def talk_of_blobs(to: Conversation) -> None:
    # A range beyond the end is left out: docker-registry promises the whole blob's length with its 416, and hangs up.
    to.ask("version", "GET", "/v2/")
    to.ask("empty catalog", "GET", "/v2/_catalog")
    to.ask("tags of no repository", "GET", "/v2/a/b/tags/list")
    to.ask("head of no blob", "HEAD", f"/v2/a/b/blobs/{ABSENT}")
    to.ask("no blob", "GET", f"/v2/a/b/blobs/{ABSENT}")
    to.ask("a blob with a bad digest", "GET", "/v2/a/b/blobs/sha256:12")
    to.upload("config", "a/b", CONFIG)
    to.upload("layer", "a/b", LAYER)
    to.upload("layer again", "a/b", LAYER)
    to.upload("nothing", "a/b", b"")
    there = f"/v2/a/b/blobs/{Digest.of(LAYER)}"
    to.ask("head", "HEAD", there)
    to.ask("get", "GET", there)
    to.ask("first byte", "GET", there, headers={"Range": "bytes=0-0"})
    to.ask("middle", "GET", there, headers={"Range": "bytes=10-19"})
    to.ask("rest", "GET", there, headers={"Range": "bytes=4990-"})
    to.ask("in another repository", "HEAD", f"/v2/c/blobs/{Digest.of(LAYER)}")
    to.ask("mount", "POST", f"/v2/c/blobs/uploads/?mount={Digest.of(LAYER)}&from=a/b")
    to.ask("mounted", "HEAD", f"/v2/c/blobs/{Digest.of(LAYER)}")
    to.ask("mount of what is not there", "POST", f"/v2/c/blobs/uploads/?mount={ABSENT}&from=a/b")
    to.ask("mount from nowhere", "POST", f"/v2/d/blobs/uploads/?mount={Digest.of(LAYER)}&from=no/such")
    to.ask("delete", "DELETE", f"/v2/c/blobs/{Digest.of(LAYER)}")
    to.ask("deleted", "HEAD", f"/v2/c/blobs/{Digest.of(LAYER)}")
    to.ask("delete again", "DELETE", f"/v2/c/blobs/{Digest.of(LAYER)}")
    to.ask("still in the first", "HEAD", there)


def talk_of_uploads(to: Conversation) -> None:
    opened = to.ask("open", "POST", "/v2/a/blobs/uploads/").headers["Location"]
    to.ask("how far", "GET", opened)
    first = to.ask("first part", "PATCH", opened, LAYER[:1000], BYTES)
    second = to.ask("how far now", "GET", first.headers["Location"]).headers["Location"]
    wrong = f"{second}&digest={ABSENT}"
    last = to.ask("last part", "PATCH", second, LAYER[1000:], BYTES)
    to.ask("finish", "PUT", f"{last.headers['Location']}&digest={Digest.of(LAYER)}", b"")
    to.ask("it is there", "HEAD", f"/v2/a/blobs/{Digest.of(LAYER)}")
    to.ask("finish what is finished", "PUT", wrong, b"")
    other = to.ask("open", "POST", "/v2/a/blobs/uploads/").headers["Location"]
    to.ask("without digest", "PUT", other, b"x")
    other = to.ask("open", "POST", "/v2/a/blobs/uploads/").headers["Location"]
    to.ask("with another digest", "PUT", f"{other}&digest={ABSENT}", b"x")
    to.ask("nothing of it stays", "HEAD", f"/v2/a/blobs/{ABSENT}")
    other = to.ask("open", "POST", "/v2/a/blobs/uploads/").headers["Location"]
    to.ask("without its state", "PUT", f"{other.partition('?')[0]}?digest={Digest.of(b'x')}", b"x")
    to.ask("cancel", "DELETE", other)
    to.ask("cancelled", "GET", other)


def talk_of_manifests(to: Conversation) -> None:
    to.upload("config", "a", CONFIG)
    to.upload("layer", "a", LAYER)
    good = manifest(config=CONFIG, layer=LAYER)
    digest = Digest.of(good)
    oci, asked = {"Content-Type": MANIFEST_MEDIA_TYPE}, {"Accept": MANIFEST_MEDIA_TYPE}
    to.ask("by tag, none there", "GET", "/v2/a/manifests/1.0", headers=asked)
    to.ask("by digest, none there", "GET", f"/v2/a/manifests/{digest}", headers=asked)
    to.ask("head, none there", "HEAD", f"/v2/a/manifests/{digest}", headers=asked)
    to.ask("put by tag", "PUT", "/v2/a/manifests/1.0", good, oci)
    to.ask("put by digest", "PUT", f"/v2/a/manifests/{digest}", good, oci)
    to.ask("put by another digest", "PUT", f"/v2/a/manifests/{ABSENT}", good, oci)
    to.ask("get by tag", "GET", "/v2/a/manifests/1.0", headers=asked)
    to.ask("get by digest", "GET", f"/v2/a/manifests/{digest}", headers=asked)
    to.ask("head by digest", "HEAD", f"/v2/a/manifests/{digest}", headers=asked)
    to.ask("without accept", "GET", f"/v2/a/manifests/{digest}")
    to.ask("accept of anything", "GET", f"/v2/a/manifests/{digest}", headers={"Accept": "*/*"})
    to.ask("tags", "GET", "/v2/a/tags/list")
    to.ask("catalog", "GET", "/v2/_catalog")
    to.ask("a layer that is not there", "PUT", "/v2/a/manifests/2.0", manifest(config=CONFIG, layer=b"no"), oci)
    to.ask("in a repository without its blobs", "PUT", "/v2/b/manifests/1.0", good, oci)
    to.ask("no JSON", "PUT", "/v2/a/manifests/3.0", b"{", oci)
    to.ask("delete by tag", "DELETE", "/v2/a/manifests/1.0")
    to.ask("delete", "DELETE", f"/v2/a/manifests/{digest}")
    to.ask("delete again", "DELETE", f"/v2/a/manifests/{digest}")
    to.ask("gone by tag", "GET", "/v2/a/manifests/1.0", headers=asked)
    to.ask("tags of what is empty", "GET", "/v2/a/tags/list")


@pytest.fixture
def both(pytestconfig: pytest.Config, tmp_path: Path) -> Iterator[tuple[Conversation, Conversation]]:
    if not registries.is_installed():
        give_up(pytestconfig, "docker-registry is not installed")
    real_folder, virtual_folder = tmp_path / "real", tmp_path / "virtual"
    real_folder.mkdir()
    with registries.docker_registry(real_folder) as one, registries.virtual_registry(virtual_folder) as other:
        real, virtual = Conversation(one), Conversation(other)
        yield real, virtual
        real.close()
        virtual.close()


@pytest.mark.parametrize("talk", [talk_of_blobs, talk_of_uploads, talk_of_manifests])
def test_the_virtual_registry_answers_as_docker_registry(talk: Any, both: tuple[Conversation, Conversation]) -> None:
    real, virtual = both
    talk(real)
    talk(virtual)
    different = [
        f"{what}:\n  docker-registry  {expected}\n  virtual registry {found}"
        for (what, expected), (_, found) in zip(real.answers, virtual.answers, strict=True)
        if expected != found
    ]
    assert not different, "\n".join(different)
