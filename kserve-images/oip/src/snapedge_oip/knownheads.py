"""Heads of requests that were read before: what they mean follows from their bytes, so it is looked up.

A client sends the same head again and again, and nearly every request to a small model arrives whole in one read.

Rules:

1. Learnt is only what the HTTP parser itself made of one whole message that came in one read: a head, and right behind
   it as many bytes of body as its Content-Length says. Whatever the parser refuses is never learnt.
2. A head that means more than its message is not learnt: one that expects a word before its body. Chunked bodies and
   changes of protocol do not pass the first rule.
3. Looked up is only at the beginning of a message, with the whole message at hand. The parser keeps nothing between two
   messages of a connection, so one that it does not see changes nothing for the next one.
4. Few are held, and none that is long: clients that send a new head each time cost a look-up each and no memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

END = b"\r\n\r\n"

_LONGEST = 2048
_MOST = 64


class KnownHead(NamedTuple):
    """What the parser made of a head.

    Attributes:
        method: in capitals.
        target: path and query, as on the wire.
        headers: those that matter, by their name in small letters.
        length: bytes of the body.
        keep: whether the connection stays open for another request.
    """

    method: bytes
    target: bytes
    headers: Mapping[bytes, bytes]
    length: int
    keep: bool


class KnownHeads(dict[bytes, KnownHead]):
    """Heads by their bytes, the empty line included. A dict, because it is asked with every read."""

    __slots__ = ()

    def learn(self, data: bytes, head: KnownHead) -> None:
        """Takes in the head of one read, if that read was a message as rule 1 says."""
        end = data.find(END) + len(END)
        if len(data) - end != head.length or end > _LONGEST:
            return
        start = data[:end]
        if b"expect" in start.lower():
            return
        if len(self) >= _MOST:
            self.clear()
        self[start] = head
