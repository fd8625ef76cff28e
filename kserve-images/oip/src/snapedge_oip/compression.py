"""Content encodings of requests and responses: gzip and deflate."""

from __future__ import annotations

import zlib
from http import HTTPStatus

from .errors import RequestError

SMALLEST = 512
"""Bytes of a response below which compressing it saves nothing."""

_LEVEL = 1
_WINDOW = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
_RAW_DEFLATE = -15


def decode(encoding: bytes, body: bytes | memoryview, limit: int) -> bytes | memoryview:
    """A request's body without its encoding.

    Raises:
        RequestError: the encoding is unknown, the data is broken, or there is more than `limit` bytes of it.
    """
    word = encoding.strip().lower()
    if word in (b"", b"identity"):
        return body
    if word not in _WINDOW:
        raise RequestError(
            f"Content-Encoding {word[:40].decode('latin-1')!r} is not served; gzip and deflate are",
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            ((b"Accept-Encoding", b"gzip, deflate"),),
        )
    window = _WINDOW[word]
    if word == b"deflate" and (body[:1] != b"\x78" or len(body) < 2 or int.from_bytes(body[:2]) % 31):
        # Many clients mean the bare stream when they say deflate.
        window = _RAW_DEFLATE
    decoder = zlib.decompressobj(window)
    try:
        plain = decoder.decompress(body, limit + 1)
    except zlib.error as error:
        raise RequestError(f"the body is not {word.decode()}: {error}") from None
    if len(plain) > limit:
        raise RequestError(f"the body has more than {limit} bytes without its encoding", 413)
    if not decoder.eof or decoder.unused_data:
        raise RequestError(f"the body is not one whole {word.decode()} stream")
    return plain


def choose(accepted: bytes) -> bytes | None:
    """The encoding for a response, by an `Accept-Encoding` header; None for none."""
    best: tuple[float, bytes] | None = None
    for item in accepted.lower().split(b","):
        word, _, parameter = item.partition(b";")
        word = word.strip()
        name, _, value = parameter.strip().partition(b"=")
        quality = 1.0
        if name.strip() == b"q":
            try:
                quality = float(value)
            except ValueError:
                continue
        if word in (b"gzip", b"deflate") and quality > 0 and (best is None or quality > best[0]):
            best = (quality, word)
    return best[1] if best else None


def encode(encoding: bytes, *pieces: bytes | memoryview) -> bytes:
    """A response's body in an encoding that `choose` chose."""
    encoder = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW[encoding])
    return b"".join([*map(encoder.compress, pieces), encoder.flush()])
