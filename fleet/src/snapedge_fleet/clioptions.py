"""Options that many commands share: which fleet they talk to, and for whom they print."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from .client import FleetClient

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_DATA = Path.home() / ".local/share/snapedge/fleet"
DEFAULT_STORE = Path.home() / ".local/share/snapedge/store"
PATH = click.Path(path_type=Path)
as_json = click.option(
    "--format", "output", type=click.Choice(["table", "json"]), default="table", help="For people or for machines."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Which fleet a command talks to."""

    server: str | None
    token_file: Path | None
    ca_file: Path | None
    data: Path
    store: Path


def connected(command: F) -> F:
    """Gives a command the options that say which fleet it talks to, as its first argument."""

    @click.option("--server", envvar="SNAPEDGE_SERVER", help="The fleet server's URL; without it, --data is used.")
    @click.option("--token-file", envvar="SNAPEDGE_TOKEN_FILE", type=PATH, help="The server's admin.token.")
    @click.option("--ca-file", envvar="SNAPEDGE_CA_FILE", type=PATH, help="Certificates the server's is checked with.")
    @click.option("--data", envvar="SNAPEDGE_DATA", type=PATH, default=DEFAULT_DATA, help="The fleet's data folder.")
    @click.option("--store", envvar="SNAPEDGE_STORE", type=PATH, default=DEFAULT_STORE, help="The store's folder.")
    @functools.wraps(command)
    def with_connection(
        server: str | None, token_file: Path | None, ca_file: Path | None, data: Path, store: Path, **options: Any
    ) -> Any:
        connection = Connection(server=server, token_file=token_file, ca_file=ca_file, data=data, store=store)
        return command(connection, **options)

    return with_connection  # type: ignore[return-value]  # click's decorators keep the callable's kind, not its signature


@contextmanager
def open_client(connection: Connection) -> Iterator[FleetClient]:
    """The fleet that the options name: on a server, or in the local data folder.

    Raises:
        IdentityError: the server's token cannot be read.
        DataFolderError: the data folder cannot be used.
    """
    # Imported where they are used: the database's libraries take longer to load than most commands to run.
    one: FleetClient
    if connection.server is not None:
        from . import client

        token = client.read_token(connection.token_file or connection.data / "admin.token")
        one = client.RemoteFleet(connection.server, token, ca_file=connection.ca_file)
    else:
        from .control import Control
        from .localfleet import LocalFleet

        one = LocalFleet(Control.open(connection.data, connection.store))
    try:
        yield one
    finally:
        one.close()
