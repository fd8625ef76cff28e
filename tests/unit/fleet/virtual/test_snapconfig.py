from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapedge_fleet.virtual import snapconfig
from snapedge_fleet.virtual.snapconfig import ConfigError, NoOptionError

KEYS = st.lists(st.sampled_from(["a", "b", "serve", "node-port"]), min_size=1, max_size=3).map(".".join)
VALUES = st.one_of(st.integers(), st.booleans(), st.text(max_size=5), st.lists(st.integers(), max_size=2))


@pytest.mark.parametrize(
    ("argument", "patch"),
    [
        ("serve.registry=localhost:32000", {"serve.registry": "localhost:32000"}),
        ("port=80", {"port": 80}),
        ("on=true", {"on": True}),
        ("list=[1,2]", {"list": [1, 2]}),
        ('text="80"', {"text": "80"}),
        ("empty=", {"empty": ""}),
        ("gone!", {"gone": None}),
        ("gone=null", {"gone": None}),
        ("equals=a=b", {"equals": "a=b"}),
    ],
)
def test_values_are_json_where_they_can_be(argument: str, patch: dict[str, Any]) -> None:
    assert snapconfig.parse_values([argument]) == patch


def test_a_value_may_be_kept_as_text_or_must_be_json() -> None:
    assert snapconfig.parse_values(["port=80"], as_string=True) == {"port": "80"}
    with pytest.raises(ConfigError, match="failed to parse JSON"):
        snapconfig.parse_values(["host=edge"], typed=True)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("serve", 'invalid configuration: "serve" (want key=value)'),
        ("=1", 'invalid option name: ""'),
        ("Serve=1", 'invalid option name: "Serve"'),
        ("serve..x=1", 'invalid option name: ""'),
        ("a_b=1", 'invalid option name: "a_b"'),
        ("1=1", 'invalid option name: "1"'),
    ],
)
def test_what_is_no_key_is_refused_in_snapds_words(argument: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        snapconfig.parse_values([argument])
    assert caught.value.brief == message


def test_a_patch_nests_unsets_and_drops_maps_that_become_empty() -> None:
    config = snapconfig.patched("toy", {"a": {"b": 1}}, {"serve.gate": "strict", "serve.node-port": 30080, "a.b": None})
    assert config == {"serve": {"gate": "strict", "node-port": 30080}}


def test_a_key_cannot_lead_through_a_value() -> None:
    with pytest.raises(ConfigError) as caught:
        snapconfig.patched("toy", {"a": 1}, {"a.b": 2})
    assert caught.value.brief == 'snap "toy" option "a" is not a map'


def test_a_key_that_is_not_set_is_told_as_such() -> None:
    with pytest.raises(NoOptionError) as caught:
        snapconfig.lookup("toy", {"a": {"b": 1}}, "a.c")
    assert caught.value.brief == 'snap "toy" has no "a.c" configuration option'


@given(patch=st.dictionaries(KEYS, VALUES, max_size=1))
def test_what_was_set_is_found_and_what_is_unset_is_gone(patch: dict[str, Any]) -> None:
    config = snapconfig.patched("toy", {}, patch)
    for key, value in patch.items():
        assert snapconfig.lookup("toy", config, key) == value
    assert snapconfig.patched("toy", config, dict.fromkeys(patch)) == {}
    assert snapconfig.patched("toy", config, patch) == config
