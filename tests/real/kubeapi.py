"""A thin client of the Kubernetes API, for what plays a controller in the tests."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests
import yaml


class KubeApi:
    """Speaks to the API as the user of a kubeconfig; close it when done."""

    def __init__(self, config: Path) -> None:
        document = yaml.safe_load(config.read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        self._server = cluster["server"]
        self._folder = TemporaryDirectory(prefix="kubeapi-")
        parts = {
            "ca": cluster["certificate-authority-data"],
            "crt": user["client-certificate-data"],
            "key": user["client-key-data"],
        }
        for name, data in parts.items():
            (Path(self._folder.name) / name).write_bytes(base64.b64decode(data))

    def close(self) -> None:
        """Forget the credentials."""
        self._folder.cleanup()

    def session(self) -> requests.Session:
        """A connection of its own, for one thread."""
        session = requests.Session()
        session.trust_env = False
        session.verify = f"{self._folder.name}/ca"
        session.cert = (f"{self._folder.name}/crt", f"{self._folder.name}/key")
        return session

    def get(self, session: requests.Session, path: str) -> dict[str, Any] | None:
        """An object or list; None where there is none."""
        response = session.get(self._server + path, timeout=30)
        return None if response.status_code == 404 else self._checked(response)

    def apply(self, session: requests.Session, path: str, document: dict[str, Any], *, manager: str) -> dict[str, Any]:
        """Server-side apply, taking back every field that others hold."""
        return self._checked(
            session.patch(
                self._server + path,
                params={"fieldManager": manager, "force": "true"},
                data=json.dumps(document),
                headers={"Content-Type": "application/apply-patch+yaml"},
                timeout=30,
            )
        )

    def patch(self, session: requests.Session, path: str, patch: dict[str, Any]) -> dict[str, Any] | None:
        """Merge patch; None where the object is gone."""
        headers = {"Content-Type": "application/merge-patch+json"}
        response = session.patch(self._server + path, data=json.dumps(patch), headers=headers, timeout=30)
        return None if response.status_code == 404 else self._checked(response)

    def delete(self, session: requests.Session, path: str) -> None:
        """Delete an object that may be gone."""
        response = session.delete(self._server + path, timeout=30)
        if response.status_code != 404:
            self._checked(response)

    def watch(self, session: requests.Session, path: str, version: str) -> Iterator[dict[str, Any]]:
        """Objects of a list as they change, for some seconds; ends early when the version is too old."""
        parameters = {"watch": "true", "resourceVersion": version, "timeoutSeconds": "5"}
        with session.get(self._server + path, params=parameters, stream=True, timeout=30) as response:
            for line in response.iter_lines():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                yield event["object"]

    @staticmethod
    def _checked(response: requests.Response) -> dict[str, Any]:
        if not response.ok:
            raise requests.HTTPError(f"{response.request.method} {response.url}: {response.text}", response=response)
        found: dict[str, Any] = response.json()
        return found
