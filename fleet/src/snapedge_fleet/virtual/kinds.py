"""The kinds of objects the virtual cluster knows, as the API's discovery describes them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One resource type."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    has_status: bool = False
    counts_generations: bool = False
    short_names: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        """What objects of this kind say in `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """The plural with its group, as errors name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


NAMESPACE = Kind(
    group="",
    version="v1",
    kind="Namespace",
    plural="namespaces",
    namespaced=False,
    has_status=True,
    short_names=("ns",),
)
NODE = Kind(group="", version="v1", kind="Node", plural="nodes", namespaced=False, has_status=True, short_names=("no",))
POD = Kind(
    group="",
    version="v1",
    kind="Pod",
    plural="pods",
    has_status=True,
    counts_generations=True,
    short_names=("po",),
)
SERVICE = Kind(group="", version="v1", kind="Service", plural="services", has_status=True, short_names=("svc",))
CONFIG_MAP = Kind(group="", version="v1", kind="ConfigMap", plural="configmaps", short_names=("cm",))
SECRET = Kind(group="", version="v1", kind="Secret", plural="secrets")
EVENT = Kind(group="", version="v1", kind="Event", plural="events", short_names=("ev",))
DEPLOYMENT = Kind(
    group="apps",
    version="v1",
    kind="Deployment",
    plural="deployments",
    has_status=True,
    counts_generations=True,
    short_names=("deploy",),
)
REPLICA_SET = Kind(
    group="apps",
    version="v1",
    kind="ReplicaSet",
    plural="replicasets",
    has_status=True,
    counts_generations=True,
    short_names=("rs",),
)
AUTOSCALER = Kind(
    group="autoscaling",
    version="v2",
    kind="HorizontalPodAutoscaler",
    plural="horizontalpodautoscalers",
    has_status=True,
    short_names=("hpa",),
)
DEFINITION = Kind(
    group="apiextensions.k8s.io",
    version="v1",
    kind="CustomResourceDefinition",
    plural="customresourcedefinitions",
    namespaced=False,
    has_status=True,
    counts_generations=True,
    short_names=("crd",),
)
INFERENCE_SERVICE = Kind(
    group="serving.kserve.io",
    version="v1beta1",
    kind="InferenceService",
    plural="inferenceservices",
    has_status=True,
    counts_generations=True,
    short_names=("isvc",),
)

ALL = (
    NAMESPACE,
    NODE,
    POD,
    SERVICE,
    CONFIG_MAP,
    SECRET,
    EVENT,
    DEPLOYMENT,
    REPLICA_SET,
    AUTOSCALER,
    DEFINITION,
    INFERENCE_SERVICE,
)


def find(api_version: str, kind: str) -> Kind | None:
    """The kind of an object that says `apiVersion` and `kind`."""
    return next((known for known in ALL if known.api_version == api_version and known.kind == kind), None)


def find_plural(group: str, version: str, plural: str) -> Kind | None:
    """The kind a URL names."""
    return next(
        (known for known in ALL if (known.group, known.version, known.plural) == (group, version, plural)), None
    )
