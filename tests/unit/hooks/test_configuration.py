"""`snap set` values: each good one has its effect, each bad one its reason."""
# ruff: noqa: E501 - a table reads better with each case on one line

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapedge_hooks import configuration
from snapedge_hooks.situations import ConfigurationError
from snapedge_hooks.vocabulary import GateMode

from . import worlds


def test_nothing_set_changes_nothing() -> None:
    payload = worlds.wish(node_port=30080).payload
    assert configuration.parse({}).applied_to(payload) == payload
    assert configuration.parse({}).registry == "localhost:32000"


def test_what_is_set_overrules_the_payload() -> None:
    options = {"registry": "127.3.0.1:5000", "namespace": "models", "node-port": 31000, "gate": "report"}
    wished = configuration.parse(options | {"transport": "registry"})
    payload = wished.applied_to(worlds.wish().payload)
    assert wished.registry == "127.3.0.1:5000"
    assert (payload.service.namespace, payload.service.node_port, payload.gate) == ("models", 31000, GateMode.REPORT)


def test_port_zero_closes_the_payloads_port() -> None:
    assert (
        configuration.parse({"node-port": 0}).applied_to(worlds.wish(node_port=30080).payload).service.node_port is None
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regsitry": "x"}, "serve.regsitry: is not a key; use serve.gate, serve.namespace, serve.node-port, serve.registry, serve.transport"),
        ({"registry": "localhost"}, "serve.registry: 'localhost' is not host:port; such as localhost:32000"),
        ({"registry": "localhost:99999"}, "serve.registry: 'localhost:99999' is not host:port; such as localhost:32000"),
        ({"registry": "http://x:1"}, "serve.registry: 'http://x:1' is not host:port; such as localhost:32000"),
        ({"node-port": 80}, "serve.node-port: 80 is not a node port; use 30000 to 32767, or 0 for none"),
        ({"node-port": True}, "serve.node-port: True is not a node port; use 30000 to 32767, or 0 for none"),
        ({"gate": "off"}, "serve.gate: 'off' is not a gate; use strict, report or none"),
        ({"gate": ["strict"]}, "serve.gate: ['strict'] is not a gate; use strict, report or none"),
        ({"transport": "pigeon"}, "serve.transport: 'pigeon' is not a transport; use registry or sideload"),
        ({"namespace": "A b"}, "serve.namespace: 'A b' is not a namespace; use up to 63 lower-case letters, digits, dashes"),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_with_the_reason(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configuration.parse(options)
    assert str(caught.value) == message


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80)
JUNK = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.just("a"), SCALARS, max_size=1)


@given(st.dictionaries(st.sampled_from([*configuration.KEYS, "", "else"]), JUNK, max_size=2))
def test_junk_is_refused_or_harmless(options: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigurationError):
        configuration.parse(options).applied_to(worlds.wish().payload).to_json()
