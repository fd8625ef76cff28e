"""A model that is converted or quantized on its way into the snap."""

from __future__ import annotations

import json
from pathlib import Path

import joblib
import numpy as np
import pytest
import xgboost
from sklearn.linear_model import LinearRegression

from snapedge_builder import building, declaration, preparation
from snapedge_builder.building import Build, BuildRequest
from snapedge_builder.modelfile import ModelRefusedError
from snapedge_builder.progress import Silence
from snapedge_builder.snapfile import SnapFile
from snapedge_hooks.payload import Payload
from snapedge_hooks.vocabulary import Architecture, ModelFormat

from ...fakes.buildsite import BuildSite

ROWS = np.array([[0.0, 1.0], [2.0, 0.5], [1.0, 1.0]])
SAMPLES = """\
{"format":1,"samples":[{"name":"one","request":{"inputs":[{"name":"X","shape":[1,2],"datatype":"FP32","data":[2,1]}]},
"expect":{"outputs":[{"name":"predict","shape":[1,1],"datatype":"FP32","data":[5],"atol":0.001}]}}]}
"""


@pytest.fixture
def site(tmp_path: Path) -> BuildSite:
    """A model folder whose model is a pickle: twice the first number and once the second."""
    site = BuildSite(tmp_path)
    (site.model / "model.onnx").unlink()
    joblib.dump(LinearRegression(fit_intercept=False).fit(ROWS, ROWS @ [2.0, 1.0]), site.model / "model.joblib")
    (site.model / "samples.json").write_text(SAMPLES)
    text = (site.model / "inference.yaml").read_text()
    (site.model / "inference.yaml").write_text(text.replace("model.onnx", "model.joblib"))
    return site


def build(site: BuildSite) -> Build:
    request = BuildRequest(folder=site.model, architectures=(Architecture.ARM64,), output=site.output)
    return building.build(request, cache=site.cache, source=site.source, progress=Silence())


def _model(site: BuildSite, words: str) -> None:
    path = site.model / "inference.yaml"
    path.write_text(path.read_text().replace("file: model.joblib", f"file: model.joblib, {words}"))


def test_a_pickle_ships_as_onnx_and_the_record_says_of_what(site: BuildSite) -> None:
    built = build(site)
    payload = Payload.parse(SnapFile.open(built.snaps[0]).read("payload/payload.json"))
    assert payload.model.format is ModelFormat.ONNX
    record = json.loads(built.record_path.read_bytes())
    assert record["prepared"]["file"] == "model.joblib"
    assert record["prepared"]["tools"][0].startswith("skl2onnx ")
    assert record["proof"]["samples"] == 1
    assert built.warnings == ()


def test_the_second_build_converts_nothing_and_changes_nothing(site: BuildSite) -> None:
    first = build(site).snaps[0].read_bytes()
    made = preparation.prepare(declaration.read_declaration(site.model), cache=site.cache, progress=_Listening())
    assert made.prepared is not None
    assert build(site).snaps[0].read_bytes() == first


class _Listening(Silence):
    def start(self, task: str) -> None:
        pytest.fail(f"{task} again")


def test_a_model_with_nothing_to_quantize_is_refused_and_nothing_is_written(site: BuildSite) -> None:
    _model(site, "quantize: {mode: dynamic, tolerance: 0.1}")
    with pytest.raises(ModelRefusedError, match="cannot be quantized: "):
        build(site)
    assert site.files() == []


def test_quantization_needs_samples(site: BuildSite) -> None:
    _model(site, "quantize: {mode: dynamic}")
    path = site.model / "inference.yaml"
    path.write_text(path.read_text().replace("samples: samples.json", "delivery: {gate: none}"))
    with pytest.raises(ModelRefusedError, match="cannot be quantized without golden samples"):
        build(site)


def test_boosted_trees_are_not_served_as_they_are(site: BuildSite) -> None:
    trained = xgboost.train({"nthread": 1}, xgboost.DMatrix(ROWS, ROWS[:, 0]), 2)
    trained.save_model(site.model / "model.ubj")
    path = site.model / "inference.yaml"
    path.write_text(path.read_text().replace("file: model.joblib", "file: model.ubj, convert: none"))
    with pytest.raises(ModelRefusedError, match="is a model of xgboost, which no runtime serves as it is"):
        build(site)
