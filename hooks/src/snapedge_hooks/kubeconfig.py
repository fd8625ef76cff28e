"""Credentials for the Kubernetes API, read from a kubeconfig without a YAML library.

The device carries no YAML parser (docs/adr). A kubeconfig is YAML, so this reads the part of it that MicroK8s and
kubectl write, and JSON; anything else is refused with its line, never guessed:

1. Block mappings and block sequences, indented by spaces; a sequence may start in its key's own column.
2. Scalars on one line: plain, 'single' or "double" quoted; `{}` and `[]` when empty; comments; one document.
3. No anchors, tags, block scalars, filled flow collections, merge keys, tabs or duplicate keys.
4. `server` is https. Turning verification off, exec plugins and passwords are refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import SnapedgeError

_LOG = logging.getLogger(__name__)
MAX_BYTES = 1024 * 1024
_MAX_DEPTH = 16
_KEY = re.compile(r"""(?P<key>[A-Za-z0-9_.][A-Za-z0-9_./-]*|"[^"\\]*"|'[^']*')\s*:(?:\s+(?P<value>.*))?$""")
_UNSUPPORTED = re.compile(r"[&*!|>%@`{\[]|[-?:](\s|$)")


class KubeconfigError(SnapedgeError):
    """The kubeconfig cannot be used."""

    def __init__(self, problem: str, *, line: int | None = None) -> None:
        place = "client.config" if line is None else f"client.config line {line}"
        super().__init__(f"{place}: {problem}", resolution="reconnect mk8s, or let MicroK8s write it again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """How to reach the API and who to be there. Held in memory only.

    Attributes:
        server: `https://host:port`.
        authority: PEM of the CA that signed the server's certificate.
        certificate: PEM of the client's certificate, or empty.
        key: PEM of its key, or empty.
        token: bearer token, or empty.
    """

    server: str
    authority: str
    certificate: str = ""
    key: str = ""
    token: str = ""

    def __repr__(self) -> str:
        """Without the secrets."""
        return f"Credentials(server={self.server!r})"


def read(path: Path) -> Credentials:
    """The credentials of a kubeconfig's current context.

    Raises:
        FileNotFoundError: there is none.
        KubeconfigError: it cannot be read or used.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & stat.S_IROTH:
                # Not ours to change, and no reason to stop serving; whoever reads it is the cluster's administrator.
                _LOG.warning("client.config can be read by everybody on this device; run: chmod o-rwx client.config")
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise KubeconfigError(f"cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise KubeconfigError(f"is larger than {MAX_BYTES} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise KubeconfigError("is not UTF-8") from error
    return parse(text, beside=path.parent)


def parse(text: str, *, beside: Path) -> Credentials:
    """The credentials that a kubeconfig's text gives.

    Args:
        text: YAML as MicroK8s and kubectl write it, or JSON.
        beside: where relative file names in it start.

    Raises:
        KubeconfigError: not such a text, or something in it that we do not do.
    """
    if not text.strip():
        raise KubeconfigError("is empty")
    document = _parse_json(text) if text.lstrip().startswith("{") else parse_yaml(text)
    if not isinstance(document, dict):
        raise KubeconfigError("is not a mapping")
    context = _named(document, "contexts", "context", _text(document, "current-context"))
    cluster = _named(document, "clusters", "cluster", _text(context, "cluster"))
    user = _named(document, "users", "user", _text(context, "user"))
    server = _text(cluster, "server")
    if not re.fullmatch(r"https://[A-Za-z0-9.\[\]:-]+/?", server):
        raise KubeconfigError(f"server {server!r} is not https://host:port")
    if cluster.get("insecure-skip-tls-verify") in (True, "true"):
        raise KubeconfigError("insecure-skip-tls-verify is not accepted")
    for way in ("exec", "auth-provider", "username", "password", "tokenFile"):
        if way in user:
            raise KubeconfigError(f"user.{way} is not a way we sign in")
    credentials = Credentials(
        server=server.rstrip("/"),
        authority=_pem(cluster, "certificate-authority", beside),
        certificate=_pem(user, "client-certificate", beside),
        key=_pem(user, "client-key", beside),
        token=_text(user, "token", default=""),
    )
    if not credentials.authority:
        raise KubeconfigError("has no certificate-authority-data, so the API could be anybody")
    if bool(credentials.certificate) is not bool(credentials.key):
        raise KubeconfigError("has a client certificate or a client key, but not both")
    if not credentials.certificate and not credentials.token:
        raise KubeconfigError("has neither a client certificate nor a token")
    return credentials


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise KubeconfigError(f"is not JSON: {error.msg}", line=error.lineno) from error
    except RecursionError as error:
        raise KubeconfigError("is nested too deeply") from error


def _text(mapping: dict[str, Any], key: str, *, default: str | None = None) -> str:
    value = mapping.get(key, default)
    if not isinstance(value, str) or (not value and default is None):
        raise KubeconfigError(f"{key} is missing")
    return value


def _named(document: dict[str, Any], group: str, kind: str, name: str) -> dict[str, Any]:
    entries = document.get(group)
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(kind), dict):
            found: dict[str, Any] = entry[kind]
            return found
    raise KubeconfigError(f"{group} has no {name!r}")


def _pem(mapping: dict[str, Any], key: str, beside: Path) -> str:
    data = _text(mapping, f"{key}-data", default="")
    if data:
        try:
            pem = base64.b64decode(data, validate=True).decode("ascii")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise KubeconfigError(f"{key}-data is not base64 of PEM") from error
    else:
        name = _text(mapping, key, default="")
        if not name:
            return ""
        try:
            pem = (beside / name).read_text("ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise KubeconfigError(f"{key}: {name} cannot be read") from error
    if "-----BEGIN " not in pem:
        raise KubeconfigError(f"{key} is not PEM")
    return pem


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    indent: int
    text: str


def parse_yaml(text: str) -> Any:
    """The value of a text in the part of YAML that this module reads; scalars stay text.

    Raises:
        KubeconfigError: anything outside that part, with its line.
    """
    lines: list[_Line] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        stripped = raw.strip(" ")
        if not stripped or stripped.startswith("#") or (stripped == "---" and not lines):
            continue
        if "\t" in raw:
            raise KubeconfigError("has a tab", line=number)
        if stripped in ("---", "..."):
            raise KubeconfigError("has more than one document", line=number)
        lines.append(_Line(number, len(raw) - len(raw.lstrip(" ")), stripped))
    if not lines:
        raise KubeconfigError("is empty")
    value, rest = _block(lines, lines[0].indent, 0)
    if rest:
        raise KubeconfigError("is indented unlike its neighbours", line=rest[0].number)
    return value


def _block(lines: list[_Line], indent: int, depth: int) -> tuple[Any, list[_Line]]:
    if depth > _MAX_DEPTH:
        raise KubeconfigError("is nested too deeply", line=lines[0].number)
    if _is_item(lines[0]):
        return _sequence(lines, indent, depth)
    return _mapping(lines, indent, depth)


def _is_item(line: _Line) -> bool:
    return line.text == "-" or line.text.startswith("- ")


def _sequence(lines: list[_Line], indent: int, depth: int) -> tuple[list[Any], list[_Line]]:
    items: list[Any] = []
    while lines and lines[0].indent == indent and _is_item(lines[0]):
        line = lines[0]
        inner = line.text[1:].lstrip(" ")
        if inner and _KEY.match(inner):
            # "- key: value" opens a mapping whose column is that of its first key.
            column = indent + len(line.text) - len(inner)
            value, lines = _block([_Line(line.number, column, inner), *lines[1:]], column, depth + 1)
        elif inner:
            value, lines = _scalar(inner, line.number), lines[1:]
        elif len(lines) > 1 and lines[1].indent > indent:
            value, lines = _block(lines[1:], lines[1].indent, depth + 1)
        else:
            value, lines = None, lines[1:]
        items.append(value)
    return items, lines


def _mapping(lines: list[_Line], indent: int, depth: int) -> tuple[dict[str, Any], list[_Line]]:
    found: dict[str, Any] = {}
    while lines and lines[0].indent == indent and not _is_item(lines[0]):
        line = lines[0]
        match = _KEY.match(line.text)
        if match is None:
            raise KubeconfigError("is not `key: value`", line=line.number)
        key, inner, lines = match["key"].strip("\"'"), (match["value"] or "").strip(" "), lines[1:]
        if key in found:
            raise KubeconfigError(f"{key} stands twice", line=line.number)
        if inner and not inner.startswith("#"):
            found[key] = _scalar(inner, line.number)
        elif lines and (lines[0].indent > indent or (lines[0].indent == indent and _is_item(lines[0]))):
            found[key], lines = _block(lines, lines[0].indent, depth + 1)
        else:
            found[key] = None
    return found, lines


def _scalar(text: str, number: int) -> Any:
    if text[0] in "\"'":
        quoted = re.fullmatch(r"""(?:"([^"\\]*)"|'((?:[^']|'')*)')\s*(?:#.*)?""", text)
        if quoted is None:
            raise KubeconfigError("has a quoted text we do not read", line=number)
        return quoted[1] if quoted[1] is not None else quoted[2].replace("''", "'")
    plain = re.sub(r"\s+#.*$", "", text)
    if plain in ("{}", "[]"):
        return {} if plain == "{}" else []
    if _UNSUPPORTED.match(plain) or ": " in plain or plain.endswith(":"):
        raise KubeconfigError("has YAML that a kubeconfig does not need", line=number)
    return None if plain in ("null", "~") else plain
