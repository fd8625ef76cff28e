"""Pickles and boosted trees become ONNX, the same bytes each time, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import onnx
import pytest
import xgboost
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import ElasticNet, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from snapedge_builder import conversion
from snapedge_builder.conversion import ConversionDiffersError, Source
from snapedge_builder.modelfile import ModelRefusedError, read_model
from snapedge_hooks.samples import ExpectedTensor, Sample, SampleSet, Tensor

ROWS = np.random.default_rng(0).normal(size=(120, 3)).astype(np.float32)
TWO = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(int)
THREE = (ROWS[:, 2] > 0).astype(int) + TWO
NUMBERS = ROWS[:, 0] * 2 - ROWS[:, 2]


def _xgboost(path: Path, objective: str, answers: Any, **more: Any) -> Path:
    trained = xgboost.train(
        {"objective": objective, "max_depth": 3, "nthread": 1, **more}, xgboost.DMatrix(ROWS, answers), 3
    )
    trained.save_model(path)
    return path


def _lightgbm(path: Path, objective: str, answers: Any, **more: Any) -> Path:
    options = {"objective": objective, "verbose": -1, "num_threads": 1, **more}
    lightgbm.train(options, lightgbm.Dataset(ROWS, answers), 3).save_model(path)
    return path


def _pickle(path: Path, estimator: Any) -> Path:
    joblib.dump(estimator, path)
    return path


CLASSES = ["predict INT64[-1]", "predict_proba FP32[-1,2]"]
NUMBER = ["predict FP32[-1,1]"]


def _model(kind: str, folder: Path) -> Path:
    made = {
        "xgboost classes": lambda: _xgboost(folder / "m.json", "binary:logistic", TWO),
        "xgboost classes, UBJSON": lambda: _xgboost(folder / "m.ubj", "multi:softprob", THREE, num_class=3),
        "xgboost numbers": lambda: _xgboost(folder / "m.json", "reg:squarederror", NUMBERS),
        "lightgbm classes": lambda: _lightgbm(folder / "m.txt", "binary", TWO),
        "lightgbm numbers": lambda: _lightgbm(folder / "m.txt", "regression", NUMBERS),
        "sklearn texts": lambda: _pickle(
            folder / "m.joblib",
            make_pipeline(StandardScaler(), RandomForestClassifier(3, random_state=0)).fit(
                ROWS, np.array(["no", "yes"])[TWO]
            ),
        ),
        "sklearn numbers": lambda: _pickle(folder / "m.joblib", ElasticNet().fit(ROWS, NUMBERS)),
    }
    return made[kind]()


@pytest.mark.parametrize(
    ("kind", "source", "outputs"),
    [
        ("xgboost classes", Source.XGBOOST, CLASSES),
        ("xgboost classes, UBJSON", Source.XGBOOST, ["predict INT64[-1]", "predict_proba FP32[-1,3]"]),
        ("xgboost numbers", Source.XGBOOST, NUMBER),
        ("lightgbm classes", Source.LIGHTGBM, CLASSES),
        ("lightgbm numbers", Source.LIGHTGBM, NUMBER),
        ("sklearn texts", Source.SKLEARN, ["predict BYTES[-1]", "predict_proba FP32[-1,2]"]),
        ("sklearn numbers", Source.SKLEARN, NUMBER),
    ],
)
def test_a_model_becomes_onnx_with_the_names_it_had(
    kind: str, source: Source, outputs: list[str], tmp_path: Path
) -> None:
    path = _model(kind, tmp_path)
    assert conversion.source_of(path) is source
    converted = conversion.convert(path, source, None)
    assert (converted.rows, max(converted.errors.values()) < 1e-5) == (16, True)
    served = tmp_path / "served.onnx"
    served.write_bytes(converted.data)
    facts = read_model(served)
    assert [str(spec) for spec in facts.signature.inputs] == ["X FP32[-1,3]"]
    assert [str(spec) for spec in facts.signature.outputs] == outputs


@pytest.mark.parametrize("kind", ["lightgbm classes", "sklearn texts"])
def test_the_same_file_gives_the_same_bytes(kind: str, tmp_path: Path) -> None:
    path = _model(kind, tmp_path)
    source = conversion.source_of(path)
    assert source is not None
    first, second = (conversion.convert(path, source, None).data for _ in range(2))
    assert first == second


def test_it_is_compared_on_the_rows_of_the_golden_samples(tmp_path: Path) -> None:
    path = _model("sklearn numbers", tmp_path)
    rows = Tensor(name="X", shape=(2, 3), datatype="FP32", data=(0.0, 1.0, 2.0, 3.0, 4.0, 5.0))
    answer = Tensor(name="predict", shape=(2, 1), datatype="FP32", data=(0.0, 0.0))
    sample = Sample(name="two", inputs=(rows,), outputs=(ExpectedTensor(tensor=answer, atol=0, rtol=0),))
    assert conversion.convert(path, Source.SKLEARN, SampleSet(samples=(sample,))).rows == 2


def test_a_conversion_that_answers_otherwise_is_refused(tmp_path: Path) -> None:
    # What FP32 cannot tell apart, the pickle can.
    far = LogisticRegression(C=1e12, max_iter=1000).fit(np.array([[1e9], [1e9 + 1]]), [0, 1])
    far.coef_, far.intercept_ = np.array([[1.0]]), np.array([-1e9 - 0.5])
    path = _pickle(tmp_path / "m.joblib", far)
    rows = Tensor(name="X", shape=(2, 1), datatype="FP64", data=(1e9, 1e9 + 1))
    answer = Tensor(name="predict", shape=(2,), datatype="INT64", data=(0, 1))
    sample = Sample(name="two", inputs=(rows,), outputs=(ExpectedTensor(tensor=answer, atol=0, rtol=0),))
    with pytest.raises(ConversionDiffersError, match=r"m\.joblib: as ONNX it answers otherwise than before"):
        conversion.convert(path, Source.SKLEARN, SampleSet(samples=(sample,)))


def test_what_cannot_be_converted_is_refused_in_the_librarys_words(tmp_path: Path) -> None:
    unfit = make_pipeline(FunctionTransformer(np.tanh), LogisticRegression()).fit(ROWS, TWO)
    with pytest.raises(ModelRefusedError, match=r"m\.joblib: cannot be converted to ONNX: "):
        conversion.convert(_pickle(tmp_path / "m.joblib", unfit), Source.SKLEARN, None)
    broken = tmp_path / "m.json"
    broken.write_text('{"learner": 7}')
    with pytest.raises(ModelRefusedError, match=r"m\.json: "):
        conversion.convert(broken, Source.XGBOOST, None)


@pytest.mark.parametrize(
    ("data", "source"),
    [
        (b'{"learner":{}}', Source.XGBOOST),
        (b'{\n "learner": {}}', Source.XGBOOST),
        (b"tree\nversion=v4\n", Source.LIGHTGBM),
        (b"tree of life", None),
        (b'{"inputs":[]}', None),
        (b"", None),
    ],
)
def test_a_source_is_known_by_its_content(data: bytes, source: Source | None, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    assert conversion.source_of(path) is source


def test_an_onnx_file_needs_no_conversion(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    value = onnx.helper.make_tensor_value_info("x", 1, [1])
    graph = onnx.helper.make_graph([node], "g", [value], [onnx.helper.make_tensor_value_info("y", 1, [1])])
    onnx.save(onnx.helper.make_model(graph), path)
    assert conversion.source_of(path) is None
