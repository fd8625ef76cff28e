"""Golden samples against a signature."""

from __future__ import annotations

import pytest

from snapedge_builder.signature import SamplesMismatchError, Signature, TensorSpec, check_samples
from snapedge_hooks.samples import ExpectedTensor, Sample, SampleSet, Tensor

SIGNATURE = Signature(
    inputs=(
        TensorSpec(name="x", datatype="FP32", shape=(-1, 2)),
        TensorSpec(name="flag", datatype="BOOL", shape=(1,)),
    ),
    outputs=(TensorSpec(name="y", datatype="INT64", shape=(-1,)),),
)
X = Tensor(name="x", shape=(3, 2), datatype="FP32", data=(1.0,) * 6)
FLAG = Tensor(name="flag", shape=(1,), datatype="BOOL", data=(True,))
Y = Tensor(name="y", shape=(3,), datatype="INT64", data=(1, 2, 3))


def samples(inputs: tuple[Tensor, ...], *outputs: Tensor) -> SampleSet:
    expected = tuple(ExpectedTensor(tensor=tensor) for tensor in outputs)
    return SampleSet(samples=(Sample(name="s", inputs=inputs, outputs=expected),))


def test_samples_that_fit_pass() -> None:
    check_samples(samples((X, FLAG), Y), SIGNATURE)


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (samples((X,), Y), "sample 's' lacks the model's input 'flag'"),
        (samples((X, FLAG, FLAG), Y), "sample 's', input 'flag' stands twice"),
        (
            samples((Tensor(name="z", shape=(1,), datatype="FP32", data=(1.0,)), X, FLAG), Y),
            "sample 's', input 'z' is not one of the model's (x, flag)",
        ),
        (
            samples((Tensor(name="x", shape=(3, 3), datatype="FP32", data=(1.0,) * 9), FLAG), Y),
            "sample 's', input 'x' has shape [3, 3] where the model has [-1, 2]",
        ),
        (
            samples((Tensor(name="x", shape=(2,), datatype="FP32", data=(1.0,) * 2), FLAG), Y),
            "sample 's', input 'x' has shape [2] where the model has [-1, 2]",
        ),
        (
            samples((X, FLAG), Tensor(name="y", shape=(3,), datatype="INT32", data=(1, 2, 3))),
            "sample 's', output 'y' has datatype INT32 where the model has INT64",
        ),
    ],
)
def test_samples_that_do_not_fit_are_refused(found: SampleSet, problem: str) -> None:
    with pytest.raises(SamplesMismatchError) as caught:
        check_samples(found, SIGNATURE)
    assert caught.value.problems == (problem,)


def test_all_problems_are_told() -> None:
    with pytest.raises(SamplesMismatchError, match=r"lacks the model's input .* \(and 1 more\)"):
        check_samples(samples((X,), Y, Y), SIGNATURE)
