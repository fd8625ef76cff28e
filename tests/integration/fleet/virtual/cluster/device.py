"""A registry and a cluster running in a thread of the test's own, and a client for each."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import requests
import yaml

from snapedge_fleet.virtual.addresses import DeviceAddresses
from snapedge_fleet.virtual.cluster import Cluster
from snapedge_fleet.virtual.node import NodeCapacity
from snapedge_fleet.virtual.pods import PodTiming
from snapedge_fleet.virtual.registry import Registry

from .image import sandbox

T = TypeVar("T")
Json = dict[str, Any]
_numbers = itertools.count(16384 + (os.getpid() * 13) % 16000)


class Device:
    """What the hooks of one device talk to."""

    def __init__(self, root: Path, capacity: NodeCapacity | None = None, images: Path | None = None) -> None:
        self.root = root
        self.addresses = DeviceAddresses.of_device(next(_numbers))
        self._capacity = capacity
        self._images = images
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.registry = Registry(root / "registry", self.addresses.host)
        self.cluster = self._make_cluster()
        self.run(self.registry.start())
        self.run(self.cluster.start())
        self._connect()

    def _make_cluster(self) -> Cluster:
        return Cluster(
            self.root / "cluster",
            self.addresses,
            f"{self.addresses.host}:32000",
            images=self._images,
            capacity=self._capacity,
            timing=PodTiming(restart_pause=0.2, backoff_unit=0.1),
            runner=sandbox(),
        )

    def _connect(self) -> None:
        config = yaml.safe_load(self.cluster.kubeconfig())
        self.url: str = config["clusters"][0]["cluster"]["server"]
        self.session = requests.Session()
        self.session.trust_env = False
        folder = Path(tempfile.mkdtemp(dir=self.root))
        for name, data in (
            ("ca.crt", config["clusters"][0]["cluster"]["certificate-authority-data"]),
            ("client.crt", config["users"][0]["user"]["client-certificate-data"]),
            ("client.key", config["users"][0]["user"]["client-key-data"]),
        ):
            (folder / name).write_bytes(base64.b64decode(data))
        self.session.verify = str(folder / "ca.crt")
        self.session.cert = (str(folder / "client.crt"), str(folder / "client.key"))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def call(self, function: Callable[[], T]) -> T:
        async def inside() -> T:
            return function()

        return self.run(inside())

    def reboot(self) -> None:
        """Stop the cluster and make it anew on the same folder."""
        self.session.close()
        self.run(self.cluster.stop())
        self.cluster = self._make_cluster()
        self.run(self.cluster.start())
        self._connect()

    def close(self) -> None:
        self.session.close()
        self.run(self.cluster.stop())
        self.run(self.registry.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def get(self, path: str) -> Json:
        answer = self.session.get(self.url + path, timeout=10)
        answer.raise_for_status()
        document: Json = answer.json()
        return document

    def apply(self, path: str, document: Json, *, force: bool = False, **query: str) -> requests.Response:
        return self.session.patch(
            self.url + path,
            params={"fieldManager": "snapedge", "force": str(force).lower(), **query},
            json=document,
            headers={"Content-Type": "application/apply-patch+yaml"},
            timeout=10,
        )

    def wait_for(self, read: Callable[[], T], wanted: Callable[[T], object], seconds: float = 20) -> T:
        deadline = time.monotonic() + seconds
        while True:
            value = read()
            if wanted(value):
                return value
            assert time.monotonic() < deadline, f"last seen: {value}"
            time.sleep(0.05)


ISVC = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices"


def inference_service(name: str, image: str, **predictor: Any) -> Json:
    """What the hooks apply, cut down to what these tests are about."""
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"app.kubernetes.io/managed-by": "snapedge"},
            "annotations": {"serving.kserve.io/deploymentMode": "RawDeployment"},
        },
        "spec": {
            "predictor": {
                "minReplicas": 1,
                "maxReplicas": 1,
                "containers": [
                    {
                        "name": "kserve-container",
                        "image": image,
                        "env": [{"name": "PROTOCOL", "value": "v2"}],
                        "ports": [{"containerPort": 8080, "name": "http1", "protocol": "TCP"}],
                        "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": 8080}, "periodSeconds": 1},
                        "resources": {
                            "limits": {"cpu": "500m", "memory": "64Mi"},
                            "requests": {"cpu": "10m", "memory": "16Mi"},
                        },
                        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                    }
                ],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
                **predictor,
            }
        },
    }
