"""`builder try` on the models of this repository: the layers that ship, this host's mirrors and index."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from snapedge_hooks.errors import ExitCode

from .buildkit import BuildKit
from .cluster import REGISTRY, Cluster
from .kserve_controller import KServeController
from .servedmodel import eventually

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]
SNAPS = Path(__file__).parents[2] / "snaps"
BUILDER = Path(sys.executable).with_name("builder")
CONTEXT = "microk8s"


@pytest.mark.parametrize("name", ["wine-cultivar", "digit-reader", "diabetes-progress"])
def test_a_shipped_model_answers_its_samples_from_its_layers(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [BUILDER, "try", SNAPS / name, "--format", "json"], capture_output=True, text=True, check=False
    )
    if done.returncode == ExitCode.REMOTE_AWAY and os.environ.get("CI") != "true":
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["passed"] is True
    assert all(output["answers"] == found["samples"] for output in found["outputs"])
    assert found["ready_seconds"] < 10


def test_a_shipped_model_answers_its_samples_on_arm64_too(buildkit: BuildKit) -> None:
    buildkit.emulate(on=True)
    words = ["--architecture", "arm64", "--timeout", "300", "--format", "json"]
    done = subprocess.run(
        [BUILDER, "try", SNAPS / "wine-cultivar", *words], capture_output=True, text=True, check=False
    )
    if done.returncode == ExitCode.REMOTE_AWAY and os.environ.get("CI") != "true":
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["passed"], found["architecture"]) == (True, "arm64")


@pytest.fixture
def trial(cluster: Cluster, kserve: KServeController) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`builder try` on the cluster."""

    def run(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
        where = ["--cluster", CONTEXT, "--kubeconfig", str(cluster.config), "--registry", REGISTRY]
        return subprocess.run(
            [BUILDER, "try", path, *where, *words], capture_output=True, text=True, check=False, timeout=500
        )

    return run


def nothing_is_left(cluster: Cluster) -> bool:
    kinds = "inferenceservices,deployments,services,pods"
    return "-try-" not in cluster.kubectl("get", kinds, "-A", "-o", "name")


@pytest.mark.parametrize("name", ["wine-cultivar", "digit-reader"])
def test_a_shipped_model_answers_its_samples_on_a_real_cluster(
    name: str, trial: Callable[..., subprocess.CompletedProcess[str]], cluster: Cluster
) -> None:
    done = trial(SNAPS / name, "--format", "json", "--timeout", "240")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["passed"] is True
    assert all(output["answers"] == found["samples"] for output in found["outputs"])
    eventually(lambda: nothing_is_left(cluster), "the trial is gone")


def test_a_wrong_model_is_told_and_taken_away_from_a_real_cluster(
    trial: Callable[..., subprocess.CompletedProcess[str]], cluster: Cluster, tmp_path: Path
) -> None:
    folder = tmp_path / "wine-cultivar"
    shutil.copytree(SNAPS / "wine-cultivar", folder)
    samples = json.loads((folder / "samples.json").read_text())
    samples["samples"][0]["expect"]["outputs"][0]["data"] = [1]
    (folder / "samples.json").write_text(json.dumps(samples))
    done = trial(folder, "--runtime", str(SNAPS / "runtime-onnx"), "--timeout", "240")
    assert done.returncode == ExitCode.REFUSED, done.stderr
    assert "golden samples wrongly when it is served" in done.stderr
    eventually(lambda: nothing_is_left(cluster), "the trial is gone")


def test_a_trial_that_is_ended_takes_itself_away(cluster: Cluster, kserve: KServeController) -> None:
    where = ["--cluster", CONTEXT, "--kubeconfig", str(cluster.config), "--registry", REGISTRY]
    with subprocess.Popen(
        [BUILDER, "try", SNAPS / "wine-cultivar", *where, "--serve", "--timeout", "240"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("curl "):
                break
        assert not nothing_is_left(cluster)
        process.terminate()
        assert process.wait(timeout=120) == 0
    eventually(lambda: nothing_is_left(cluster), "the trial is gone")
