"""The hooks that only ask and tell snapd: they run in every revert and every `snap set`, so they load little."""

from __future__ import annotations

import logging

from . import configuration, device, health, state
from .environment import SnapEnvironment
from .situations import ConfigurationError, SnapCtlError
from .snapctl import SnapCtl

_LOG = logging.getLogger(__name__)


def configure(environment: SnapEnvironment, snapctl: SnapCtl) -> int:
    """Refuse what cannot be used, and have the rest converged with. The exit code."""
    try:
        settings = configuration.parse(snapctl.serve_options())
    except (ConfigurationError, SnapCtlError) as error:
        _LOG.error("%s", error)
        return 1
    if settings.fingerprint != state.load(environment.state_file).configuration:
        _wake(environment, snapctl)
    return 0


def check_health(environment: SnapEnvironment, snapctl: SnapCtl) -> int:
    """Tell snapd the health that the last convergence found. The exit code, always 0: another undoes a revert."""
    try:
        snapctl.set_health(state.load(environment.state_file).health or health.UNKNOWN)
    except SnapCtlError as error:
        _LOG.warning("health is not told: %s", error)
    return 0


def connect_plug(environment: SnapEnvironment, snapctl: SnapCtl) -> int:
    """Have the service converge, now that there are credentials. The exit code, always 0: another undoes it."""
    _wake(environment, snapctl)
    return 0


def _wake(environment: SnapEnvironment, snapctl: SnapCtl) -> None:
    try:
        snapctl.reload(f"{environment.instance_name}.{device.SERVICE}")
    except SnapCtlError as error:
        _LOG.warning("the %s service is not woken: %s", device.SERVICE, error)
