"""Whatever a snap, person, registry or API hands to a device: one clear line, an exit code, nothing half done."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snapedge_hooks import configuration
from tests.fakes.edge import NAME, EdgeDevice, runtime_image
from tests.fakes.model import labels

DIGEST = "sha256:" + "0" * 64


def installed(device: EdgeDevice) -> Path:
    """A revision that no hook has seen yet; its payload.json."""
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    device.serves(device.install("1.0.0", runtime), runtime)
    return device.snap / "payload" / "payload.json"


def changed(*place: str, to: Any) -> Callable[[bytes], bytes]:
    """The document with one value replaced."""

    def change(data: bytes) -> bytes:
        document = found = json.loads(data)
        for key in place[:-1]:
            found = found[key]
        found[place[-1]] = to
        return json.dumps(document).encode()

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda _: b"", "payload.json: line 1: is not JSON"),
        (lambda data: data[:-5], "payload.json: line 1: is not JSON"),
        (lambda _: b"\xff", "payload.json: byte 0: is not UTF-8"),
        (lambda _: b" " * (16 * 1024 * 1024 + 1), "payload.json: 16777217 bytes are more than"),
        (lambda _: b'{"a":' * 100_000, "payload.json: is nested too deeply"),
        (lambda data: data[:-1] + b',"name":"wine"}', "payload.json: name: stands twice"),
        (changed("format", to=2), "payload.json: format: 2 is newer"),
        (changed("model", "layer", "file", to="../../common/state.json"), "payload.json: model.layer.file: "),
        (changed("model", "layer", "file", to="/etc/shadow"), "payload.json: model.layer.file: "),
        (changed("model", "layer", "size", to=-1), "payload.json: model.layer.size: -1 is not between"),
        (changed("model", "layer", "size", to=7), "model.tar is not 7 bytes long"),
        (changed("model", "layer", "diff_id", to=DIGEST), "model.tar has digest sha256:"),
        (changed("image", "repository", to="../../other"), "payload.json: image.repository: "),
        (changed("service", "namespace", to="kube-system/../x"), "payload.json: service.namespace: "),
        (changed("model", "name", to="x/../../y"), "payload.json: model.name: "),
        (changed("surprise", to=1), "payload.json: surprise: is not a key"),
    ],
)
def test_a_hostile_payload_is_refused_and_nothing_is_left(
    device: EdgeDevice, capsys: pytest.CaptureFixture[str], change: Callable[[bytes], bytes], told: str
) -> None:
    path = installed(device)
    path.write_bytes(change(path.read_bytes()))
    assert device.run("install") == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert told in last
    assert device.health().startswith("--code=payload-bad error ")
    assert device.kube.wrote() == []
    assert (device.registry.uploads, device.registry.tags.get(NAME, {})) == ({}, {})
    assert [device.run(name) for name in ("converge", "drift", "check-health", "remove")] == [0, 0, 0, 0]
    assert device.health().startswith("--code=payload-bad error ")


JUNK = ["", " ", "\0", "a" * 10_000, -1, 0.5, True, [], ["strict"], {"a": {"b": 1}}, "$(reboot)", "../..", "é"]


@pytest.mark.parametrize("key", configuration.KEYS)
@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk)[:12])
def test_junk_in_a_setting_is_refused_by_configure_and_harms_no_service(
    device: EdgeDevice, capsys: pytest.CaptureFixture[str], key: str, junk: Any
) -> None:
    installed(device)
    device.set(**{key: junk})
    assert device.run("configure") == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"snapedge configure: serve.{key}: ")
    assert len(last) < 250
    assert device.run("converge") == 0
    assert device.health().startswith("--code=payload-bad error serve.")
    assert (device.kube.wrote(), device.registry.wrote()) == ([], [])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "--code=no-slot waiting client.config: is empty"),
        ("{", "--code=no-slot waiting client.config line 1: is not JSON"),
        ("kind: Config\n", "--code=no-slot waiting client.config: current-context is missing"),
        ("\tx", "--code=no-slot waiting client.config line 1: has a tab"),
    ],
)
def test_credentials_that_cannot_be_used_are_waited_for(device: EdgeDevice, text: str, told: str) -> None:
    installed(device)
    (device.folder / "data-1" / "microk8s" / "credentials" / "client.config").write_text(text)
    assert device.run("install") == 0
    assert device.health().startswith(told)
    assert device.kube.requests == []
    device.connect()
    assert device.run("converge") == 0
    assert device.health() == "okay"


def test_credentials_that_everybody_can_read_are_used_and_told(
    device: EdgeDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    installed(device)
    assert device.run("install") == 0
    assert "client.config" not in capsys.readouterr().err
    (device.folder / "data-1" / "microk8s" / "credentials" / "client.config").chmod(0o644)
    assert device.run("drift") == 0
    warning = "snapedge drift: client.config can be read by everybody on this device; run: chmod o-rwx client.config"
    assert warning in capsys.readouterr().err.splitlines()
    assert device.health() == "okay"


def test_credentials_of_another_cluster_are_refused_by_tls(device: EdgeDevice, tmp_path: Path) -> None:
    installed(device)
    (tmp_path / "other").mkdir()
    with EdgeDevice(tmp_path / "other") as other:
        config = device.folder / "data-1" / "microk8s" / "credentials" / "client.config"
        config.write_text(other.kube.kubeconfig().replace(other.kube.url, device.kube.url))
        assert device.run("install") == 0
    assert device.health().startswith("--code=api-down waiting Kubernetes API: shows a certificate we do not trust")
    assert device.kube.requests == []


@pytest.mark.parametrize("status", [401, 413, 429, 500, 503])
@pytest.mark.parametrize("what", ["HEAD", "POST", "PUT .*/blobs/", "PUT .*/manifests/"])
def test_a_registry_that_answers_badly_is_waited_for_and_serves_nothing_half(
    device: EdgeDevice, status: int, what: str
) -> None:
    installed(device)
    device.registry.faults.status[what] = (status, b"no")
    assert device.run("install") == 0
    assert device.health().startswith(f"--code=registry-down waiting Registry: answered {status}")
    assert (device.kube.service_image(NAME), device.registry.uploads) == (None, {})
    device.registry.faults.status.clear()
    assert device.run("converge") == 0
    assert device.health() == "okay"


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (401, {"message": "Unauthorized"}, "--code=api-down waiting"),
        (403, {"message": "forbidden"}, "--code=api-down waiting"),
        (410, {"message": "too old"}, "--code=api-down waiting"),
        (429, {"message": "slow down"}, "--code=api-down waiting"),
        (200, b'{"half":', "--code=api-down waiting"),
        (500, b"e" * 10_000_000, "--code=api-down waiting"),
        (409, {"message": "conflict"}, "--code=api-down waiting"),
    ],
)
def test_an_api_that_answers_badly_while_something_serves_changes_nothing_of_it(
    device: EdgeDevice, status: int, body: dict[str, str] | bytes, told: str
) -> None:
    installed(device)
    assert device.run("install") == 0
    served = device.kube.service_image(NAME)
    runtime, _ = runtime_image()
    device.serves(device.install("1.1.0", runtime), runtime, labels(2))
    device.kube.faults.status["PATCH .*/inferenceservices/"] = (status, body)
    assert device.run("post-refresh", "--budget", "10") == 1
    assert device.health().startswith(told)
    assert device.kube.service_image(NAME) == served


def test_an_api_that_refuses_our_object_is_our_mistake_and_the_old_one_serves(device: EdgeDevice) -> None:
    installed(device)
    assert device.run("install") == 0
    served = device.kube.service_image(NAME)
    runtime, _ = runtime_image()
    device.install("1.1.0", runtime)
    device.kube.faults.status["PATCH .*/inferenceservices/"] = (422, {"message": "spec.predictor: invalid"})
    assert device.run("post-refresh") == 1
    assert device.health().startswith(f"--code=payload-bad error Kubernetes refused {NAME}: spec.predictor: invalid")
    assert device.kube.service_image(NAME) == served
