"""What can stand between a device and the model it should serve, as errors with a health code.

SnapedgeError
  SituationError           has a health code and a message that fits snapd's `set-health`
    ShortageError          a prerequisite is missing; it may come by itself: waiting
    RefusedError           the model or its image proved bad: error, and the last good one goes back
    PayloadBadError        what the snap brings, or the device it is on, is wrong: error, no retry helps
    RestoreFailedError     the last good one could not be put back: error, the service goes on trying
  PullFailedError          the kubelet could not get the image; every layer is pushed again before it counts
  SnapCtlError             snapd did not answer our question
  ConfigurationError       `snap set` was given a value we cannot use
"""

from __future__ import annotations

from .errors import SnapedgeError
from .vocabulary import HealthCode


class SituationError(SnapedgeError):
    """A failure that the snap's health tells.

    Attributes:
        code: the health code.
    """

    def __init__(self, code: HealthCode, brief: str, *, details: str = "", resolution: str = "") -> None:
        super().__init__(brief, details=details, resolution=resolution)
        self.code = code


class ShortageError(SituationError):
    """A prerequisite is missing: slot, API, KServe, registry, runtime, room or imported image."""


class RefusedError(SituationError):
    """The model proved bad on this device: its samples, its start or its image."""


class PayloadBadError(SituationError):
    """The snap cannot work on this device as it is."""

    def __init__(self, brief: str, *, code: HealthCode = HealthCode.PAYLOAD_BAD, resolution: str = "") -> None:
        super().__init__(code, brief, resolution=resolution or "build and publish the snap again")


class RestoreFailedError(SituationError):
    """The last good InferenceService could not be put back."""

    def __init__(self, cause: SnapedgeError) -> None:
        super().__init__(
            HealthCode.RESTORE_FAILED,
            f"Last good model not back: {cause.brief}",
            resolution="the converge service goes on trying",
        )


class PullFailedError(SnapedgeError):
    """The kubelet cannot pull the image.

    Attributes:
        pods: the names of the pods that wait for it.
    """

    def __init__(self, message: str, pods: frozenset[str]) -> None:
        super().__init__(
            f"Image not pulled: {message}",
            resolution="containerd must reach the registry by the name in serve.registry; see the pod's events",
        )
        self.pods = pods


class SnapCtlError(SnapedgeError):
    """`snapctl` failed or gave no answer."""

    def __init__(self, command: str, problem: str) -> None:
        super().__init__(f"snapctl {command}: {problem}", resolution="see `snap changes` and the journal of snapd")


class ConfigurationError(SnapedgeError):
    """A `snap set` value that cannot be used."""

    def __init__(self, key: str, problem: str, resolution: str) -> None:
        super().__init__(f"{key}: {problem}", resolution=resolution)


def registry_down(problem: str) -> ShortageError:
    """The registry is away, refuses, or does not behave as one."""
    return ShortageError(
        HealthCode.REGISTRY_DOWN,
        f"Registry: {problem}",
        resolution="enable MicroK8s' registry addon, or set serve.registry",
    )


def api_down(problem: str) -> ShortageError:
    """The Kubernetes API is away, refuses, or does not behave as one."""
    return ShortageError(
        HealthCode.API_DOWN, f"Kubernetes API: {problem}", resolution="check `microk8s status` on the device"
    )


def no_kserve(problem: str) -> ShortageError:
    """KServe is not installed, or its webhook does not answer."""
    return ShortageError(
        HealthCode.NO_KSERVE, f"KServe: {problem}", resolution="install KServe in RawDeployment mode, or wait for it"
    )


def no_image() -> ShortageError:
    """The image waits in its archive: MicroK8s imports archives when it is connected, and then only."""
    return ShortageError(
        HealthCode.NO_IMAGE,
        "Image not imported: reconnect microk8s:configuration to this snap",
        resolution="`snap disconnect microk8s:configuration`, then connect it to this snap's slot configuration",
    )
