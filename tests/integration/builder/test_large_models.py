"""Models as large as their format allows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from snapedge_builder import modelfile, modelworker, pack

from ...fakes import largemodel, largetflite
from ...fakes.buildsite import tripler

MEGABYTE = 10**6
# What is left below protobuf's limit for the model around the weights.
LARGEST = modelfile.MAX_BYTES - 4096
_CHECKED_AND_ASKED = """
import sys
from pathlib import Path
from snapedge_builder import onnxmodel
from snapedge_hooks.samples import Tensor
path = Path(sys.argv[1])
_, signature = onnxmodel.read_onnx(path)
session = onnxmodel.OnnxSession(path, signature)
assert session.answer({"x": Tensor(name="x", shape=(1, 2), datatype="FP32", data=(1.0, 2.0))})["y"].data == (3.0, 6.0)
"""


_MEASURED = """
import os, subprocess, sys
done = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(done.pid, 0)
print(used.ru_maxrss * 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def peak(command: list[str], folder: Path) -> int:
    """The most memory a command held, in bytes.

    A process begins with its parent's memory, which counts as its own: the parent is a small one, not this one.
    """
    measured = [sys.executable, "-S", "-c", _MEASURED, *command]
    return int(subprocess.run(measured, cwd=folder, check=True, stdout=subprocess.PIPE).stdout)


@pytest.mark.parametrize("size", [1000 * MEGABYTE, LARGEST])
def test_a_large_model_is_checked_and_asked_without_being_held(size: int, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    largemodel.write(tripler().SerializeToString(), path, size, sparse=True)
    assert path.stat().st_size <= modelfile.MAX_BYTES
    assert peak([sys.executable, "-c", _CHECKED_AND_ASKED, str(path)], tmp_path) < 200 * MEGABYTE


_TFLITE_CHECKED_AND_ASKED = """
import sys
from pathlib import Path
from snapedge_builder import modelfile, proof
from snapedge_hooks.samples import Tensor
path = Path(sys.argv[1])
facts = modelfile.read_model(path)
(spec,) = facts.signature.inputs
shape = tuple(max(size, 1) for size in spec.shape)
question = Tensor(name=spec.name, shape=shape, datatype=spec.datatype, data=(0,) * shape[-1])
with proof.answering(path, facts) as model:
    (answer,) = model.answer({spec.name: question}).values()
assert not any(answer.data) and answer.data
"""


def test_a_large_tflite_model_is_checked_and_asked_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    largetflite.write_lookup(path, 1000 * MEGABYTE // 1024, sparse=True)
    assert peak([sys.executable, "-c", _TFLITE_CHECKED_AND_ASKED, str(path)], tmp_path) < 200 * MEGABYTE


def test_the_weights_that_samples_multiply_by_are_used_where_the_file_is_mapped(tmp_path: Path) -> None:
    """Mapped once, which the kernel can take back: a copy of them would make it twice."""
    path = tmp_path / "model.tflite"
    largetflite.write_dense(path, 200_000)
    size = path.stat().st_size
    assert size > modelworker.LARGE_BYTES
    assert peak([sys.executable, "-c", _TFLITE_CHECKED_AND_ASKED, str(path)], tmp_path) < size + 150 * MEGABYTE


def test_a_model_beyond_what_its_format_can_hold_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    largemodel.write(tripler().SerializeToString(), path, modelfile.MAX_BYTES, sparse=True)
    with pytest.raises(modelfile.ModelRefusedError, match="cannot have more than 2147483647"):
        modelfile.read_model(path)


def test_packing_takes_as_much_memory_as_it_is_given(tmp_path: Path) -> None:
    """Which is less than the packer takes by itself: a quarter of the machine's."""
    tree = tmp_path / "tree"
    tree.mkdir()
    with (tree / "layer.tar").open("wb") as file:
        file.truncate(600 * MEGABYTE)
    code = "import sys, pathlib\nfrom snapedge_builder import pack\n"
    code += "pack.pack(pathlib.Path('tree'), pathlib.Path('a.snap').absolute(), processors=2)"
    assert peak([sys.executable, "-c", code], tmp_path) < pack.MEMORY_MEGABYTES * MEGABYTE * 1.5
