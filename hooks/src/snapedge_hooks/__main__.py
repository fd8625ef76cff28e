"""`python3 -m snapedge_hooks <hook or app>`: what the snap's hooks and services run.

Exit codes are those snapd understands: 0, or 1 to have the change undone. With SNAPEDGE_DEBUG set, skips and
tracebacks are logged too. SNAPEDGE_JOURNAL names another socket for what hooks log, or none when it is empty.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import device as names
from . import journal, reload
from .clock import Clock, SystemClock
from .environment import SnapEnvironment
from .errors import SnapedgeError
from .snapctl import SnapCtl

_LOG = logging.getLogger("snapedge_hooks")


def main(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    snapctl: SnapCtl | None = None,
    clock: Clock | None = None,
) -> int:
    """Run a hook or app.

    Args:
        arguments: its name, and perhaps a budget.
        environment: as snapd sets it.
        snapctl: the door to snapd.
        clock: time.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        prog="snapedge_hooks", description="What a snapedge snap's hooks and services run."
    )
    parser.add_argument("name", choices=[*names.HOOKS, *names.APPS])
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="how long it may take")
    options = parser.parse_args(arguments)
    debug = bool(environment.get("SNAPEDGE_DEBUG"))
    _log(options.name, environment, debug=debug)
    try:
        return _run(
            options.name,
            SnapEnvironment.read(environment),
            snapctl or SnapCtl(),
            clock or SystemClock(),
            options.budget,
        )
    except SnapedgeError as error:
        _LOG.error("%s", error, exc_info=debug)
    except Exception as error:  # noqa: BLE001 - the one blind catch: a hook's last line must name its cause
        _LOG.error(
            "unexpected: %s: %s; set SNAPEDGE_DEBUG=1 and report it", type(error).__name__, error, exc_info=debug
        )
    return 0 if options.name in ("check-health", "connect-plug-mk8s", "remove") else 1


def _run(name: str, environment: SnapEnvironment, snapctl: SnapCtl, clock: Clock, budget: float | None) -> int:
    if name in ("configure", "check-health", "connect-plug-mk8s"):
        from . import hookpoints

        hooks = {
            "configure": hookpoints.configure,
            "check-health": hookpoints.check_health,
            "connect-plug-mk8s": hookpoints.connect_plug,
        }
        return hooks[name](environment, snapctl)
    # Imported here: requests costs more than all that the hooks above do.
    from . import outcomes, removal
    from .converger import Device

    runs = {
        "install": (outcomes.converge_in_hook, outcomes.HOOK_BUDGET),
        "post-refresh": (outcomes.converge_in_hook, outcomes.HOOK_BUDGET),
        "remove": (removal.remove, removal.BUDGET),
        "converge": (outcomes.converge_in_service, outcomes.SERVICE_BUDGET),
        "drift": (outcomes.look_for_drift, outcomes.SERVICE_BUDGET),
    }
    run, usual = runs[name]
    return run(Device(environment=environment, snapctl=snapctl, clock=clock), usual if budget is None else budget)


def _log(name: str, environment: Mapping[str, str], *, debug: bool) -> None:
    """Log to stderr, and a hook to the journal too: snapd sends there what services print, not what hooks do."""
    stderr = logging.StreamHandler(sys.stderr)
    stderr.setFormatter(logging.Formatter(f"snapedge {name}: %(message)s"))
    handlers: list[logging.Handler] = [stderr]
    path, instance = environment.get("SNAPEDGE_JOURNAL", journal.SOCKET), environment.get("SNAP_INSTANCE_NAME")
    if name in names.HOOKS and path and instance:
        handlers.append(journal.JournalHandler(path, journal.tag(instance, name)))
    for old in _LOG.handlers:
        old.close()
    _LOG.handlers[:] = handlers
    _LOG.propagate = False
    _LOG.setLevel(logging.DEBUG if debug else logging.INFO)


if __name__ == "__main__":
    if sys.argv[1:2] == [names.SERVICE] and "SNAP_COMMON" in os.environ:
        reload.listen(Path(os.environ["SNAP_COMMON"]))
    sys.exit(main(sys.argv[1:], os.environ))
