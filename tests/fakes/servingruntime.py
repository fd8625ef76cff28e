"""A runtime that really runs: a script in a layer, on the machine's own interpreter, shown by the test's sandbox."""

from __future__ import annotations

import io
import shutil
import sys
import tarfile
from pathlib import Path

from snapedge_builder.contents import BuiltLayers
from snapedge_hooks.images import EPOCH, ImageLayer, RuntimeImage
from snapedge_hooks.sandbox import Bubblewrap
from snapedge_hooks.vocabulary import Architecture, Digest

_SERVER = '''#!{python} -SE
"""Multiplies what it is given, as its one word says: a factor, or how it goes wrong."""
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

word = {word!r}
(model,) = os.listdir("/mnt/models")
if word == "load-failed":
    with open("/dev/termination-log", "w") as log:
        json.dump(dict(gate="load-failed", reason="no such operator: Foo"), log)
    print("cannot load", model, flush=True)
    sys.exit(3)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        facts = dict(name=model, uid=os.getuid(), pid=os.getpid(), gate=os.environ["SNAPEDGE_GATE"])
        self.answer(503 if word == "slow" else 200, facts)

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if word == "dies":
            print("killed by a question", flush=True)
            os._exit(9)
        if word == "refuses":
            return self.answer(400, dict(error="no such input"))
        (given,) = request["inputs"]
        data = [float(word) * item for item in given["data"]]
        output = dict(name="y", shape=given["shape"], datatype="FP32", data=data)
        return self.answer(200, dict(model_name=model, model_version="1.0.0", outputs=[output]))

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer((os.environ["SNAPEDGE_BIND"], int(os.environ.get("SNAPEDGE_HTTP_PORT", "8080"))), Handler)
print("not JSON", flush=True)
print(json.dumps(dict(message="listening", port=server.server_address[1])), flush=True)
server.serve_forever()
'''


def host_folders() -> list[str]:
    """Where the machine's interpreter and its libraries are."""
    folders = [name for name in ("/usr", "/lib", "/lib64") if Path(name).is_dir()]
    base = str(Path(sys.base_prefix).resolve())
    if not any(base.startswith(f"{folder}/") or base == folder for folder in folders):
        folders.append(base)
    return folders


def sandbox() -> Bubblewrap | None:
    """Bubblewrap that shows them; None where there is none."""
    program = shutil.which("bwrap")
    return Bubblewrap(program, host_folders=host_folders()) if program is not None else None


def serving_runtime(
    architecture: Architecture, folder: Path, word: str = "3", *, version: str = "1.0.0"
) -> BuiltLayers:
    """A runtime of one layer, in a file of the folder."""
    python = Path(sys.base_prefix).resolve() / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    data = _layer(_SERVER.format(python=python, word=word).encode())
    path = folder / f"{architecture}-{word}.tar"
    path.write_bytes(data)
    digest = Digest.of(data)
    layer = ImageLayer(name="40-app", file="layers/40-app.tar", diff_id=digest, digest=digest, size=len(data))
    image = RuntimeImage(
        name="onnx",
        version=version,
        interface=1,
        architecture=architecture,
        config={
            "architecture": str(architecture),
            "os": "linux",
            "created": EPOCH,
            "config": {"User": "65532:65532", "Entrypoint": ["/app/server"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [digest]},
            "history": [{"created": EPOCH, "created_by": layer.name}],
        },
        layers=(layer,),
    )
    return BuiltLayers(image=image, files={layer.name: path})


def _layer(script: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in host_folders():
            entry = tarfile.TarInfo(name.lstrip("/"))
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        entry = tarfile.TarInfo("app/server")
        entry.size, entry.mode = len(script), 0o755
        tar.addfile(entry, io.BytesIO(script))
    return buffer.getvalue()
