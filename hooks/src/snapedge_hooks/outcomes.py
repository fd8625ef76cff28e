"""What a hook or service makes of a convergence: health, exit code, another try.

| situation                        | install, post-refresh                      | converge           | drift           |
|----------------------------------|--------------------------------------------|--------------------|-----------------|
| done                             | okay, exit 0                               | okay, exit 0       | okay, exit 0    |
| shortage, nothing of ours serves | waiting, exit 0: the service goes on       | waiting, try again | waiting, exit 0 |
| shortage, something serves       | try again in the budget, then back, exit 1 | waiting, try again | waiting, exit 0 |
| image not imported               | waiting, exit 0: the service goes on       | waiting, try again | waiting, exit 0 |
| refused                          | last good one back, exit 1: snapd undoes   | back, error, exit 0| the same        |
| payload bad                      | error, exit 1                              | error, exit 0      | the same        |
| restore failed                   | error, exit 1                              | error, try again   | error, exit 0   |
"""

from __future__ import annotations

import logging

from . import health as healths
from . import lock
from .clock import Deadline
from .converger import Converger, Device
from .health import Health
from .lock import LockedError
from .situations import RestoreFailedError, ShortageError, SituationError, SnapCtlError
from .state import Memory
from .vocabulary import HealthCode

_LOG = logging.getLogger(__name__)
HOOK_BUDGET = 8 * 60.0
"""Seconds; snapd kills a hook after 10 minutes."""
SERVICE_BUDGET = 10 * 60.0
_SHORTEST_SERVICE = 3.0
"""Seconds that the service lives at least. systemd starts it five times in ten seconds and no more, and snapd undoes
the `snap set` that asks for a sixth start; while the service lives it is told to look anew instead."""
_FIRST_DELAY = 1.0
_LONGEST_DELAY = 60.0
_HOOK_DELAY = 5.0
_GIVE_UP_SHARE = 0.1


def report(device: Device, health: Health) -> None:
    """Tell snapd, and keep it for check-health; a snapd that does not listen stops nothing."""
    Memory(device.environment.state_file).update(health=health)
    try:
        device.snapctl.set_health(health)
    except SnapCtlError as error:
        _LOG.warning("health is not told: %s", error)


def converge_in_hook(device: Device, budget: float = HOOK_BUDGET) -> int:
    """Converge while snapd waits; its answer decides whether the snap's change stands. The exit code."""
    deadline = Deadline.after(device.clock, budget * (1 - _GIVE_UP_SHARE))
    delay = _FIRST_DELAY
    while True:
        converger = None
        try:
            with lock.held(device.environment.lock_file, deadline):
                converger = Converger(device, remembers_refusals=False)
                report(device, converger.run(deadline.remaining))
            return 0
        except ShortageError as error:
            # snapd connects nothing of a snap whose change is under way, so no import can come while the hook runs.
            if converger is not None and (not converger.serves or error.code is HealthCode.NO_IMAGE):
                report(device, healths.of_situation(error))
                _LOG.warning("%s; the converge service goes on trying", error)
                return 0
            if deadline.remaining <= delay:
                return _give_up(device, converger, error, budget * _GIVE_UP_SHARE)
            _LOG.warning("%s; trying again in %.0f s", error, delay)
            deadline.pause(delay)
            delay = min(delay * 2, _HOOK_DELAY)
        except SituationError as error:
            report(device, healths.of_situation(error))
            _LOG.error("%s: %s", error.code.value, error)
            return 1


def _give_up(device: Device, converger: Converger | None, error: ShortageError, seconds: float) -> int:
    if converger is not None:
        try:
            with lock.held(device.environment.lock_file, Deadline.after(device.clock, seconds)):
                converger.give_up(seconds)
        except (RestoreFailedError, LockedError) as failure:
            _LOG.warning("%s", failure)
    report(device, healths.of_situation(error))
    _LOG.error("%s: %s", error.code.value, error)
    return 1


def converge_in_service(device: Device, budget: float = SERVICE_BUDGET) -> int:
    """Converge however long it takes. The exit code."""
    shortest = Deadline.after(device.clock, _SHORTEST_SERVICE)
    code = _converge_until_done(device, budget)
    if not shortest.has_passed:
        shortest.pause(_SHORTEST_SERVICE)
    return code


def _converge_until_done(device: Device, budget: float) -> int:
    delay = _FIRST_DELAY
    while True:
        try:
            with lock.held(device.environment.lock_file, Deadline.after(device.clock, budget)):
                report(device, Converger(device, remembers_refusals=True).run(budget))
            return 0
        except (ShortageError, RestoreFailedError) as error:
            report(device, healths.of_situation(error))
            _LOG.warning("%s; trying again in %.0f s", error, delay)
        except LockedError as error:
            _LOG.warning("%s; trying again in %.0f s", error, delay)
        except SituationError as error:
            report(device, healths.of_situation(error))
            _LOG.error("%s", error)
            return 0
        device.clock.sleep(delay)
        delay = min(delay * 2, _LONGEST_DELAY)


def look_for_drift(device: Device, budget: float = SERVICE_BUDGET) -> int:
    """Replay samples and repair what changed, once; the timer comes again. The exit code."""
    try:
        with lock.held(device.environment.lock_file, Deadline.after(device.clock, 0.0)):
            report(device, Converger(device, remembers_refusals=True).run(budget, replay=True))
    except LockedError:
        _LOG.info("a convergence is under way; the timer comes again")
    except (ShortageError, RestoreFailedError) as error:
        report(device, healths.of_situation(error))
        _LOG.warning("%s", error)
    except SituationError as error:
        report(device, healths.of_situation(error))
        _LOG.error("%s", error)
    return 0
