"""Whether an ed25519 signature is good: RFC 8032, verification alone, in integers of the standard library.

It handles nothing secret (key, message and signature are public), so it need not take the same time for every number.
It makes no keys and no signatures, and must not be made to.

Rules (docs/adr/0025-ed25519-on-devices.md):

1. A point is 32 bytes, little endian: y below p, the sign of x in the top bit. y not below p, a y that is on no point,
   and x = 0 with its sign set are no points: one point has one encoding.
2. S is below the group's order L: one signature has one encoding.
3. A key of small order is no key: it would make signatures good that nobody made.
4. A signature is good when [8][S]B = [8]R + [8][k]A, k = SHA-512(R, A, message): the equation with the cofactor, on
   which verifiers agree whether they look at one signature at a time or at many at once.
"""

from __future__ import annotations

import hashlib

KEY_BYTES = 32
SIGNATURE_BYTES = 64
_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT_OF_MINUS_ONE = pow(2, (_P - 1) // 4, _P)

_Point = tuple[int, int, int, int]
"""X, Y, Z, T with x = X/Z, y = Y/Z, xy = T/Z."""
_NEUTRAL: _Point = (0, 1, 1, 0)


def is_key(data: bytes) -> bool:
    """Whether the bytes are a public key: a point, encoded in the one right way, that is not of small order."""
    point = _decode(data)
    return point is not None and not _is_neutral(_times_eight(point))


def is_signed(key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the signature over the message was made with the key; False for anything that is no key or signature."""
    if len(signature) != SIGNATURE_BYTES or not is_key(key):
        return False
    start, scalar = _decode(signature[:32]), int.from_bytes(signature[32:], "little")
    if start is None or scalar >= _L:
        return False
    public = _decode(key)
    assert public is not None, "is_key has decoded it"
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % _L
    # [S]B - [k]A - R, times eight, is neutral.
    left = _sum_of_two(scalar, _BASE, challenge, _negative(public))
    return _is_neutral(_times_eight(_add(left, _negative(start))))


def _decode(data: bytes) -> _Point | None:
    if len(data) != KEY_BYTES:
        return None
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & ((1 << 255) - 1)
    if y >= _P:
        return None
    x = _x_of(y, sign)
    return None if x is None else (x, y, 1, x * y % _P)


def _x_of(y: int, sign: int) -> int | None:
    """X with x^2 = (y^2 - 1) / (d y^2 + 1) and that sign (RFC 8032, 5.1.3)."""
    upper, lower = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = upper * pow(lower, 3, _P) * pow(upper * pow(lower, 7, _P), (_P - 5) // 8, _P) % _P
    if lower * x * x % _P != upper:
        x = x * _ROOT_OF_MINUS_ONE % _P
        if lower * x * x % _P != upper:
            return None
    if x == 0 and sign:
        return None
    return x if x & 1 == sign else _P - x


def _add(one: _Point, other: _Point) -> _Point:
    """RFC 8032, 5.1.4; right for any two points, equal ones included."""
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = other
    a = (y1 - x1) * (y2 - x2) % _P
    b = (y1 + x1) * (y2 + x2) % _P
    c = 2 * _D * t1 * t2 % _P
    d = 2 * z1 * z2 % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _double(point: _Point) -> _Point:
    x, y, z, _ = point
    a = x * x % _P
    b = y * y % _P
    c = 2 * z * z % _P
    h = a + b
    e = (h - (x + y) * (x + y)) % _P
    g = a - b
    f = c + g
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _sum_of_two(first: int, one: _Point, second: int, other: _Point) -> _Point:
    """[first]one + [second]other, the doublings shared."""
    both, found = _add(one, other), _NEUTRAL
    choices = {(1, 0): one, (0, 1): other, (1, 1): both}
    for bit in range(max(first.bit_length(), second.bit_length()) - 1, -1, -1):
        found = _double(found)
        choice = choices.get((first >> bit & 1, second >> bit & 1))
        if choice is not None:
            found = _add(found, choice)
    return found


def _times_eight(point: _Point) -> _Point:
    return _double(_double(_double(point)))


def _negative(point: _Point) -> _Point:
    x, y, z, t = point
    return -x % _P, y, z, -t % _P


def _is_neutral(point: _Point) -> bool:
    x, y, z, _ = point
    return x % _P == 0 and (y - z) % _P == 0


def _base() -> _Point:
    y = 4 * pow(5, -1, _P) % _P
    x = _x_of(y, 0)
    assert x is not None, "the base point is on the curve"
    return x, y, 1, x * y % _P


_BASE = _base()
