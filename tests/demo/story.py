"""The story: a model reaches a fleet, a bad one is stopped by its first device, a good one follows."""

from __future__ import annotations

import json
import platform
import re
import secrets
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snapedge_hooks.vocabulary import Architecture

from .client import TirelessClient, ask
from .stage import SceneError, Stage

ROOT = Path(__file__).resolve().parents[2]
MODEL = "wine-cultivar"
OUTPUT = "cultivar"
GROUPS = {"lab": "candidate", "factory-a": "stable", "factory-b": "stable"}
DEVICES = {f"{site}-{number}": site for site in GROUPS for number in (1, 2)}
PACE = (
    "--poll-active",
    "0.5",
    "--poll-idle",
    "1",
    "--settle",
    "2",
    "--soak",
    "0.5",
    "--timeout",
    "90",
    "--tick",
    "0.2",
)
"""A real fleet asks every quarter of an hour and lets a wave soak for minutes; the audience has three."""


class Story:
    """Plays the chapters in order on a stage.

    Attributes:
        stage: where commands are typed.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._dist = stage.root / "dist"
        self._store = stage.root / "store"
        self._data = stage.root / "fleet"
        self._virtual = stage.root / "devices"
        self._models = stage.root / "models"
        self._url = f"http://127.0.0.1:{_free_port()}"
        self._endpoints: Mapping[str, str] = {}
        self._samples: list[Mapping[str, Any]] = []
        self._asked: dict[str, int] = {}
        stage.environment |= {"SNAPEDGE_SERVER": self._url, "SNAPEDGE_TOKEN_FILE": str(self._data / "admin.token")}

    def play(self) -> None:
        """The whole story.

        Raises:
            SceneError: something came out otherwise.
        """
        self._build_the_first()
        self._raise_the_fleet()
        self._to_the_lab()
        self._to_the_factories()
        with self._client() as client:
            self._the_bad_one(client)
            self._the_good_one(client)
        self._count(client)

    def end(self) -> None:
        """End the devices; what they wrote stays for whoever wants to look."""
        if self._virtual.exists():
            self.stage.run("fleet", "virtual", "down", "--root", self._virtual, quiet=True)

    def say_how_to_go_on(self) -> None:
        """For those who keep the fleet: what to type next."""
        self.stage.say(f"""
The fleet is up. To go on, and to end it:
    export SNAPEDGE_SERVER={self._url} SNAPEDGE_TOKEN_FILE={self._data / "admin.token"}
    .venv/bin/fleet status
    .venv/bin/fleet virtual exec --root {self._virtual} lab-1 -- snap list
    .venv/bin/fleet virtual down --root {self._virtual}; kill {self.stage.process_of("server")}""")

    # -- chapters

    def _build_the_first(self) -> None:
        self.stage.chapter("A model becomes snaps for two architectures")
        shutil.copytree(ROOT / "snaps" / MODEL, self._models / "1.0.0")
        self._build(ROOT / "snaps" / "runtime-onnx")
        self._build(self._models / "1.0.0")
        self._publish("snapedge-onnx", "1.0.0", "stable")

    def _raise_the_fleet(self) -> None:
        self.stage.chapter("A fleet of six devices in three groups")
        self.stage.background(
            "server", "fleet", "serve", "--data", self._data, "--store", self._store, "--listen", self._url[7:], *PACE
        )
        self.stage.until("the server answers", self._is_serving, seconds=30)
        for site, channel in GROUPS.items():
            self.stage.run(
                "fleet", "group", "add", site, "--selector", f"site={site}", "--follow", f"{MODEL}={channel}"
            )
        claims = self.stage.root / "claims"
        claims.touch(mode=0o600)
        for device, site in DEVICES.items():
            word = self.stage.root / f"claim-{secrets.token_hex(4)}"
            self.stage.run(
                "fleet",
                "device",
                "add",
                device,
                "--arch",
                _architecture(),
                "--label",
                f"site={site}",
                "--claim-file",
                word,
                quiet=True,
            )
            with claims.open("a") as file:
                file.write(f"{device} {word.read_text().strip()}\n")
            word.unlink()
        self.stage.run(
            "fleet",
            "virtual",
            "up",
            "--root",
            self._virtual,
            "--names",
            ",".join(DEVICES),
            "--server",
            self._url,
            "--claim-token-file",
            claims,
        )

    def _to_the_lab(self) -> None:
        self.stage.chapter("1.0.0 on candidate: the lab converges")
        self._publish(MODEL, "1.0.0", "candidate")
        self._watch("candidate", "1.0.0")
        self.stage.until("the lab's endpoints are there", lambda: len(self._find_endpoints()) == 2, seconds=60)
        device, url = next(iter(self._find_endpoints().items()))
        sample = self._load_samples()[0]
        self.stage.say(f"A question to {device}, at {url}/v2/models/{MODEL}/infer:")
        answer = ask(url, MODEL, sample["request"]["inputs"])
        for output in answer["outputs"]:
            shown = [round(value, 4) if isinstance(value, float) else value for value in output["data"]]
            self.stage.say(f"    {output['name']}: {shown}")
        truth = sample["expect"]["outputs"][0]["data"]
        if answer["outputs"][0]["data"] != truth:
            raise SceneError(f"{device} answered {answer['outputs'][0]['data']}, not {truth}")
        self.stage.good(f"{sample['name']} is of cultivar {truth[0]}, as its bottle says")

    def _to_the_factories(self) -> None:
        self.stage.chapter("1.0.0 promoted to stable: the factories follow in waves")
        self._promote("1.0.0")
        self.stage.until(
            "every device has an endpoint", lambda: len(self._find_endpoints()) == len(DEVICES), seconds=90
        )
        self._expect_versions(dict.fromkeys(DEVICES, "1.0.0"))
        self.stage.good("six devices serve 1.0.0")

    def _the_bad_one(self, client: TirelessClient) -> None:
        self.stage.chapter("1.1.0, trained on shuffled labels")
        folder = self._next_version("1.1.0", "--shuffle-labels")
        self.stage.say("The builder asks the golden samples and refuses:")
        self._build(folder, expect=3)
        self.stage.say("Overruled, so that the fleet can be seen to stop it:")
        self._build(folder, "--ship-failing-model")
        self._publish(MODEL, "1.1.0", "candidate")
        self._watch("candidate", "1.1.0", expect=3)
        canary = self._the_device_that_refused("1.1.0")
        self.stage.bad(f"{canary} got 1.1.0, saw its golden samples fail, and its snapd went back to 1.0.0:")
        self.stage.run(
            "fleet",
            "virtual",
            "exec",
            "--root",
            self._virtual,
            canary,
            "--",
            "snap",
            "changes",
            show=lambda line: MODEL in line,
        )
        self._expect_versions(dict.fromkeys(DEVICES, "1.0.0"))
        self._expect_no_complaint(client)
        self.stage.good("the rollout halted by itself; six devices serve 1.0.0, five never saw 1.1.0")
        self.stage.good(f"all the while {client.asked} questions to six devices: none failed, none answered wrong")

    def _the_good_one(self, client: TirelessClient) -> None:
        self.stage.chapter("1.2.0, good: everywhere")
        folder = self._next_version("1.2.0", "--strength", "2")
        self._build(folder)
        self._publish(MODEL, "1.2.0", "candidate")
        self._watch("candidate", "1.2.0")
        self._promote("1.2.0")
        self._expect_versions(dict.fromkeys(DEVICES, "1.2.0"))
        self._expect_no_complaint(client)
        self.stage.good("six devices serve 1.2.0")

    def _count(self, client: TirelessClient) -> None:
        self.stage.chapter("What it took")
        self._expect_no_complaint(client)
        self.stage.good(
            f"{client.asked} questions through both rollouts: none failed, none wrong, "
            f"the slowest answer took {client.slowest * 1000:.0f} ms"
        )
        snap = self._dist / f"{MODEL}_1.2.0_{_architecture()}.snap"
        image = self._image_bytes("1.2.0")
        self.stage.say(
            f"shipped to each device for 1.2.0: {snap.stat().st_size / 1e6:.2f} MB; "
            f"the whole image is {image / 1e6:.0f} MB"
        )
        self.stage.run("fleet", "history", MODEL, "--limit", "12")

    # -- steps

    def _build(self, folder: Path, *flags: str, expect: int = 0) -> None:
        runtime = () if folder.name.startswith("runtime-") else ("--runtime", ROOT / "snaps" / "runtime-onnx")
        self.stage.run("builder", "build", folder, *runtime, *flags, "--output", self._dist, expect=expect)

    def _publish(self, name: str, version: str, channel: str) -> None:
        files = sorted(self._dist.glob(f"{name}_{version}_*.snap"))
        self.stage.run("builder", "publish", *files, "--store", self._store, "--channel", channel)

    def _promote(self, version: str) -> None:
        self.stage.run("fleet", "promote", MODEL, "--from", "candidate", "--to", "stable", "--yes")
        self._watch("stable", version)

    def _watch(self, channel: str, version: str, *, expect: int = 0) -> None:
        self.stage.run(
            "fleet",
            "watch",
            MODEL,
            "--channel",
            channel,
            "--version",
            version,
            "--timeout",
            "120",
            "--interval",
            "0.3",
            expect=expect,
            show=_says_something_new,
        )

    def _next_version(self, version: str, *flags: str) -> Path:
        folder = self._models / version
        shutil.copytree(ROOT / "snaps" / MODEL, folder)
        self.stage.run(sys.executable, ROOT / "snaps" / MODEL / "train.py", "--output", folder, *flags)
        declaration = folder / "inference.yaml"
        declaration.write_text(re.sub(r"(?m)^version: .*$", f"version: {version}", declaration.read_text()))
        return folder

    def _client(self) -> TirelessClient:
        return TirelessClient(self._find_endpoints(), MODEL, self._load_samples(), OUTPUT)

    # -- what is looked at

    def _is_serving(self) -> bool:
        return (self._data / "admin.token").exists() and _answers(self._url)

    def _devices(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.stage.ask("fleet", "virtual", "status", "--root", self._virtual)
        return found

    def _find_endpoints(self) -> dict[str, str]:
        key = f"default/{MODEL}"
        return {device["id"]: device["endpoints"][key] for device in self._devices() if device["endpoints"].get(key)}

    def _load_samples(self) -> list[Mapping[str, Any]]:
        if not self._samples:
            self._samples = json.loads((ROOT / "snaps" / MODEL / "samples.json").read_text())["samples"]
        return self._samples

    def _versions(self) -> dict[str, str]:
        return {
            device["id"]: snap["version"]
            for device in self._devices()
            for snap in device["snaps"]
            if snap["name"] == MODEL
        }

    def _expect_versions(self, wanted: dict[str, str]) -> None:
        self.stage.until(f"the devices have {wanted}", lambda: self._versions() == wanted, seconds=60)

    def _the_device_that_refused(self, version: str) -> str:
        refused: list[str] = []
        for device in DEVICES:
            changes = self.stage.run(
                "fleet", "virtual", "exec", "--root", self._virtual, device, "--", "snap", "changes", quiet=True
            )
            if any("Error" in line and MODEL in line for line in changes.splitlines()):
                refused.append(device)
        if len(refused) != 1:
            raise SceneError(f"one device should have refused {version}, these did: {refused}")
        return refused[0]

    def _expect_no_complaint(self, client: TirelessClient) -> None:
        if client.complaints:
            raise SceneError("the client complains: " + "; ".join(client.complaints[:5]))

    def _image_bytes(self, version: str) -> int:
        index = json.loads((self._store / "index.json").read_text())
        revisions = index["snaps"][MODEL]["revisions"]
        size: int = max(entry["image_size"] for entry in revisions if entry["version"] == version)
        return size


def _says_something_new(line: str) -> bool:
    """Whether a line of `fleet watch` is more than waiting."""
    return not any(words in line for words in ("soaks for", "every device gets", "is at it", "are at it"))


def _architecture() -> str:
    return str(Architecture.of_machine(platform.machine()))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True
