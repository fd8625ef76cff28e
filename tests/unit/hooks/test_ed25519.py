"""Signatures: RFC 8032's examples, the author's own, Wycheproof's, cryptography as a second opinion, hostile points."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from snapedge_hooks import ed25519

from . import edwards

CASES = Path(__file__).parents[2] / "cases" / "ed25519"
P, L = edwards.P, edwards.L
MESSAGE = b"a runtime"


def cases(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((CASES / name).read_text())["cases"]
    return found


def judged(case: dict[str, Any]) -> bool:
    return ed25519.is_signed(*(bytes.fromhex(case[part]) for part in ("key", "signature", "message")))


def second_opinion(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@pytest.mark.parametrize("case", cases("wycheproof.json"), ids=lambda case: f"{case['id']}")
def test_wycheproof(case: dict[str, Any]) -> None:
    assert judged(case) is case["good"], case["about"]


def test_the_authors_own_signatures_are_good_and_over_nothing_else() -> None:
    """Four of RFC 8032's examples are among them."""
    signed = cases("sign-input.json")
    assert len(signed) == 67
    for case in signed:
        assert judged(case), case["id"]
        assert not judged(case | {"message": case["message"] + "00"}), case["id"]


def test_the_rfcs_fifth_example() -> None:
    key = bytes.fromhex("ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf")
    signature = bytes.fromhex(
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
        "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704"
    )
    assert ed25519.is_signed(key, signature, hashlib.sha512(b"abc").digest())


@settings(max_examples=60, deadline=None)
@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=200))
def test_what_cryptography_signs_is_good(seed: bytes, message: bytes) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    assert ed25519.is_signed(private.public_key().public_bytes_raw(), private.sign(message), message)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), message=st.binary(min_size=1, max_size=60))
def test_what_is_bent_is_judged_as_cryptography_judges_it(data: st.DataObject, message: bytes) -> None:
    private = Ed25519PrivateKey.from_private_bytes(data.draw(st.binary(min_size=32, max_size=32)))
    parts = [private.public_key().public_bytes_raw(), private.sign(message), message]
    which = data.draw(st.integers(0, 2))
    place = data.draw(st.integers(0, len(parts[which]) * 8 - 1))
    bent = bytearray(parts[which])
    bent[place // 8] ^= 1 << place % 8
    parts[which] = bytes(bent)
    assert ed25519.is_signed(*parts) is second_opinion(*parts) is False


@settings(max_examples=100, deadline=None)
@given(key=st.binary(max_size=40), signature=st.binary(max_size=70), message=st.binary(max_size=10))
def test_anything_else_is_bad_and_never_an_error(key: bytes, signature: bytes, message: bytes) -> None:
    assert ed25519.is_signed(key, signature, message) is False


@settings(max_examples=25, deadline=None)
@given(secret=st.integers(1, L - 1), start=st.integers(1, L - 1))
def test_the_textbook_agrees(secret: int, start: int) -> None:
    key, signature = edwards.encode(edwards.times(secret, edwards.BASE)), edwards.sign(secret, MESSAGE, start=start)
    assert ed25519.is_signed(key, signature, MESSAGE)
    assert second_opinion(key, signature, MESSAGE)


def test_s_is_below_the_order_or_the_signature_is_bad() -> None:
    key, signature = edwards.encode(edwards.times(5, edwards.BASE)), edwards.sign(5, MESSAGE)
    number = int.from_bytes(signature[32:], "little")
    for more in (L, 2 * L, 15 * L):
        other = signature[:32] + (number + more).to_bytes(32, "little")
        assert not ed25519.is_signed(key, other, MESSAGE)


SMALL = edwards.small_order()


def test_there_are_eight_points_of_small_order() -> None:
    assert len(set(SMALL)) == 8
    assert {edwards.times(8, point) for point in SMALL} == {edwards.NEUTRAL}


@pytest.mark.parametrize("number", range(8))
def test_a_key_of_small_order_is_no_key(number: int) -> None:
    """With such a key, S = 0 and R of small order satisfy the equation for every message."""
    key = edwards.encode(SMALL[number])
    assert not ed25519.is_key(key)
    for start in SMALL:
        assert not ed25519.is_signed(key, edwards.encode(start) + bytes(32), MESSAGE)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ((P + 1).to_bytes(32, "little"), "y = 1 written as p + 1"),
        ((P + 3).to_bytes(32, "little"), "y = 3 written as p + 3"),
        ((2**255 - 1).to_bytes(32, "little"), "the largest y"),
        ((1 | 1 << 255).to_bytes(32, "little"), "x = 0 with its sign set"),
        ((P - 1 | 1 << 255).to_bytes(32, "little"), "x = 0 of the point of order two, with its sign set"),
        ((2).to_bytes(32, "little"), "y = 2 is on no point"),
        (bytes(31), "too short"),
        (bytes(33), "too long"),
        (b"", "nothing"),
    ],
)
def test_what_is_no_point_is_no_key_and_no_start(data: bytes, why: str) -> None:
    good = edwards.encode(edwards.times(5, edwards.BASE))
    assert not ed25519.is_key(data), why
    assert not ed25519.is_signed(good, data + edwards.sign(5, MESSAGE)[32:], MESSAGE), why


@pytest.mark.parametrize("number", range(1, 8))
def test_a_part_of_small_order_is_multiplied_away(number: int) -> None:
    """What the equation without the cofactor would judge by chance: our answer is the same for one and for many."""
    mixed = edwards.add(edwards.times(5, edwards.BASE), SMALL[number])
    assert ed25519.is_key(edwards.encode(mixed))
    assert ed25519.is_signed(edwards.encode(mixed), edwards.sign(5, MESSAGE, key=mixed), MESSAGE)
    plain = edwards.encode(edwards.times(5, edwards.BASE))
    moved = edwards.sign(5, MESSAGE, extra=SMALL[number])
    assert ed25519.is_signed(plain, moved, MESSAGE)
    assert not second_opinion(plain, moved, MESSAGE)
    assert not ed25519.is_signed(plain, moved, MESSAGE + b"!")
