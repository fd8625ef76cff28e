"""`builder try --cluster`: the kubernetes client against the virtual cluster, whose pods really run."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from snapedge_builder import building, cli, clustertrial, replay, trialimage
from snapedge_builder.building import BuildRequest
from snapedge_builder.clustertrial import (
    ClusterServer,
    KServeMissingError,
    LeftBehindError,
    NoNodeError,
    Place,
    RegistryRefusedError,
    TrialFailedError,
)
from snapedge_builder.progress import Silence
from snapedge_builder.trialimage import TrialImage
from snapedge_builder.usercluster import ClusterAwayError, ClusterClientError, ClusterRefusedError, UserCluster
from snapedge_fleet.virtual import kinds
from snapedge_hooks.clock import SystemClock
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture, RegistryAddress
from tests.integration.fleet.virtual.cluster.device import Device

from ...fakes.buildsite import BuildSite
from ...fakes.servingruntime import sandbox, serving_runtime

HOST = trialimage.host_architecture() or Architecture.AMD64
CONTEXT = "microk8s"

pytestmark = pytest.mark.skipif(sandbox() is None, reason="bubblewrap is not installed")


@pytest.fixture
def site(tmp_path: Path) -> BuildSite:
    """A place to build in, whose runtime can be run."""
    found = BuildSite(tmp_path)
    put_runtime(found)
    return found


def put_runtime(site: BuildSite, word: str = "3") -> None:
    for architecture in Architecture:
        site.source.ready[architecture] = serving_runtime(architecture, site.source.folder, word)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    made = Device(tmp_path / "virtual")
    yield made
    made.close()


@pytest.fixture
def kubeconfig(device: Device, tmp_path: Path) -> Path:
    path = tmp_path / "config"
    path.write_text(device.cluster.kubeconfig())
    return path


@pytest.fixture
def cluster(kubeconfig: Path) -> Iterator[UserCluster]:
    made = UserCluster(CONTEXT, config_file=kubeconfig)
    yield made
    made.close()


@pytest.fixture
def place(device: Device) -> Place:
    registry = RegistryAddress(f"{device.addresses.host}:32000")
    return Place(namespace=None, registry=registry, pulled_from=registry)


def read(site: BuildSite, path: Path | None = None, architecture: Architecture | None = HOST) -> TrialImage:
    return trialimage.read(
        path or site.model,
        architecture=architecture,
        runtime=None,
        cache=site.cache,
        source=site.source,
        progress=Silence(),
    )


def tried(
    site: BuildSite,
    cluster: UserCluster,
    place: Place,
    during: Callable[[ClusterServer], None] = lambda server: None,
    seconds: float = 60.0,
) -> replay.Replay:
    image = read(site)
    assert image.samples is not None
    with clustertrial.running(
        image, place, cluster=cluster, clock=SystemClock(), seconds=seconds, progress=Silence()
    ) as server:
        during(server)
        return replay.replay(server.ask, image.payload.model.name, image.samples)


def left(device: Device) -> list[str]:
    """What a trial would have left in the cluster and the registry."""
    names = [
        f"{kind.kind} {document['metadata']['name']}"
        for kind in (kinds.INFERENCE_SERVICE, kinds.DEPLOYMENT, kinds.SERVICE)
        for document in device.call(lambda kind=kind: device.cluster.store.all_of(kind))  # type: ignore[misc]
        if "-try-" in document["metadata"]["name"]
    ]
    folder = device.root / "registry"
    return names + [str(path.relative_to(folder)) for path in folder.rglob("*") if is_manifest(path)]


def is_manifest(path: Path) -> bool:
    return "snapedge/try/" in str(path) and "_manifests" in path.parts and path.is_file()


def test_a_model_is_served_asked_and_taken_away(
    site: BuildSite, device: Device, cluster: UserCluster, place: Place
) -> None:
    seen: list[str] = []

    def look(server: ClusterServer) -> None:
        found = device.get(f"/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/{server.name}")
        seen.append(found["metadata"]["labels"]["snapedge.dev/trial"])
        container = found["spec"]["predictor"]["containers"][0]
        seen.append({item["name"]: item["value"] for item in container["env"]}["SNAPEDGE_GATE"])
        assert server.is_there()
        assert len(left(device)) == 4

    found = tried(site, cluster, place, look)
    assert found.passed
    assert [(item.output, item.largest) for item in found.outputs] == [("y", 0.0)]
    assert seen == ["true", "report"]
    assert left(device) == []


def test_every_wrong_answer_is_told_and_nothing_is_left(
    site: BuildSite, device: Device, cluster: UserCluster, place: Place
) -> None:
    put_runtime(site, "4")
    found = tried(site, cluster, place)
    assert [item.max_error for item in found.deviations] == [2.0]
    assert left(device) == []


def test_a_refused_question_is_the_models_answer_not_the_apis(
    site: BuildSite, cluster: UserCluster, place: Place
) -> None:
    put_runtime(site, "refuses")
    found = tried(site, cluster, place)
    assert [item.problem for item in found.deviations] == ["was answered 400 no such input"]


def test_a_model_that_does_not_load_is_refused_with_its_reason_and_log_and_taken_away(
    site: BuildSite, device: Device, cluster: UserCluster, place: Place
) -> None:
    put_runtime(site, "load-failed")
    with pytest.raises(TrialFailedError, match="Model does not load: no such operator: Foo") as caught:
        tried(site, cluster, place)
    assert caught.value.exit_code is ExitCode.REFUSED
    assert "cannot load tripler" in caught.value.details
    assert left(device) == []


def test_a_model_that_is_never_ready_is_ended_in_its_time_and_taken_away(
    site: BuildSite, device: Device, cluster: UserCluster, place: Place
) -> None:
    put_runtime(site, "slow")
    with pytest.raises(TrialFailedError, match=r"is not ready in time: .*; give it longer with --timeout"):
        tried(site, cluster, place, seconds=3.0)
    assert left(device) == []


def test_two_trials_of_a_model_do_not_meet(site: BuildSite, device: Device, cluster: UserCluster, place: Place) -> None:
    names: list[str] = []

    def second(server: ClusterServer) -> None:
        names.append(server.name)
        other = tried(site, cluster, place, lambda inner: names.append(inner.name))
        assert other.passed
        assert server.is_there()

    assert tried(site, cluster, place, second).passed
    assert len(set(names)) == 2
    assert left(device) == []


def test_a_second_trial_sends_the_model_alone(site: BuildSite, cluster: UserCluster, place: Place) -> None:
    class Told(Silence):
        """Keeps what pushes came to."""

        def done(self, task: str, outcome: str) -> None:
            if task.startswith("push"):
                sent.append(outcome)

        def advance(self, task: str, note: str) -> None:
            if task.startswith("push"):
                sent.append(note)

    sent: list[str] = []
    for version in ("1.0.0", "1.0.1"):
        site.say("version: 1.0.0", f"version: {version}")
        with clustertrial.running(read(site), place, cluster=cluster, clock=SystemClock(), seconds=60, progress=Told()):
            pass
    assert sent == ["40-app", "model layer", "0.0 MB sent", "model layer", "0.0 MB sent"]


def test_a_pull_that_fails_names_the_option_for_what_nodes_know(
    site: BuildSite, device: Device, cluster: UserCluster, place: Place
) -> None:
    wrong = Place(namespace=None, registry=place.registry, pulled_from=RegistryAddress("127.0.0.1:9"))
    with pytest.raises(TrialFailedError, match="name the registry as they know it with --pulled-from HOST:PORT"):
        tried(site, cluster, wrong)
    assert left(device) == []


def test_a_registry_that_is_away_makes_nothing(site: BuildSite, device: Device, cluster: UserCluster) -> None:
    away = RegistryAddress("127.0.0.1:9")
    with pytest.raises(RegistryRefusedError, match=r"registry 127\.0\.0\.1:9: .*--registry HOST:PORT") as caught:
        tried(site, cluster, Place(namespace=None, registry=away, pulled_from=away))
    assert caught.value.exit_code is ExitCode.REMOTE_AWAY
    assert left(device) == []


def test_a_cluster_without_kserve_is_told_before_anything_is_pushed(
    site: BuildSite, device: Device, cluster: UserCluster, place: Place
) -> None:
    device.cluster.faults.no_kserve = True
    with pytest.raises(KServeMissingError, match="cluster microk8s has no KServe"):
        tried(site, cluster, place)
    assert left(device) == []


def test_a_snap_for_another_architecture_than_the_nodes_is_told(
    site: BuildSite, device: Device, cluster: UserCluster, place: Place
) -> None:
    other = Architecture.ARM64 if HOST is Architecture.AMD64 else Architecture.AMD64
    image = read(site, architecture=other)
    with (
        pytest.raises(NoNodeError, match=f"has no node for {other}, only for {HOST}"),
        clustertrial.running(image, place, cluster=cluster, clock=SystemClock(), seconds=5, progress=Silence()),
    ):
        pass
    assert clustertrial.architecture_of(cluster, other) is HOST


def test_a_namespace_that_is_not_there_is_told(
    site: BuildSite, device: Device, cluster: UserCluster, place: Place
) -> None:
    elsewhere = Place(namespace="nowhere", registry=place.registry, pulled_from=place.pulled_from)
    with pytest.raises(ClusterRefusedError, match='namespaces "nowhere" not found'):
        tried(site, cluster, elsewhere)
    assert left(device) == []


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyboardInterrupt()])
def test_whatever_happens_meanwhile_it_is_taken_away(
    site: BuildSite, device: Device, cluster: UserCluster, place: Place, error: BaseException
) -> None:
    def fail(server: ClusterServer) -> None:
        raise error

    with pytest.raises(type(error)):
        tried(site, cluster, place, fail)
    assert left(device) == []


def test_what_cannot_be_taken_away_is_named_with_the_way_to_do_it(
    site: BuildSite, device: Device, cluster: UserCluster, place: Place
) -> None:
    def lose(server: ClusterServer) -> None:
        device.cluster.faults.api_status = 500

    with pytest.raises(LeftBehindError) as caught:
        tried(site, cluster, place, lose)
    assert "left behind: InferenceService default/tripler-try-" in caught.value.brief
    assert "kubectl delete inferenceservice -l snapedge.dev/trial" in str(caught.value)
    assert caught.value.exit_code is ExitCode.FAILED


def test_an_api_that_is_away_or_refuses_is_told(device: Device, cluster: UserCluster, kubeconfig: Path) -> None:
    device.cluster.faults.api_status = 503
    with pytest.raises(ClusterAwayError, match="answered 503: injected fault"):
        cluster.items("/api/v1/pods")
    device.cluster.faults.api_status = 403
    with pytest.raises(ClusterRefusedError, match="use a context whose user may do this"):
        cluster.items("/api/v1/pods")
    device.cluster.faults.api_status = None
    device.run(device.cluster.stop_api())
    with pytest.raises(ClusterAwayError, match="kubectl --context microk8s get nodes"):
        cluster.items("/api/v1/pods")
    device.run(device.cluster.start_api())


def test_a_context_that_is_not_there_is_a_usage_error(kubeconfig: Path, tmp_path: Path) -> None:
    with pytest.raises(ClusterClientError, match=r"context elsewhere: .*kubectl config get-contexts") as caught:
        UserCluster("elsewhere", config_file=kubeconfig)
    assert caught.value.exit_code is ExitCode.USAGE
    broken = tmp_path / "broken"
    broken.write_text("a: [")
    with pytest.raises(ClusterClientError):
        UserCluster(CONTEXT, config_file=broken)


# The command.

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def builder(
    site: BuildSite,
    device: Device,
    kubeconfig: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    monkeypatch.setattr("snapedge_builder.runtimesource.ComposedRuntimes", lambda cache: site.source)
    where = ["--cluster", CONTEXT, "--kubeconfig", kubeconfig, "--registry", f"{device.addresses.host}:32000"]

    def run(*words: str | Path) -> tuple[int, str, str]:
        code = 0
        try:
            cli.main(["try", *map(str, [*words, *where]), "--cache", str(site.top / "cache")])
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capfd.readouterr()
        return code, said.out, said.err

    return run


def test_the_command_tries_a_snap_on_a_cluster(site: BuildSite, builder: Run, device: Device) -> None:
    with (site.model / "inference.yaml").open("a") as file:
        file.write("delivery: {image: full}\n")
    request = BuildRequest(folder=site.model, architectures=(HOST,), output=site.output)
    (snap,) = building.build(request, cache=site.cache, source=site.source, progress=Silence()).snaps
    code, out, err = builder(snap)
    assert (code, "golden samples: 1 of 1 right" in out) == (0, True), err
    assert f"push to {device.addresses.host}:32000: " in err
    assert left(device) == []


def test_serve_leaves_it_up_until_somebody_ends_it(
    site: BuildSite, builder: Run, device: Device, capfd: pytest.CaptureFixture[str]
) -> None:
    def end_it() -> None:
        deadline = time.monotonic() + 60
        seen = ""
        while "\ncurl " not in seen and time.monotonic() < deadline:
            time.sleep(0.05)
            seen += capfd.readouterr().out
        said.append(seen)
        os.kill(os.getpid(), signal.SIGTERM)

    said: list[str] = []
    ending = threading.Thread(target=end_it)
    ending.start()
    code, _, err = builder(site.model, "--serve", "--port", "18080")
    ending.join()
    lines = said[0].splitlines()
    assert (code, "stopped" in err) == (0, True)
    assert lines[-3].startswith("serving as default/tripler-try-")
    assert lines[-2].startswith("kubectl --context microk8s -n default port-forward service/tripler-try-")
    assert lines[-2].split()[-1].startswith("18080:")
    assert lines[-1].endswith("http://127.0.0.1:18080/v2/models/tripler/infer")
    assert left(device) == []


def test_a_registry_address_that_is_none_is_a_usage_error(site: BuildSite, builder: Run) -> None:
    code, _, err = builder(site.model, "--pulled-from", "registry")
    assert (code, "'registry' is not a registry address of the form host:port" in err) == (2, True)
