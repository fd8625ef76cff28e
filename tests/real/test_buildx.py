"""Images by real BuildKit: the same as composed ones, to the byte."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from snapedge_builder import compose, generatedimages, runtimes
from snapedge_builder.apt import MirrorsAwayError
from snapedge_builder.buildx import Buildx
from snapedge_builder.cache import Cache
from snapedge_builder.sources import SourcesError
from snapedge_builder.wheels import IndexAwayError
from snapedge_hooks.vocabulary import Architecture

from .buildkit import BuildKit

SNAPS = Path(__file__).parents[2] / "snaps"
BOTH = tuple(Architecture)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("architecture", BOTH, ids=str)
@pytest.mark.parametrize("name", ["onnx", "tflite", "sklearn"])
def test_a_plan_gives_the_composed_image(
    buildkit: BuildKit, cache: Cache, name: str, architecture: Architecture
) -> None:
    declaration = runtimes.read_runtime(SNAPS / f"runtime-{name}")
    try:
        composed = compose.build_runtime(declaration, architecture, cache=cache)
    except (MirrorsAwayError, IndexAwayError, SourcesError) as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    buildkit.emulate(on=False)
    try:
        built = generatedimages.build_runtime(declaration, architecture, cache=cache, buildx=Buildx.of_environment())
    finally:
        buildkit.emulate(on=True)
    assert {layer.name: layer.diff_id for layer in built.image.layers} == {
        layer.name: layer.diff_id for layer in composed.image.layers
    }
    assert built.image == composed.image
    assert built.record == composed.record
