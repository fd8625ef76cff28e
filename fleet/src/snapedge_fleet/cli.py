"""The command `fleet`: parses, calls one operation, prints."""

from __future__ import annotations

import importlib
import logging
import platform
import random
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

import click

from snapedge_hooks.errors import ExitCode, SnapedgeError

from . import inventorycommands, rendering, rolloutcommands
from .clioptions import DEFAULT_DATA, DEFAULT_STORE, PATH, Connection, as_json, connected, open_client


class _Commands(click.Group):
    """Loads the virtual devices' commands only when they are asked for: they bring many modules along."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command's name."""
        return sorted([*super().list_commands(ctx), "virtual"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by its name."""
        if cmd_name != "virtual":
            return super().get_command(ctx, cmd_name)
        module = importlib.import_module("snapedge_fleet.virtual.cli")
        group: click.Command = module.virtual_group
        return group


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="snapedge-fleet", prog_name="fleet")
@click.option("-v", "--verbose", is_flag=True, help="Log what is done, and show tracebacks.")
def fleet(verbose: bool) -> None:
    """Brings releases to groups of devices, in waves.

    Exit codes: 0 done, 1 failed, 2 usage, 3 refused by a check or halted, 4 a remote part is away, 5 interrupted.
    """
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    for noisy in ("urllib3", "alembic", "asyncio", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


@fleet.command()
@click.option("--data", envvar="SNAPEDGE_DATA", type=PATH, default=DEFAULT_DATA, help="The fleet's data folder.")
@click.option("--store", envvar="SNAPEDGE_STORE", type=PATH, default=DEFAULT_STORE, help="The store's folder.")
@click.option("--listen", default="127.0.0.1:8443", show_default=True, help="Where to listen; port 0 takes a free one.")
@click.option("--tls-cert", type=PATH, help="Certificate chain, PEM.")
@click.option("--tls-key", type=PATH, help="Its key, PEM.")
@click.option("--poll-active", type=float, default=60.0, show_default=True, help="Seconds between polls while moving.")
@click.option("--poll-idle", type=float, default=900.0, show_default=True, help="Seconds between polls otherwise.")
@click.option("--settle", type=float, help="Seconds every device gets to ask; twice --poll-idle unless given.")
@click.option("--soak", type=float, default=300.0, show_default=True, help="Seconds a wave stays good before the next.")
@click.option(
    "--timeout", type=float, default=1800.0, show_default=True, help="Seconds after which silence is failure."
)
@click.option("--tick", type=float, default=1.0, show_default=True, help="Seconds between looks at the rollouts.")
def serve(
    data: Path,
    store: Path,
    listen: str,
    tls_cert: Path | None,
    tls_key: Path | None,
    poll_active: float,
    poll_idle: float,
    settle: float | None,
    soak: float,
    timeout: float,
    tick: float,
) -> None:
    """Run the control plane: API, rollouts and the store's files."""
    from . import serving
    from .control import Control, Settings
    from .rollout import WavePolicy

    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    policy = WavePolicy(settle=2 * poll_idle if settle is None else settle, soak=soak, timeout=timeout)
    settings = Settings(poll_active=poll_active, poll_idle=poll_idle, policy=policy)
    control = Control.open(data, store, settings)
    tls = None if tls_cert is None or tls_key is None else serving.Tls(certificate=tls_cert, key=tls_key)
    try:
        serving.serve(control, data, listen, tls=tls, tick=tick, announce=_announce)
    finally:
        control.close()


@fleet.group()
def store() -> None:
    """The directory store."""


@store.command("list")
@as_json
@connected
def store_list(connection: Connection, output: str) -> None:
    """Which release each channel names."""
    with open_client(connection) as fleet_client:
        found = fleet_client.call("store")
    if output == "json":
        rendering.print_json(found)
        return
    rows = [
        (
            one["snap"],
            one["channel"],
            one["version"],
            one["release"],
            ", ".join(f"{architecture} {revision}" for architecture, revision in one["revisions"].items()),
        )
        for one in found
    ]
    rendering.print_table(("snap", "channel", "version", "release", "revisions"), rows, empty="the store is empty")


@store.command("serve")
@click.option("--store", "folder", envvar="SNAPEDGE_STORE", type=PATH, default=DEFAULT_STORE, help="The folder.")
@click.option("--listen", default="127.0.0.1:8480", show_default=True, help="Where to listen; port 0 takes a free one.")
def store_serve(folder: Path, listen: str) -> None:
    """Serve the store's files over HTTP, to every reader."""
    from snapedge_hooks.directorystore import DirectoryStore

    from . import server, serving

    serving.serve_store(server.store_application(DirectoryStore(folder)), listen, announce=_announce)


for _command in (*inventorycommands.COMMANDS, *rolloutcommands.COMMANDS):
    fleet.add_command(_command)


@fleet.group()
def agent() -> None:
    """The agent on a device."""


@agent.command("run")
@click.option("--device-id", required=True, help="The device's name in the fleet.")
@click.option("--server", required=True, envvar="SNAPEDGE_SERVER", help="The fleet server's URL.")
@click.option("--token-file", required=True, type=PATH, help="The device's token; written when it enrols.")
@click.option("--claim-token-file", type=PATH, help="The claim word, where there is no token yet.")
@click.option("--snapd-socket", type=PATH, default=Path("/run/snapd.socket"), show_default=True, help="snapd's socket.")
@click.option("--state-dir", required=True, type=PATH, help="The agent's own folder.")
@click.option("--ca-file", type=PATH, help="Certificates the server's is checked with.")
@click.option("--arch", help="The device's architecture, where it is not this machine's.")
@click.option("--interval", type=float, help="The longest time between two questions, in seconds.")
def agent_run(
    device_id: str,
    server: str,
    token_file: Path,
    claim_token_file: Path | None,
    snapd_socket: Path,
    state_dir: Path,
    ca_file: Path | None,
    arch: str | None,
    interval: float | None,
) -> None:
    """Ask the fleet what this device is to have, drive snapd there, and report."""
    from snapedge_hooks.vocabulary import Architecture

    from .agent.agent import Agent, AgentSetup

    try:
        architecture = Architecture.of_machine(platform.machine()) if arch is None else Architecture.parse(arch)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    setup = AgentSetup(
        device=device_id,
        server=server,
        token_file=token_file,
        claim_file=claim_token_file,
        snapd_socket=snapd_socket,
        state_dir=state_dir,
        ca_file=ca_file,
        architecture=architecture,
        interval=interval,
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    running = Agent(setup, now=time.monotonic, wait=lambda seconds: _rest(stop, seconds), chance=random.random)
    try:
        running.run(stop)
    finally:
        running.close()


def main() -> None:
    """The entry point: every failure becomes one line on stderr and an exit code."""
    is_verbose = "-v" in sys.argv[1:2] or "--verbose" in sys.argv[1:2]
    try:
        fleet.main(prog_name="fleet", standalone_mode=False)
        code = ExitCode.DONE
    except SnapedgeError as error:
        _complain(error)
        code = error.exit_code
    except click.ClickException as error:
        click.echo(f"error: {_usage(error)}", err=True)
        code = ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        code = ExitCode.FAILED
    except Exception as error:  # noqa: BLE001  # the one place where the unforeseen becomes a line
        if is_verbose:
            traceback.print_exc()
        click.echo(f"error: {type(error).__name__}: {error}; run fleet --verbose for more", err=True)
        code = ExitCode.FAILED
    sys.exit(int(code))


def _usage(error: click.ClickException) -> str:
    """Click's message as one line in our words' order: what, then what to do."""
    message = " ".join(error.format_message().split()).rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message[:1].lower()}{message[1:]}; see {'fleet' if context is None else context.command_path} --help"


def _complain(error: SnapedgeError) -> None:
    click.echo(f"error: {error}", err=True)
    for line in error.details.splitlines():
        click.echo(f"  {line}", err=True)


def _announce(url: str) -> None:
    click.echo(f"serving {url}")
    sys.stdout.flush()


def _rest(stop: threading.Event, seconds: float) -> None:
    stop.wait(seconds)


if __name__ == "__main__":
    main()
