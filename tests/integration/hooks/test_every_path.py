"""Whichever way a revision became current and whatever befell the device, it serves what that revision says.

Each path is told as snapd would walk it: hooks in their order, then the services of the revision that is current in the
end. After it the cluster serves that revision's image, health is okay, and running the services again changes nothing.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from snapedge_hooks.images import RuntimeImage
from snapedge_hooks.payload import Payload
from tests.fakes.edge import NAME, EdgeDevice, runtime_image
from tests.fakes.model import labels

SERVICE = f"/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/{NAME}"
LAST_GOOD = f"/api/v1/namespaces/default/configmaps/{NAME}-snapedge"
YEAR = 365 * 24 * 3600.0


@dataclass(slots=True, kw_only=True)
class Story:
    """A device on which revision 1 is installed and serves.

    Attributes:
        device: it.
        runtime: the shared runtime in its registry.
        files: the runtime's layers.
        first: the image of revision 1.
    """

    device: EdgeDevice
    runtime: RuntimeImage
    files: dict[str, bytes]
    first: str

    def new_revision(self, version: str = "1.1.0", **program: Any) -> str:
        """Make another revision current, which no hook has seen yet; its image."""
        return self.device.serves(self.device.install(version, self.runtime), self.runtime, **program)

    def hooks(self, *names: str) -> list[int]:
        """Run hooks in order; their exit codes."""
        return [self.device.run(name) for name in names]

    def undo(self) -> None:
        """What snapd does when a hook failed: the revision before is current again, and no hook runs."""
        self.device.revision -= 1

    def restart(self) -> None:
        """The service of the current revision starts, as on every path."""
        assert self.device.run("converge") == 0


@pytest.fixture
def story(device: EdgeDevice) -> Story:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    made = Story(device=device, runtime=runtime, files=files, first="")
    made.first = made.new_revision("1.0.0")
    assert made.hooks("install", "configure", "check-health") == [0, 0, 0]
    return made


def install(story: Story) -> str:
    story.restart()
    return story.first


def install_again_after_remove(story: Story) -> str:
    assert story.hooks("remove") == [0]
    (story.device.common / "state.json").unlink()
    image = story.new_revision("1.0.0")
    assert story.hooks("install", "configure", "check-health") == [0, 0, 0]
    return image


def refresh(story: Story) -> str:
    image = story.new_revision()
    assert story.hooks("post-refresh", "configure", "check-health") == [0, 0, 0]
    story.restart()
    return image


def refresh_that_post_refresh_refuses(story: Story) -> str:
    story.new_revision(answer=labels(7))
    assert story.hooks("post-refresh") == [1]
    story.undo()
    story.restart()
    return story.first


def refresh_whose_pod_never_comes_up(story: Story) -> str:
    story.new_revision(terminated=(1, "Error", "broken"))
    assert story.hooks("post-refresh") == [1]
    story.undo()
    story.restart()
    return story.first


def refresh_that_configure_refuses(story: Story) -> str:
    story.new_revision()
    story.device.set(gate="of gold")
    assert story.hooks("post-refresh", "configure") == [1, 1]
    story.device.set()
    story.undo()
    story.restart()
    return story.first


def refresh_undone_after_it_was_good(story: Story) -> str:
    story.new_revision()
    assert story.hooks("post-refresh", "configure", "check-health") == [0, 0, 0]
    story.undo()
    story.restart()
    return story.first


def refresh_while_the_api_goes_away(story: Story) -> str:
    story.new_revision()
    story.device.kube.faults.status["PATCH .*/inferenceservices/"] = (503, {"message": "etcd is away"})
    assert story.device.run("post-refresh", "--budget", "20") == 1
    story.device.kube.faults.status.clear()
    story.undo()
    story.restart()
    return story.first


def refresh_while_the_api_goes_away_after_the_apply(story: Story) -> str:
    story.new_revision()
    story.device.kube.faults.status[f"GET .*/services/{NAME}-predictor"] = (500, {"message": "etcd is away"})
    assert story.device.run("post-refresh", "--budget", "20") == 1
    story.device.kube.faults.status.clear()
    story.undo()
    story.restart()
    return story.first


def refresh_while_the_push_fails(story: Story) -> str:
    story.new_revision()
    story.device.registry.faults.status["PUT .*/blobs/"] = (500, b"disk is upset")
    assert story.device.run("post-refresh", "--budget", "20") == 1
    story.device.registry.faults.status.clear()
    story.undo()
    story.restart()
    return story.first


def revert(story: Story) -> str:
    refresh(story)
    story.undo()
    assert story.hooks("configure", "check-health") == [0, 0]
    story.restart()
    return story.first


def revert_within_a_day_of_replacing_an_old_model(story: Story) -> str:
    story.device.clock.now += 7 * 24 * 3600
    refresh(story)
    story.device.clock.now += 23 * 3600
    assert story.hooks("drift") == [0]
    story.device.registry.requests.clear()
    story.undo()
    assert story.hooks("configure", "check-health") == [0, 0]
    story.restart()
    assert story.device.registry.wrote() == []
    return story.first


def revert_a_week_later(story: Story) -> str:
    refresh(story)
    story.device.clock.now += 7 * 24 * 3600
    assert story.hooks("drift") == [0]
    assert story.first not in story.device.registry.manifests[NAME]
    story.undo()
    assert story.hooks("configure", "check-health") == [0, 0]
    story.restart()
    return story.first


def reboot_into_a_cluster_that_starts_late(story: Story) -> str:
    device, sleeps = story.device, itertools.count()
    device.kube.faults.status["."] = (503, {"message": "starting"})
    device.registry.faults.status["."] = (503, b"starting")

    def starts() -> None:
        device.kube.faults.status.clear()
        if next(sleeps):
            device.registry.faults.status.clear()

    device.clock.on_sleep = starts
    story.restart()
    device.clock.on_sleep = lambda: None
    return story.first


def microk8s_restarts_with_new_credentials(story: Story) -> str:
    story.device.renew_credentials()
    assert story.hooks("drift") == [0]
    assert story.device.health().startswith("--code=api-down waiting Kubernetes API: ")
    story.device.connect()
    story.restart()
    return story.first


def credentials_go_and_come_back(story: Story) -> str:
    config = story.device.folder / f"data-{story.device.revision}" / "microk8s" / "credentials" / "client.config"
    config.write_text("")
    assert story.hooks("drift") == [0]
    assert story.device.health() == "--code=no-slot waiting client.config: is empty"
    config.unlink()
    assert story.hooks("drift") == [0]
    assert story.device.health() == "--code=no-slot waiting MicroK8s has written no credentials yet"
    story.device.connect()
    assert story.hooks("connect-plug-mk8s") == [0]
    story.restart()
    return story.first


def registry_is_wiped(story: Story) -> str:
    registry = story.device.registry
    registry.blobs.clear()
    registry.manifests.clear()
    registry.tags.clear()
    assert story.hooks("drift") == [0]
    assert story.device.health().startswith("--code=no-runtime waiting")
    story.device.push_runtime(story.runtime, story.files)
    story.restart()
    assert story.first in registry.manifests[NAME]
    return story.first


def cluster_is_wiped(story: Story) -> str:
    for path in [path for path in story.device.kube.objects if "/nodes/" not in path]:
        del story.device.kube.objects[path]
    story.device.model.answer = None
    story.restart()
    return story.first


def service_is_deleted_by_hand(story: Story) -> str:
    del story.device.kube.objects[SERVICE]
    assert story.hooks("drift") == [0]
    return story.first


def service_is_deleted_by_hand_and_goes_slowly(story: Story) -> str:
    kube = story.device.kube
    kube.objects[SERVICE]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert story.hooks("drift") == [0]
    assert story.device.health() == "--code=no-kserve waiting KServe: InferenceService wine is still being deleted"

    def let_go() -> None:
        if "deletionTimestamp" in kube.objects.get(SERVICE, {"metadata": {}})["metadata"]:
            del kube.objects[SERVICE]
            kube.retire("default", NAME)

    story.device.clock.on_sleep = let_go
    story.restart()
    story.device.clock.on_sleep = lambda: None
    return story.first


def service_is_edited_by_hand(story: Story) -> str:
    container = story.device.kube.objects[SERVICE]["spec"]["predictor"]["containers"][0]
    container["image"] = "elsewhere/other@sha256:" + "0" * 64
    container["resources"] = {"limits": {"cpu": "64"}}
    story.device.kube.faults.conflict = True
    assert story.hooks("drift") == [0]
    return story.first


def last_good_is_deleted_by_hand(story: Story) -> str:
    del story.device.kube.objects[LAST_GOOD]
    assert story.hooks("drift") == [0]
    return story.first


def last_good_is_scribbled_on(story: Story) -> str:
    story.device.kube.objects[LAST_GOOD]["data"] = {"last-good.json": '{"format":1,"objects":[7]}'}
    assert story.hooks("drift") == [0]
    return story.first


def state_is_lost(story: Story) -> str:
    (story.device.common / "state.json").unlink()
    story.restart()
    return story.first


def state_is_corrupt(story: Story) -> str:
    (story.device.common / "state.json").write_bytes(b'{"format":1,"pushed":[{"at":"now"}]}')
    story.restart()
    return story.first


def state_is_from_the_future(story: Story) -> str:
    (story.device.common / "state.json").write_bytes(b'{"format":2}')
    story.restart()
    return story.first


def everything_remembered_is_lost_before_a_bad_refresh(story: Story) -> str:
    (story.device.common / "state.json").unlink()
    del story.device.kube.objects[LAST_GOOD]
    story.new_revision(answer=labels(7))
    assert story.hooks("post-refresh") == [1]
    image = story.device.kube.service_image(NAME)
    assert image is not None
    assert image.endswith(story.first)
    story.undo()
    story.restart()
    return story.first


def clock_jumps_ahead(story: Story) -> str:
    story.device.clock.jumped = 30 * YEAR
    story.restart()
    return story.first


def clock_jumps_back_in_a_refresh(story: Story) -> str:
    story.device.clock.jumped = -YEAR
    return refresh(story)


PATHS: list[Callable[[Story], str]] = [
    install,
    install_again_after_remove,
    refresh,
    refresh_that_post_refresh_refuses,
    refresh_whose_pod_never_comes_up,
    refresh_that_configure_refuses,
    refresh_undone_after_it_was_good,
    refresh_while_the_api_goes_away,
    refresh_while_the_api_goes_away_after_the_apply,
    refresh_while_the_push_fails,
    revert,
    revert_within_a_day_of_replacing_an_old_model,
    revert_a_week_later,
    reboot_into_a_cluster_that_starts_late,
    microk8s_restarts_with_new_credentials,
    credentials_go_and_come_back,
    registry_is_wiped,
    cluster_is_wiped,
    service_is_deleted_by_hand,
    service_is_deleted_by_hand_and_goes_slowly,
    service_is_edited_by_hand,
    last_good_is_deleted_by_hand,
    last_good_is_scribbled_on,
    state_is_lost,
    state_is_corrupt,
    state_is_from_the_future,
    everything_remembered_is_lost_before_a_bad_refresh,
    clock_jumps_ahead,
    clock_jumps_back_in_a_refresh,
]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
def test_every_path_ends_with_what_the_current_revision_says(story: Story, path: Callable[[Story], str]) -> None:
    device, expected = story.device, path(story)
    assert str(device.kube.service_image(NAME)).rpartition("@")[2] == expected
    assert current(device).predicted_image == expected
    assert device.health() == "okay"
    assert expected in device.registry.manifests[NAME]
    device.registry.requests.clear()
    device.kube.requests.clear()
    for name in ("converge", "drift", "converge"):
        assert device.run(name) == 0
        assert device.health() == "okay"
    assert (device.registry.wrote(), device.kube.wrote()) == ([], [])


def current(device: EdgeDevice) -> Payload:
    """What the current revision says."""
    return Payload.parse(Path(device.snap / "payload" / "payload.json").read_bytes())
