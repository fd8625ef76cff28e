"""Packed snaps as snapcraft projects; craft-parts, which snapcraft builds parts with, is real."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from snapedge_builder import building, cli, snapcraftproject, snapyaml
from snapedge_builder.building import BuildRequest
from snapedge_builder.progress import Silence
from snapedge_builder.snapcraftproject import NotOneSnapError, ProjectFolderError
from snapedge_builder.snapfile import SnapFile, SnapFileError
from snapedge_hooks.errors import ExitCode

from ...fakes.buildsite import BuildSite

LIFECYCLE = """
import json, sys, craft_parts
from craft_parts import packages
from craft_parts.packages import base
packages.Repository = base.DummyRepository
parts, architecture = json.load(sys.stdin), sys.argv[1]
lifecycle = craft_parts.LifecycleManager(
    {"parts": parts}, application_name="snapcraft", cache_dir="../cache", work_dir="../work", arch=architecture
)
with lifecycle.action_executor() as executor:
    executor.execute(lifecycle.plan(craft_parts.Step.PRIME))
"""


def built(site: BuildSite, folder: Path) -> list[Path]:
    request = BuildRequest(folder=folder, output=site.output)
    return list(building.build(request, cache=site.cache, source=site.source, progress=Silence()).snaps)


@pytest.mark.parametrize("image", ["shared", "full"])
def test_the_project_says_what_our_snap_yaml_says(site: BuildSite, image: str) -> None:
    site.say("samples: samples.json", f"samples: samples.json\ndelivery: {{image: {image}}}")
    snaps = built(site, site.model)
    folder = site.top / "project"
    written = snapcraftproject.write_project(snaps, folder)
    ours = snapyaml.parse(SnapFile.open(snaps[0]).read("meta/snap.yaml"))
    theirs = yaml.safe_load((folder / "snap" / "snapcraft.yaml").read_text())
    for key in ("name", "version", "summary", "description", "base", "confinement", "grade", "plugs", "hooks", "apps"):
        assert theirs[key] == ours[key]
    assert theirs.get("slots") == ours.get("slots")
    assert set(ours) - set(theirs) == {"architectures", "type"}
    assert theirs["environment"] == {**ours["environment"], "LD_LIBRARY_PATH": None}
    assert theirs["platforms"] == {
        "amd64": {"build-on": ["amd64", "arm64"], "build-for": ["amd64"]},
        "arm64": {"build-on": ["amd64", "arm64"], "build-for": ["arm64"]},
    }
    assert theirs["parts"] == {"snap": {"plugin": "dump", "source": "tree/$CRAFT_ARCH_BUILD_FOR"}}
    hooks = [f"snap/hooks/{name}" for name in sorted(ours["hooks"])]
    assert sorted(written) == sorted(["snap/snapcraft.yaml", *hooks, "tree/amd64", "tree/arm64"])


def test_its_part_primes_the_tree_of_our_snap(site: BuildSite) -> None:
    amd64, arm64 = built(site, site.model)
    folder = site.top / "project"
    snapcraftproject.write_project([amd64, arm64], folder)
    parts = yaml.safe_load((folder / "snap" / "snapcraft.yaml").read_text())["parts"]
    subprocess.run(
        [sys.executable, "-c", LIFECYCLE, "arm64"],
        input=json.dumps(parts),
        text=True,
        check=True,
        cwd=folder,
        timeout=120,
        capture_output=True,
    )
    snap = SnapFile.open(arm64)
    ours = {
        name: (snap.read(name), bool(entry.mode & 0o111))
        for name, entry in snap.entries.items()
        if stat.S_ISREG(entry.mode) and not name.startswith("meta/")
    }
    prime = site.top / "work" / "prime"
    theirs = {
        path.relative_to(prime).as_posix(): (path.read_bytes(), os.access(path, os.X_OK))
        for path in prime.rglob("*")
        if path.is_file()
    }
    assert theirs == ours
    hooks = {path.name: path.read_bytes() for path in (folder / "snap" / "hooks").iterdir() if os.access(path, os.X_OK)}
    assert hooks == {name.rsplit("/", 1)[1]: snap.read(name) for name in snap.files_below("meta/hooks")}


def test_files_of_two_snaps_are_refused_and_nothing_is_written(site: BuildSite) -> None:
    model, runtime = built(site, site.model)[0], built(site, site.runtime)[1]
    folder = site.top / "project"
    with pytest.raises(NotOneSnapError, match=r"cannot be one project: description differs") as raised:
        snapcraftproject.write_project([model, runtime], folder)
    assert raised.value.exit_code is ExitCode.USAGE
    with pytest.raises(NotOneSnapError, match="both are for amd64"):
        snapcraftproject.write_project([model, model], folder)
    with pytest.raises(SnapFileError, match="cannot be read"):
        snapcraftproject.write_project([site.top / "absent.snap"], folder)
    assert not folder.exists()


def test_a_folder_that_is_there_is_left_alone(site: BuildSite) -> None:
    snaps = built(site, site.model)
    folder = site.top / "mine"
    folder.mkdir()
    with pytest.raises(ProjectFolderError, match="it is there already"):
        snapcraftproject.write_project(snaps, folder)
    (site.top / "file").write_text("")
    with pytest.raises(ProjectFolderError, match="cannot write a project to"):
        snapcraftproject.write_project(snaps, site.top / "file" / "project")
    assert list(folder.iterdir()) == []


def test_the_command_says_what_comes_next(site: BuildSite, capsys: pytest.CaptureFixture[str]) -> None:
    snap = built(site, site.model)[1]
    folder = site.top / "a project ü"
    cli.builder.main(["snapcraft", str(snap), "-o", str(folder)], standalone_mode=False)
    assert capsys.readouterr().out.splitlines()[-1] == f"next: cd {folder} && snapcraft pack"
    assert list(yaml.safe_load((folder / "snap" / "snapcraft.yaml").read_text())["platforms"]) == ["arm64"]
