"""Models of TensorFlow Lite and scikit-learn on the build host: told, asked, refused."""

from __future__ import annotations

import io
import logging
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import StandardScaler

from snapedge_builder import proof
from snapedge_builder.modelfile import ModelRefusedError, format_of, read_model
from snapedge_builder.modelprocess import ModelProcess
from snapedge_builder.signature import Signature, TensorSpec
from snapedge_hooks.samples import SampleSet, Tensor
from snapedge_hooks.vocabulary import ModelFormat

SNAPS = Path(__file__).parents[3] / "snaps"
DIGITS = SNAPS / "digit-reader" / "model.tflite"
ROWS = np.array([[0.0, 0.0], [1.0, 1.0], [4.0, 4.0], [5.0, 5.0]])


def _dumped(path: Path, estimator: Any) -> Path:
    joblib.dump(estimator, path, protocol=4)
    return path


def test_a_tflite_model_is_known_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(DIGITS.read_bytes())
    facts = read_model(path)
    assert (facts.format, facts.opsets, facts.trained_with) == (ModelFormat.TFLITE, (), None)
    assert facts.signature == Signature(
        inputs=(TensorSpec(name="image", datatype="FP32", shape=(-1, 8, 8)),),
        outputs=(
            TensorSpec(name="digit", datatype="INT64", shape=(-1,)),
            TensorSpec(name="probabilities", datatype="FP32", shape=(-1, 10)),
        ),
    )


@pytest.mark.parametrize(("name", "file"), [("digit-reader", "model.tflite"), ("diabetes-progress", "model.joblib")])
def test_the_shipped_models_answer_their_samples(name: str, file: str) -> None:
    samples = SampleSet.parse((SNAPS / name / "samples.json").read_bytes(), what=name)
    model = read_model(SNAPS / name / file)
    with proof.answering(SNAPS / name / file, model) as loaded:
        assert proof.prove(loaded, samples).passed


@pytest.mark.parametrize("cut", [8, 20, 200, 4000])
def test_a_broken_tflite_file_is_refused_and_ends_nothing_but_its_own_process(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(DIGITS.read_bytes()[:cut])
    with pytest.raises(ModelRefusedError, match=r"model\.tflite: (cannot be served|ended the process)"):
        read_model(path)


def test_an_input_that_does_not_fit_is_told_and_the_process_goes_on() -> None:
    wrong = Tensor(name="image", shape=(1, 3), datatype="FP32", data=(1.0, 2.0, 3.0))
    right = Tensor(name="image", shape=(2, 8, 8), datatype="FP32", data=(0.0,) * 128)
    with ModelProcess(DIGITS, ModelFormat.TFLITE) as process:
        with pytest.raises(ModelRefusedError, match="fails when it is run"):
            process.answer({"image": wrong})
        assert process.answer({"image": right})["digit"].shape == (2,)


def test_a_model_that_does_not_answer_is_ended() -> None:
    image = Tensor(name="image", shape=(1, 8, 8), datatype="FP32", data=(0.0,) * 64)
    with ModelProcess(DIGITS, ModelFormat.TFLITE, seconds=0.2) as process:
        (child,) = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
        os.kill(int(child), signal.SIGSTOP)
        with pytest.raises(ModelRefusedError, match="did not answer within 0 s"):
            process.answer({"image": image})


def test_a_classifier_is_told_and_the_user_hears_that_it_is_code(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _dumped(tmp_path / "model.pkl", LogisticRegression().fit(ROWS, ["low", "low", "high", "high"]))
    with caplog.at_level(logging.WARNING):
        facts = read_model(path)
    assert "is a pickle: loading it runs the code that it names" in caplog.text
    assert (facts.format, facts.trained_with) == (
        ModelFormat.SKLEARN,
        joblib.load(path).__getstate__()["_sklearn_version"],
    )
    assert [str(spec) for spec in (*facts.signature.inputs, *facts.signature.outputs)] == [
        "X FP64[-1,2]",
        "predict BYTES[-1]",
        "predict_proba FP64[-1,2]",
    ]


class _Prying:
    """Code in a model; what it can reach becomes a number: 1 for nothing."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port, self.folder = port, folder

    def __reduce__(self) -> Any:
        reached = (
            f"(lambda door: (door.connect_ex(('127.0.0.1', {self.port})) == 0, door.close())[0])"
            "(__import__('socket').socket())"
        )
        written = f"__import__('os').access({str(self.folder)!r}, __import__('os').W_OK)"
        return (eval, (f"1 + {reached} + 2 * {written} + 4 * ('PATH' in __import__('os').environ)",))


def test_a_pickles_code_reaches_no_network_writes_nothing_and_sees_no_environment(tmp_path: Path) -> None:
    constant = DummyRegressor().fit(ROWS, [0.0, 1.0, 2.0, 3.0])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        constant.n_features_in_ = _Prying(listening.getsockname()[1], tmp_path)
        path = _dumped(tmp_path / "model.joblib", constant)
        assert joblib.load(path).n_features_in_ == 8
        with ModelProcess(path, ModelFormat.SKLEARN) as process:
            assert process.signature.inputs[0].shape == (-1, 1)


@pytest.mark.parametrize(
    ("estimator", "problem"),
    [
        ({"a": 1}, "holds a dict, no estimator of scikit-learn"),
        (LinearRegression(), "cannot be served: LinearRegression does not say how many features it takes"),
        (StandardScaler().fit(ROWS), "cannot be served: StandardScaler has no method predict"),
    ],
)
def test_what_is_no_fitted_estimator_is_refused(tmp_path: Path, estimator: Any, problem: str) -> None:
    with pytest.raises(ModelRefusedError, match=problem):
        read_model(_dumped(tmp_path / "model.joblib", estimator))


def test_a_pickle_of_another_version_is_refused_with_both_named(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    joblib.dump(LinearRegression().fit(ROWS, [0.0, 1.0, 2.0, 3.0]), buffer, protocol=4)
    here = sklearn.__version__
    path = tmp_path / "model.joblib"
    path.write_bytes(buffer.getvalue().replace(here.encode(), b"0" * len(here)))
    with pytest.raises(ModelRefusedError, match=f"was trained with scikit-learn {'0' * len(here)}, here is {here}"):
        read_model(path)


def test_formats_are_told_apart_without_loading(tmp_path: Path) -> None:
    for name, data, form in (
        ("a", b"\x1c\x00\x00\x00TFL3", ModelFormat.TFLITE),
        ("b", b"\x80\x04", ModelFormat.SKLEARN),
        ("c", b"\x08\x08", ModelFormat.ONNX),
        ("d", b"", ModelFormat.ONNX),
    ):
        (tmp_path / name).write_bytes(data)
        assert format_of(tmp_path / name) is form
    assert format_of(tmp_path / "gone") is ModelFormat.ONNX
