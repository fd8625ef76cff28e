"""A tiny image for tests: one script in a layer; the interpreter is the machine's, shown by the test's sandbox."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from snapedge_hooks.sandbox import Bubblewrap

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"

_SERVER = """#!{python} -SE
import json, os, signal, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

answer = open("/model/answer").read()
if answer.startswith("bad"):
    with open("/dev/termination-log", "w") as log:
        log.write(json.dumps({{"gate": "failed", "sample": "row-3", "max_error": 0.42, "tolerance": 0.01}}))
    sys.exit(3)
ready = threading.Event()

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        status = 200 if self.path != "/v2/health/ready" or ready.is_set() else 503
        facts = {{"answer": answer, "uid": os.getuid(), "pid": os.getpid(), "bind": os.environ["SNAPEDGE_BIND"]}}
        body = json.dumps(facts).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

class Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

server = Server((os.environ["SNAPEDGE_BIND"], 8080), Handler)

def drain(*_):
    ready.clear()
    threading.Timer(0.3, server.shutdown).start()

signal.signal(signal.SIGTERM, drain)
ready.set()
print("serving", answer, flush=True)
server.serve_forever()
server.server_close()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestImage:
    __test__ = False

    manifest: bytes
    blobs: dict[str, bytes]

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def sandbox() -> Bubblewrap | None:
    program = shutil.which("bwrap")
    return Bubblewrap(program, host_folders=_host_folders()) if program is not None else None


def _host_folders() -> list[str]:
    folders = [name for name in ("/usr", "/lib", "/lib64") if Path(name).is_dir()]
    base = str(Path(sys.base_prefix).resolve())
    if not any(base.startswith(f"{folder}/") or base == folder for folder in folders):
        folders.append(base)
    return folders


def layer(files: dict[str, bytes], folders: Sequence[str] = ()) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in folders:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def image(layers: Sequence[bytes], entrypoint: Sequence[str] = ("/app/server",)) -> TestImage:
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": list(entrypoint), "Env": ["MODE=test"], "User": "65532:65532"},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(item) for item in layers]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest_of(config),
                "size": len(config),
            },
            "layers": [{"mediaType": LAYER, "digest": digest_of(item), "size": len(item)} for item in layers],
        }
    ).encode()
    return TestImage(manifest=manifest, blobs={digest_of(item): item for item in (*layers, config)})


def server_image(answer: str) -> TestImage:
    """An image that answers every GET with `answer`; one that begins with "bad" fails its own check with exit 3."""
    python = Path(sys.base_prefix).resolve() / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    script = _SERVER.format(python=python).encode()
    app = layer({"app/server": script}, [name.lstrip("/") for name in _host_folders()])
    return image([app, layer({"model/answer": answer.encode()})])


def push(host: str, name: str, what: TestImage, tag: str = "1") -> str:
    """Push as a client would; returns the reference by digest."""
    base = f"http://{host}/v2/{name}"
    for digest, content in what.blobs.items():
        if requests.head(f"{base}/blobs/{digest}", timeout=5).status_code == 200:
            continue
        location = requests.post(f"{base}/blobs/uploads/", timeout=5).headers["Location"]
        answer = requests.put(f"{location}&digest={digest}", data=content, timeout=5)
        assert answer.status_code == 201, answer.text
    answer = requests.put(f"{base}/manifests/{tag}", data=what.manifest, headers={"Content-Type": MANIFEST}, timeout=5)
    assert answer.status_code == 201, answer.text
    return f"{host}/{name}@{what.digest}"
