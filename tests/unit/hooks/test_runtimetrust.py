"""Whom a model trusts: every way in which a runtime is, or is not, one that it may be put on."""

from dataclasses import replace

import pytest
from tests.fakes.edge import public_key, runtime_image, signed, signing_key

from snapedge_hooks import health, runtimetrust
from snapedge_hooks.document import DocumentError
from snapedge_hooks.payload import RuntimeRequirement
from snapedge_hooks.runtimetrust import Distrust, RuntimeStatement, Trust
from snapedge_hooks.vocabulary import Architecture, Digest

AMD64 = Architecture.AMD64
RUNTIME = runtime_image("1.1.0")[0]
SAID = RuntimeStatement.of(RUNTIME)
OURS, THEIRS = signing_key(1), signing_key(2)
LISTED = Digest.of(b"the one it was built with")
NEEDS = RuntimeRequirement(name="onnx", interface=1, minimum="1.0", digests=(LISTED,), keys=(public_key(OURS),))
BENT = bytearray(signed(OURS, SAID))
BENT[BENT.index(b'"sig": "') + 20] ^= 1


def problem(*envelopes: bytes, needs: RuntimeRequirement = NEEDS) -> str:
    judged = runtimetrust.judge(needs, AMD64, RUNTIME.digest, envelopes)
    assert isinstance(judged, Distrust)
    assert judged.resolution
    brief = f"Runtime onnx {RUNTIME.digest.short} {judged.problem}"
    assert health.clip(brief) == brief, "it fits snapd's health"
    return judged.problem


def test_a_listed_runtime_is_trusted_whatever_lies_beside_it() -> None:
    assert runtimetrust.judge(NEEDS, AMD64, LISTED, [b"nonsense"]) == Trust()


def test_a_signed_runtime_is_trusted_with_its_version() -> None:
    judged = runtimetrust.judge(NEEDS, AMD64, RUNTIME.digest, [signed(OURS, SAID)])
    assert judged == Trust(signer=public_key(OURS), version="1.1.0")


def test_one_good_signature_among_others_is_enough() -> None:
    envelopes = [b"nonsense", signed(THEIRS, SAID), bytes(BENT), signed(OURS, SAID)]
    assert isinstance(runtimetrust.judge(NEEDS, AMD64, RUNTIME.digest, envelopes), Trust)


@pytest.mark.parametrize(
    ("envelope", "said"),
    [
        (signed(THEIRS, SAID), "is signed by no key this snap lists"),
        (signed(OURS, SAID, kind="application/vnd.other+json"), "is signed by no key this snap lists"),
        (bytes(BENT), "has a bad signature"),
        (b"nonsense", "has a signature that cannot be read"),
        (signed(OURS, replace(SAID, manifest=LISTED)), "has the signature of another image"),
        (signed(OURS, replace(SAID, name="tflite")), "is signed as tflite for amd64"),
        (signed(OURS, replace(SAID, architecture=Architecture.ARM64)), "is signed as onnx for arm64"),
        (signed(OURS, replace(SAID, interface=2)), "has interface 2, this model needs 1"),
        (signed(OURS, replace(SAID, version="0.9.12")), "is version 0.9.12, this model needs 1.0"),
    ],
)
def test_what_is_not_trusted_says_why(envelope: bytes, said: str) -> None:
    assert problem(envelope) == said


def test_without_a_signature_or_a_key_nothing_but_the_list_counts() -> None:
    assert problem() == "is neither listed here nor signed"
    assert problem(signed(OURS, SAID), needs=replace(NEEDS, keys=())) == "is not one this snap lists"


def test_of_several_reasons_the_nearest_miss_is_told() -> None:
    old = signed(OURS, replace(SAID, version="0.1"))
    assert problem(b"nonsense", signed(THEIRS, SAID), old, bytes(BENT)) == "is version 0.1, this model needs 1.0"
    assert problem(signed(THEIRS, SAID), bytes(BENT)) == "has a bad signature"


def test_a_statement_reads_back_and_nothing_may_be_added_to_it() -> None:
    assert RuntimeStatement.parse(SAID.to_json()) == SAID
    for bent in (
        SAID.to_json().replace(b"{", b'{"surprise":1,'),
        SAID.to_json().replace(b'"format":1', b'"format":2'),
        SAID.to_json().replace(b"1.1.0", b"-"),
        b" " * 20_000,
    ):
        with pytest.raises(DocumentError):
            RuntimeStatement.parse(bent)
