"""Envelopes as the specification has them, and as somebody might bend them."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as TheirEnvelope

from snapedge_hooks import dsse
from snapedge_hooks.document import DocumentError
from snapedge_hooks.dsse import Envelope
from snapedge_hooks.vocabulary import PublicKey

KIND, BODY = "application/vnd.example+json", b'{"what":"runtime"}'


def key(number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def public(number: int) -> PublicKey:
    return PublicKey(f"ed25519:{key(number).public_key().public_bytes_raw().hex()}")


def signature(number: int, **changes: Any) -> dict[str, Any]:
    sig = base64.b64encode(key(number).sign(dsse.encoded(KIND, BODY))).decode()
    return {"keyid": public(number).key_id, "sig": sig} | changes


def envelope(*signatures: dict[str, Any], **changes: Any) -> bytes:
    document = {"payloadType": KIND, "payload": base64.b64encode(BODY).decode(), "signatures": list(signatures)}
    return json.dumps(document | changes).encode()


def test_the_encoding_is_the_specifications_example() -> None:
    assert dsse.encoded("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@given(kind=st.text(max_size=50), body=st.binary(max_size=100))
def test_the_encoding_is_securesystemslibs(kind: str, body: bytes) -> None:
    assert dsse.encoded(kind, body) == TheirEnvelope(body, kind, {}).pae()


def test_the_key_that_signed_is_named() -> None:
    found = Envelope.parse(envelope(signature(1), signature(2)))
    assert (found.kind, found.body) == (KIND, BODY)
    assert found.signer([public(2)]) == public(2)
    assert found.signer([public(3), public(1)]) == public(1)
    assert found.signer([public(3)]) is None
    assert found.signer([]) is None


def test_what_the_specification_lets_producers_do_is_read() -> None:
    """Fields we do not know are ignored, base64 may be the one for addresses, and nobody has to name a key."""
    url_safe = base64.urlsafe_b64encode(BODY).decode()
    nameless = signature(1)
    del nameless["keyid"]
    for signed in (nameless, signature(1, keyid=""), signature(1, extension={"kind": "x"}), signature(1, keyid=None)):
        found = Envelope.parse(envelope(signed, payload=url_safe, note=1))
        assert found.signer([public(2), public(1)]) == public(1)


def test_a_key_id_is_no_proof() -> None:
    lying = Envelope.parse(envelope(signature(2, keyid=public(1).key_id)))
    assert lying.names([public(1)])
    assert lying.signer([public(1)]) is None
    foreign = Envelope.parse(envelope(signature(1, keyid="somebody")))
    assert not foreign.names([public(1)])
    assert foreign.signer([public(1)]) is None


def test_type_and_body_are_signed() -> None:
    other = base64.b64encode(b'{"what":"model"}').decode()
    for changes in ({"payloadType": "application/vnd.other+json"}, {"payload": other}):
        assert Envelope.parse(envelope(signature(1), **changes)).signer([public(1)]) is None


def test_the_boundary_between_type_and_body_is_signed() -> None:
    moved = Envelope(
        kind=KIND[:-1], body=KIND[-1:].encode() + BODY, signatures=Envelope.parse(envelope(signature(1))).signatures
    )
    assert moved.signer([public(1)]) is None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "envelope: line 1: is not JSON"),
        (b"[]", "envelope: is not a JSON object"),
        (b'{"payload":"","payload":""}', "envelope: payload: stands twice"),
        (b" " * (dsse.MAX_ENVELOPE + 1), "bytes are more than the 65536 allowed"),
        (envelope(signature(1), payload="a"), "envelope: payload: is not base64"),
        (envelope(signature(1), payload="YQ==\n"), "envelope: payload: is not base64"),
        (envelope(signature(1), payload="-+=="), "envelope: payload: is not base64"),
        (envelope(signature(1), payload="ü"), "envelope: payload: is not base64"),
        (envelope(signature(1), payloadType=1), "envelope: payloadType: is not text"),
        (envelope(signature(1, sig=None)), "envelope: signatures[0].sig: is not text"),
        (envelope(signature(1, keyid=7)), "envelope: signatures[0].keyid: is not text"),
        (envelope({}), "envelope: signatures[0].sig: is missing"),
        (envelope(*[signature(1)] * 17), "envelope: signatures: are 17, more than the 16 allowed"),
        (envelope(signatures={}), "envelope: signatures: is not a list"),
    ],
)
def test_what_is_no_envelope_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(DocumentError) as caught:
        Envelope.parse(data)
    assert said in str(caught.value)


def test_no_more_keys_are_tried_than_allowed() -> None:
    found = Envelope.parse(envelope(signature(1)))
    assert found.signer([*(public(number) for number in range(2, 18)), public(1)]) is None
