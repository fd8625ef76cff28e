"""Where a Snap Store is: snapcraft's own variables say so, for it and for us."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from snapedge_hooks.errors import ExitCode

from .errors import BuilderError

DASHBOARD = "STORE_DASHBOARD_URL"
STORAGE = "STORE_UPLOAD_URL"
LOGIN = "UBUNTU_ONE_SSO_URL"
_DEFAULTS = {
    DASHBOARD: "https://dashboard.snapcraft.io",
    STORAGE: "https://storage.snapcraftcontent.com",
    LOGIN: "https://login.ubuntu.com",
}
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class StoreAddressError(BuilderError):
    """A store's address is none that credentials may be sent to."""

    exit_code = ExitCode.USAGE

    def __init__(self, variable: str, problem: str) -> None:
        super().__init__(f"{variable} {problem}", resolution="set it to the store's https address, or unset it")


def dashboard(environment: Mapping[str, str]) -> str:
    """The address of the store's API, without a slash at its end."""
    return address(DASHBOARD, environment)


def address(variable: str, environment: Mapping[str, str]) -> str:
    """The address that a variable says, or the Snap Store's.

    Raises:
        StoreAddressError: it is no https address; plain http is for this machine alone.
    """
    text = (environment.get(variable) or _DEFAULTS[variable]).rstrip("/")
    parts = urlsplit(text)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username or parts.query:
        raise StoreAddressError(variable, "is no address")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise StoreAddressError(variable, "would send credentials over plain http")
    return text
