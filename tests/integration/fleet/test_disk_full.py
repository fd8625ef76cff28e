"""A small tmpfs in a mount namespace of its own: what is full there is full for nobody else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PUSH = """
import sys
from pathlib import Path
from snapedge_hooks.directorystore import DirectoryStore
from snapedge_hooks.errors import SnapedgeError
from snapedge_hooks.storeindex import SnapDescription, SnapKind
from snapedge_hooks.vocabulary import Architecture, SnapName, SnapVersion
from tests.fakes.snapd import snap_bytes

disk, source = Path(sys.argv[1]), Path(sys.argv[2])
def push(version, size):
    file = source / f"{version}.snap"
    file.write_bytes(snap_bytes("wine-rater", version, pad=size))
    return DirectoryStore(disk / "store").push(file, SnapDescription(
        name=SnapName("wine-rater"), version=SnapVersion(version),
        architecture=Architecture.AMD64, kind=SnapKind.MODEL))
push("1.0.0", 1000)
before = (disk / "store/index.json").read_bytes()
try:
    push("1.1.0", 4_000_000)
except SnapedgeError as error:
    print(error)
assert (disk / "store/index.json").read_bytes() == before
assert len(list((disk / "store/snaps").iterdir())) == 1
push("1.2.0", 1000)
print("and goes on")
"""
AGENT = """
import sys
from pathlib import Path
from tests.fakes.fleetsite import served_site
from tests.fakes.snapd import FakeSnapd, serving

disk, folder = Path(sys.argv[1]), Path(sys.argv[2])
snapd = FakeSnapd()
with served_site(folder / "fleet") as site, serving(snapd, folder / "s") as socket:
    site.call("group-add", name="lab", follows=["wine-rater=stable"])
    (folder / "fleet/agents").symlink_to(disk)
    agent = site.agent("d1", socket, claim=site.add_device("d1"))
    agent.cycle()
    def rounds():
        for _ in range(4):
            site.tick(); site.clock.wait(11); agent.cycle()
    filler = disk / "filler"
    filler.write_bytes(bytes(1_200_000))
    site.publish("wine-rater", "1.0.0", "stable", pad=700_000)
    rounds()
    (one,) = site.call("device-show", device="d1")["snaps"]
    print(one["outcome"], one["code"], one["message"])
    print([path.name for path in (disk / "d1/downloads").iterdir()])
    filler.unlink()
    rounds()
    (one,) = site.call("device-show", device="d1")["snaps"]
    print(one["outcome"], snapd.version("wine-rater"))
    agent.close()
"""


def on_small_disk(script: str, tmp_path: Path) -> str:
    disk = tmp_path / "disk"
    disk.mkdir()
    inside = 'mount -t tmpfs -o size=2m small "$1" && shift && exec "$@"'
    namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    done = subprocess.run(
        [*namespace, "sh", "-c", inside, "sh", str(disk), sys.executable, "-c", script, str(disk), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    tried = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "true"], capture_output=True, timeout=10, check=False
    )
    assert shutil.which("unshare") is not None
    assert tried.returncode == 0, f"a mount namespace is needed: {tried.stderr!r}"


def test_a_push_onto_a_full_disk_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    assert on_small_disk(PUSH, tmp_path) == (
        f"no room left in the store {tmp_path}/disk/store; free some space and push again; the store is as it was\n"
        "and goes on\n"
    )


def test_an_agent_on_a_full_disk_says_so_and_goes_on_once_there_is_room(tmp_path: Path) -> None:
    first, second, third = on_small_disk(AGENT, tmp_path).splitlines()
    assert first.startswith("waiting no-room wine-rater 1.0.0 did not arrive: no room for 70")
    assert second == "[]"
    assert third == "confirmed 1.0.0"
