"""What stands between a write and the store: names, defaults, and KServe's webhooks.

Only what a client of the real API can notice is here. Unknown fields of an InferenceService are refused as server-side
apply refuses them, so that a misspelt field is found on a virtual device and not on a real one.
"""

from __future__ import annotations

import re
from typing import Any, Final

from . import apistatus, kinds, quantities
from .addresses import DeviceAddresses
from .apply import Document
from .faults import ClusterFaults
from .kinds import Kind
from .objects import ObjectStore

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_KSERVE_NAME = "[a-z]([-a-z0-9]*[a-z0-9])?"
_DEFAULTER = "inferenceservice.kserve-webhook-server.defaulter"
_VALIDATOR = "inferenceservice.kserve-webhook-server.validator"
_MODE = "serving.kserve.io/deploymentMode"
_MODE_NAMES: Final = {"RawDeployment": "Standard", "Serverless": "Knative"}
_NODE_PORTS: Final = range(30000, 32768)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CONTAINER_FIELDS: Final = _words(
    "args command env envFrom image imagePullPolicy lifecycle livenessProbe name ports readinessProbe resizePolicy "
    "resources restartPolicy securityContext startupProbe stdin stdinOnce terminationMessagePath "
    "terminationMessagePolicy tty volumeDevices volumeMounts workingDir"
)
_PREDICTOR_FIELDS: Final = _words(
    "activeDeadlineSeconds affinity annotations automountServiceAccountToken autoScaling batcher canaryTrafficPercent "
    "containerConcurrency containers deploymentStrategy dnsConfig dnsPolicy enableServiceLinks ephemeralContainers "
    "hostAliases hostIPC hostNetwork hostPID hostUsers hostname huggingface imagePullSecrets initContainers labels "
    "lightgbm logger maxReplicas minReplicas model nodeName nodeSelector onnx os overhead paddle pmml "
    "preemptionPolicy priority priorityClassName pytorch readinessGates resourceClaims restartPolicy "
    "runtimeClassName scaleMetric scaleMetricType scaleTarget schedulerName schedulingGates securityContext "
    "serviceAccount serviceAccountName setHostnameAsFQDN shareProcessNamespace sklearn subdomain tensorflow "
    "terminationGracePeriodSeconds timeout tolerations topologySpreadConstraints triton volumes workerSpec "
    "xgboost"
)
_SPEC_FIELDS: Final = frozenset({"canary", "explainer", "predictor", "transformer"})


class Admission:
    """Checks and completes objects before they are stored."""

    def __init__(self, store: ObjectStore, addresses: DeviceAddresses, faults: ClusterFaults) -> None:
        self._store = store
        self._addresses = addresses
        self._faults = faults

    def admit(self, kind: Kind, document: Document, old: Document | None) -> Document:
        """`document` as it will be stored; raises `ApiError` where the real API refuses."""
        _check_metadata(kind, document)
        if kind.namespaced and old is None:
            self._check_namespace(document)
        if kind is kinds.INFERENCE_SERVICE:
            self._admit_inference_service(document)
        elif kind is kinds.SERVICE:
            self._admit_service(document, old)
        elif kind is kinds.DEPLOYMENT:
            _default_deployment(document)
        elif kind is kinds.NAMESPACE:
            document.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
            document.setdefault("status", {}).setdefault("phase", "Active")
        return document

    def _check_namespace(self, document: Document) -> None:
        namespace = document["metadata"]["namespace"]
        if self._store.get(kinds.NAMESPACE, "", namespace) is None:
            raise apistatus.not_found(kinds.NAMESPACE, namespace)

    # InferenceService

    def _admit_inference_service(self, document: Document) -> None:
        if self._faults.webhook_down:
            raise apistatus.webhook_away(_DEFAULTER, self._addresses.host)
        name = document["metadata"]["name"]
        predictor = document.get("spec", {}).get("predictor")
        if not isinstance(predictor, dict):
            raise apistatus.invalid(kinds.INFERENCE_SERVICE, name, "spec.predictor", "Required value")
        annotations = document["metadata"].get("annotations", {})
        if annotations.get(_MODE) in _MODE_NAMES:
            annotations[_MODE] = _MODE_NAMES[annotations[_MODE]]
        containers = predictor.get("containers", [])
        for index, container in enumerate(containers):
            _default_container(container, first=index == 0, alone=len(containers) == 1)
        _deny_inference_service(name, predictor)
        document["metadata"].setdefault("finalizers", ["inferenceservice.finalizers"])

    # Service

    def _admit_service(self, document: Document, old: Document | None) -> None:
        name = document["metadata"]["name"]
        if not _SERVICE_NAME.fullmatch(name) or len(name) > 63:
            problem = f'Invalid value: "{name}": a DNS-1035 label must consist of lower case alphanumeric characters'
            raise apistatus.invalid(kinds.SERVICE, name, "metadata.name", problem)
        spec = document.setdefault("spec", {})
        ports = spec.get("ports", [])
        if not ports:
            raise apistatus.invalid(kinds.SERVICE, name, "spec.ports", "Required value")
        kind = spec.setdefault("type", "ClusterIP")
        old_spec = old.get("spec", {}) if old is not None else {}
        others = [
            service["spec"]
            for service in self._store.all_of(kinds.SERVICE)
            if service["metadata"].get("uid") != (old or {}).get("metadata", {}).get("uid")
        ]
        if not spec.get("clusterIP"):
            used = [other.get("clusterIP", "") for other in others]
            spec["clusterIP"] = old_spec.get("clusterIP") or self._addresses.next_service(used)
        elif spec["clusterIP"] != "None" and not self._addresses.holds_service(spec["clusterIP"]):
            problem = (
                f'Invalid value: "{spec["clusterIP"]}": failed to allocate IP {spec["clusterIP"]}: '
                "the provided IP is not in the valid range"
            )
            raise apistatus.invalid(kinds.SERVICE, name, "spec.clusterIPs", problem)
        spec["clusterIPs"] = [spec["clusterIP"]]
        for key, value in (
            ("internalTrafficPolicy", "Cluster"),
            ("ipFamilies", ["IPv4"]),
            ("ipFamilyPolicy", "SingleStack"),
            ("sessionAffinity", "None"),
        ):
            spec.setdefault(key, value)
        for port in ports:
            port.setdefault("protocol", "TCP")
            port.setdefault("targetPort", port.get("port"))
        if kind == "NodePort":
            spec.setdefault("externalTrafficPolicy", "Cluster")
            _assign_node_ports(name, ports, old_spec.get("ports", []), others)
        document.setdefault("status", {"loadBalancer": {}})


def _check_metadata(kind: Kind, document: Document) -> None:
    metadata = document["metadata"]
    name = metadata.get("name", "")
    if not name and metadata.get("generateName"):
        name = metadata["generateName"] + "xxxxx"
    if not name:
        raise apistatus.invalid(kind, "", "metadata.name", "Required value: name or generateName is required")
    valid = _LABEL.fullmatch(name) and len(name) <= 63 if kind is kinds.NAMESPACE else _SUBDOMAIN.fullmatch(name)
    if not valid or len(name) > 253:
        problem = (
            f'Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric '
            "characters, '-' or '.', and must start and end with an alphanumeric character"
        )
        raise apistatus.invalid(kind, name, "metadata.name", problem)
    for field in ("labels", "annotations"):
        values = metadata.get(field, {})
        if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
            raise apistatus.bad_request(
                f"{kind.kind} in version {kind.version!r} cannot be handled as a {kind.kind}: "
                f"json: cannot unmarshal into field ObjectMeta.metadata.{field} of type string"
            )
    for label, value in metadata.get("labels", {}).items():
        if len(value) > 63 or not re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?", value):
            problem = f'Invalid value: "{value}": a valid label must be an empty string or consist of alphanumerics'
            raise apistatus.invalid(kind, name, f"metadata.labels[{label}]", problem)


def check_schema(kind: Kind, document: Document) -> None:
    """Refuse what a typed apply refuses: fields that the type does not have."""
    if kind is not kinds.INFERENCE_SERVICE:
        return
    spec = document.get("spec", {})
    predictor = spec.get("predictor", {}) if isinstance(spec, dict) else None
    if not isinstance(predictor, dict):
        raise _untyped(document, ".spec.predictor: expected map")
    containers = predictor.get("containers", [])
    checks: list[tuple[str, Any, frozenset[str]]] = [
        (".spec", spec, _SPEC_FIELDS),
        (".spec.predictor", predictor, _PREDICTOR_FIELDS),
    ]
    if not isinstance(containers, list) or not all(isinstance(container, dict) for container in containers):
        raise _untyped(document, ".spec.predictor.containers: expected list of maps")
    checks += [(f".spec.predictor.containers[{i}]", part, _CONTAINER_FIELDS) for i, part in enumerate(containers)]
    for path, part, known in checks:
        unknown = sorted(set(part) - known)
        if unknown:
            raise _untyped(document, f"{path}.{unknown[0]}: field not declared in schema")


def _untyped(document: Document, problem: str) -> apistatus.ApiError:
    metadata = document["metadata"]
    return apistatus.ApiError(
        500,
        "InternalError",
        f"failed to create typed patch object ({metadata.get('namespace', '')}/{metadata.get('name', '')}; "
        f"{document.get('apiVersion')}, Kind={document.get('kind')}): {problem}",
    )


def _default_container(container: Document, *, first: bool, alone: bool) -> None:
    if first and (alone or not container.get("name")):
        container["name"] = "kserve-container"
    for port in container.get("ports", []):
        port.setdefault("protocol", "TCP")
    if first:
        resources = container.setdefault("resources", {})
        for bound in ("limits", "requests"):
            amounts = resources.setdefault(bound, {})
            amounts.setdefault("cpu", "1")
            amounts.setdefault("memory", "2Gi")


def _deny_inference_service(name: str, predictor: Document) -> None:
    if not re.fullmatch(_KSERVE_NAME, name):
        raise apistatus.denied(
            _VALIDATOR,
            f'the InferenceService "{name}" is invalid: a InferenceService name must consist of lower case '
            f"alphanumeric characters or '-', and must start with alphabetical character. "
            f'(e.g. "my-name" or "abc-123", regex used for validation is \'{_KSERVE_NAME}\')',
        )
    containers = predictor.get("containers", [])
    if containers and not any(container.get("name") == "kserve-container" for container in containers):
        raise apistatus.denied(_VALIDATOR, "exactly one of [custom container] must be specified in predictor")
    for container in containers:
        for variable in container.get("env", []):
            if variable.get("name") == "PROTOCOL" and variable.get("value") not in ("v1", "v2"):
                raise apistatus.denied(_VALIDATOR, f"protocol {variable.get('value')} is not supported")
        for bound in ("limits", "requests"):
            for resource, amount in container.get("resources", {}).get(bound, {}).items():
                try:
                    quantities.parse(amount)
                except quantities.QuantityInvalidError as error:
                    field = f"spec.predictor.containers[0].resources.{bound}.{resource}"
                    problem = f'Invalid value: "{amount}": quantities must match the regular expression of quantities'
                    raise apistatus.invalid(kinds.INFERENCE_SERVICE, name, field, problem) from error
    replicas = predictor.get("minReplicas"), predictor.get("maxReplicas")
    for value in replicas:
        if value is not None and (not isinstance(value, int) or value < 0):
            raise apistatus.denied(_VALIDATOR, "MinReplicas cannot be less than 0")
    if replicas[0] is not None and replicas[1] is not None and replicas[0] > replicas[1] > 0:
        raise apistatus.denied(_VALIDATOR, "MinReplicas cannot be greater than MaxReplicas")


def _assign_node_ports(name: str, ports: list[Document], old: list[Document], others: list[Document]) -> None:
    used = {port["nodePort"] for spec in others for port in spec.get("ports", []) if "nodePort" in port}
    for index, port in enumerate(ports):
        if "nodePort" not in port:
            before = next((was for was in old if was.get("port") == port.get("port") and "nodePort" in was), None)
            port["nodePort"] = (
                before["nodePort"] if before else next(number for number in _NODE_PORTS if number not in used)
            )
        field, number = f"spec.ports[{index}].nodePort", port["nodePort"]
        if number not in _NODE_PORTS:
            problem = (
                f"Invalid value: {number}: provided port is not in the valid range. "
                "The range of valid ports is 30000-32767"
            )
            raise apistatus.invalid(kinds.SERVICE, name, field, problem)
        if number in used:
            problem = f"Invalid value: {number}: provided port is already allocated"
            raise apistatus.invalid(kinds.SERVICE, name, field, problem)
        used.add(number)


def _default_deployment(document: Document) -> None:
    spec = document.setdefault("spec", {})
    name = document["metadata"]["name"]
    if not spec.get("selector") or not spec.get("template"):
        raise apistatus.invalid(kinds.DEPLOYMENT, name, "spec.template", "Required value")
    labels = spec["template"].get("metadata", {}).get("labels", {})
    if any(labels.get(key) != value for key, value in spec["selector"].get("matchLabels", {}).items()):
        problem = "Invalid value: `selector` does not match template `labels`"
        raise apistatus.invalid(kinds.DEPLOYMENT, name, "spec.template.metadata.labels", problem)
    spec.setdefault("replicas", 1)
    spec.setdefault("progressDeadlineSeconds", 600)
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("strategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxSurge", "25%")
        rolling.setdefault("maxUnavailable", "25%")
    complete_pod_spec(spec["template"].setdefault("spec", {}))


def complete_pod_spec(spec: Document) -> None:
    """Fill in what the API server fills in of a pod's spec."""
    for key, value in (
        ("dnsPolicy", "ClusterFirst"),
        ("restartPolicy", "Always"),
        ("schedulerName", "default-scheduler"),
        ("securityContext", {}),
        ("terminationGracePeriodSeconds", 30),
    ):
        spec.setdefault(key, value)
    for container in spec.get("containers", []):
        container.setdefault("imagePullPolicy", "IfNotPresent" if "@" in container.get("image", "") else "Always")
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        container.setdefault("resources", {})
        for port in container.get("ports", []):
            port.setdefault("protocol", "TCP")
        for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
            if probe in container:
                _complete_probe(container[probe])


def _complete_probe(probe: Document) -> None:
    for key, value in (("failureThreshold", 3), ("periodSeconds", 10), ("successThreshold", 1), ("timeoutSeconds", 1)):
        probe.setdefault(key, value)
    if "httpGet" in probe:
        probe["httpGet"].setdefault("scheme", "HTTP")
        probe["httpGet"].setdefault("path", "/")
