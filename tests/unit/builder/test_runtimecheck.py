"""A runtime next to an older one, and to models: a case for each way in which that comes out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from snapedge_builder import runtimecheck
from snapedge_builder.runtimecheck import ModelSnap, ModelVerdict, Outcome, RuntimeFacts, VersionVerdict, next_version
from snapedge_hooks.images import ModelLayer, RuntimeImage
from snapedge_hooks.payload import Model, Payload, RuntimeRequirement, Service
from snapedge_hooks.runtimeterms import version_order
from snapedge_hooks.vocabulary import (
    Architecture,
    Digest,
    GateMode,
    ModelFormat,
    RepositoryName,
    SnapName,
    SnapVersion,
)

from ...fakes.edge import public_key, runtime_image, signed, signing_key

AMD64, ARM64 = Architecture.AMD64, Architecture.ARM64
IMAGE = runtime_image("1.0.0")[0]
PATCHED = replace(IMAGE, layers=runtime_image("other bytes")[0].layers)
OLD = RuntimeFacts(where="old.snap", image=IMAGE, packages={"libssl3": "3.0.15", "numpy": "2.0.1"})
KEY = signing_key(1)


def facts(image: RuntimeImage, version: str, *, interface: int = 1, **packages: str) -> RuntimeFacts:
    """A newer runtime; packages are the older one's but for these."""
    named = {name.replace("_", "-"): text for name, text in packages.items()}
    return RuntimeFacts(
        where="snaps/runtime-onnx",
        image=replace(image, version=version, interface=interface),
        packages={name: text for name, text in {**OLD.packages, **named}.items() if text},
    )


def verdict(
    outcome: Outcome, reason: str, resolution: str = "", changes: tuple[str, ...] = ("layers 10-base",)
) -> VersionVerdict:
    return VersionVerdict(
        architecture=AMD64, old="old.snap", outcome=outcome, reason=reason, resolution=resolution, changes=changes
    )


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        pytest.param(
            facts(IMAGE, "1.0.0"), verdict(Outcome.SAME, "the same image", changes=()), id="nothing to publish"
        ),
        pytest.param(
            facts(IMAGE, "1.1.0"),
            verdict(Outcome.GOOD, "the same image under a higher version than 1.0.0", changes=()),
            id="the same image again is no harm",
        ),
        pytest.param(
            facts(PATCHED, "1.0.1", libssl3="3.0.16"),
            verdict(Outcome.GOOD, "raised from 1.0.0", changes=("libssl3 3.0.15 -> 3.0.16", "layers 10-base")),
            id="packages changed, version raised",
        ),
        pytest.param(
            facts(PATCHED, "1.0.0", libssl3="3.0.16"),
            verdict(
                Outcome.REFUSED,
                "version 1.0.0 again, with another image",
                "write version: 1.0.1",
                ("libssl3 3.0.15 -> 3.0.16", "layers 10-base"),
            ),
            id="packages changed, version not raised",
        ),
        pytest.param(
            facts(PATCHED, "1.0"),
            verdict(Outcome.REFUSED, "version 1.0.0 again, with another image", "write version: 1.0.1"),
            id="the same version, written otherwise",
        ),
        pytest.param(
            facts(PATCHED, "0.9.9"),
            verdict(Outcome.REFUSED, "version fell from 1.0.0 to 0.9.9", "write version: 1.0.1"),
            id="version fell",
        ),
        pytest.param(
            facts(IMAGE, "0.9.9"),
            verdict(Outcome.REFUSED, "version fell from 1.0.0 to 0.9.9", "write version: 1.0.1", ()),
            id="version fell, though for the same image",
        ),
        pytest.param(
            facts(PATCHED, "2.0.0", interface=2),
            verdict(
                Outcome.GOOD,
                "raised from 1.0.0, and interface from 1: models built for that one keep the runtime they have",
            ),
            id="interface raised",
        ),
        pytest.param(
            facts(IMAGE, "1.0.0", interface=2),
            verdict(Outcome.REFUSED, "version 1.0.0 again, with interface 2 in place of 1", "write version: 1.0.1", ()),
            id="interface raised, version not",
        ),
        pytest.param(
            facts(replace(PATCHED, layers=IMAGE.layers, config=IMAGE.config | {"os": "other"}), "1.0.1"),
            verdict(Outcome.GOOD, "raised from 1.0.0", changes=("the image's configuration",)),
            id="how it is started changed",
        ),
    ],
)
def test_a_version_may_follow_or_may_not(new: RuntimeFacts, expected: VersionVerdict) -> None:
    assert runtimecheck.judge_version(OLD, new) == expected


def test_an_interface_never_falls() -> None:
    before = replace(OLD, image=replace(IMAGE, interface=3))
    found = runtimecheck.judge_version(before, facts(PATCHED, "1.1.0", interface=2))
    assert (found.outcome, found.reason) == (Outcome.REFUSED, "interface fell from 3 to 2")
    assert found.resolution == "write interface: 3 and version: 1.1.0"


def test_another_scikit_learn_needs_another_interface_since_pickles_break() -> None:
    before = replace(OLD, packages={"scikit-learn": "1.5.2"})
    new = replace(facts(PATCHED, "1.0.1"), packages={"scikit-learn": "1.6.0"})
    found = runtimecheck.judge_version(before, new)
    assert (found.outcome, found.reason, found.resolution) == (
        Outcome.REFUSED,
        "breaks models of interface 1: a pickle is served by the scikit-learn that wrote it, 1.5.2, and here is 1.6.0",
        "write interface: 2 and version: 1.0.1",
    )
    assert runtimecheck.judge_version(before, replace(new, image=IMAGE)).resolution == (
        "write interface: 2 and version: 2.0.0"
    )
    raised = replace(new, image=replace(PATCHED, version="2.0.0", interface=2))
    assert runtimecheck.judge_version(before, raised).outcome is Outcome.GOOD


def test_grpc_that_is_gone_needs_another_interface_and_grpc_that_came_needs_none() -> None:
    with_grpc, without = facts(PATCHED, "1.0.1", grpcio="1.66.0"), facts(IMAGE, "1.0.2")
    assert runtimecheck.judge_version(OLD, with_grpc).outcome is Outcome.GOOD
    found = runtimecheck.judge_version(with_grpc, without)
    assert found.outcome is Outcome.REFUSED
    assert found.reason == "breaks models of interface 1: gRPC is gone (grpcio), which models may ask for"


@pytest.mark.parametrize(
    ("version", "next_one", "after_a_break"),
    [
        ("1.0.9", "1.0.10", "2.0.0"),
        ("1.4", "1.5", "2.0"),
        ("7", "8", "8"),
        ("1.0~rc1", "1.0~rc2", "2.0~rc0"),
        ("1.2-beta", "1.3-beta", "2.0-beta"),
        ("edge", "edge.1", "edge.1"),
    ],
)
def test_the_next_version_is_above_the_last(version: str, next_one: str, after_a_break: str) -> None:
    assert (next_version(version, breaks=False), next_version(version, breaks=True)) == (next_one, after_a_break)
    assert version_order(version) < version_order(next_one)
    assert version_order(version) < version_order(after_a_break)


NEEDS = RuntimeRequirement(name="onnx", interface=1, minimum="1.0", digests=(IMAGE.digest,), keys=())
PAYLOAD = Payload(
    name=SnapName("wine"),
    version=SnapVersion("1.0.0"),
    architecture=AMD64,
    model=Model(
        name=SnapName("wine"),
        format=ModelFormat.ONNX,
        digest=Digest.of(b"model"),
        layer=ModelLayer(file="model.tar", diff_id=Digest.of(b"layer"), size=5),
    ),
    runtime=NEEDS,
    repository=RepositoryName("wine"),
    predicted_image=Digest.of(b"image"),
    image_size=7,
    service=Service(),
    gate=GateMode.STRICT,
)


def judged(
    found: RuntimeFacts, *, needs: RuntimeRequirement = NEEDS, payload: Payload = PAYLOAD, brings: bool = False
) -> ModelVerdict:
    asked = ModelSnap(file="wine.snap", payload=replace(payload, runtime=needs), brings_runtime=brings)
    return runtimecheck.judge_model({AMD64: found}, asked)


def test_a_model_is_put_on_a_runtime_that_it_lists_whatever_version_it_has() -> None:
    assert judged(facts(IMAGE, "0.1")) == ModelVerdict(file="wine.snap", outcome=Outcome.GOOD, reason="lists it")


def test_a_model_is_put_on_a_runtime_that_a_key_it_lists_has_signed() -> None:
    image = replace(PATCHED, version="1.0.1")
    new = replace(facts(PATCHED, "1.0.1"), signatures=(signed(KEY, image),))
    needs = replace(NEEDS, keys=(public_key(KEY),))
    reason = f"lists the key {public_key(KEY).short} that signed it"
    assert judged(new, needs=needs) == ModelVerdict(file="wine.snap", outcome=Outcome.GOOD, reason=reason)


@pytest.mark.parametrize(
    ("new", "needs", "problem", "resolution"),
    [
        pytest.param(
            facts(PATCHED, "1.0.1"),
            NEEDS,
            "is not one this snap lists",
            "build the model's snap again with this runtime",
            id="not listed",
        ),
        pytest.param(
            facts(PATCHED, "1.0.1"),
            replace(NEEDS, keys=(public_key(KEY),)),
            "is neither listed here nor signed",
            "build the model's snap again with this runtime, or sign it with a key that the model lists",
            id="not signed",
        ),
        pytest.param(
            replace(facts(PATCHED, "1.0.1"), signatures=(signed(signing_key(2), PATCHED),)),
            replace(NEEDS, keys=(public_key(KEY),)),
            "is signed by no key this snap lists",
            "build the model's snap again with this runtime, or sign it with a key that the model lists",
            id="signed by another",
        ),
        pytest.param(
            facts(PATCHED, "2.0.0", interface=2),
            NEEDS,
            "has interface 2, this model needs 1",
            "build the model for it",
            id="another interface",
        ),
        pytest.param(
            facts(PATCHED, "0.9"),
            NEEDS,
            "is version 0.9, this model needs 1.0",
            "build the model for it",
            id="too old",
        ),
    ],
)
def test_a_model_keeps_the_runtime_it_has(
    new: RuntimeFacts, needs: RuntimeRequirement, problem: str, resolution: str
) -> None:
    reason = f"keeps the runtime it has (onnx interface 1, 1.0 or newer): this one {problem}"
    expected = ModelVerdict(file="wine.snap", outcome=Outcome.REFUSED, reason=reason, resolution=resolution)
    assert judged(new, needs=needs) == expected


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        pytest.param(judged(OLD, brings=True), "brings its own runtime", id="full"),
        pytest.param(judged(OLD, needs=replace(NEEDS, name="tflite")), "is put on runtime tflite", id="other runtime"),
        pytest.param(
            judged(OLD, payload=replace(PAYLOAD, architecture=ARM64)),
            "is for arm64, and no such runtime was named",
            id="other architecture",
        ),
    ],
)
def test_a_model_that_is_not_concerned_says_why(found: ModelVerdict, reason: str) -> None:
    assert found == ModelVerdict(file="wine.snap", outcome=Outcome.UNCONCERNED, reason=reason)
