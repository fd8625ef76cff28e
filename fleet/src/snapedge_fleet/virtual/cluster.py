"""A Kubernetes cluster of one node with KServe, as MicroK8s and KServe look from a snap's hooks."""

from __future__ import annotations

import os
from pathlib import Path

from snapedge_hooks import sandbox
from snapedge_hooks.rootfs import RootfsCache

from . import certificates, kinds
from .addresses import DeviceAddresses
from .admission import Admission
from .apiproxy import ApiProxy
from .apply import Document
from .deployments import DeploymentController
from .faults import ClusterFaults
from .imagepull import ImagePuller
from .kserve import KServeController
from .kubeapi import KubeApi
from .node import Node, NodeCapacity, record_event
from .objects import ObjectStore
from .pods import PodHost, PodTiming
from .proxy import ServiceProxy
from .webserver import WebServer

API_PORT = 16443
_UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


class Cluster:
    """The cluster of one device.

    Everything it keeps is below `root`; `images` holds unpacked images and may be shared by all devices. It may be
    stopped and started again, and made anew on the same folder: objects stay, pods start again.
    """

    def __init__(
        self,
        root: Path,
        addresses: DeviceAddresses,
        registry_host: str,
        *,
        images: Path | None = None,
        capacity: NodeCapacity | None = None,
        timing: PodTiming | None = None,
        faults: ClusterFaults | None = None,
        port: int = API_PORT,
        runner: sandbox.Sandbox | None = None,
    ) -> None:
        self.faults = faults if faults is not None else ClusterFaults()
        self._addresses = addresses
        self._certificates = certificates.load_or_create(root / "certificates", addresses.host)
        self._store = ObjectStore(root / "objects")
        gate = Admission(self._store, addresses, self.faults)
        cache = RootfsCache(images if images is not None else root / "images")
        host = PodHost(
            store=self._store,
            sandbox=runner if runner is not None else sandbox.find_sandbox(),
            puller=ImagePuller(registry_host, cache, root / "content"),
            cache=cache,
            folder=root / "pods",
            address=addresses.host,
            faults=self.faults,
            timing=timing if timing is not None else PodTiming(),
            record=self._record,
        )
        self._node = Node(
            self._store, host, addresses, capacity if capacity is not None else NodeCapacity(), name="edge"
        )
        self._deployments = DeploymentController(self._store)
        self._kserve = KServeController(self._store, gate, http_port=_http_port())
        self._proxy = ServiceProxy(self._store, addresses.host)
        api = KubeApi(
            self._store,
            gate,
            self.faults,
            address=f"{addresses.host}:{port}",
            read_log=self._node.log_of,
            services=ApiProxy(self._store, self._proxy),
        )
        self._server = WebServer(api.answer, addresses.host, port, tls=self._certificates.server_context())

    @property
    def store(self) -> ObjectStore:
        """The cluster's objects, for those who look at them without the API."""
        return self._store

    async def start(self) -> None:
        """Bring everything up; the API answers when this returns."""
        for name in ("default", "kube-system", "container-registry", "kserve"):
            self._ensure_namespace(name)
        self._ensure_definition()
        await self._proxy.start()
        await self._deployments.start()
        await self._kserve.start()
        await self._node.start()
        await self._server.start()

    async def stop(self) -> None:
        """Take everything down, pods first; nothing of it runs when this returns."""
        await self._server.stop()
        await self._kserve.stop()
        await self._deployments.stop()
        await self._node.stop()
        await self._proxy.stop()

    async def stop_api(self) -> None:
        """Take the API away; pods and Services go on."""
        await self._server.stop()

    async def start_api(self) -> None:
        """Bring the API back."""
        await self._server.start()

    def kubeconfig(self) -> str:
        """What MicroK8s writes to credentials/client.config."""
        return self._certificates.kubeconfig(f"https://{self._addresses.host}:{self._server.port}")

    def endpoints(self) -> dict[str, str]:
        """URL of each InferenceService that has a ready pod, by `namespace/name`."""
        found: dict[str, str] = {}
        for service in self._store.all_of(kinds.INFERENCE_SERVICE):
            namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
            child = self._store.get(kinds.SERVICE, namespace, f"{name}-predictor")
            if child is None:
                continue
            address, port = child["spec"]["clusterIP"], child["spec"]["ports"][0]["port"]
            if self._proxy.has_endpoints(address, port):
                found[f"{namespace}/{name}"] = f"http://{address}:{port}"
        return found

    def _record(self, about: Document, kind: str, reason: str, message: str) -> None:
        record_event(self._store, about, kind, reason, message, source="kubelet")

    def _ensure_namespace(self, name: str) -> None:
        if self._store.get(kinds.NAMESPACE, "", name) is None:
            self._store.create(
                kinds.NAMESPACE,
                {
                    "metadata": {"labels": {"kubernetes.io/metadata.name": name}, "name": name},
                    "spec": {"finalizers": ["kubernetes"]},
                    "status": {"phase": "Active"},
                },
            )

    def _ensure_definition(self) -> None:
        kind = kinds.INFERENCE_SERVICE
        if self._store.get(kinds.DEFINITION, "", kind.qualified) is None:
            self._store.create(
                kinds.DEFINITION,
                {
                    "metadata": {"name": kind.qualified},
                    "spec": {
                        "group": kind.group,
                        "names": {
                            "kind": kind.kind,
                            "listKind": f"{kind.kind}List",
                            "plural": kind.plural,
                            "shortNames": list(kind.short_names),
                            "singular": kind.kind.lower(),
                        },
                        "scope": "Namespaced",
                        "versions": [{"name": kind.version, "served": True, "storage": True}],
                    },
                    "status": {
                        "conditions": [{"reason": "InitialNamesAccepted", "status": "True", "type": "Established"}]
                    },
                },
            )


def _http_port() -> int:
    """80 where this process may listen on it, else 8080."""
    return 80 if os.geteuid() == 0 or int(_UNPRIVILEGED.read_text()) <= 80 else 8080
