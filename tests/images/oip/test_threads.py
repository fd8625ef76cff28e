from __future__ import annotations

from pathlib import Path

import pytest

from snapedge_oip import threads


def _tree(root: Path, own: str, files: dict[str, str]) -> tuple[Path, Path]:
    for name, text in files.items():
        path = root / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "own").write_text(own)
    return root / "cgroup", root / "own"


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {}, 8),
        ("0::/pods/one\n", {"pods/cpu.max": "300000 100000", "pods/one/cpu.max": "max 100000"}, 3),
        ("0::/not/visible/here\n", {"cpu.max": "400000 100000"}, 4),
        (
            "4:cpu,cpuacct:/pods/one\n1:name=systemd:/x\n",
            {"cpu,cpuacct/pods/one/cpu.cfs_quota_us": "250000", "cpu,cpuacct/pods/one/cpu.cfs_period_us": "100000"},
            2,
        ),
        (
            "4:cpu,cpuacct:/host/path\n",
            {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"},
            3,
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("garbage\n", {"cpu.max": "garbage"}, 8),
    ],
)
def test_threads_follow_the_quota(tmp_path: Path, own: str, files: dict[str, str], expected: int) -> None:
    cgroups, groups = _tree(tmp_path, own, files)
    assert threads.available(cgroups=cgroups, own=groups, affinity=8) == expected


def test_affinity_is_the_ceiling(tmp_path: Path) -> None:
    cgroups, groups = _tree(tmp_path, "0::/\n", {"cpu.max": "800000 100000"})
    assert threads.available(cgroups=cgroups, own=groups, affinity=2) == 2
    assert threads.available() >= 1
