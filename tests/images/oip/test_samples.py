"""Both implementations of the golden samples' rules pass `tests/cases/samples/`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snapedge_oip import samples, tensors
from snapedge_oip.datatypes import DATATYPES, Array
from snapedge_oip.errors import LoadError

CASES = sorted((Path(__file__).parents[2] / "cases" / "samples").glob("*.json"))


def _arrays(answer: dict[str, Any]) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for output in answer["outputs"]:
        datatype = DATATYPES[output["datatype"]]
        held = DATATYPES["FP32"] if output["datatype"] == "FP16" else datatype
        count = int(np.prod(output["shape"]))
        values = tensors.from_json(output["name"], held, output["shape"], count, output["data"])
        found[output["name"]] = values.astype(datatype.dtype)
    return found


@pytest.mark.parametrize("path", CASES, ids=[path.stem for path in CASES])
def test_case(path: Path) -> None:
    case = json.loads(path.read_text())
    document = json.dumps(case["document"]).encode()
    if case["verdict"] == "malformed":
        with pytest.raises(LoadError, match=r"samples\.json: "):
            samples.parse(document)
        return
    (sample,) = samples.parse(document)
    deviation = sample.deviation(_arrays(case["answer"]))
    if case["verdict"] == "right":
        assert deviation is None
        return
    assert deviation is not None
    assert deviation.output == case["output"]
    assert deviation.max_error == pytest.approx(case["max_error"])
    assert deviation.tolerance == pytest.approx(case["tolerance"])


def test_there_are_cases() -> None:
    assert len(CASES) > 20


def test_a_sample_asks_for_what_it_expects() -> None:
    case = json.loads(next(path for path in CASES if path.stem == "float-within-atol").read_text())
    (sample,) = samples.parse(json.dumps(case["document"]).encode())
    assert json.loads(sample.body)["outputs"] == [{"name": "y"}]
