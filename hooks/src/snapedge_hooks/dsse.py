"""DSSE envelopes (secure-systems-lab/dsse, protocol and envelope 1.0): signatures over bytes and what kind they are.

Rules:

1. What is signed is the pre-authentication encoding of type and body, never the body alone.
2. An envelope is bounded before it is parsed: its size, its signatures, and the keys that are tried.
3. Fields that we do not know are ignored, as the specification wants; a field twice, or one that is no text, is not.
4. A key id is a hint: it narrows which keys are tried, and proves nothing. Without one every key is tried.
5. One good signature by one trusted key is enough.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass

from . import ed25519
from .document import Fields, parse_object
from .vocabulary import PublicKey

MAX_ENVELOPE = 64 * 1024
MAX_SIGNATURES = 16
MAX_KEYS = 16
"""How many keys anybody may trust at once: each may cost one check for each signature without a key id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One signature.

    Attributes:
        key_id: which key made it, as far as it says; empty where it does not.
        value: its bytes.
    """

    key_id: str
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Bytes with signatures; nothing in it is to be believed before `signer` has named a key.

    Attributes:
        kind: the payload type.
        body: the payload.
        signatures: in the order they stand there.
    """

    kind: str
    body: bytes
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, data: bytes, *, what: str = "envelope") -> Envelope:
        """The envelope of some JSON.

        Raises:
            DocumentError: it is none, or it is too large.
        """
        fields = parse_object(data, what=what, max_bytes=MAX_ENVELOPE)
        signatures = tuple(
            Signature(key_id=item.optional_text("keyid") or "", value=_bytes(item, "sig"))
            for item in fields.objects("signatures")
        )
        if len(signatures) > MAX_SIGNATURES:
            raise fields.error("signatures", f"are {len(signatures)}, more than the {MAX_SIGNATURES} allowed")
        return cls(kind=fields.text("payloadType"), body=_bytes(fields, "payload"), signatures=signatures)

    def names(self, keys: Iterable[PublicKey]) -> bool:
        """Whether any signature says that it is by one of the keys, or does not say by whom it is."""
        ids = {key.key_id for key in keys}
        return any(not signature.key_id or signature.key_id in ids for signature in self.signatures)

    def signer(self, keys: Iterable[PublicKey]) -> PublicKey | None:
        """The first of the keys, `MAX_KEYS` at most, that made one of the signatures; None when none did."""
        trusted, signed = tuple(keys)[:MAX_KEYS], encoded(self.kind, self.body)
        for signature in self.signatures:
            for key in trusted:
                if signature.key_id in ("", key.key_id) and ed25519.is_signed(key.raw, signature.value, signed):
                    return key
        return None


def encoded(kind: str, body: bytes) -> bytes:
    """The pre-authentication encoding: what a signature is over."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(body), body)


def _bytes(fields: Fields, key: str) -> bytes:
    text = fields.text(key)
    has_standard, has_url_safe = bool({"+", "/"} & {*text}), bool({"-", "_"} & {*text})
    if has_standard and has_url_safe:
        raise fields.error(key, "is not base64: it mixes both alphabets")
    try:
        return base64.b64decode(text, altchars=b"-_" if has_url_safe else None, validate=True)
    except (binascii.Error, ValueError) as error:
        raise fields.error(key, "is not base64") from error
