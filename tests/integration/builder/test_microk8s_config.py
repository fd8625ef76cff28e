"""`builder microk8s-config`: from published YAML to a snap that verifies, twice with the same bytes."""

import io
import json
import tarfile
from pathlib import Path

import pytest
import yaml

from snapedge_builder import cli, inspection, publication, verification
from snapedge_builder.snapfile import SnapFile
from snapedge_hooks.channels import Channel
from snapedge_hooks.directorystore import DirectoryStore
from snapedge_hooks.storeindex import SnapKind
from snapedge_hooks.vocabulary import SnapName

CASES = Path(__file__).parents[2] / "cases" / "cluster"
KSERVE = ["--kserve", str(CASES / "kserve.yaml"), "--cert-manager", str(CASES / "cert-manager.yaml")]


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    return ["--cache", str(tmp_path / "cache"), "--output", str(tmp_path / "dist")]


def archive(path: Path, architecture: str) -> Path:
    members = {
        "c.json": json.dumps({"architecture": architecture}).encode(),
        "layer.tar": b"layer",
        "manifest.json": b'[{"Config": "c.json", "RepoTags": ["example/kserve:1"], "Layers": ["layer.tar"]}]',
    }
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_the_snaps_hold_what_was_given_and_verify(
    tmp_path: Path, places: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    image = archive(tmp_path / "kserve.tar", "arm64")
    assert cli_code(["microk8s-config", *KSERVE, "--image", str(image), "--version", "1", *places]) == 0
    told = capsys.readouterr()
    assert "10 objects" in told.out
    assert 'inferenceservice-config: deploy.defaultDeploymentMode: "Serverless" becomes "RawDeployment"' in told.out
    assert "warning: kserve.tar holds no image for amd64: it is not in that snap" in told.err
    snaps = sorted((tmp_path / "dist").glob("*.snap"))
    assert [snap.name for snap in snaps] == ["snapedge-microk8s_1_amd64.snap", "snapedge-microk8s_1_arm64.snap"]
    verified = verification.verify(snaps)
    assert [snap.kind for snap in verified] == ["cluster", "cluster"]
    assert inspection.inspect(snaps[1])["launcher"] == ["configuration/snapedge.yaml", "sideload/kserve.tar"]
    opened = SnapFile.open(snaps[0])
    launch = yaml.safe_load(opened.read("launcher/configuration/snapedge.yaml"))
    assert [addon["name"] for addon in launch["addons"]] == ["dns", "hostpath-storage", "registry"]
    assert "localhost:32000" in launch["containerdRegistryConfigs"]
    slots = yaml.safe_load(opened.read("meta/snap.yaml"))["slots"]
    assert slots == {
        "configuration": {"interface": "content", "content": "configuration", "source": {"read": ["$SNAP/launcher"]}}
    }


def cli_code(words: list[str]) -> int:
    """The exit code of a command that may return without leaving."""
    try:
        cli.main(words)
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 0
    return 0


def test_the_same_files_give_the_same_bytes_elsewhere(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "other place"):
        output = tmp_path / name
        words = ["--cache", str(output / "cache"), "--output", str(output)]
        assert cli_code(["microk8s-config", *KSERVE, "--version", "1", *words]) == 0
        digests.append([snap.read_bytes() for snap in sorted(output.glob("*.snap"))])
    assert digests[0] == digests[1]


def test_it_is_published_as_what_readies_a_cluster(tmp_path: Path, places: list[str]) -> None:
    assert cli_code(["microk8s-config", *KSERVE, "--version", "1", *places]) == 0
    store = DirectoryStore(tmp_path / "store")
    publication.publish(sorted((tmp_path / "dist").glob("*.snap")), store=store, channel=Channel.parse("candidate"))
    entry = store.index().entry(SnapName("snapedge-microk8s"))
    assert {revision.kind for revision in entry.revisions} == {SnapKind.CLUSTER}


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--version", "1"], 2, "missing option '--kserve'"),
        (
            ["--kserve", str(CASES / "cert-manager.yaml"), "--version", "1"],
            2,
            "hold no ConfigMap inferenceservice-config",
        ),
        ([*KSERVE, "--version", "a b"], 2, "--version"),
        ([*KSERVE, "--version", "1", "--name", "No"], 2, "--name"),
        ([*KSERVE, "--version", "1", "--registry", "nowhere"], 2, "--registry"),
        ([*KSERVE, "--version", "1", "--image", str(CASES / "kserve.yaml")], 2, "kserve.yaml: is no uncompressed tar"),
    ],
)
def test_bad_words_are_one_line_and_nothing_is_written(
    tmp_path: Path, places: list[str], capsys: pytest.CaptureFixture[str], words: list[str], code: int, told: str
) -> None:
    assert cli_code(["microk8s-config", *words, *places]) == code
    err = capsys.readouterr().err
    assert told in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.glob("dist/*"))
