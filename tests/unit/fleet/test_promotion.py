from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from snapedge_fleet.errors import PlanRefusedError, UnknownNameError
from snapedge_fleet.operations import ArgumentError
from snapedge_hooks.errors import SnapedgeError
from snapedge_hooks.vocabulary import Architecture
from tests.fakes.fleetsite import NEEDS_ONNX, FleetSite, fleet_site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FleetSite]:
    with fleet_site(tmp_path / "fleet") as found:
        found.call("group-add", name="factory", selector="site=factory", follows=["wine-rater=stable"])
        for number in range(4):
            found.add_device(f"d{number}", ("amd64", "arm64")[number % 2], site="factory")
        yield found


def promote(site: FleetSite, source: str = "candidate", target: str = "stable", **more: Any) -> dict[str, Any]:
    done: dict[str, Any] = site.call("promote", snap="wine-rater", **{"from": source, "to": target}, **more)
    return done


def test_the_plan_says_what_will_happen_and_a_dry_run_changes_nothing(site: FleetSite) -> None:
    site.publish_runtime("1.0.0", "candidate")
    site.publish("wine-rater", "1.0.0", "candidate", runtime=NEEDS_ONNX)
    before = (site.store.root / "index.json").read_bytes()
    plan = promote(site, dry_run=True)
    sizes = {
        (str(name), str(one.architecture)): one.size
        for name, entry in site.store.index().snaps.items()
        for one in entry.revisions
    }
    assert plan == {
        "snap": "wine-rater",
        "version": "1.0.0",
        "from": "latest/candidate",
        "to": "latest/stable",
        "skip": "",
        "architectures": ["amd64", "arm64"],
        "carried": {
            "snap": "snapedge-onnx",
            "version": "1.0.0",
            "reason": "wine-rater 1.0.0 needs onnx interface 1, 1.0 or newer, and latest/stable has none",
        },
        "groups": [{"group": "factory", "devices": 4, "bytes": 2 * sum(sizes.values())}],
        "waves": [
            {
                "wave": 1,
                "name": "canary",
                "devices": 2,
                "by_architecture": {"amd64": 1, "arm64": 1},
                "max_failures": 1,
                "soak": 0.0,
            },
            {
                "wave": 2,
                "name": "all",
                "devices": 2,
                "by_architecture": {"amd64": 1, "arm64": 1},
                "max_failures": 1,
                "soak": 0.0,
            },
        ],
        "bytes": 2 * sum(sizes.values()),
        "image_bytes": 200_000_000,
        "notes": [],
        "done": False,
    }
    assert (site.store.root / "index.json").read_bytes() == before
    assert site.call("status")["tracks"][0]["rollout"] is None


def test_a_promotion_moves_both_channels_and_makes_a_rollout(site: FleetSite) -> None:
    site.publish_runtime("1.0.0", "candidate")
    site.publish("wine-rater", "1.0.0", "candidate", runtime=NEEDS_ONNX)
    assert promote(site)["rollout"] == 1
    named = {(one["snap"], one["channel"]): one["version"] for one in site.call("store")}
    assert named[("snapedge-onnx", "latest/stable")] == "1.0.0"
    assert named[("wine-rater", "latest/stable")] == "1.0.0"


def test_a_suitable_runtime_in_the_target_stays(site: FleetSite) -> None:
    site.publish_runtime("1.0.0", "stable")
    site.publish_runtime("1.0.1", "candidate")
    site.publish("wine-rater", "1.0.0", "candidate", runtime=NEEDS_ONNX)
    assert promote(site)["carried"] is None


def test_promoting_again_is_nothing_to_do(site: FleetSite) -> None:
    site.publish("wine-rater", "1.0.0", "candidate")
    promote(site)
    again = promote(site)
    assert (again["done"], again["skip"]) == (False, "latest/stable names wine-rater 1.0.0 already")


def test_promoting_what_was_never_released_is_refused(site: FleetSite) -> None:
    site.publish("wine-rater", "1.0.0", "candidate")
    with pytest.raises(PlanRefusedError) as caught:
        promote(site, source="beta")
    assert str(caught.value) == (
        "wine-rater from latest/beta to latest/stable is not promoted: nothing was ever released to latest/beta; "
        "wine-rater is released to latest/candidate"
    )
    assert caught.value.exit_code == 3


def test_an_unknown_snap_names_the_nearest(site: FleetSite) -> None:
    site.publish("wine-rater", "1.0.0", "candidate")
    with pytest.raises(UnknownNameError, match="no snap in the store is called 'wine-ratr'; did you mean wine-rater"):
        site.call("promote", snap="wine-ratr", **{"from": "candidate", "to": "stable"})


def test_text_that_is_no_channel_is_a_usage_error(site: FleetSite) -> None:
    with pytest.raises(ArgumentError, match="'a/b/c/d' is not a channel") as caught:
        promote(site, source="a/b/c/d")
    assert caught.value.exit_code == 2


def test_a_model_without_its_runtime_is_refused(site: FleetSite) -> None:
    site.publish("wine-rater", "1.0.0", "candidate", runtime=NEEDS_ONNX)
    with pytest.raises(PlanRefusedError, match="needs the runtime onnx interface 1"):
        promote(site)


def test_all_architectures_or_none(site: FleetSite) -> None:
    site.publish("wine-rater", "1.0.0", "stable")
    site.publish("wine-rater", "1.1.0", "candidate", architectures=(Architecture.AMD64,))
    with pytest.raises(SnapedgeError, match=r"1\.1\.0 has no revision named for arm64"):
        promote(site)
    assert {one["version"] for one in site.call("store") if one["channel"] == "latest/stable"} == {"1.0.0"}


def test_the_plan_says_where_nobody_follows(site: FleetSite) -> None:
    site.publish("wine-rater", "1.0.0", "candidate")
    plan = promote(site, target="beta", dry_run=True)
    assert plan["notes"] == ["no group follows latest/beta of wine-rater: no device changes"]
