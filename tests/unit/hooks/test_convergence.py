"""Plans: literal ones in tests/cases/plans/, and the rule that a plan carried out leaves nothing to do."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapedge_hooks import convergence, health
from snapedge_hooks.convergence import ActionKind

from . import worlds

CASES = sorted((Path(__file__).parents[2] / "cases" / "plans").glob("*.json"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_plan_is_the_one_in_the_case(path: Path) -> None:
    case = json.loads(path.read_text())
    asked = worlds.wish(**case["wish"])
    plan = convergence.plan(asked, worlds.observed(asked, case["observed"]))
    told = None if plan.obstacle is None else health.of_situation(plan.obstacle).message
    assert {
        "plan": worlds.words(plan),
        "obstacle": None if plan.obstacle is None else plan.obstacle.code.value,
        "refused": None if plan.refused is None else plan.refused.message,
        "restore": None if plan.restore is None else plan.restore.version,
        **({"message": told} if "message" in case["expect"] else {}),
    } == case["expect"]


LIVE = st.sampled_from([None, "this on new", "this on old", "previous on old"])


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    live, good = draw(LIVE), draw(LIVE)
    return {
        "registry": draw(
            st.one_of(
                st.just("down"),
                st.fixed_dictionaries(
                    {
                        "runtimes": st.sampled_from([[], ["new"], ["new", "old"], ["old"]]),
                        "images": st.sampled_from([[], ["new"], ["old"]]),
                        "blobs": st.sampled_from([[], ["10-base"], ["model", "40-app"]]),
                    }
                ),
            )
        ),
        "cluster": draw(
            st.one_of(
                st.just("down"),
                st.just({"live": live, "last_good": good, "phase": draw(st.sampled_from(["ready", "progressing"]))}),
            )
        ),
        "last_good": good,
        "refused": draw(st.sampled_from([[], ["new"], ["new", "old"]])),
        "pushed_hours_ago": draw(st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 100), max_size=2)),
        "former_namespace": draw(st.sampled_from([None, "default", "elsewhere"])),
        "replay": draw(st.booleans()),
        "archives": draw(st.sampled_from([[], ["new"], ["old", "wine-0.tar"]])),
    }


@given(
    case=cases(),
    gate=st.sampled_from(["strict", "report", "none"]),
    own=st.booleans(),
    transport=st.sampled_from(["registry", "sideload"]),
)
def test_a_plan_carried_out_leaves_only_skips(case: dict[str, Any], gate: str, own: bool, transport: str) -> None:
    asked = worlds.wish(gate=gate, own=own, transport=transport)
    seen = worlds.observed(asked, case)
    plan = convergence.plan(asked, seen)
    again = convergence.plan(asked, worlds.after(asked, seen, plan))
    if plan.obstacle is None:
        assert [action for action in again.actions if not action.skip] == []
        assert again.is_done


@given(case=cases())
def test_nothing_is_applied_before_its_image_is_there(case: dict[str, Any]) -> None:
    asked = worlds.wish()
    plan = convergence.plan(asked, worlds.observed(asked, case))
    kinds = [action.kind for action in plan.actions]
    if ActionKind.APPLY in kinds and ActionKind.PUSH_MANIFEST in kinds:
        assert kinds.index(ActionKind.PUSH_MANIFEST) < kinds.index(ActionKind.APPLY)


@given(case=cases())
def test_nothing_becomes_the_last_good_one_before_it_was_proved(case: dict[str, Any]) -> None:
    asked = worlds.wish()
    plan = convergence.plan(asked, worlds.observed(asked, case))
    done = [action.kind for action in plan.actions if not action.skip]
    if ActionKind.REMEMBER in done:
        assert ActionKind.REPLAY_SAMPLES in done[: done.index(ActionKind.REMEMBER)]
