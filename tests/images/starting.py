"""Model folders and server processes for any of the runtimes."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .onnx.serving import ROOT, START, Server, server

Tensors = list[tuple[str, str, list[int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeUnderTest:
    """One runtime image's server.

    Attributes:
        name: of its folder in kserve-images, and of the model format it serves.
        suffix: of its model files.
    """

    name: str
    suffix: str

    @property
    def path(self) -> str:
        """PYTHONPATH of its sources."""
        return f"{ROOT}/kserve-images/{self.name}/src:{ROOT}/kserve-images/oip/src"

    def place(
        self,
        directory: Path,
        name: str,
        content: bytes,
        inputs: Tensors,
        outputs: Tensors,
        *,
        samples: Any = None,
        **overrides: Any,
    ) -> Path:
        """A model's folder as a model layer brings it."""
        folder = directory / name
        folder.mkdir(parents=True)
        file = f"model.{self.suffix}"
        (folder / file).write_bytes(content)
        document = {
            "format": 1,
            "name": name,
            "version": "1.0.0",
            "model_format": self.name,
            "file": file,
            "digest": "sha256:" + hashlib.sha256(content).hexdigest(),
            "inputs": [{"name": n, "datatype": d, "shape": s} for n, d, s in inputs],
            "outputs": [{"name": n, "datatype": d, "shape": s} for n, d, s in outputs],
        }
        (folder / "model.json").write_text(json.dumps(document | overrides))
        if samples is not None:
            (folder / "samples.json").write_text(json.dumps(samples))
        return folder

    def place_shipped(self, directory: Path, name: str, inputs: Tensors, outputs: Tensors) -> Path:
        """The folder of a model in snaps/, with its golden samples."""
        source = ROOT / "snaps" / name
        samples = json.loads((source / "samples.json").read_text())
        model = next(path for path in source.iterdir() if path.name in ("model.tflite", "model.joblib"))
        return self.place(directory, name, model.read_bytes(), inputs, outputs, samples=samples)

    @contextmanager
    def serve(self, directory: Path, *flags: str, path: str = "", **how: Any) -> Iterator[Server]:
        """A server process of a directory; `path` goes before the sources on PYTHONPATH."""
        before = f"{path}:" if path else ""
        with server(directory, *flags, path=before + self.path, module=f"snapedge_{self.name}", **how) as running:
            yield running

    def refusal(self, directory: Path) -> str:
        """Why a server does not start, by its termination message."""
        with self.serve(directory, wait=False) as running:
            assert running.process.wait(START) == 3, running.lines
        assert "Traceback" not in "".join(running.lines)
        message = json.loads((directory / "termination").read_text())
        assert message["gate"] == "load-failed"
        return str(message["reason"])

    def pruned(self, site: Path) -> Path:
        """The locked wheels without what the image leaves out, as a folder of their own."""
        project = ROOT / "kserve-images" / self.name
        locked = re.findall(r"^([a-z0-9-]+)==", (project / "requirements.lock").read_text(), re.MULTILINE)
        code = f"import importlib.metadata as m;[print(f) for n in {sorted(set(locked))!r} for f in m.files(n)]"
        listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
        root = Path(next(path for path in sys.path if path.endswith("site-packages")))
        patterns = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["snapedge"]["image"]["prune"]
        left_out = re.compile("|".join(f"(?:{_expression(pattern)})" for pattern in patterns))
        for name in listed.stdout.splitlines():
            if not name.startswith("..") and not left_out.fullmatch(name) and (root / name).is_file():
                target = site / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, target)
        return site


def _expression(pattern: str) -> str:
    """`*` stays within a name, `**/` crosses folders; a folder that matches goes with all that is in it."""
    parts = [re.escape(part).replace(r"\*", "[^/]*") for part in pattern.split("**/")]
    return "(?:.*/)?".join(parts) + "(?:/.*)?"
