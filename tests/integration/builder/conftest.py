from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from snapedge_builder import building
from snapedge_builder.building import BuildRequest
from snapedge_builder.progress import Silence

from ...fakes.buildsite import BuildSite


@pytest.fixture(scope="session")
def built_snaps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both snaps of a model and their record; not to be written to."""
    site = BuildSite(tmp_path_factory.mktemp("site"))
    request = BuildRequest(folder=site.model, output=site.output)
    building.build(request, cache=site.cache, source=site.source, progress=Silence())
    return site.output


@pytest.fixture
def site(tmp_path: Path) -> BuildSite:
    """A place to build in."""
    return BuildSite(tmp_path)


@pytest.fixture
def snaps(built_snaps: Path, tmp_path: Path) -> list[Path]:
    """Both snaps of a model, amd64 first, in a folder of the test's own."""
    folder = tmp_path / "dist"
    shutil.copytree(built_snaps, folder)
    return sorted(folder.glob("*.snap"))
