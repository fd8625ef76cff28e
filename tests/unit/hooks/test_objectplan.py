"""Plans for the objects of a whole cluster, literally."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from snapedge_hooks import objectplan
from snapedge_hooks.clusterobjects import ClusterObject, ClusterObjects


def named(kind: str, path: str, **body: Any) -> ClusterObject:
    return ClusterObject(path=path, manifest={"kind": kind, "metadata": {"name": path.rpartition("/")[2]}, **body})


NAMESPACE = named("Namespace", "/api/v1/namespaces/kserve")
DEFINITION = named(
    "CustomResourceDefinition", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/runtimes.example"
)
CONTROLLER = named("Deployment", "/apis/apps/v1/namespaces/kserve/deployments/controller")
AGENT = named("DaemonSet", "/apis/apps/v1/namespaces/kserve/daemonsets/agent")
WANTED = ClusterObjects(objects=(NAMESPACE, DEFINITION, CONTROLLER, AGENT))


def live(one: ClusterObject, **body: Any) -> dict[str, Any]:
    found = one.marked() | body
    found["metadata"] = found["metadata"] | {"generation": 2}
    return found


UP = {
    NAMESPACE.path: live(NAMESPACE),
    DEFINITION.path: live(DEFINITION, status={"conditions": [{"type": "Established", "status": "True"}]}),
    CONTROLLER.path: live(CONTROLLER, spec={"replicas": 2}, status={"observedGeneration": 2, "availableReplicas": 2}),
    AGENT.path: live(AGENT, status={"observedGeneration": 2, "numberAvailable": 1, "desiredNumberScheduled": 1}),
}


def lines(found: objectplan.ObjectPlan) -> list[str]:
    return [str(action) for action in found.actions]


def test_an_empty_cluster_gets_everything_in_order() -> None:
    assert lines(objectplan.plan(WANTED, {})) == [
        "do   apply Namespace kserve: it is not there",
        "do   apply CustomResourceDefinition runtimes.example: it is not there",
        "do   apply Deployment controller: it is not there",
        "do   apply DaemonSet agent: it is not there",
        "do   await CustomResourceDefinition runtimes.example: it is not there",
        "do   await Deployment controller: it is not there",
        "do   await DaemonSet agent: it is not there",
    ]


def test_what_is_up_is_all_skips() -> None:
    found = objectplan.plan(WANTED, UP)
    assert found.is_done
    assert lines(found)[2] == "skip apply Deployment controller: it was applied with this content"
    assert lines(found)[-1] == "skip await DaemonSet agent: it is up"


def test_the_timer_applies_all_again_and_waits_for_nothing() -> None:
    found = objectplan.plan(WANTED, UP, again=True)
    assert [action.skip for action in found.actions] == [False] * 4 + [True] * 3


def test_what_was_applied_with_other_content_is_applied() -> None:
    other = named("Namespace", NAMESPACE.path, spec={"finalizers": []})
    found = objectplan.plan(WANTED, UP | {NAMESPACE.path: live(other)})
    assert lines(found)[0] == "do   apply Namespace kserve: it was not applied with this content"


def test_what_is_not_up_is_awaited_with_the_reason() -> None:
    coming = UP | {
        DEFINITION.path: live(DEFINITION),
        CONTROLLER.path: live(CONTROLLER, spec={"replicas": 2}, status={"observedGeneration": 1}),
        AGENT.path: live(AGENT, status={"observedGeneration": 2, "desiredNumberScheduled": 1}),
    }
    assert lines(objectplan.plan(WANTED, coming))[4:] == [
        "do   await CustomResourceDefinition runtimes.example: it is not established",
        "do   await Deployment controller: its controller has not seen it",
        "do   await DaemonSet agent: 0 of 1 pods are available",
    ]


@given(st.sets(st.sampled_from(sorted(UP))), st.booleans())
def test_every_object_is_in_every_plan_once_and_what_is_there_is_not_applied(there: set[str], again: bool) -> None:
    found = objectplan.plan(WANTED, {path: UP[path] for path in there}, again=again)
    applies = [action for action in found.actions if action.kind is objectplan.ObjectActionKind.APPLY]
    assert [action.subject for action in applies] == list(WANTED.objects)
    for action in applies:
        assert action.skip == (action.subject.path in there and not again)
