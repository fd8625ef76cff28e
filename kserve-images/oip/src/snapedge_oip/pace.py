"""Whether a model is quick enough to be run on the event loop itself.

A worker thread costs 50 us or more for each request, which is many times a small model's own time; an inference on
the event loop makes every other connection wait, health checks included. So a model runs on the loop as long as its
requests take less than a millisecond, and moves to the workers and back as its measured time changes: by itself for
small bodies and for large ones of each size, since a bigger batch may take much longer. What a model takes may depend
on the values, so one request that took a hundred limits is enough to move it; but a few milliseconds are what any busy
box takes from a process now and then, and only several of them count.
"""

from __future__ import annotations

LIMIT = 0.001
"""Seconds on the event loop that other connections may wait for one request."""

BODY_LIMIT = 32 * 1024
"""Bytes of a body up to which it counts as small. Larger ones are told apart by powers of two."""

_WEIGHT = 1 / 16
_LONG = 4 * LIMIT
_FAR_TOO_LONG = 100 * LIMIT


class Pace:
    """A running mean of what a model's requests take; the way back to the event loop takes a few dozen quick ones.

    Attributes:
        inline: whether requests with a small body run on the event loop.
    """

    __slots__ = ("_larger", "_mean", "inline")

    def __init__(self, seconds: float | None) -> None:
        """Starts from the warm-up's time, or in the workers where there is none."""
        self._mean = 2 * LIMIT if seconds is None else seconds
        self.inline = self._mean < LIMIT
        self._larger: dict[int, Pace] = {}

    @classmethod
    def none(cls) -> Pace:
        """Of a model that never runs on the event loop, however quick, because its requests wait for each other."""
        return _Never(None)

    def allows(self, size: int) -> bool:
        """Whether a request with a body of so many bytes runs on the event loop."""
        if size <= BODY_LIMIT:
            return self.inline
        larger = self._larger.get(size.bit_length())
        return larger is not None and larger.inline

    def observe(self, seconds: float, size: int = 0) -> None:
        """Takes one more request, with a body of so many bytes, into the mean, a long one as a few limits."""
        if size > BODY_LIMIT:
            larger = self._larger.get(size.bit_length())
            if larger is None:
                larger = self._larger[size.bit_length()] = Pace(None)
            larger.observe(seconds)
            return
        if seconds > _FAR_TOO_LONG:
            self._mean = 2 * LIMIT
        else:
            self._mean += (min(seconds, _LONG) - self._mean) * _WEIGHT
        if self.inline:
            self.inline = self._mean < LIMIT
        else:
            self.inline = self._mean < LIMIT / 2


class _Never(Pace):
    __slots__ = ()

    def observe(self, seconds: float, size: int = 0) -> None:
        pass
