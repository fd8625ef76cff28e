"""KServe's admission webhooks, as far as they touch what the hooks apply.

RawDeployment is stored as Standard; a PROTOCOL other than v1 or v2 is refused.
"""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .kubeapi import KubeApi

_MODE = "serving.kserve.io/deploymentMode"
_MANAGER = "kserve-controller-manager"
_REGISTRATIONS = {
    "MutatingWebhookConfiguration": "mutatingwebhookconfigurations/inferenceservice.serving.kserve.io",
    "ValidatingWebhookConfiguration": "validatingwebhookconfigurations/inferenceservice.serving.kserve.io",
}


class KServeWebhook:
    """Answers the API on loopback while it is started, and is registered for as long."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._folder = TemporaryDirectory(prefix="kserve-webhook-")

    def start(self) -> None:
        """Listen, and have the API ask."""
        certificate, key = self._certificate()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        with self._api.session() as session:
            for kind, path in _REGISTRATIONS.items():
                registration = self._registration(kind, certificate.read_bytes())
                self._api.apply(
                    session, f"/apis/admissionregistration.k8s.io/v1/{path}", registration, manager=_MANAGER
                )

    def stop(self) -> None:
        """Have the API ask no more, and close."""
        with self._api.session() as session:
            for path in _REGISTRATIONS.values():
                self._api.delete(session, f"/apis/admissionregistration.k8s.io/v1/{path}")
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._folder.cleanup()

    def _certificate(self) -> tuple[Path, Path]:
        certificate, key = Path(self._folder.name) / "crt", Path(self._folder.name) / "key"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=kserve-webhook",
             "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        return certificate, key

    def _registration(self, kind: str, authority: bytes) -> dict[str, Any]:
        name = _REGISTRATIONS[kind].partition("/")[2]
        port = self._server.server_address[1]
        way = "mutate" if kind.startswith("Mutating") else "validate"
        rule = {
            "apiGroups": ["serving.kserve.io"],
            "apiVersions": ["v1beta1"],
            "resources": ["inferenceservices"],
            "operations": ["CREATE", "UPDATE"],
        }
        return {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": name},
            "webhooks": [
                {
                    "name": f"inferenceservice.kserve-webhook-server.{way}r",
                    "admissionReviewVersions": ["v1"],
                    "sideEffects": "None",
                    "failurePolicy": "Fail",
                    "timeoutSeconds": 5,
                    "rules": [rule],
                    "clientConfig": {
                        "url": f"https://127.0.0.1:{port}/{way}",
                        "caBundle": base64.b64encode(authority).decode(),
                    },
                }
            ],
        }


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
        answer = _mutation(request["object"]) if self.path.startswith("/mutate") else _judgement(request["object"])
        review = {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "response": {"uid": request["uid"], **answer},
        }
        body = json.dumps(review).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name is http.server's
        """Nothing: the API's own log tells of it."""


def _mutation(service: dict[str, Any]) -> dict[str, Any]:
    if service["metadata"].get("annotations", {}).get(_MODE) != "RawDeployment":
        return {"allowed": True}
    place = "/metadata/annotations/" + _MODE.replace("/", "~1")
    patch = [{"op": "replace", "path": place, "value": "Standard"}]
    return {"allowed": True, "patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}


def _judgement(service: dict[str, Any]) -> dict[str, Any]:
    for container in service["spec"]["predictor"].get("containers", []):
        for variable in container.get("env", []):
            if variable["name"] == "PROTOCOL" and variable.get("value") not in ("v1", "v2"):
                message = f"Invalid protocol {variable.get('value')}. Must be one of [v1, v2]"
                return {"allowed": False, "status": {"code": 403, "message": message}}
    return {"allowed": True}
