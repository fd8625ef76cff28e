"""The hooks against the virtual registry and cluster: pods that really run, and a rollout that really rolls."""

import hashlib
import json
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from snapedge_hooks import __main__ as hooks
from snapedge_hooks.images import ImageLayer, RuntimeImage
from snapedge_hooks.vocabulary import Architecture, Digest
from tests.fakes.edge import NAME, EdgeDevice
from tests.integration.fleet.virtual.cluster import image
from tests.integration.fleet.virtual.cluster.device import Device

_SERVER = """#!{python} -SE
import json, os, signal, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

with open("/mnt/models/wine/label") as file:
    label = int(file.read())
if label == 13:
    with open("/dev/termination-log", "w") as log:
        json.dump(dict(gate="failed", sample="row-3", output="label", max_error=11.0, tolerance=0.0), log)
    sys.exit(3)

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, document):
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(dict())

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        output = dict(name="label", shape=[1], datatype="INT64", data=[label])
        self.answer(dict(model_name="wine", outputs=[output]))

    def log_message(self, *arguments):
        pass

server = ThreadingHTTPServer((os.environ["SNAPEDGE_BIND"], 8080), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Timer(0.3, server.shutdown).start())
server.serve_forever()
"""


@pytest.fixture
def virtual(tmp_path: Path) -> Iterator[Device]:
    if image.sandbox() is None:
        pytest.skip("bubblewrap is not installed")
    made = Device(tmp_path / "virtual")
    yield made
    made.close()


class Edge(EdgeDevice):
    """The snap's side of a device whose registry and cluster are the virtual device's."""

    def join(self, virtual: Device) -> None:
        self.virtual = virtual
        self.set(registry=f"{virtual.addresses.host}:32000")

    def start_revision(self, version: str, runtime: RuntimeImage, files: dict[str, bytes], label: int) -> None:
        self.install(version, runtime, files=files, extra={f"mnt/models/{NAME}/label": str(label).encode()})
        config = self.folder / f"data-{self.revision}" / "microk8s" / "credentials" / "client.config"
        config.write_text(self.virtual.cluster.kubeconfig())

    def hook(self, name: str) -> int:
        """Run a hook with the machine's own clock: pods take real time."""
        return hooks.main([name, "--budget", "60"], self.environment(), snapctl=self.snapctl)

    def ask(self) -> int:
        """What the endpoint answers."""
        spec = self.virtual.get(f"/api/v1/namespaces/default/services/{NAME}-predictor")["spec"]
        url = f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}/v2/models/{NAME}/infer"
        with urllib.request.urlopen(urllib.request.Request(url, data=b"{}"), timeout=5) as response:
            return int(json.load(response)["outputs"][0]["data"][0])


@pytest.fixture
def edge(tmp_path: Path, virtual: Device) -> Iterator[Edge]:
    folder = tmp_path / "edge"
    folder.mkdir()
    with Edge(folder) as made:
        made.join(virtual)
        yield made


def runtime() -> tuple[RuntimeImage, dict[str, bytes]]:
    python = Path(sys.base_prefix).resolve() / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    folders = [name.lstrip("/") for name in image._host_folders()]
    app = image.layer({"app/server": _SERVER.format(python=python).encode()}, folders)
    digest = Digest("sha256:" + hashlib.sha256(app).hexdigest())
    layer = ImageLayer(name="40-app", file="layers/40-app.tar", diff_id=digest, digest=digest, size=len(app))
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/app/server"], "Env": ["MODE=test"], "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": [digest]},
    }
    made = RuntimeImage(
        name="onnx", version="1.0.0", interface=1, architecture=Architecture.AMD64, config=config, layers=(layer,)
    )
    return made, {"layers/40-app.tar": app}


def test_good_then_bad_then_good_and_nobody_gets_a_wrong_answer(edge: Edge) -> None:
    made, files = runtime()
    edge.start_revision("1.0.0", made, files, label=2)
    assert edge.hook("install") == 0, edge.calls()
    assert edge.health() == "okay"
    answers: list[int] = []
    stop = threading.Event()

    def client() -> None:
        while not stop.wait(0.01):
            answers.append(edge.ask())

    asking = threading.Thread(target=client)
    asking.start()
    try:
        edge.start_revision("1.1.0", made, files, label=13)
        assert edge.hook("post-refresh") == 1
        assert edge.health() == "--code=gate-failed error Sample row-3: label is off by 11, 0 allowed"
        edge.start_revision("1.2.0", made, files, label=2)
        assert edge.hook("post-refresh") == 0
    finally:
        stop.set()
        asking.join()
    assert edge.health() == "okay"
    assert len(answers) > 20
    assert set(answers) == {2}
    assert edge.hook("converge") == 0
    assert edge.hook("drift") == 0
    assert edge.hook("remove") == 0
