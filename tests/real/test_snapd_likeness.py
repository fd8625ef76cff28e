"""A virtual device's snapd runs hooks and services in the order of a real one: one story, told by both."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import toysnap, virtualsnapd
from .edgedevice import EdgeDevice
from .snapd import Change, Snapd, SnapdError
from .toysnap import NAME, Listener

Chapter = tuple[str, object]


def told(what: str, change: Change, snapd: Snapd, listener: Listener) -> Chapter:
    """What a step did: its end, the revision that is current now, what hooks and the service said."""
    hooks, services = listener.heard()
    return what, (change.status, snapd.installed().get(NAME), hooks, services)


def life_of_a_snap(snapd: Snapd, listener: Listener, folder: Path) -> list[Chapter]:
    """Install, connect, refreshes that fail and one that does not, revert, disable, enable, set, remove."""
    snaps = {
        "1": toysnap.pack(folder, "1", listener.port),
        "2": toysnap.pack(folder, "2", listener.port, failing="post-refresh"),
        "3": toysnap.pack(folder, "3", listener.port, failing="check-health"),
        "4": toysnap.pack(folder, "4", listener.port, failing="configure"),
        "5": toysnap.pack(folder, "5", listener.port, failing="connect-plug-mk8s"),
        "6": toysnap.pack(folder, "6", listener.port, failing="remove"),
    }
    mk8s = (NAME, "mk8s", "microk8s", "microk8s")

    def revert_to(version: str) -> Change:
        found = snapd.get(f"/v2/snaps?snaps={NAME}&select=all")
        revision = next(one["revision"] for one in found if one["version"] == version)
        return snapd.act(NAME, "revert", revision=revision)

    return [
        told("install", snapd.sideload(snaps["1"]), snapd, listener),
        told("connect", snapd.connect(*mk8s), snapd, listener),
        told("refresh, post-refresh fails", snapd.sideload(snaps["2"]), snapd, listener),
        told("refresh, check-health fails", snapd.sideload(snaps["3"]), snapd, listener),
        told("refresh, configure fails", snapd.sideload(snaps["4"]), snapd, listener),
        told("refresh", snapd.sideload(snaps["5"]), snapd, listener),
        told("disconnect", snapd.disconnect(*mk8s), snapd, listener),
        told("connect, its hook fails", snapd.connect(*mk8s), snapd, listener),
        told("revert", snapd.act(NAME, "revert"), snapd, listener),
        told("connect again", snapd.connect(*mk8s), snapd, listener),
        told("revert to the newer", revert_to("5"), snapd, listener),
        told("disable", snapd.act(NAME, "disable"), snapd, listener),
        told("enable", snapd.act(NAME, "enable"), snapd, listener),
        told("set", snapd.configure(NAME, {"a.b": 1}), snapd, listener),
        told("refresh, remove will fail", snapd.sideload(snaps["6"]), snapd, listener),
        told("remove", snapd.act(NAME, "remove"), snapd, listener),
    ]


def failing_install(snapd: Snapd, listener: Listener, folder: Path) -> list[Chapter]:
    """Installs that fail in each hook of an install leave nothing."""
    return [
        told(
            f"{hook} fails", snapd.sideload(toysnap.pack(folder, version, listener.port, failing=hook)), snapd, listener
        )
        for version, hook in (("1", "install"), ("2", "configure"), ("3", "check-health"))
    ]


def refusals(snapd: Snapd, listener: Listener, folder: Path) -> list[Chapter]:
    """What snapd refuses, in its words."""

    def words(act: str, **options: object) -> Chapter:
        with pytest.raises(SnapdError) as refused:
            snapd.act(NAME, act, **options)
        return act, str(refused.value)

    absent = [words("revert"), words("remove"), words("enable")]
    snapd.sideload(toysnap.pack(folder, "1", listener.port))
    present = [words("revert"), words("enable")]
    snapd.act(NAME, "disable")
    present.append(words("disable"))
    snapd.act(NAME, "remove")
    return [*absent, *present]


@pytest.mark.parametrize("story", [life_of_a_snap, failing_install, refusals])
def test_both_snapds_tell_the_same_story(story: object, edge_device: EdgeDevice, tmp_path: Path) -> None:
    assert callable(story)
    config = tmp_path / "client.config"
    config.write_text("nothing")
    (tmp_path / "virtual").mkdir()
    (tmp_path / "real").mkdir()
    with virtualsnapd.started(tmp_path / "v") as snapd, Listener() as listener:
        virtual = story(snapd, listener, tmp_path / "virtual")
    edge_device.offer_microk8s(config)
    try:
        with Listener() as listener:
            real = story(edge_device.snapd, listener, tmp_path / "real")
    finally:
        edge_device.reset()
    different = [
        f"{what}:\n  real     {expected}\n  virtual  {found}"
        for (what, expected), (_, found) in zip(real, virtual, strict=True)
        if expected != found
    ]
    assert not different, "\n".join(different)
