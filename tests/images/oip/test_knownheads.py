from __future__ import annotations

import pytest

from snapedge_oip.knownheads import KnownHead, KnownHeads

HEAD = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
MEANING = KnownHead(b"POST", b"/v2/models/m/infer", {}, 4, True)


def test_a_whole_message_teaches_its_head() -> None:
    heads = KnownHeads()
    heads.learn(HEAD + b"body", MEANING)
    assert heads == {HEAD: MEANING}


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"bod",
        HEAD + b"body" + HEAD,
        HEAD.replace(b"Content-Length: 4", b"Transfer-Encoding: chunked") + b"4\r\nbody\r\n0\r\n\r\n",
        HEAD.replace(b"Host", b"eXPect: 100-continue\r\nHost") + b"body",
        HEAD.replace(b"Host: x", b"Host: " + b"x" * 3000) + b"body",
        b"body",
    ],
    ids=["cut", "two", "chunked", "expect", "long", "headless"],
)
def test_what_means_more_than_its_message_is_not_learnt(data: bytes) -> None:
    heads = KnownHeads()
    heads.learn(data, MEANING)
    assert heads == {}


def test_a_new_head_each_time_takes_no_memory() -> None:
    heads = KnownHeads()
    for number in range(1000):
        heads.learn(HEAD.replace(b"Host: x", b"Host: %d" % number) + b"body", MEANING)
    assert len(heads) <= 64
