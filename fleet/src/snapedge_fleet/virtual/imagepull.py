"""Pulls images from the device's registry as containerd does, and says what failed in containerd's words.

A device pulls what it has not pulled itself, even where the shared cache holds the layer from another device: then the
registry only has to show that it has the blob. So a registry that lost a layer is noticed here as on a real device.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson
import requests

from snapedge_hooks.rootfs import LayerRefusedError, RootfsCache

from . import manifests
from .registrystore import is_digest

_REFERENCE = re.compile(
    r"(?P<host>[^/]+)/(?P<name>[a-z0-9._/-]+?)(?::(?P<tag>[\w.-]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_ACCEPT = ", ".join([manifests.OCI_MANIFEST, manifests.DOCKER_MANIFEST])
_TIMEOUT = (5, 60)
_LAYER_TYPES = frozenset(
    {
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    }
)


class ImagePullError(Exception):
    """An image could not be pulled; the text is what the pod's status says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A pulled image, ready to run."""

    reference: str
    identifier: str
    manifest_digest: str
    rootfs: Path
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    environment: dict[str, str]
    working_directory: str


class ImagePuller:
    """Pulls from one registry into the shared cache; all calls block and belong in a thread."""

    def __init__(self, registry_host: str, cache: RootfsCache, content: Path) -> None:
        self._host = registry_host
        self._cache = cache
        self._content = content

    def pull(self, reference: str) -> Image:
        """The image, pulled unless this device has it; `ImagePullError` otherwise."""
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            raise ImagePullError(f'Failed to apply default image tag "{reference}": couldn\'t parse image name')
        prefix = f'failed to pull and unpack image "{reference}"'
        if match["host"] != self._host:
            raise ImagePullError(
                f'rpc error: code = Unknown desc = {prefix}: failed to resolve reference "{reference}": '
                f'failed to do request: Head "https://{match["host"]}/v2/{match["name"]}/manifests/'
                f'{match["digest"] or match["tag"] or "latest"}": this device only knows the registry {self._host}'
            )
        try:
            with requests.Session() as session:
                session.trust_env = False
                return self._pull(session, reference, match["name"], match["digest"] or match["tag"] or "latest")
        except (requests.RequestException, OSError) as error:
            raise ImagePullError(
                f'rpc error: code = Unknown desc = {prefix}: failed to resolve reference "{reference}": '
                f"failed to do request: {_innermost(error)}"
            ) from error
        except (KeyError, TypeError, ValueError) as error:
            raise ImagePullError(f"rpc error: code = Unknown desc = {prefix}: malformed image: {error!r}") from error
        except LayerRefusedError as error:
            raise ImagePullError(
                f"rpc error: code = Unknown desc = {prefix}: failed to extract layer: {error}"
            ) from error

    def held(self, reference: str) -> Image | None:
        """The image of a reference by digest, if this device pulled it before."""
        match = _REFERENCE.fullmatch(reference)
        return self._recorded(reference, match["digest"]) if match is not None and match["digest"] else None

    def _recorded(self, reference: str, digest: str) -> Image | None:
        known = self._known(digest)
        return self._image(reference, digest, known.read_bytes()) if known.is_file() else None

    def _known(self, digest: str) -> Path:
        return self._content / f"{digest.replace(':', '-')}.json"

    def _pull(self, session: requests.Session, reference: str, name: str, version: str) -> Image:
        if is_digest(version) and (image := self._recorded(reference, version)) is not None:
            return image
        url = f"http://{self._host}/v2/{name}"
        with session.get(f"{url}/manifests/{version}", headers={"Accept": _ACCEPT}, timeout=_TIMEOUT) as answer:
            if answer.status_code == 404:
                raise ImagePullError(
                    f'rpc error: code = NotFound desc = failed to pull and unpack image "{reference}": '
                    f'failed to resolve reference "{reference}": {reference}: not found'
                )
            content = _checked(answer, reference)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if is_digest(version) and digest != version:
            raise ImagePullError(_mismatch(reference, digest, version))
        manifest = orjson.loads(content)
        config_digest = manifest["config"]["digest"]
        with session.get(f"{url}/blobs/{config_digest}", timeout=_TIMEOUT) as answer:
            config = _checked(answer, reference)
        if f"sha256:{hashlib.sha256(config).hexdigest()}" != config_digest:
            raise ImagePullError(_mismatch(reference, f"sha256:{hashlib.sha256(config).hexdigest()}", config_digest))
        diff_ids: list[str] = orjson.loads(config)["rootfs"]["diff_ids"]
        if len(diff_ids) != len(manifest["layers"]):
            raise ImagePullError(f'failed to unpack image "{reference}": mismatched image rootfs and manifest layers')
        for layer, diff_id in zip(manifest["layers"], diff_ids, strict=True):
            self._fetch_layer(session, f"{url}/blobs/{layer['digest']}", reference, layer, diff_id)
        self._content.mkdir(parents=True, exist_ok=True)
        record = orjson.dumps({"config": config.decode(), "config_digest": config_digest})
        known = self._known(digest)
        temporary = known.with_suffix(".new")
        temporary.write_bytes(record)
        temporary.replace(known)
        return self._image(reference, digest, record)

    def _image(self, reference: str, digest: str, record: bytes) -> Image:
        document = orjson.loads(record)
        image = orjson.loads(document["config"])
        config: dict[str, Any] = image.get("config") or {}
        return Image(
            reference=reference,
            identifier=document["config_digest"],
            manifest_digest=digest,
            rootfs=self._cache.tree(image["rootfs"]["diff_ids"]),
            entrypoint=tuple(config.get("Entrypoint") or ()),
            command=tuple(config.get("Cmd") or ()),
            environment=dict(entry.split("=", 1) for entry in config.get("Env") or ()),
            working_directory=config.get("WorkingDir") or "/",
        )

    def _fetch_layer(
        self, session: requests.Session, url: str, reference: str, layer: dict[str, Any], diff_id: str
    ) -> None:
        media_type = layer["mediaType"]
        if media_type not in _LAYER_TYPES:
            raise ImagePullError(f'failed to unpack image "{reference}": unsupported layer type {media_type}')
        if self._cache.has_layer(diff_id):
            headers = {"Range": "bytes=0-0"} if layer["size"] else {}
            with session.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
                _check_status(answer, reference)
                if layer["size"] and int(answer.headers["Content-Range"].rpartition("/")[2]) != layer["size"]:
                    raise ImagePullError(_short(reference, url))
            return

        @contextlib.contextmanager
        def download() -> Iterator[IO[bytes]]:
            with tempfile.TemporaryFile() as file:
                state = hashlib.sha256()
                with session.get(url, stream=True, timeout=_TIMEOUT) as answer:
                    _check_status(answer, reference)
                    for chunk in answer.iter_content(1024 * 1024):
                        state.update(chunk)
                        file.write(chunk)
                if f"sha256:{state.hexdigest()}" != layer["digest"]:
                    raise ImagePullError(_mismatch(reference, f"sha256:{state.hexdigest()}", layer["digest"]))
                if file.tell() != layer["size"]:
                    raise ImagePullError(_short(reference, url))
                file.seek(0)
                yield file

        self._cache.add_layer(diff_id, layer["size"], download)


def _checked(answer: requests.Response, reference: str) -> bytes:
    _check_status(answer, reference)
    return answer.content


def _check_status(answer: requests.Response, reference: str) -> None:
    if answer.status_code == 404:
        raise ImagePullError(
            f'rpc error: code = NotFound desc = failed to pull and unpack image "{reference}": failed to copy: '
            f"httpReadSeeker: failed open: content at {answer.url} not found: not found"
        )
    if answer.status_code >= 400:
        raise ImagePullError(
            f'rpc error: code = Unknown desc = failed to pull and unpack image "{reference}": failed to copy: '
            f"httpReadSeeker: failed open: unexpected status code {answer.url}: {answer.status_code} {answer.reason}"
        )


def _mismatch(reference: str, found: str, wanted: str) -> str:
    return (
        f'rpc error: code = FailedPrecondition desc = failed to pull and unpack image "{reference}": '
        f"failed commit on ref: unexpected commit digest {found}, expected {wanted}: failed precondition"
    )


def _short(reference: str, url: str) -> str:
    return f'rpc error: code = Unknown desc = failed to pull and unpack image "{reference}": size of {url} differs'


def _innermost(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or (error.args[0] if error.args else None)
    inner = getattr(reason, "reason", reason)
    if isinstance(inner, BaseException) and "refused" in str(inner):
        return "connect: connection refused"
    return str(inner or error)
