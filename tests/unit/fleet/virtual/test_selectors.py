from __future__ import annotations

import pytest

from snapedge_fleet.virtual import selectors

POD = {"metadata": {"name": "a", "labels": {"site": "lab", "tier": "1"}}, "status": {"phase": "Running"}}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("", True),
        ("site=lab", True),
        ("site==lab,tier!=2", True),
        ("site!=lab", False),
        ("site in (lab, factory)", True),
        ("site notin (lab)", False),
        ("site", True),
        ("!site", False),
        ("!other", True),
        ("other!=x", True),
    ],
)
def test_labels(selector: str, matches: bool) -> None:
    assert selectors.matches_labels(POD, selector) is matches


@pytest.mark.parametrize(
    ("selector", "matches"),
    [("metadata.name=a", True), ("metadata.name!=a", False), ("status.phase=Running,metadata.name=b", False)],
)
def test_fields(selector: str, matches: bool) -> None:
    assert selectors.matches_fields(POD, selector) is matches


@pytest.mark.parametrize("selector", ["==", "a in b", "(", "a=b=c"])
def test_nonsense_is_refused(selector: str) -> None:
    with pytest.raises(selectors.SelectorInvalidError):
        selectors.matches_labels(POD, selector)
