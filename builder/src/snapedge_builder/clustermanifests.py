"""Kubernetes YAML, as projects publish it, becomes objects with their place in the API, in the order to apply them.

Rules:

1. A file may hold several documents, and lists; empty documents count for nothing.
2. Where an object lives follows from its kind: a kind of Kubernetes itself, one that the files define, or one of
   cert-manager's, which may be in the cluster already. Any other kind is an error, since the device cannot ask.
3. Order: namespaces, definitions of kinds, what the API knows by itself, webhooks, then objects of defined kinds;
   within each, the order of the files.
4. What a cluster writes by itself is left out: status, creation time, and a webhook's or definition's `caBundle` that
   cert-manager injects, since applying an empty one would take the injected one away.
5. One object twice is an error unless both are equal.

Sources: the API's own discovery (kubectl api-resources 1.34); cert-manager's CA injector annotation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from snapedge_hooks.clusterobjects import ClusterObject, ClusterObjects
from snapedge_hooks.document import DocumentError
from snapedge_hooks.errors import ExitCode

from .errors import BuilderError

_INJECTED = "cert-manager.io/inject-ca-from"
_WRITTEN_BY_THE_CLUSTER = frozenset({"creationTimestamp", "generation", "managedFields", "resourceVersion", "uid"})
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ManifestError(BuilderError):
    """A file with Kubernetes objects cannot be used."""

    exit_code = ExitCode.USAGE

    def __init__(self, where: str, problem: str, *, resolution: str = "") -> None:
        super().__init__(f"{where}: {problem}", resolution=resolution)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resource:
    """How the API names a kind."""

    plural: str
    is_namespaced: bool


def _resources(group: str, namespaced: str, cluster_wide: str = "") -> dict[tuple[str, str], _Resource]:
    found = {}
    for text, is_namespaced in ((namespaced, True), (cluster_wide, False)):
        for pair in text.split():
            kind, _, plural = pair.partition("=")
            resource = _Resource(plural=plural or f"{kind.lower()}s", is_namespaced=is_namespaced)
            found[(group, kind)] = resource
    return found


_KNOWN = {
    **_resources(
        "",
        "ConfigMap Endpoints=endpoints LimitRange PersistentVolumeClaim Pod ReplicationController ResourceQuota Secret "
        "Service ServiceAccount",
        "Namespace PersistentVolume",
    ),
    **_resources(
        "admissionregistration.k8s.io",
        "",
        "MutatingWebhookConfiguration ValidatingWebhookConfiguration "
        "ValidatingAdmissionPolicy=validatingadmissionpolicies ValidatingAdmissionPolicyBinding",
    ),
    **_resources("apiextensions.k8s.io", "", "CustomResourceDefinition"),
    **_resources("apiregistration.k8s.io", "", "APIService"),
    **_resources("apps", "DaemonSet Deployment ReplicaSet StatefulSet"),
    **_resources("autoscaling", "HorizontalPodAutoscaler"),
    **_resources("batch", "CronJob Job"),
    **_resources("coordination.k8s.io", "Lease"),
    **_resources("networking.k8s.io", "Ingress=ingresses NetworkPolicy=networkpolicies", "IngressClass=ingressclasses"),
    **_resources("policy", "PodDisruptionBudget"),
    **_resources("rbac.authorization.k8s.io", "Role RoleBinding", "ClusterRole ClusterRoleBinding"),
    **_resources("scheduling.k8s.io", "", "PriorityClass=priorityclasses"),
    **_resources("storage.k8s.io", "", "StorageClass=storageclasses"),
}
_EXPECTED = _resources("cert-manager.io", "Certificate CertificateRequest Issuer", "ClusterIssuer")
_ORDER = {"Namespace": 0, "CustomResourceDefinition": 1}
_WEBHOOKS = frozenset({"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"})
_OWN, _WEBHOOK, _DEFINED = 2, 3, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One object as a file has it.

    Attributes:
        where: the file and the document's number in it, for errors.
        body: the object.
    """

    where: str
    body: dict[str, Any]


def read(paths: Sequence[Path]) -> tuple[Document, ...]:
    """The objects of some files, in order.

    Raises:
        ManifestError: a file cannot be read, is no YAML, or holds something that is no object.
    """
    return tuple(document for path in paths for document in _documents(path))


def objects(documents: Iterable[Document]) -> ClusterObjects:
    """Their places in the API, in the order to apply them.

    Raises:
        ManifestError: a rule above is broken.
    """
    documents = tuple(documents)
    defined = dict(
        _definition(document) for document in documents if document.body["kind"] == "CustomResourceDefinition"
    )
    placed: dict[str, tuple[int, ClusterObject]] = {}
    for document in documents:
        made = ClusterObject(path=_path(document, defined), manifest=_clean(document.body))
        known = placed.setdefault(made.path, (_stage(document), made))[1]
        if known.manifest != made.manifest:
            raise ManifestError(document.where, f"{made.title} stands twice, with different content")
    ordered = sorted(placed.values(), key=lambda pair: pair[0])
    found = ClusterObjects(objects=tuple(one for _, one in ordered))
    try:
        return ClusterObjects.parse(found.to_json())
    except DocumentError as error:
        raise ManifestError("the objects", error.problem) from error


def _documents(path: Path) -> Iterator[Document]:
    try:
        bodies = list(yaml.load_all(path.read_bytes(), Loader=_LOADER))
    except OSError as error:
        raise ManifestError(str(path), str(error.strerror), resolution="name a file that can be read") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ManifestError(path.name, f"is not YAML: {' '.join(str(error).split())[:200]}") from error
    for number, body in enumerate(bodies, start=1):
        where = f"{path.name}, document {number}"
        if body is None:
            continue
        if not isinstance(body, dict):
            raise ManifestError(where, "is no Kubernetes object")
        items = body["items"] if body.get("kind") == "List" and isinstance(body.get("items"), list) else [body]
        for item in items:
            _check(where, item)
            yield Document(where=where, body=item)


def _check(where: str, body: object) -> None:
    metadata = body.get("metadata") if isinstance(body, dict) else None
    words = (body.get("apiVersion"), body.get("kind")) if isinstance(body, dict) else ()
    if not isinstance(metadata, dict) or not all(isinstance(word, str) and word for word in words):
        raise ManifestError(where, "is no Kubernetes object: apiVersion, kind or metadata is missing")
    if not isinstance(metadata.get("name"), str):
        raise ManifestError(where, "has no name", resolution="what is applied needs a name, not generateName")


def _group(body: dict[str, Any]) -> str:
    group, slash, _ = body["apiVersion"].rpartition("/")
    return group if slash else ""


def _definition(document: Document) -> tuple[tuple[str, str], _Resource]:
    try:
        spec = document.body["spec"]
        names, key = spec["names"], (spec["group"], spec["names"]["kind"])
        return key, _Resource(plural=names["plural"], is_namespaced=spec["scope"] == "Namespaced")
    except (KeyError, TypeError) as error:
        raise ManifestError(document.where, f"is a definition of a kind without {error}") from error


def _path(document: Document, defined: dict[tuple[str, str], _Resource]) -> str:
    body, group = document.body, _group(document.body)
    key = (group, body["kind"])
    resource = _KNOWN.get(key) or defined.get(key) or _EXPECTED.get(key)
    if resource is None:
        raise ManifestError(
            document.where,
            f"{body['kind']} ({body['apiVersion']}) is defined in none of the files",
            resolution="give the file that defines it, too",
        )
    root = f"/apis/{body['apiVersion']}" if group else f"/api/{body['apiVersion']}"
    metadata = body["metadata"]
    where = f"/namespaces/{metadata.get('namespace', 'default')}" if resource.is_namespaced else ""
    return f"{root}{where}/{resource.plural}/{metadata['name']}"


def _stage(document: Document) -> int:
    kind, key = document.body["kind"], (_group(document.body), document.body["kind"])
    if kind in _ORDER:
        return _ORDER[kind]
    if kind in _WEBHOOKS:
        return _WEBHOOK
    return _OWN if key in _KNOWN else _DEFINED


def _clean(body: dict[str, Any]) -> dict[str, Any]:
    metadata = {
        key: value for key, value in body["metadata"].items() if key not in ("creationTimestamp", "managedFields")
    }
    found = {key: value for key, value in body.items() if key != "status"} | {"metadata": metadata}
    if _INJECTED in (metadata.get("annotations") or {}):
        found = {key: _without_bundle(value) for key, value in found.items()}
    return found


def _without_bundle(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_bundle(item) for key, item in value.items() if key != "caBundle"}
    if isinstance(value, list):
        return [_without_bundle(item) for item in value]
    return value
