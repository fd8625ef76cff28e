"""Models of TensorFlow Lite and scikit-learn become snaps, and the snaps verify."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import sklearn

from snapedge_builder import building, scaffold, verification
from snapedge_builder.building import Build, BuildRequest
from snapedge_builder.contents import BuiltLayers
from snapedge_builder.observation import RuntimeUnfitError
from snapedge_builder.progress import Progress, Silence
from snapedge_builder.runtimes import AnyRuntime
from snapedge_hooks.vocabulary import Architecture

from ...fakes.buildsite import PROJECT, RUNTIME, BuildSite, TinyRuntimes

SNAPS = Path(__file__).parents[3] / "snaps"
FORMATS = [("tflite", "digit-reader", "model.tflite"), ("sklearn", "diabetes-progress", "model.joblib")]


@dataclasses.dataclass
class NamedRuntimes(TinyRuntimes):
    """The tiny runtime under the name that was asked for."""

    def build(self, declaration: AnyRuntime, architecture: Architecture, progress: Progress) -> BuiltLayers:
        """Make it."""
        built = super().build(declaration, architecture, progress)
        named = dataclasses.replace(built, image=dataclasses.replace(built.image, name=declaration.name))
        self.ready[architecture] = named
        return named


def runtime_of(site: BuildSite, form: str, *, lock: str = "") -> None:
    folder = site.model.parent / f"runtime-{form}"
    (folder / "image" / "src").mkdir(parents=True)
    (folder / "runtime.yaml").write_text(RUNTIME.replace("name: onnx", f"name: {form}"))
    (folder / "image" / "pyproject.toml").write_text(PROJECT.replace('"onnx"', f'"{form}"'))
    (folder / "image" / "requirements.lock").write_text(lock)
    (folder / "image" / "src" / "server.py").write_text("")


def place(site: BuildSite, form: str, name: str, file: str) -> Path:
    """A shipped model beside a runtime for it."""
    runtime_of(site, form, lock=f"scikit-learn=={sklearn.__version__} \\\n")
    folder = site.model.parent / name
    folder.mkdir()
    for item in (file, "inference.yaml", "samples.json"):
        shutil.copy(SNAPS / name / item, folder / item)
    return folder


def build(site: BuildSite, folder: Path) -> Build:
    source = NamedRuntimes(folder=site.source.folder)
    request = BuildRequest(folder=folder, architectures=(Architecture.ARM64,), output=site.output)
    return building.build(request, cache=site.cache, source=source, progress=Silence())


@pytest.mark.parametrize(("form", "name", "file"), FORMATS)
def test_a_model_becomes_a_snap_that_verifies_and_nothing_is_done_twice(
    site: BuildSite, form: str, name: str, file: str
) -> None:
    folder = place(site, form, name, file)
    built = build(site, folder)
    (found,) = verification.verify(built.snaps)
    assert (found.kind, built.snaps[0].name) == ("model", f"{name}_1.0.0_arm64.snap")
    assert built.record.document["model"]["format"] == form
    assert built.record.document["proof"]["passed"] is True
    assert any("pickle" in warning for warning in built.warnings) is (form == "sklearn")
    again = build(site, folder)
    assert [path.read_bytes() for path in again.snaps] == [path.read_bytes() for path in built.snaps]


@pytest.mark.parametrize(("form", "name", "file"), FORMATS)
def test_a_new_folder_of_a_model_builds_as_it_is(site: BuildSite, form: str, name: str, file: str) -> None:
    runtime_of(site, form, lock=f"scikit-learn=={sklearn.__version__} \\\n")
    folder = site.model.parent / "mine"
    made = scaffold.new_folder(folder, model=SNAPS / name / file, name=None)
    assert made.files[1] == file
    assert ("is a pickle" in (folder / "README.md").read_text()) is (form == "sklearn")
    assert build(site, folder).snaps[0].name == "mine_0.1.0_arm64.snap"


def test_a_pickle_that_became_onnx_is_refused_on_a_runtime_of_pickles(site: BuildSite) -> None:
    folder = place(site, *FORMATS[1])
    text = (folder / "inference.yaml").read_text()
    (folder / "inference.yaml").write_text(text.replace("convert: none", "convert: auto"))
    with pytest.raises(RuntimeUnfitError, match="is onnx, runtime sklearn serves sklearn"):
        build(site, folder)
    assert site.files() == []


def test_a_runtime_of_another_scikit_learn_is_refused_with_both_versions(site: BuildSite) -> None:
    folder = place(site, *FORMATS[1])
    (site.model.parent / "runtime-sklearn" / "image" / "requirements.lock").write_text("scikit-learn==1.2.2 \\\n")
    with pytest.raises(RuntimeUnfitError, match=f"trained with scikit-learn {sklearn.__version__}, .* has 1.2.2"):
        build(site, folder)
    assert site.files() == []


def test_a_model_on_a_runtime_of_another_format_is_refused(site: BuildSite) -> None:
    folder = place(site, *FORMATS[0])
    request = BuildRequest(folder=folder, runtime_folder=site.runtime, output=site.output)
    with pytest.raises(RuntimeUnfitError, match="wants runtime tflite, runtime-onnx is onnx"):
        building.build(request, cache=site.cache, source=site.source, progress=Silence())
