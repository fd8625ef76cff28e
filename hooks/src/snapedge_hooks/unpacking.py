"""How much an archive may hold: what unpacks to more than that is taken for a bomb, and is not unpacked to its end.

Data that is worth packing shrinks to a tenth, text to a thirtieth; zeros shrink to a thousandth and less.
"""

from __future__ import annotations

RATIO = 200
"""How many times its size an archive may hold."""
ALWAYS = 256 << 20
"""What any archive may hold, however small it is, in bytes."""


def most(packed: int, *, always: int | None = None) -> int:
    """The most bytes that an archive of `packed` bytes may hold; `always` in place of `ALWAYS` where it is given."""
    return max(ALWAYS if always is None else always, RATIO * packed)


def excess(most_bytes: int) -> str:
    """What is wrong with an archive that holds more than it may."""
    return f"unpacks to more than {most_bytes} bytes: {RATIO} times its size, or {ALWAYS >> 20} MiB"
