"""Plays KServe's controller: watches InferenceServices and makes of them what the real one makes.

Its webhook rewrites and refuses as the real one does. `python -m tests.real.kserve_controller CONFIG` runs it by hand.
"""

from __future__ import annotations

import queue
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

from . import kserve_objects
from .kserve_webhook import KServeWebhook
from .kubeapi import KubeApi

_GROUP = "/apis/serving.kserve.io/v1beta1"
_FINALIZER = "inferenceservice.finalizers"
_MANAGER = "kserve-controller-manager"


class KServeController:
    """Runs while its `with` block does. `failures` holds what went wrong in its threads."""

    def __init__(self, config: Path) -> None:
        self.failures: list[Exception] = []
        self._api = KubeApi(config)
        self._webhook = KServeWebhook(self._api)
        self._work: queue.Queue[tuple[str, str] | None] = queue.Queue()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._follow, args=(f"{_GROUP}/inferenceservices", "")),
            threading.Thread(target=self._follow, args=("/apis/apps/v1/deployments", "-predictor")),
            threading.Thread(target=self._reconcile_all),
        ]

    def __enter__(self) -> KServeController:
        self._webhook.start()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._work.put(None)
        for thread in self._threads:
            thread.join()
        self._webhook.stop()
        self._api.close()
        if self.failures and error is None:
            raise self.failures[0]

    def _follow(self, path: str, suffix: str) -> None:
        """Queue the InferenceService of every object that is there or changes."""
        with self._api.session() as session:
            while not self._stopping.is_set():
                try:
                    found = self._api.get(session, path) or {"items": [], "metadata": {"resourceVersion": "0"}}
                    for one in found["items"]:
                        self._queue(one, suffix)
                    for one in self._api.watch(session, path, found["metadata"]["resourceVersion"]):
                        self._queue(one, suffix)
                        if self._stopping.is_set():
                            break
                except requests.RequestException as error:
                    # The API may be away for a while: a test takes it down.
                    print(f"kserve controller: {error}", file=sys.stderr)
                    self._stopping.wait(0.5)

    def _queue(self, one: dict[str, Any], suffix: str) -> None:
        name = str(one["metadata"]["name"])
        if name.endswith(suffix):
            self._work.put((one["metadata"]["namespace"], name.removesuffix(suffix)))

    def _reconcile_all(self) -> None:
        with self._api.session() as session:
            while (key := self._work.get()) is not None:
                try:
                    self._reconcile(session, *key)
                except requests.HTTPError as error:
                    if error.response.status_code != 409:  # it changed meanwhile: the watch tells of it
                        self.failures.append(error)
                except requests.RequestException as error:
                    print(f"kserve controller: {error}", file=sys.stderr)
                    self._stopping.wait(0.5)
                    if not self._stopping.is_set():
                        self._work.put(key)

    def _reconcile(self, session: requests.Session, namespace: str, name: str) -> None:
        path = f"{_GROUP}/namespaces/{namespace}/inferenceservices/{name}"
        service = self._api.get(session, path)
        if service is None:
            return
        metadata = service["metadata"]
        finalizers = metadata.get("finalizers", [])
        if "deletionTimestamp" in metadata:
            left = [one for one in finalizers if one != _FINALIZER]
            if left != finalizers:
                self._api.patch(session, path, {"metadata": {"finalizers": left}})
            return
        if _FINALIZER not in finalizers:
            version = {"finalizers": [*finalizers, _FINALIZER], "resourceVersion": metadata["resourceVersion"]}
            self._api.patch(session, path, {"metadata": version})
        deployment, network = kserve_objects.children(service)
        below = f"namespaces/{namespace}"
        stands = self._api.apply(
            session, f"/apis/apps/v1/{below}/deployments/{name}-predictor", deployment, manager=_MANAGER
        )
        self._api.apply(session, f"/api/v1/{below}/services/{name}-predictor", network, manager=_MANAGER)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = kserve_objects.status(service, stands, now)
        if service.get("status") != status:
            self._api.patch(session, f"{path}/status", {"status": status})


def main(config: Path) -> None:
    """Run until interrupted."""
    with KServeController(config):
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopping", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
