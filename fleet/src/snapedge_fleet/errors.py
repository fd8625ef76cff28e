"""What can go wrong in the fleet, one class for each situation.

SnapedgeError (snapedge_hooks.errors)
  SelectorError              text that is no selector
  LabelError                 text that is no label
  AddressError               text that is no fleet server's URL
  UnknownNameError           a group, device, snap or rollout nobody knows; names the nearest ones
  NameTakenError             a group or device of that name is there
  FollowError                a group cannot follow what was asked
  PlanRefusedError           a promotion that may not happen
  RolloutStateError          a rollout is in no state for the order
  IdentityError              who calls is not who may: token, claim
  TwoAgentsError             a second agent speaks for one device
  ReportError                a report that is none
  AuditBrokenError           the chain does not hold
  DataFolderError            the server's folder cannot be used
  LeaderElsewhereError       another server moves the rollouts of this folder
  ServerAwayError            the fleet server does not answer
  ServerRefusalError         the fleet server said no; carries its words
  AgentRunningError          another agent uses this state folder
  SnapdAwayError             snapd's socket does not answer
  SnapdRefusedError          snapd said no
  DownloadError              a file did not arrive whole
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from snapedge_hooks.errors import ExitCode, SnapedgeError


class SelectorError(SnapedgeError):
    """Text that is no selector."""

    exit_code = ExitCode.USAGE

    def __init__(self, text: str, problem: str) -> None:
        super().__init__(
            f"'{text}' is no selector: {problem}", resolution="write it like site=lab,arch in (amd64,arm64),!spare"
        )


class LabelError(SnapedgeError):
    """Text that is no label."""

    exit_code = ExitCode.USAGE

    def __init__(self, text: str, problem: str) -> None:
        super().__init__(f"'{text}' is no label: {problem}", resolution="write it like site=lab")


class AddressError(SnapedgeError):
    """Text that is no fleet server's URL."""

    exit_code = ExitCode.USAGE

    def __init__(self, text: str) -> None:
        super().__init__(f"'{text}' is no server's URL", resolution="write it like https://fleet.example:8443")


class UnknownNameError(SnapedgeError):
    """A group, device, snap or rollout nobody knows."""

    exit_code = ExitCode.USAGE

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(str(one) for one in known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        if near:
            resolution = f"did you mean {' or '.join(near)}?"
        elif names:
            resolution = f"there is {', '.join(names[:8])}{', …' if len(names) > 8 else ''}"
        else:
            resolution = f"there is no {kind} yet"
        super().__init__(f"no {kind} is called '{name}'", resolution=resolution)


class NameTakenError(SnapedgeError):
    """A group or device of that name is there."""

    exit_code = ExitCode.USAGE

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"a {kind} called '{name}' is there", resolution=f"choose another name or change that {kind}")


class FollowError(SnapedgeError):
    """A group cannot follow what was asked."""

    exit_code = ExitCode.USAGE

    def __init__(self, text: str, problem: str) -> None:
        super().__init__(f"'{text}' cannot be followed: {problem}", resolution="write SNAP=CHANNEL, like wine=stable")


class PlanRefusedError(SnapedgeError):
    """A promotion that may not happen."""

    exit_code = ExitCode.REFUSED

    def __init__(self, what: str, problem: str, *, resolution: str) -> None:
        super().__init__(f"{what} is not promoted: {problem}", resolution=resolution)


class RolloutStateError(SnapedgeError):
    """A rollout is in no state for the order."""

    exit_code = ExitCode.REFUSED

    def __init__(self, order: str, rollout: str, phase: str, *, resolution: str) -> None:
        super().__init__(f"cannot {order} {rollout}: it is {phase}", resolution=resolution)


class IdentityError(SnapedgeError):
    """Who calls is not who may."""

    exit_code = ExitCode.REFUSED

    def __init__(self, what: str, *, resolution: str) -> None:
        super().__init__(what, resolution=resolution)


class TwoAgentsError(SnapedgeError):
    """A second agent speaks for one device."""

    exit_code = ExitCode.REFUSED

    def __init__(self, device: str, details: str) -> None:
        super().__init__(
            f"two agents speak for device {device}",
            details=details,
            resolution="stop one of them, or enrol the second as a device of its own",
        )


class ReportError(SnapedgeError):
    """A report that is none."""

    exit_code = ExitCode.REFUSED

    def __init__(self, device: str, problem: str) -> None:
        super().__init__(f"the report of {device} is refused: {problem}", resolution="update the agent")


class AuditBrokenError(SnapedgeError):
    """The chain of the audit log does not hold."""

    exit_code = ExitCode.REFUSED

    def __init__(self, sequence: int, problem: str) -> None:
        super().__init__(
            f"the audit log is broken at entry {sequence}: {problem}",
            resolution="compare with a backup: an entry was changed, added or removed by hand",
        )


class DataFolderError(SnapedgeError):
    """The server's folder cannot be used."""

    def __init__(self, path: Path, problem: str, *, resolution: str = "check --data and its rights") -> None:
        super().__init__(f"{path}: {problem}", resolution=resolution)


class LeaderElsewhereError(SnapedgeError):
    """Another server moves the rollouts of this folder."""

    exit_code = ExitCode.REFUSED

    def __init__(self, path: Path) -> None:
        super().__init__(f"another fleet server uses {path}", resolution="stop it, or name another --data folder")


class ServerAwayError(SnapedgeError):
    """The fleet server does not answer."""

    exit_code = ExitCode.REMOTE_AWAY

    def __init__(self, url: str, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(f"the fleet server {url} is away: {reason}", resolution="start it with fleet serve, or wait")
        self.retry_after = retry_after


class ServerRefusalError(SnapedgeError):
    """The fleet server said no, in its own words."""

    def __init__(self, status: int, brief: str, details: str, resolution: str, exit_code: int) -> None:
        super().__init__(brief, details=details, resolution=resolution)
        self.status = status
        self.exit_code = ExitCode(exit_code) if exit_code in set(ExitCode) else ExitCode.FAILED


class AgentRunningError(SnapedgeError):
    """Another agent uses this state folder."""

    exit_code = ExitCode.REFUSED

    def __init__(self, state_dir: Path) -> None:
        super().__init__(f"another agent runs on {state_dir}", resolution="stop it, or name another --state-dir")


class SnapdAwayError(SnapedgeError):
    """snapd's socket does not answer."""

    exit_code = ExitCode.REMOTE_AWAY

    def __init__(self, socket: Path, reason: str) -> None:
        super().__init__(f"snapd does not answer on {socket}: {reason}", resolution="check that snapd runs")


class SnapdRefusedError(SnapedgeError):
    """snapd said no."""

    def __init__(self, order: str, kind: str, message: str) -> None:
        super().__init__(f"snapd refuses to {order}: {message}", details=kind)
        self.kind = kind
        self.message = message


class SnapdSlowError(SnapedgeError):
    """A change of snapd's did not end in time; snapd goes on with it."""

    def __init__(self, what: str, seconds: float, status: str) -> None:
        super().__init__(f"snapd did not {what} within {seconds:g} s: {status}", resolution="see snap changes")


class DownloadError(SnapedgeError):
    """A file did not arrive whole.

    Attributes:
        is_final: whether trying again cannot help until the desired state changes.
    """

    def __init__(self, file: str, problem: str, *, is_final: bool, resolution: str) -> None:
        super().__init__(f"{file} did not arrive: {problem}", resolution=resolution)
        self.is_final = is_final
