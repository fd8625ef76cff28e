"""Discharges are bound as another implementation binds them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapedge_builder import macaroons

CASES = sorted((Path(__file__).parents[2] / "cases" / "macaroons").glob("*.json"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_discharge_is_bound_as_by_another_implementation(path: Path) -> None:
    case = json.loads(path.read_text())
    assert macaroons.bound(case["root"], case["discharge"]) == case["bound"]


def test_both_formats_may_meet() -> None:
    one, two = (json.loads(path.read_text()) for path in CASES)
    assert macaroons.bound(one["root"], two["discharge"]) != two["bound"]


@given(st.text() | st.from_regex(r"[A-Za-z0-9_-]{0,200}", fullmatch=True))
def test_what_is_no_macaroon_is_refused_in_words(text: str) -> None:
    good = json.loads(CASES[0].read_text())
    for pair in ((text, good["discharge"]), (good["root"], text)):
        with pytest.raises(ValueError, match="is no"):
            macaroons.bound(*pair)
