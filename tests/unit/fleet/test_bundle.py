from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from snapedge_fleet import bundle
from snapedge_fleet.bundle import Bundle, Unresolved
from snapedge_hooks.channels import Channel
from snapedge_hooks.runtimeterms import RuntimeTerms
from snapedge_hooks.storeindex import SnapKind
from snapedge_hooks.vocabulary import Architecture, SnapName
from tests.fakes.fleetsite import NEEDS_ONNX, FleetSite, fleet_site

RATER = SnapName("wine-rater")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FleetSite]:
    with fleet_site(tmp_path / "fleet") as found:
        yield found


def resolved(site: FleetSite, channel: str) -> Bundle | Unresolved:
    return bundle.resolve(site.store.index(), RATER, Channel.parse(channel))


def files(found: Bundle | Unresolved) -> list[tuple[str, str]]:
    assert isinstance(found, Bundle)
    return [(str(file.snap), file.version) for file in found.files[Architecture.ARM64]]


def test_the_runtime_of_the_same_channel_stands_before_the_model(site: FleetSite) -> None:
    site.publish_runtime("1.0.0", "stable")
    site.publish_runtime("1.0.1", "candidate")
    site.publish("wine-rater", "1.0.0", "candidate", runtime=NEEDS_ONNX)
    assert files(resolved(site, "candidate")) == [("snapedge-onnx", "1.0.1"), ("wine-rater", "1.0.0")]


def test_a_safer_channel_lends_its_runtime(site: FleetSite) -> None:
    site.publish_runtime("1.0.0", "stable")
    site.publish("wine-rater", "1.0.0", "edge", runtime=NEEDS_ONNX)
    assert files(resolved(site, "edge")) == [("snapedge-onnx", "1.0.0"), ("wine-rater", "1.0.0")]


def test_a_riskier_channel_does_not(site: FleetSite) -> None:
    site.publish_runtime("1.0.0", "candidate")
    site.publish("wine-rater", "1.0.0", "stable", runtime=NEEDS_ONNX)
    assert resolved(site, "stable") == Unresolved(
        reason="wine-rater 1.0.0 needs the runtime onnx interface 1, 1.0 or newer for amd64, arm64, and neither "
        "latest/stable nor a safer channel has one"
    )


def test_a_runtime_that_lacks_an_architecture_does_not_fit(site: FleetSite) -> None:
    terms = RuntimeTerms(name="onnx", interface=1, minimum="1.0.0")
    site.publish(
        "snapedge-onnx",
        "1.0.0",
        "stable",
        runtime=terms,
        kind=SnapKind.RUNTIME,
        architectures=(Architecture.AMD64,),
    )
    site.publish("wine-rater", "1.0.0", "stable", runtime=NEEDS_ONNX)
    assert isinstance(resolved(site, "stable"), Unresolved)


def test_a_full_snap_brings_its_own_runtime(site: FleetSite) -> None:
    site.publish("wine-rater", "1.0.0", "stable", runtime=None)
    assert files(resolved(site, "stable")) == [("wine-rater", "1.0.0")]


def test_a_closed_channel_follows_the_safer_one(site: FleetSite) -> None:
    site.publish("wine-rater", "1.0.0", "stable")
    assert files(resolved(site, "edge")) == [("wine-rater", "1.0.0")]


def test_what_was_never_released_has_a_reason(site: FleetSite) -> None:
    assert resolved(site, "stable") == Unresolved(
        reason="nothing of wine-rater was ever released to latest/stable or a safer channel"
    )


def test_a_bundle_reads_back_as_it_was_written(site: FleetSite) -> None:
    site.publish_runtime("1.0.0", "stable")
    site.publish("wine-rater", "1.0.0", "stable", runtime=NEEDS_ONNX)
    found = resolved(site, "stable")
    assert isinstance(found, Bundle)
    assert Bundle.from_document(found.to_document()) == found
