"""The device's verdict on an answer is the one that each shared case carries."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapedge_hooks.document import DocumentError
from snapedge_hooks.samples import Sample, SampleSet, parse_answer

CASES = sorted((Path(__file__).parents[2] / "cases" / "samples").glob("*.json"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_verdict_is_the_case_s(path: Path) -> None:
    case = json.loads(path.read_text())
    document = json.dumps(case["document"]).encode()
    if case["verdict"] == "malformed":
        with pytest.raises(DocumentError):
            SampleSet.parse(document)
        return
    samples = SampleSet.parse(document)
    try:
        answer = parse_answer(json.dumps(case["answer"]).encode())
    except DocumentError:
        assert case["verdict"] == "wrong"
        return
    deviations = [deviation for sample in samples.samples for deviation in sample.deviations(answer)]
    assert ("wrong" if deviations else "right") == case["verdict"]
    if deviations:
        assert deviations[0].output == case["output"]
        assert deviations[0].max_error == pytest.approx(case["max_error"])
        assert deviations[0].tolerance == pytest.approx(case["tolerance"])


def test_an_infinity_is_written_as_a_word_and_reads_back() -> None:
    path = next(case for case in CASES if case.stem == "infinity-equals-itself")
    samples = SampleSet.parse(json.dumps(json.loads(path.read_text())["document"]).encode())
    assert SampleSet.parse(samples.to_json()) == samples


def sample(name: str) -> Sample:
    return Sample(name=name, inputs=(), outputs=())


def test_a_part_goes_on_at_the_first_sample_after_the_last() -> None:
    samples = SampleSet(samples=tuple(sample(name) for name in "abcde"))
    assert [each.name for each in samples.part(3, 3).samples] == ["d", "e", "a"]
    assert [each.name for each in samples.part(6, 3).samples] == ["b", "c", "d"]
    assert samples.part(3, 5) is samples


@given(st.integers(1, 60), st.integers(1, 10), st.integers(0, 1000))
def test_walking_on_from_part_to_part_every_sample_has_its_turn(size: int, count: int, start: int) -> None:
    samples = SampleSet(samples=tuple(sample(str(number)) for number in range(size)))
    asked = set()
    for turn in range(-(-size // count)):
        asked |= {each.name for each in samples.part(start + turn * count, count).samples}
    assert len(asked) == size


def test_errors_are_told_of_right_answers_too_and_of_nothing_that_cannot_be_compared() -> None:
    def tensor(name: str, datatype: str, data: list[object]) -> dict[str, object]:
        return {"name": name, "datatype": datatype, "shape": [len(data)], "data": data}

    want = [
        {**tensor("a", "FP32", [1.0, 2.0]), "atol": 1},
        tensor("b", "BYTES", ["x", "y"]),
        tensor("c", "INT64", [1]),
        tensor("d", "INT64", [1]),
    ]
    sample = {"name": "s", "request": {"inputs": [tensor("x", "FP32", [1.0])]}, "expect": {"outputs": want}}
    (read,) = SampleSet.parse(json.dumps({"format": 1, "samples": [sample]}).encode()).samples
    got = [
        tensor("a", "FP32", [1.0, 2.5]),
        tensor("b", "BYTES", ["x", "z"]),
        tensor("c", "INT32", [1]),
        tensor("d", "INT64", [1]),
    ]
    answer = parse_answer(json.dumps({"outputs": got}).encode())
    assert read.errors(answer) == {"a": 0.5, "b": float("inf"), "d": 0.0}
