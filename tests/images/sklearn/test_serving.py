"""Pickled estimators, asked of a real server."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from ..onnx.serving import ROOT
from ..starting import RuntimeUnderTest, Tensors

SKLEARN = RuntimeUnderTest(name="sklearn", suffix="joblib")
ROWS = np.array([[0.0, 0.0], [1.0, 1.0], [4.0, 4.0], [5.0, 5.0]])
FP64: Tensors = [("X", "FP64", [-1, 2])]
LABEL: Tensors = [("predict", "INT64", [-1])]
CHANCES: Tensors = [("predict_proba", "FP64", [-1, 2])]


def _dumped(estimator: Any) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(estimator, buffer, protocol=4)
    return buffer.getvalue()


def _request(datatype: str = "FP64", name: str = "X") -> dict[str, Any]:
    return {"inputs": [{"name": name, "shape": [2, 2], "datatype": datatype, "data": [0, 0, 5, 5]}]}


def _classifier(labels: list[Any]) -> LogisticRegression:
    return LogisticRegression().fit(ROWS, labels)


def test_the_shipped_model_is_proved_and_the_log_warns_of_its_code(tmp_path: Path) -> None:
    SKLEARN.place_shipped(tmp_path, "diabetes-progress", [("X", "FP64", [-1, 10])], [("predict", "FP64", [-1])])
    with SKLEARN.serve(tmp_path) as running:
        metadata = running.get("/v2/models/diabetes-progress").json
        assert (metadata["platform"], metadata["properties"]["golden_samples"]) == ("sklearn_pickle", "passed")
        assert metadata["properties"]["engine"].startswith("scikit-learn 1.")
        warning = next(line for line in running.lines if "runs the code that it names" in line)
        assert '"level":"warning"' in warning
        assert running.stop() == 0


def test_a_classifier_gives_labels_and_probabilities(tmp_path: Path) -> None:
    SKLEARN.place(tmp_path, "two", _dumped(_classifier([0, 0, 1, 1])), FP64, LABEL + CHANCES)
    with SKLEARN.serve(tmp_path) as running:
        label, chances = running.infer("two", _request()).json["outputs"]
        assert (label["data"], chances["shape"]) == ([0, 1], [2, 2])
        assert chances["data"][0] > 0.9 > 0.1 > chances["data"][2]
        some = running.infer("two", _request() | {"outputs": [{"name": "predict"}]}).json["outputs"]
        assert [output["name"] for output in some] == ["predict"]


def test_labels_of_text_travel_as_bytes(tmp_path: Path) -> None:
    text: Tensors = [("predict", "BYTES", [-1])]
    SKLEARN.place(tmp_path, "two", _dumped(_classifier(["low", "low", "high", "high"])), FP64, text + CHANCES)
    with SKLEARN.serve(tmp_path) as running:
        assert running.infer("two", _request()).json["outputs"][0]["data"] == ["low", "high"]


def test_model_json_names_the_input_and_may_take_fp32(tmp_path: Path) -> None:
    content = _dumped(LinearRegression().fit(ROWS, [0, 2, 8, 10]))
    SKLEARN.place(tmp_path, "line", content, [("rows", "FP32", [-1, 2])], [("predict", "FP64", [-1])])
    with SKLEARN.serve(tmp_path) as running:
        answer = running.infer("line", _request("FP32", "rows")).json["outputs"][0]
        assert (answer["datatype"], answer["data"]) == ("FP64", pytest.approx([0.0, 10.0], abs=1e-4))


def test_an_input_that_the_estimator_refuses_is_the_clients_error(tmp_path: Path) -> None:
    SKLEARN.place(tmp_path, "two", _dumped(_classifier([0, 0, 1, 1])), FP64, LABEL + CHANCES)
    with SKLEARN.serve(tmp_path) as running:
        request = _request()
        request["inputs"][0]["data"] = [None, 0, 5, 5]
        answer = running.infer("two", request)
        assert (answer.status, "Input X contains NaN" in answer.json["error"]) == (400, True)
        assert running.infer("two", _request()).status == 200


def test_another_version_is_refused_with_both_versions_named(tmp_path: Path) -> None:
    content = _dumped(KMeans(2, random_state=0).fit(ROWS))
    older = content.replace(b"_sklearn_version\x94\x8c\x051.9.1", b"_sklearn_version\x94\x8c\x051.2.2")
    assert older != content
    SKLEARN.place(tmp_path, "old", older, FP64, LABEL)
    assert "was trained with scikit-learn 1.2.2, this is 1.9.1; train it again" in SKLEARN.refusal(tmp_path)


class _Mark:
    """Unpickling it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_what_is_no_estimator_is_refused_before_its_code_runs(tmp_path: Path) -> None:
    SKLEARN.place(tmp_path, "bad", _dumped(_Mark(tmp_path / "ran")), FP64, LABEL)
    assert "holds a pathlib.Path.touch, no estimator of scikit-learn" in SKLEARN.refusal(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"this is no pickle", "is no pickle that can be read"),
        (b"", "is no pickle that can be read"),
        (_dumped(_classifier([0, 0, 1, 1]))[:-200], "is no pickle that can be read"),
        (_dumped({"a": 1}), "holds a dict, no estimator of scikit-learn"),
        (_dumped(LinearRegression()), "does not say how many features it takes"),
        (_dumped(StandardScaler().fit(ROWS)), "StandardScaler has no method predict"),
        (_dumped(FunctionTransformer().fit(ROWS)), "FunctionTransformer has no method predict"),
        (_dumped(LinearRegression().fit(ROWS[:, :1], [0, 2, 8, 10])), "disagree"),
    ],
)
def test_what_cannot_be_served_is_said_and_ends_the_server(tmp_path: Path, content: bytes, reason: str) -> None:
    SKLEARN.place(tmp_path, "bad", content, FP64, LABEL + CHANCES)
    assert reason in SKLEARN.refusal(tmp_path)


def test_a_classifier_of_several_outputs_gives_labels_alone(tmp_path: Path) -> None:
    many = MultiOutputClassifier(LogisticRegression()).fit(ROWS, [[0, 1], [0, 1], [1, 0], [1, 0]])
    SKLEARN.place(tmp_path, "many", _dumped(many), FP64, [("predict", "INT64", [-1, 2])])
    with SKLEARN.serve(tmp_path) as running:
        assert running.infer("many", _request()).json["outputs"][0]["data"] == [0, 1, 1, 0]


def test_the_builder_reads_pickles_with_the_same_code() -> None:
    here = ROOT / "kserve-images" / "sklearn" / "src" / "snapedge_sklearn" / "pickles.py"
    there = ROOT / "builder" / "src" / "snapedge_builder" / "pickles.py"
    assert here.read_bytes() == there.read_bytes()


def test_estimators_of_every_kind_run_on_what_is_left_after_pruning(tmp_path: Path) -> None:
    SKLEARN.place_shipped(
        tmp_path / "models", "diabetes-progress", [("X", "FP64", [-1, 10])], [("predict", "FP64", [-1])]
    )
    kinds = (
        KNeighborsClassifier(2),
        GaussianNB(),
        MLPClassifier(max_iter=2000),
        SVC(),
        RandomForestClassifier(3),
        GaussianProcessClassifier(),
        GradientBoostingClassifier(n_estimators=3),
        HistGradientBoostingClassifier(),
    )
    for kind in kinds:
        kind.fit(ROWS, [0, 0, 1, 1])
        outputs = LABEL + (CHANCES if hasattr(kind, "predict_proba") else [])
        SKLEARN.place(tmp_path / "models", type(kind).__name__.lower(), _dumped(kind), FP64, outputs)
    # Isolated from the environment's own site-packages, as the image's interpreter is.
    site = str(SKLEARN.pruned(tmp_path / "site"))
    with SKLEARN.serve(tmp_path / "models", path=site, isolated=True) as running:
        assert len(running.get("/v2/models").json["models"]) == len(kinds) + 1
        assert running.get("/v2/models/diabetes-progress").json["properties"]["golden_samples"] == "passed"
        assert running.stop() == 0
