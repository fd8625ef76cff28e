"""The curve of ed25519 once more, from the textbook and slowly: affine points, and signatures nobody should make.

It shares nothing with the code under test but the curve's constants. `sign` takes any start and key point, so that
tests can make what an honest signer never does: points with a part of small order.
"""

from __future__ import annotations

import hashlib

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]
NEUTRAL: Point = (0, 1)


def add(one: Point, other: Point) -> Point:
    (x1, y1), (x2, y2) = one, other
    crossed = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + crossed, -1, P) % P
    y = (y1 * y2 + x1 * x2) * pow(1 - crossed, -1, P) % P
    return x, y


def times(number: int, point: Point) -> Point:
    found = NEUTRAL
    while number:
        if number & 1:
            found = add(found, point)
        point, number = add(point, point), number >> 1
    return found


def encode(point: Point) -> bytes:
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def lift(y: int, sign: int) -> Point:
    """The point of a y; ValueError where there is none."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    for root in (pow(square, (P + 3) // 8, P), pow(square, (P + 3) // 8, P) * pow(2, (P - 1) // 4, P) % P):
        if root * root % P == square:
            return (root if root & 1 == sign else -root % P), y
    raise ValueError("no point has this y")


BASE = lift(4 * pow(5, -1, P) % P, 0)


def small_order() -> list[Point]:
    """The eight points whose order divides eight."""
    y = 2
    while True:
        try:
            found = times(L, lift(y, 0))
        except ValueError:
            found = NEUTRAL
        if len({times(n, found) for n in range(8)}) == 8:
            return [times(n, found) for n in range(8)]
        y += 1


def sign(secret: int, message: bytes, *, key: Point | None = None, start: int = 77, extra: Point = NEUTRAL) -> bytes:
    """A signature with S = start + k * secret, its R moved by `extra`, over `key` in place of [secret]B."""
    point = encode(add(times(start, BASE), extra))
    public = encode(times(secret, BASE) if key is None else key)
    challenge = int.from_bytes(hashlib.sha512(point + public + message).digest(), "little") % L
    return point + ((start + challenge * secret) % L).to_bytes(32, "little")
