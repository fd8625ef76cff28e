"""The login to the Snap Store, as `snapcraft export-login` writes it into SNAPCRAFT_STORE_CREDENTIALS.

Three forms are read: a pair of macaroons (root and discharge), a single macaroon, and the configuration file of
snapcraft 6 and older; each in base64, the last one also plain. What is refreshed is kept in memory alone.
"""

from __future__ import annotations

import base64
import binascii
import configparser
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from snapedge_hooks.errors import ExitCode

from . import macaroons
from .errors import BuilderError
from .remotestore import CREDENTIALS


class CredentialsError(BuilderError):
    """There are no credentials, or what there is are none."""

    exit_code = ExitCode.USAGE

    def __init__(self, problem: str) -> None:
        super().__init__(f"{CREDENTIALS} {problem}", resolution="export into it what `snapcraft export-login` writes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What authorizes requests; it never shows itself.

    Attributes:
        root: macaroon.
        discharge: macaroon of the root's third party; empty where the root needs none.
    """

    root: str = field(repr=False)
    discharge: str = field(default="", repr=False)

    @property
    def can_refresh(self) -> bool:
        """Whether there is a discharge to be renewed."""
        return bool(self.discharge)

    def header(self) -> str:
        """The value of the Authorization header.

        Raises:
            CredentialsError: they are no macaroons.
        """
        if not self.discharge:
            return f"Macaroon {self.root}"
        try:
            return f"Macaroon root={self.root}, discharge={macaroons.bound(self.root, self.discharge)}"
        except ValueError as error:
            raise CredentialsError("holds what is no macaroon") from error

    def refreshed(self, discharge: str) -> Login:
        """The same login with a new discharge."""
        return replace(self, discharge=discharge)


def read(environment: Mapping[str, str], *, login_address: str) -> Login:
    """The login of an environment.

    Args:
        environment: with the variable.
        login_address: of the third party, which names the section of old configuration files.

    Raises:
        CredentialsError: it is unset or unreadable.
    """
    text = environment.get(CREDENTIALS, "").strip()
    if not text:
        raise CredentialsError("is not set")
    for form in (_decoded(text), text):
        if form is None:
            continue
        login = _of_json(form) or _of_configuration(form, urlsplit(login_address).hostname or "")
        if login is not None:
            login.header()
            return login
    raise CredentialsError("holds no login that this can read")


def _decoded(text: str) -> str | None:
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode()
    except (binascii.Error, ValueError):
        return None


def _of_json(text: str) -> Login | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    value: Any = document
    if isinstance(document, dict) and "t" in document:
        value = document.get("v")
        if document["t"] == "macaroon":
            return Login(root=value) if _is_word(value) else None
        if document["t"] != "u1-macaroon":
            return None
    if isinstance(value, dict) and _is_word(value.get("r")) and _is_word(value.get("d")):
        return Login(root=value["r"], discharge=value["d"])
    return None


def _of_configuration(text: str, section: str) -> Login | None:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
        root, discharge = parser.get(section, "macaroon"), parser.get(section, "unbound_discharge")
    except (configparser.Error, UnicodeError):
        return None
    return Login(root=root, discharge=discharge) if _is_word(root) and _is_word(discharge) else None


def _is_word(value: Any) -> bool:
    """Whether a value can stand in a header."""
    return isinstance(value, str) and bool(value) and value.isascii() and value.isprintable() and " " not in value
