"""The Dockerfile that a plan becomes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from snapedge_builder import dockerfiles, parts, runtimes
from snapedge_builder.dockerfiles import ImageSteps

CASES = Path(__file__).parents[2] / "cases" / "dockerfiles"
RUNTIMES = sorted((Path(__file__).parents[3] / "snaps").glob("runtime-*"))


def steps(**changes: object) -> ImageSteps:
    given: dict[str, object] = {
        "title": "Runtime tiny 1.0.0 for linux/arm64",
        "base_prune": ("usr/share/gdb", "usr/lib/{a,b}"),
        "wheels": ("numpy", "onnxruntime"),
        "wheels_prune": ("**/tests",),
        "app": "usr/lib/snapedge/app",
        "settings": {
            "User": "65532:65532",
            "Env": ["PATH=/usr/bin", 'GREETING=say "$x\\y"'],
            "Entrypoint": ["/usr/bin/python3", "-m", "server"],
            "WorkingDir": "/",
            "ExposedPorts": {"8080/tcp": {}},
        },
    }
    return ImageSteps(**given | changes)  # type: ignore[arg-type]  # the changes are each test's own


def test_a_plan_becomes_this_dockerfile() -> None:
    assert dockerfiles.write(steps()) == (CASES / "tiny.Dockerfile").read_text()


def test_an_image_without_wheels_has_no_stage_for_them() -> None:
    text = dockerfiles.write(steps(wheels=()))
    assert "wheels" not in text
    assert steps(wheels=()).trees == ("base", "app")


@pytest.mark.parametrize("folder", RUNTIMES, ids=lambda path: path.name)
def test_nothing_of_the_target_runs(folder: Path) -> None:
    declaration = runtimes.read_runtime(folder)
    text = dockerfiles.write(
        steps(
            base_prune=declaration.prune,
            wheels_prune=declaration.project.prune,
            settings=parts.image_settings(declaration.project),
        )
    )
    stages = {stage.splitlines()[0]: stage for stage in re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]}
    assert {name.partition(" AS ")[2]: name.partition(" AS ")[0] for name in stages} == {
        "tools": "--platform=$BUILDPLATFORM scratch",
        "base": "tools",
        "wheels": "tools",
        "": "scratch",
    }
    assert "RUN " not in stages["scratch"]
    assert stages["scratch"].count("COPY ") == len(steps().trees)
