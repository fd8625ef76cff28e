"""What the image carries: locked wheels without what does not run, and no module of another part."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import grpc

import snapedge_onnx
from snapedge_oip.proto import open_inference_pb2 as messages

from .make_models import models
from .serving import MODELS, PYTHONPATH, ROOT, place, server

IMAGE = ROOT / "kserve-images" / "onnx"
PROJECT = tomllib.loads((IMAGE / "pyproject.toml").read_text())


def _expression(pattern: str) -> str:
    """`*` stays within a name, `**/` crosses folders; a folder that matches goes with all that is in it."""
    parts = [re.escape(part).replace(r"\*", "[^/]*") for part in pattern.split("**/")]
    return "(?:.*/)?".join(parts) + "(?:/.*)?"


def _pruned(site: Path, lock: str = "requirements.lock", keep: tuple[str, ...] = ()) -> Path:
    locked = re.findall(r"^([a-z0-9-]+)==", (IMAGE / lock).read_text(), re.MULTILINE)
    code = f"import importlib.metadata as m;[print(f) for n in {locked!r} for f in m.files(n)]"
    files = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30).stdout
    root = Path(next(path for path in sys.path if path.endswith("site-packages")))
    prune = re.compile(
        "|".join(
            f"(?:{_expression(pattern)})"
            for pattern in PROJECT["tool"]["snapedge"]["image"]["prune"]
            if pattern not in keep
        )
    )
    for name in files.splitlines():
        if name.startswith("..") or prune.fullmatch(name) or not (root / name).is_file():
            continue
        target = site / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, target)
    return site


def test_the_server_runs_on_what_is_left_after_pruning(tmp_path: Path) -> None:
    site = _pruned(tmp_path / "site")
    assert not list(site.glob("onnxruntime/capi/libonnxruntime.so*"))
    size = sum(file.stat().st_size for file in site.rglob("*") if file.is_file())
    print(f"{size / 2**20:.0f} MiB of wheels after pruning")
    for name in ("simple", "identity_bytes", "logarithm"):
        place(tmp_path / "models", name)
    # Isolated from the environment's own site-packages, as the image's interpreter is.
    with server(tmp_path / "models", path=f"{PYTHONPATH}:{site}", isolated=True) as running:
        tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1.0]}
        assert running.infer("logarithm", {"inputs": [tensor]}).json["outputs"][0]["data"] == [0.0]
        assert running.stop() == 0
        assert not [line for line in running.lines if not line.startswith("{")]


def test_with_its_extra_the_server_speaks_grpc_on_what_is_left(tmp_path: Path) -> None:
    extra = PROJECT["tool"]["snapedge"]["image"]["extras"]["grpc"]
    site = _pruned(tmp_path / "site", extra["lock"], tuple(extra["keep"]))
    place(tmp_path / "models", "logarithm")
    path = f"{PYTHONPATH}:{site}"
    with server(tmp_path / "models", "--grpc-port", "0", path=path, isolated=True) as running:
        with grpc.insecure_channel(f"127.0.0.1:{running.grpc_port()}") as channel:
            ask = channel.unary_unary(
                "/inference.GRPCInferenceService/ModelReady",
                request_serializer=messages.ModelReadyRequest.SerializeToString,
                response_deserializer=messages.ModelReadyResponse.FromString,
            )
            assert ask(messages.ModelReadyRequest(name="logarithm"), timeout=20).ready
        assert running.stop() == 0


def test_the_lock_pins_every_wheel_by_hash_and_names_no_index() -> None:
    lock = (IMAGE / "requirements.lock").read_text()
    assert "http" not in lock.replace("httptools", "")
    for requirement in re.split(r"\n(?=\S)", lock.strip()):
        assert re.match(r"[a-z0-9-]+==[^ ]+ \\\n +--hash=sha256:[0-9a-f]{64}", requirement), requirement


def test_the_version_is_told_once_and_the_same() -> None:
    assert PROJECT["project"]["version"] == snapedge_onnx.__version__


def test_the_images_import_no_other_part_of_ours() -> None:
    for folder in ("oip", "onnx"):
        for path in (ROOT / "kserve-images" / folder / "src").rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
                ours = {name.split(".")[0] for name in names if name.startswith("snapedge_")}
                assert ours <= {"snapedge_oip"}, path


def test_the_committed_models_are_what_their_script_makes() -> None:
    made = dict(models())
    assert {path.name for path in MODELS.iterdir()} == made.keys()
    for name, content in made.items():
        assert (MODELS / name).read_bytes() == content
        assert len(content) < 20_000
