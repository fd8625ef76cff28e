"""The Dockerfiles beside the servers say what their projects say, and run nothing of the image."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from snapedge_builder import parts, runtimes

IMAGES = Path(__file__).parents[2] / "kserve-images"
NAMES = sorted(path.parent.name for path in IMAGES.glob("*/requirements.lock"))


def last_stage(name: str) -> str:
    text = (IMAGES / name / "Dockerfile").read_text()
    return text[text.rindex("\nFROM ") :].replace("\\\n", "")


def instruction(stage: str, word: str) -> str:
    found = re.findall(rf"^{word} (?!--)(.*)$", stage, re.MULTILINE)
    assert len(found) == 1
    return str(found[0])


@pytest.mark.parametrize("name", NAMES)
def test_it_is_started_as_the_composed_image_is(name: str) -> None:
    settings = parts.image_settings(runtimes.read_project(IMAGES / name))
    stage = last_stage(name)
    assert sorted(shlex.split(instruction(stage, "ENV"))) == sorted(settings["Env"])
    assert json.loads(instruction(stage, "ENTRYPOINT")) == settings["Entrypoint"]
    assert instruction(stage, "USER") == settings["User"]
    assert [f"{instruction(stage, 'EXPOSE')}/tcp"] == list(settings["ExposedPorts"])


@pytest.mark.parametrize("name", NAMES)
def test_what_runs_runs_on_the_builders_own_platform(name: str) -> None:
    text = (IMAGES / name / "Dockerfile").read_text()
    assert "\nRUN " not in last_stage(name)
    assert re.findall(r"^FROM (.*)$", text, re.MULTILINE) == [
        "--platform=$BUILDPLATFORM snapedge-tools AS wheels",
        "snapedge-base",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_sources_are_the_projects(name: str) -> None:
    project = runtimes.read_project(IMAGES / name)
    *sources, target = instruction(last_stage(name), "COPY").split()
    assert [(IMAGES / source).resolve() for source in sources] == [source.resolve() for source in project.sources]
    assert target == f"/{parts.APP}/"
