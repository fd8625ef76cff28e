"""A Kubernetes API in memory with what KServe makes of an InferenceService, at once and without a kubelet.

Built after what a real KServe was seen to do: the InferenceService's Deployment, ReplicaSets, pods and Service as they
stand when a program behind an image comes up, and when it does not. What an image does is told by `programs`.
"""

from __future__ import annotations

import copy
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from snapedge_fleet.virtual import certificates

from .httphandler import QuietHandler
from .model import Answer, FakeModel

Object = dict[str, Any]
_COLLECTIONS = (
    "services",
    "configmaps",
    "pods",
    "replicasets",
    "deployments",
    "inferenceservices",
    "nodes",
    "namespaces",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What the pods of an image do.

    Attributes:
        answer: what a ready pod answers.
        waiting: the container waits with this reason and message.
        terminated: the container ended with this exit code, reason and message.
        unschedulable: the pod finds no node, with this message.
        starts_after: how often the Deployment is read before the pod is ready.
    """

    answer: Answer | None = None
    waiting: tuple[str, str] | None = None
    terminated: tuple[int, str, str] | None = None
    unschedulable: str | None = None
    starts_after: int = 0


@dataclass(slots=True)
class Faults:
    """What goes wrong.

    Attributes:
        status: an answer for requests whose `method path` matches a pattern.
        no_kserve: the group is unknown.
        conflict: server-side apply meets another field manager.
        slow_finalizer: a deleted InferenceService stays listed, as until KServe's controller has let it go.
        huge: answers come with this many bytes.
    """

    status: dict[str, tuple[int, Object | bytes]] = field(default_factory=dict)
    no_kserve: bool = False
    conflict: bool = False
    slow_finalizer: bool = False
    huge: int = 0


class FakeKube:
    """Objects by path, and the requests that came."""

    def __init__(self, folder: Path, model: FakeModel) -> None:
        self.objects: dict[str, Object] = {}
        self.programs: dict[str, Program] = {}
        self.requests: list[str] = []
        self.on_request: Callable[[str], None] = lambda request: None
        self.faults = Faults()
        self.model = model
        self._started: dict[str, int] = {}
        self._previous: str | None = None
        self._generation = 0
        self._certificates = certificates.load_or_create(folder, "127.0.0.1")
        self.put("/api/v1/nodes/edge", {"status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}}})
        fake = self

        class Handler(_Handler):
            kube = fake

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.socket = self._certificates.server_context().wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._server.server_address[1]}"

    def kubeconfig(self) -> str:
        return self._certificates.kubeconfig(self.url)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wrote(self) -> list[str]:
        """The requests that changed something."""
        return [request for request in self.requests if not request.startswith("GET ")]

    def put(self, path: str, document: Object) -> None:
        document.setdefault("metadata", {}).setdefault("name", path.rpartition("/")[2])
        self.objects[path] = document

    def service_image(self, name: str, namespace: str = "default") -> str | None:
        """The image that the InferenceService names, or None."""
        found = self.objects.get(f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices/{name}")
        return None if found is None else str(found["spec"]["predictor"]["containers"][0]["image"])

    # KServe and the kubelet

    def reconcile(self, namespace: str, service: Object) -> None:
        """Make what KServe makes of an InferenceService; the old pod stays while the new one is not ready."""
        name = service["metadata"]["name"]
        predictor = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}-predictor"
        container = service["spec"]["predictor"]["containers"][0]
        known = self.objects.get(predictor)
        if known is not None and known["spec"]["template"]["spec"]["containers"][0] == container:
            return
        self._generation += 1
        self._previous = None if known is None else known["spec"]["template"]["spec"]["containers"][0]["image"]
        self.put(
            predictor,
            {
                "metadata": {"name": f"{name}-predictor", "generation": self._generation},
                "spec": {"replicas": 1, "template": {"spec": {"containers": [container]}}},
                "status": {},
            },
        )
        service_path = f"/api/v1/namespaces/{namespace}/services/{name}-predictor"
        self.put(
            service_path,
            {"spec": {"clusterIP": "127.0.0.1", "ports": [{"name": "http1", "port": self.model.port}]}},
        )
        self._started[container["image"]] = 0
        self.settle(namespace, name)

    def settle(self, namespace: str, name: str) -> None:
        """Bring the Deployment's status and the pods to what the program behind the image does."""
        deployment = self.objects.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}-predictor")
        if deployment is None:
            return
        image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        program = self.programs.get(image.rpartition("@")[2], Program(waiting=("ErrImagePull", "not found")))
        self._started[image] = self._started.get(image, 0) + 1
        ready = program.answer is not None and self._started[image] > program.starts_after
        had = self._previous is not None
        if ready:
            self.model.answer = program.answer
            self._previous = None
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"],
            "updatedReplicas": 1,
            "replicas": 1 if ready or not had else 2,
            "availableReplicas": 1 if ready or had else 0,
            "unavailableReplicas": 0 if ready else 1,
        }
        self._pods(namespace, name, image, program, ready=ready)

    def _pods(self, namespace: str, name: str, image: str, program: Program, *, ready: bool) -> None:
        for path in [path for path in self.objects if f"/{name}-predictor-" in path]:
            del self.objects[path]
        label = {"app": f"isvc.{name}-predictor", "pod-template-hash": f"h{self._generation}"}
        self.put(
            f"/apis/apps/v1/namespaces/{namespace}/replicasets/{name}-predictor-h{self._generation}",
            {
                "metadata": {
                    "name": f"{name}-predictor-h{self._generation}",
                    "labels": label,
                    "annotations": {"deployment.kubernetes.io/revision": str(self._generation)},
                    "ownerReferences": [{"kind": "Deployment", "name": f"{name}-predictor"}],
                }
            },
        )
        self.put(
            f"/api/v1/namespaces/{namespace}/pods/{name}-predictor-h{self._generation}-{self._started[image]}",
            {
                "metadata": {
                    "name": f"{name}-predictor-h{self._generation}-{self._started[image]}",
                    "labels": label,
                },
                "spec": {"nodeName": "edge", "containers": []},
                "status": _pod_status(program, ready=ready),
            },
        )

    def retire(self, namespace: str, name: str) -> None:
        """What owner references do when an InferenceService is deleted."""
        for path in [path for path in self.objects if f"/{name}-predictor" in path]:
            del self.objects[path]
        self.model.answer = None
        self._previous = None


def _pod_status(program: Program, *, ready: bool) -> Object:
    if program.unschedulable:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        return {"phase": "Pending", "conditions": [condition | {"message": program.unschedulable}]}
    container: Object = {"name": "kserve-container", "ready": ready, "restartCount": 0, "state": {"running": {}}}
    if program.waiting:
        container["state"] = {"waiting": {"reason": program.waiting[0], "message": program.waiting[1]}}
    if program.terminated:
        code, reason, message = program.terminated
        container["state"] = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
        container["restartCount"] = 1
        container["lastState"] = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    return {"phase": "Running", "containerStatuses": [container]}


class _Handler(QuietHandler):
    kube: FakeKube

    def _do(self) -> None:
        kube, parts = self.kube, urlsplit(self.path)
        kube.requests.append(f"{self.command} {self.path}")
        kube.on_request(f"{self.command} {self.path}")
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        for pattern, (status, answer) in kube.faults.status.items():
            if re.search(pattern, f"{self.command} {self.path}"):
                return self._answer(status, answer)
        if kube.faults.huge:
            return self._answer(200, b" " * kube.faults.huge)
        if kube.faults.no_kserve and "serving.kserve.io" in parts.path:
            return self._answer(404, b"404 page not found\n")
        name = parts.path.rpartition("/")[2]
        if name in _COLLECTIONS and not parts.path.endswith(f"/namespaces/{name}"):
            return self._list(parts.path, name, query.get("labelSelector", ""))
        if self.command == "PATCH":
            return self._apply(parts.path, json.loads(body), force=query.get("force") == "true")
        if self.command == "DELETE":
            return self._delete(parts.path)
        return self._get(parts.path)

    do_GET = do_PATCH = do_DELETE = _do  # noqa: N815 - http.server's names

    def _get(self, path: str) -> None:
        match = re.fullmatch(r"/apis/apps/v1/namespaces/([^/]+)/deployments/(.+)-predictor", path)
        if match:
            self.kube.settle(match[1], match[2])
        found = self.kube.objects.get(path)
        if found is None:
            return self._missing(path)
        return self._answer(200, found)

    def _list(self, path: str, kind: str, selector: str) -> None:
        wanted = dict(part.split("=") for part in selector.split(",") if part)
        folder = path.removesuffix(f"/{kind}")
        items = [
            document
            for where, document in self.kube.objects.items()
            if where.startswith(folder)
            and where.split("/")[-2] == kind
            and wanted.items() <= document["metadata"].get("labels", {}).items()
        ]
        return self._answer(200, {"kind": "List", "items": items})

    def _apply(self, path: str, document: Object, *, force: bool) -> None:
        if self.kube.faults.conflict and not force:
            return self._answer(
                409,
                {
                    "kind": "Status",
                    "reason": "Conflict",
                    "message": 'Apply failed with 1 conflict: conflict with "kubectl-edit"',
                },
            )
        live = copy.deepcopy(self.kube.objects.get(path, {}))
        _merge(live, document)
        if "inferenceservices" in path:
            if live["metadata"]["annotations"].get("serving.kserve.io/deploymentMode") == "RawDeployment":
                live["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] = "Standard"
            self.kube.put(path, live)
            self.kube.reconcile(path.split("/")[5], live)
        else:
            self.kube.put(path, live)
        return self._answer(200, live)

    def _delete(self, path: str) -> None:
        if path not in self.kube.objects:
            return self._missing(path)
        is_service = "inferenceservices" in path
        if is_service and self.kube.faults.slow_finalizer:
            self.kube.objects[path]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            return self._answer(200, self.kube.objects[path])
        del self.kube.objects[path]
        if is_service:
            self.kube.retire(path.split("/")[5], path.rpartition("/")[2])
        return self._answer(200, {"kind": "Status", "status": "Success"})

    def _missing(self, path: str) -> None:
        kind, name = path.split("/")[-2:]
        details = {"name": name, "kind": kind}
        return self._answer(
            404, {"kind": "Status", "reason": "NotFound", "message": f"{kind} {name} not found", "details": details}
        )

    def _answer(self, status: int, body: Object | bytes) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _merge(live: Object, applied: Object) -> None:
    for key, value in applied.items():
        if isinstance(value, dict) and isinstance(live.get(key), dict):
            _merge(live[key], value)
        else:
            live[key] = copy.deepcopy(value)
