from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapedge_fleet.errors import LabelError, SelectorError
from snapedge_fleet.selector import Operator, Requirement, Selector, parse_label

LAB = {"site": "lab", "arch": "amd64", "id": "d1", "spare": "yes"}
KEYS = st.from_regex(r"[a-z]([a-z0-9._/-]{0,8}[a-z0-9])?", fullmatch=True)
VALUES = st.from_regex(r"[a-z0-9]([a-z0-9._:-]{0,8}[a-z0-9])?", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("site=lab", True),
        ("site==lab", True),
        ("site=factory", False),
        ("site!=factory", True),
        ("site!=lab", False),
        ("arch in (amd64,arm64)", True),
        ("arch in ( arm64 )", False),
        ("arch notin (arm64)", True),
        ("absent notin (a)", True),
        ("absent!=a", True),
        ("spare", True),
        ("!spare", False),
        ("!absent", True),
        ("site=lab,arch in (amd64,arm64),!absent", True),
        ("site=lab, arch in (arm64)", False),
    ],
)
def test_a_selector_holds_what_it_says(text: str, holds: bool) -> None:
    assert Selector.parse(text).holds_for(LAB) is holds


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("site=", "'' is not a label's value"),
        ("=lab", "'' is not a label's key"),
        ("site=lab,", "'' is not a label's key"),
        ("site=a b", "'a b' is not a label's value"),
        ("arch in amd64", "'arch in amd64' is not a label's key"),
        ("arch in ()", "'' is not a label's value"),
        ("!", "'' is not a label's key"),
    ],
)
def test_text_that_is_no_selector_is_quoted(text: str, problem: str) -> None:
    with pytest.raises(SelectorError, match=r"is no selector") as caught:
        Selector.parse(text)
    assert problem in caught.value.brief


def test_a_label_is_key_and_value() -> None:
    assert parse_label("site=lab") == ("site", "lab")
    with pytest.raises(LabelError, match="a label is key=value; write it like site=lab"):
        parse_label("site")


@st.composite
def selectors(draw: st.DrawFn) -> Selector:
    requirements = []
    for operator in draw(st.lists(st.sampled_from(Operator), max_size=4)):
        values: tuple[str, ...] = ()
        if operator in (Operator.IN, Operator.NOT_IN):
            values = tuple(draw(st.lists(VALUES, min_size=1, max_size=3)))
        requirements.append(Requirement(key=draw(KEYS), operator=operator, values=values))
    return Selector(requirements=tuple(requirements))


@given(selectors())
def test_what_is_printed_reads_back_the_same(selector: Selector) -> None:
    assert Selector.parse(str(selector)) == selector


@given(selectors(), st.dictionaries(KEYS, VALUES, max_size=4))
def test_a_requirement_and_its_opposite_never_agree(selector: Selector, labels: dict[str, str]) -> None:
    opposite = {
        Operator.IN: Operator.NOT_IN,
        Operator.NOT_IN: Operator.IN,
        Operator.EXISTS: Operator.ABSENT,
        Operator.ABSENT: Operator.EXISTS,
    }
    for one in selector.requirements:
        other = Requirement(key=one.key, operator=opposite[one.operator], values=one.values)
        assert one.holds_for(labels) is not other.holds_for(labels)
