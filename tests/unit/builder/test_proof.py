"""Golden samples replayed by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from snapedge_builder.modelfile import ModelRefusedError, read_model
from snapedge_builder.onnxmodel import OnnxSession
from snapedge_builder.proof import Proof, SamplesFailedError, deviation_table, prove
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.samples import Deviation, SampleSet

from ...fakes.buildsite import SAMPLES, tripler

GOLDEN = SampleSet.parse(SAMPLES.encode())


def session(tmp_path: Path, *, factor: float = 3.0, opset: int = 18) -> OnnxSession:
    path = tmp_path / "model.onnx"
    path.write_bytes(tripler(factor, opset=opset).SerializeToString())
    return OnnxSession(path, read_model(path).signature)


def test_a_right_model_passes(tmp_path: Path) -> None:
    assert prove(session(tmp_path), GOLDEN) == Proof(samples=1, deviations=())


def test_a_wrong_model_is_told_with_its_numbers(tmp_path: Path) -> None:
    proof = prove(session(tmp_path, factor=4.0), GOLDEN)
    assert proof.deviations == (
        Deviation(
            sample="one",
            output="y",
            max_error=2.0,
            tolerance=0.001,
            problem="is off by 2 where 0.001 is allowed",
        ),
    )
    error = SamplesFailedError("model.onnx", proof)
    assert str(error) == (
        "model.onnx answers 1 of 1 golden samples wrongly: "
        "sample 'one', output 'y' is off by 2 where 0.001 is allowed; "
        "correct the model or its samples, or overrule with --ship-failing-model"
    )
    assert error.exit_code is ExitCode.REFUSED
    assert deviation_table(proof).splitlines() == [
        "sample  output  max error  tolerance  problem",
        "one     y       2          0.001      is off by 2 where 0.001 is allowed",
    ]


def test_an_opset_the_runtime_lacks_is_named_with_the_highest_it_has(tmp_path: Path) -> None:
    with pytest.raises(ModelRefusedError, match=r"needs opset 99, the runtime knows up to \d+; export the model with"):
        session(tmp_path, opset=99)


def test_inputs_the_model_cannot_take_end_in_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ModelRefusedError, match="fails when it is run"):
        session(tmp_path).answer({})
