"""The cluster that answers like MicroK8s: a real API, kubelet, containerd and registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import rig

REGISTRY = "localhost:32000"


class Cluster:
    """The rig `cluster`; there is one on a machine."""

    def up(self) -> None:
        """Start it and wait until its node is ready; nothing where it is up."""
        rig.run("cluster", "up", timeout=1500)

    def clean(self) -> None:
        """Stop it and forget what is in it."""
        rig.run("cluster", "clean")

    @property
    def config(self) -> Path:
        """Credentials, as MicroK8s' credentials/client.config."""
        return Path(rig.run("cluster", "config").strip())

    def import_images(self, archive: Path) -> None:
        """Have containerd take an archive, as MicroK8s' does with what lies in its sideload folder."""
        rig.run("cluster", "ctr", "images", "import", str(archive))

    def forget_images(self) -> None:
        """Have containerd forget every image but the one that holds a pod's namespaces, once no pod is left."""
        self.kubectl("wait", "--for=delete", "pods", "--all", "--timeout=60s")
        rows = [row.split() for row in rig.run("cluster", "ctr", "images", "ls").splitlines()[1:]]
        kept = {row[2] for row in rows if row[0].startswith("snapedge.test/")}
        gone = [row[0] for row in rows if row[2] not in kept]
        if gone:
            rig.run("cluster", "ctr", "images", "rm", "--sync", *gone)

    def wipe_registry(self) -> None:
        """Forget every image that the registry holds."""
        rig.run("cluster", "registry", "wipe")

    def collect_garbage(self) -> None:
        """Have the registry free what no manifest names."""
        rig.run("cluster", "registry", "collect")

    @property
    def registry_files(self) -> Path:
        """Where the registry keeps its blobs."""
        return rig.STATE / "cluster" / "registry"

    def kubectl(self, *arguments: str, data: bytes = b"") -> str:
        """What kubectl prints, as admin."""
        return rig.run("cluster", "kubectl", *arguments, data=data)

    def get(self, *what: str) -> Any:
        """An object, or a list's items."""
        found = json.loads(self.kubectl("get", *what, "-o", "json"))
        return found["items"] if found["kind"] == "List" else found

    def apply(self, *documents: dict[str, Any]) -> None:
        """Server-side apply, as kubectl."""
        data = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)}).encode()
        self.kubectl("apply", "--server-side", "-f", "-", data=data)

    def service_address(self, service: str, namespace: str = "default") -> str:
        """`address:port` of a Service's first port, reachable from this machine."""
        spec = self.get("service", service, "-n", namespace)["spec"]
        return f"{spec['clusterIP']}:{spec['ports'][0]['port']}"
