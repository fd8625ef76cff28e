"""Binding a discharge to a root macaroon, which is all that a client of a store does with macaroons.

A serialised macaroon ends with its signature in both binary formats. Binding replaces the discharge's by
HMAC(0, HMAC(0, root's) + HMAC(0, discharge's)), so that it is good for that root alone; all else stays as it is.
Source: libmacaroons' README and the format's specification (packets of version 1, fields of version 2).
"""

from __future__ import annotations

import base64
import binascii
import hmac

_KEY = bytes(32)
_SIZE = 32
_V1_HEAD, _V1_END = b"002fsignature ", b"\n"
_V2_HEAD = b"\x06\x20"


def bound(root: str, discharge: str) -> str:
    """The discharge as it is sent beside its root, base64url without padding.

    Raises:
        ValueError: one of them is no macaroon.
    """
    root_data, data = _decoded(root), _decoded(discharge)
    start = _signature_at(data)
    signature = _mac(_mac(root_data[(at := _signature_at(root_data)) : at + _SIZE]) + _mac(data[start : start + _SIZE]))
    joined = data[:start] + signature + data[start + _SIZE :]
    return base64.urlsafe_b64encode(joined).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("is not base64") from error


def _signature_at(data: bytes) -> int:
    """Where a macaroon's signature begins."""
    if data[:1] == b"\x02":
        start = len(data) - _SIZE
        if start >= len(_V2_HEAD) and data[start - len(_V2_HEAD) : start] == _V2_HEAD:
            return start
    else:
        start = len(data) - len(_V1_END) - _SIZE
        if start >= len(_V1_HEAD) and data[start - len(_V1_HEAD) : start] == _V1_HEAD and data.endswith(_V1_END):
            return start
    raise ValueError("is no macaroon")


def _mac(data: bytes) -> bytes:
    return hmac.digest(_KEY, data, "sha256")
