from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapedge_fleet.virtual import workloads
from snapedge_fleet.virtual.workloads import ReplicaCount, Scale


def deployment(
    replicas: int, kind: str = "RollingUpdate", surge: object = "25%", unavailable: object = "25%"
) -> dict[str, object]:
    strategy: dict[str, object] = {"type": kind}
    if kind == "RollingUpdate":
        strategy["rollingUpdate"] = {"maxSurge": surge, "maxUnavailable": unavailable}
    return {"spec": {"replicas": replicas, "strategy": strategy}}


def count(name: str, wanted: int, available: int) -> ReplicaCount:
    return ReplicaCount(name=name, wanted=wanted, existing=wanted, available=available)


@pytest.mark.parametrize(
    ("newest", "old", "scales"),
    [
        (count("new", 0, 0), [], [Scale(name="new", replicas=1, reason="new template")]),
        (count("new", 0, 0), [count("old", 1, 1)], [Scale(name="new", replicas=1, reason="new template")]),
        (count("new", 1, 0), [count("old", 1, 1)], []),
        (count("new", 1, 1), [count("old", 1, 1)], [Scale(name="old", replicas=0, reason="replaced")]),
        (
            count("good", 1, 1),
            [count("bad", 1, 0)],
            [Scale(name="bad", replicas=0, reason="never came up")],
        ),
        (
            count("new", 0, 0),
            [count("good", 1, 1), count("bad", 1, 0)],
            [Scale(name="bad", replicas=0, reason="never came up")],
        ),
        (count("new", 1, 1), [], []),
    ],
)
def test_next_step_with_one_replica(newest: ReplicaCount, old: list[ReplicaCount], scales: list[Scale]) -> None:
    assert workloads.plan_scales(deployment(1), newest, old, old_pods=len(old)) == scales


def test_recreate_waits_for_the_last_old_pod() -> None:
    recreate = deployment(1, "Recreate")
    down = workloads.plan_scales(recreate, count("new", 0, 0), [count("old", 1, 1)], old_pods=1)
    assert down == [Scale(name="old", replicas=0, reason="recreate")]
    assert workloads.plan_scales(recreate, count("new", 0, 0), [count("old", 0, 0)], old_pods=1) == []
    up = workloads.plan_scales(recreate, count("new", 0, 0), [count("old", 0, 0)], old_pods=0)
    assert up == [Scale(name="new", replicas=1, reason="recreate")]


@given(
    replicas=st.integers(1, 8),
    surge=st.sampled_from([0, 1, 2, "25%", "100%"]),
    unavailable=st.sampled_from([0, 1, "25%", "50%"]),
    old_available=st.lists(st.integers(0, 4), max_size=2),
    comes_up=st.booleans(),
    data=st.data(),
)
def test_rollout_keeps_its_bounds_and_ends(
    replicas: int,
    surge: object,
    unavailable: object,
    old_available: list[int],
    comes_up: bool,
    data: st.DataObject,
) -> None:
    document = deployment(replicas, surge=surge, unavailable=unavailable)
    most = replicas + workloads.bound(surge, replicas, round_up=True)
    least = replicas - workloads.bound(unavailable, replicas, round_up=False)
    if most == replicas and least == replicas:
        least -= 1
    sets = [count("old0", replicas, replicas)]
    sets += [count(f"old{number + 1}", 1, 0) for number in range(min(len(old_available), most - replicas))]
    sets.append(count("new", 0, 0))
    for _ in range(200):
        scales = workloads.plan_scales(document, sets[-1], sets[:-1], old_pods=sum(it.existing for it in sets[:-1]))
        for scale in scales:
            sets = [
                replace(it, wanted=scale.replicas, existing=scale.replicas, available=min(it.available, scale.replicas))
                if it.name == scale.name
                else it
                for it in sets
            ]
        assert sum(it.wanted for it in sets) <= max(most, replicas)
        assert sum(it.available for it in sets) >= min(least, replicas)
        late = comes_up and sets[-1].available < sets[-1].wanted
        if late and (not scales or data.draw(st.booleans())):
            sets[-1] = replace(sets[-1], available=sets[-1].available + 1)
    if comes_up:
        assert [(it.wanted, it.available) for it in sets[:-1]] == [(0, 0)] * (len(sets) - 1)
        assert (sets[-1].wanted, sets[-1].available) == (replicas, replicas)


def test_same_template_has_the_same_name_whatever_its_order() -> None:
    assert workloads.template_hash({"a": 1, "b": 2}) == workloads.template_hash({"b": 2, "a": 1})
    assert workloads.template_hash({"a": 1}) != workloads.template_hash({"a": 2})


def test_rollout_that_takes_too_long_is_told() -> None:
    progressing = {
        "type": "Progressing",
        "status": "True",
        "reason": "ReplicaSetUpdated",
        "message": 'ReplicaSet "x" is progressing.',
        "lastUpdateTime": "2026-01-01T00:00:00Z",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    document = {
        "metadata": {"generation": 2},
        "spec": {"replicas": 1, "progressDeadlineSeconds": 600},
        "status": {"conditions": [progressing]},
    }
    newest = {"metadata": {"name": "x"}, "status": {"replicas": 1}}
    before = workloads.deployment_status(document, newest, [newest], now="2026-01-01T00:09:59Z")
    after = workloads.deployment_status(document, newest, [newest], now="2026-01-01T00:10:00Z")
    assert before["conditions"][1]["reason"] == "ReplicaSetUpdated"
    assert (after["conditions"][1]["status"], after["conditions"][1]["reason"]) == ("False", "ProgressDeadlineExceeded")
