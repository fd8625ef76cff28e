"""The one door to the Kubernetes API: bounded, verified, and with every foreign failure turned into ours.

Rules:

1. The server must show a certificate of the CA in the kubeconfig; no other CA is trusted, no proxy is used.
2. Secrets stay in memory: OpenSSL reads the client's key from an anonymous memory file.
3. Answers are bounded in size and time; redirects are not followed.
4. An API that is away, refuses us or talks nonsense is `api-down`; a missing KServe or its webhook is `no-kserve`; an
   object that the API or an admission webhook refuses is our own mistake.
"""

from __future__ import annotations

import json
import logging
import os
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from .document import canonical_json
from .kubeconfig import Credentials, KubeconfigError
from .situations import PayloadBadError, api_down, no_kserve
from .wire import UntrustedError, Wire, WireError

_LOG = logging.getLogger(__name__)
FIELD_MANAGER = "snapedge"
MAX_ANSWER = 8 * 1024 * 1024
_SERVING = "/apis/serving.kserve.io/"
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: Object
    text: str

    @property
    def reason(self) -> str:
        """The API's own word for a failure, such as NotFound."""
        value = self.body.get("reason")
        return value if isinstance(value, str) else ""

    @property
    def message(self) -> str:
        """What the API says about a failure, on one line."""
        value = self.body.get("message")
        line = " ".join((value if isinstance(value, str) else self.text).split())
        return line[:300] or f"status {self.status}"

    @property
    def details(self) -> Object:
        """Which object a failure is about."""
        value = self.body.get("details")
        return value if isinstance(value, dict) else {}

    def is_missing(self, name: str) -> bool:
        """Whether the object is not there, rather than its whole kind."""
        return self.status == 404 and self.reason == "NotFound" and self.details.get("name") == name


class KubernetesApi:
    """Gets, lists, applies and deletes objects.

    Paths are the API's own, such as `/api/v1/namespaces/default/services/wine`.
    """

    def __init__(self, credentials: Credentials) -> None:
        headers = {"Accept": "application/json"}
        if credentials.token:
            headers["Authorization"] = f"Bearer {credentials.token}"
        self._wire = Wire(credentials.server, context=_context(credentials), headers=headers)

    def close(self) -> None:
        """Drop connections and secrets."""
        self._wire.close()

    def get(self, path: str) -> Object | None:
        """The object, or None when it is not there."""
        answer = self._ask("GET", path)
        if answer.is_missing(path.rpartition("/")[2]) or (answer.status == 404 and not path.startswith(_SERVING)):
            return None
        return self._checked(answer, path).body

    def find(self, path: str) -> Object | None:
        """The object, or None when it or its whole kind is not there."""
        answer = self._ask("GET", path)
        return None if answer.status == 404 else self._checked(answer, path).body

    def items(self, path: str, *, selector: str = "") -> list[Object]:
        """The objects of a collection that a label selector picks, or all."""
        query = f"?labelSelector={quote(selector)}" if selector else ""
        found = self._checked(self._ask("GET", path + query), path).body.get("items")
        return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []

    def apply(self, path: str, manifest: Object) -> Object:
        """The object after a server-side apply; fields that others took are taken back and logged."""
        return self._checked(self._apply(path, manifest), path).body

    def apply_if_accepted(self, path: str, manifest: Object) -> str | None:
        """Apply as `apply` does; what the API says where it cannot take the object yet, or None where it took it.

        That is so while the object's kind or namespace is not there, or a webhook that must see it does not answer.
        """
        answer = self._apply(path, manifest)
        if answer.status == 404 or _is_about_webhook(answer):
            return answer.message
        self._checked(answer, path)
        return None

    def delete(self, path: str) -> bool:
        """Delete the object, its children in the background; False when it was not there."""
        answer = self._ask("DELETE", path + "?propagationPolicy=Background")
        if answer.status in (404, 410):
            return False
        self._checked(answer, path)
        return True

    def _apply(self, path: str, manifest: Object) -> _Answer:
        answer = self._patch(path, manifest, force=False)
        if answer.status == 409:
            _LOG.warning("%s was changed by another writer, taken back: %s", path.rpartition("/")[2], answer.message)
            answer = self._patch(path, manifest, force=True)
        return answer

    def _patch(self, path: str, manifest: Object, *, force: bool) -> _Answer:
        query = f"?fieldManager={FIELD_MANAGER}" + ("&force=true" if force else "")
        # JSON is YAML, and the only form of it that is canonical.
        return self._ask("PATCH", path + query, body=canonical_json(manifest), kind="application/apply-patch+yaml")

    def _ask(self, method: str, path: str, *, body: bytes | None = None, kind: str = "") -> _Answer:
        headers = {"Content-Type": kind} if kind else {}
        try:
            answer = self._wire.ask(method, path, headers=headers, body=body, limit=MAX_ANSWER)
        except UntrustedError as error:
            raise api_down(f"{error}; reconnect mk8s") from error
        except WireError as error:
            raise api_down(f"{self._wire.origin} {error}") from error
        text = answer.body[:1000].decode(errors="replace")
        return _Answer(answer.status, _object(answer.body, answer.status), text)

    def _checked(self, answer: _Answer, path: str) -> _Answer:
        status, message = answer.status, answer.message
        if 200 <= status < 300:
            return answer
        if _is_about_webhook(answer):
            raise no_kserve("its webhook does not answer")
        if status == 404 and path.startswith(_SERVING) and answer.details.get("kind") != "namespaces":
            raise no_kserve("is not installed (no InferenceService in this cluster)")
        if "denied the request" in message or status in (400, 422):
            raise PayloadBadError(f"Kubernetes refused {path.rpartition('/')[2]}: {message}")
        if status in (401, 403):
            raise api_down(f"our credentials are refused ({status}); reconnect mk8s")
        raise api_down(f"answered {status}: {message}")


def _is_about_webhook(answer: _Answer) -> bool:
    """Whether a failure is that of a webhook that does not answer."""
    return answer.status >= 300 and (
        "failed calling webhook" in answer.message or "conversion webhook" in answer.message
    )


def _object(data: bytes, status: int) -> Object:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        if 200 <= status < 300:
            raise api_down("sent something other than JSON") from error
        value = {}
    return value if isinstance(value, dict) else {}


def _context(credentials: Credentials) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=credentials.authority)
        if credentials.certificate:
            # load_cert_chain takes file names only; this file is in memory and gone when its descriptor is closed.
            descriptor = os.memfd_create("client")
            with os.fdopen(descriptor, "wb") as file:
                file.write(f"{credentials.certificate}\n{credentials.key}\n".encode("ascii"))
                file.flush()
                context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    except (ssl.SSLError, ValueError) as error:
        raise KubeconfigError("has a certificate or key that OpenSSL does not take") from error
    return context
