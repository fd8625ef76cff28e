from __future__ import annotations

from .fuzzing import run


def test_twenty_thousand_cases_of_the_grammar_are_answered_without_a_fault() -> None:
    seen = run(20_000, 4)
    assert seen[200] > 1000, seen
    assert {400, 404, 405, 413, 431} <= seen.keys(), seen
