"""The one door to snapd: `snapctl`, as hooks and services of a snap may call it."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from .health import Health
from .situations import SnapCtlError
from .vocabulary import HealthStatus

TIMEOUT = 20.0
"""Seconds; snapd answers in milliseconds unless the device is starting up."""


class SnapCtl:
    """Asks snapd and tells it.

    Args:
        executable: the command; tests give one of their own.
    """

    def __init__(self, executable: str = "snapctl") -> None:
        self._executable = executable

    def serve_options(self) -> dict[str, Any]:
        """What `snap set` holds below `serve`; empty when nothing was ever set.

        Raises:
            SnapCtlError: snapd gave no answer, or one that is no JSON object.
        """
        answer = self._run("get", "-d", "serve").strip()
        try:
            document = json.loads(answer) if answer else {}
        except json.JSONDecodeError as error:
            raise SnapCtlError("get -d serve", "answered with something other than JSON") from error
        options = document.get("serve", {}) if isinstance(document, dict) else document
        if options is None:
            return {}
        return options if isinstance(options, dict) else {"": options}

    def set_health(self, health: Health) -> None:
        """Report the snap's health.

        Raises:
            SnapCtlError: snapd did not take it.
        """
        arguments = ["set-health"]
        if health.code is not None:
            arguments.append(f"--code={health.code.value}")
        arguments.append(health.status.value)
        if health.status is not HealthStatus.OKAY:
            arguments.append(health.message)
        self._run(*arguments)

    def is_connected(self, plug: str) -> bool:
        """Whether a plug of ours has a slot."""
        try:
            self._run("is-connected", plug)
        except SnapCtlError:
            return False
        return True

    def reload(self, service: str) -> None:
        """Have a service look anew, or start it; called in a hook, snapd does it when the hook has ended.

        Not a restart: systemd refuses a sixth start in ten seconds, and snapd then undoes the `snap set` that asked.

        Raises:
            SnapCtlError: snapd did not take it.
        """
        self._run("restart", "--reload", service)

    def _run(self, *arguments: str) -> str:
        try:
            done = subprocess.run(
                [self._executable, *arguments], capture_output=True, text=True, timeout=TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise SnapCtlError(arguments[0], f"no answer in {TIMEOUT:.0f} s") from error
        except OSError as error:
            raise SnapCtlError(arguments[0], f"cannot be run: {error.strerror}") from error
        if done.returncode != 0:
            problem = done.stderr.strip().splitlines()
            raise SnapCtlError(arguments[0], problem[-1] if problem else f"exit code {done.returncode}")
        return done.stdout
