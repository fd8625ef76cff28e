"""One interface to the fleet, wherever it runs: over HTTP here, in process on the local data folder in `localfleet`."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests

from .errors import AddressError, IdentityError, ServerAwayError
from .wire import ACTOR_HEADER, reason_of, refusal

_TIMEOUT = (5.0, 60.0)


class FleetClient(Protocol):
    """Performs operations of `operations.OPERATIONS`."""

    def call(self, operation: str, **arguments: Any) -> Any:
        """The operation's result.

        Raises:
            SnapedgeError: it failed; brief, details, resolution and exit code are the same wherever it ran.
        """
        ...

    def close(self) -> None:
        """Give up what the client holds open."""
        ...


class RemoteFleet:
    """The fleet of a server.

    Raises:
        AddressError: the URL is none, or of another kind than http and https.
    """

    def __init__(self, url: str, token: str, *, ca_file: Path | None = None, actor: str | None = None) -> None:
        _check_url(url)
        self._url = url.rstrip("/")
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token}"
        self._session.headers[ACTOR_HEADER] = actor or actor_name()
        if ca_file is not None:
            self._session.verify = str(ca_file)

    def call(self, operation: str, **arguments: Any) -> Any:
        """The operation's result.

        Raises:
            ServerAwayError: the server does not answer.
            ServerRefusalError: it said no.
        """
        try:
            answer = self._session.post(f"{self._url}/v1/admin/{operation}", json=arguments, timeout=_TIMEOUT)
        except requests.RequestException as error:
            raise ServerAwayError(self._url, reason_of(error)) from error
        if answer.ok:
            return answer.json()
        raise refusal(self._url, answer)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def _check_url(text: str) -> None:
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise AddressError(text)


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        IdentityError: the file cannot be read, or is empty.
    """
    try:
        token = path.read_text().strip()
    except OSError as error:
        raise IdentityError(
            f"the token file {path} cannot be read: {error.strerror}", resolution="name it with --token-file"
        ) from error
    if not token:
        raise IdentityError(f"the token file {path} is empty", resolution="name another with --token-file")
    return token


def actor_name() -> str:
    """Who orders, for the audit log: the login name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "operator"
