"""Pickles judged without running them."""

from __future__ import annotations

import io
import pickle
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from snapedge_builder.pickles import PickleFacts, PickleUnreadableError, is_pickle, read_pickle

ROWS = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 8.0]])
LINE = LinearRegression().fit(ROWS, [0.0, 1.0, 2.0, 3.0])
TREE = make_pipeline(StandardScaler(), DecisionTreeClassifier()).fit(ROWS, np.array(["a", "b", "a", "b"], dtype=object))
VERSION = (LINE.__getstate__()["_sklearn_version"],)


class _Shell:
    """Unpickling it runs a command."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return (subprocess.run, (["touch", str(self.file)],))


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("lzma", 3), ("xz", 3)])
def test_files_of_joblib_are_read_plain_and_compressed(tmp_path: Path, compress: Any) -> None:
    path = tmp_path / "model"
    joblib.dump(TREE, path, compress=compress)
    assert is_pickle(path)
    assert read_pickle(path) == PickleFacts(kind="sklearn.pipeline.Pipeline", versions=VERSION, foreign=())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_files_of_pickle_are_read(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "model"
    path.write_bytes(pickle.dumps(LINE, protocol=protocol))
    assert read_pickle(path).kind == "sklearn.linear_model._base.LinearRegression"
    assert read_pickle(path).versions == VERSION


def test_code_of_others_is_named_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "model"
    joblib.dump({"model": LINE, "more": _Shell(tmp_path / "ran")}, path)
    facts = read_pickle(path)
    assert facts == PickleFacts(kind="dict", versions=VERSION, foreign=("subprocess.run",))
    assert [item.name for item in tmp_path.iterdir()] == ["model"]


def test_parts_of_two_versions_are_both_told(tmp_path: Path) -> None:
    path = tmp_path / "model"
    data = pickle.dumps([LINE, LINE.__class__().fit(ROWS, [1.0, 2.0, 3.0, 9.0])], protocol=2)
    version = VERSION[0].encode()
    first = data.index(version)
    path.write_bytes(data[:first] + b"0" * len(version) + data[first + len(version) :])
    assert read_pickle(path).versions in {("0" * len(version), VERSION[0]), ("0" * len(version),)}


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "it is cut off"),
        (b"\x80\x04", "it is cut off"),
        (b"\x80\x05\x8e\xff\xff\xff\xff\xff\xff\xff\x00", "it says to be larger than any model may be"),
        (b"\x80\x02\x82\x01.", "extension 1"),
        (b"\x80\x02K\x01)R.", "object is not callable"),
        (b"x\x9c" + bytes(20), "is no pickle that can be read"),
    ],
)
def test_what_cannot_be_walked_is_refused(tmp_path: Path, data: bytes, problem: str) -> None:
    path = tmp_path / "model"
    path.write_bytes(data)
    with pytest.raises(PickleUnreadableError, match=problem):
        read_pickle(path)


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.integers(0, 3000))
def test_a_damaged_file_is_judged_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: int, cut: int
) -> None:
    buffer = io.BytesIO()
    joblib.dump(TREE, buffer)
    data = bytearray(buffer.getvalue())
    data[place % len(data)] = byte
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(data[: len(data) - cut] if cut % 2 else data)
    with suppress(PickleUnreadableError):
        assert read_pickle(path).kind
