"""Requests to the Snap Store: authorized, refreshed, put off as it asks, and bounded.

LostAnswerError      a request may or may not have been carried out: its answer did not come
"""

from __future__ import annotations

import email.utils
import json
import logging
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from snapedge_hooks.clock import Clock, Deadline

from . import snapstoreaddress, snapstorelogin
from .remotestore import StoreAwayError, StoreError, StoreLoginError, UploadProgress
from .snapstorelogin import Login

_LOG = logging.getLogger(__name__)
_CONNECT, _READ = 15.0, 60.0
_UPLOAD_READ = 300.0
_MAX_ANSWER = 64 * 1024 * 1024
_PIECE = 1 << 20
_OVERLOADED = frozenset({429, 503})
_BROKEN = frozenset({500, 502, 504})
_FIRST_PAUSE = 2.0
_ATTEMPTS = 4


class LostAnswerError(Exception):
    """No answer came, or one from a machine between us and the store: what was asked may have been done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the store answered.

    Attributes:
        document: the JSON object of the answer; empty where it is none.
        text: the answer as it came, cut short.
    """

    status: int
    headers: Mapping[str, str]
    document: dict[str, Any]
    text: str

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of its errors, in both forms that the API has."""
        items = self.document.get("error_list") or self.document.get("error-list") or []
        listed = [str(item.get("code")) for item in items if isinstance(item, dict)] if isinstance(items, list) else []
        single = self.document.get("code")
        return (*listed, *([single] if isinstance(single, str) else []))

    @property
    def first_code(self) -> str:
        """One code, for people."""
        return self.codes[0] if self.codes else str(self.status)

    @property
    def words(self) -> str:
        """What it says of what is wrong."""
        items = self.document.get("error_list") or self.document.get("error-list")
        if isinstance(items, list) and items:
            said = [f"{item.get('code')}: {item.get('message')}" for item in items if isinstance(item, dict)]
            return "\n".join(said)[:4000]
        return " ".join(self.text.split())[:400]

    def has_code(self, code: str) -> bool:
        """Whether one of its errors has that code."""
        return code in self.codes

    def objects(self, key: str) -> list[dict[str, Any]]:
        """The objects of a list in it; none where there is no such list."""
        items = self.document.get(key)
        return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


class StoreWire:
    """Sends requests to one store."""

    def __init__(self, environment: Mapping[str, str], *, clock: Clock, title: str, seconds: float) -> None:
        """A wire to the store that the environment names.

        Args:
            environment: with addresses and credentials.
            clock: to pause by.
            title: of the store, for errors.
            seconds: that one request may be put off.
        """
        self.dashboard = snapstoreaddress.dashboard(environment)
        self._login_address = snapstoreaddress.address(snapstoreaddress.LOGIN, environment)
        self._login = snapstorelogin.read(environment, login_address=self._login_address)
        self._clock = clock
        self._title = title
        self._seconds = seconds
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "snapedge-builder"

    def get(self, path: str) -> Reply:
        """Read something, a path of the API or a whole address; again where that may help.

        Raises:
            StoreError: the store is away, or refuses the login.
        """
        try:
            return self._asked("GET", path, None, may_repeat=True)
        except LostAnswerError as error:
            raise self.away(error) from error

    def post(self, path: str, body: Mapping[str, Any], *, may_repeat: bool = False) -> Reply:
        """Ask for something to be done.

        Args:
            path: of the API.
            body: as JSON.
            may_repeat: whether doing it twice is doing it once.

        Raises:
            LostAnswerError: it may have been done; not where it may be repeated.
            StoreError: the store is away, or refuses the login.
        """
        try:
            return self._asked("POST", path, body, may_repeat=may_repeat)
        except LostAnswerError as error:
            if may_repeat:
                raise self.away(error) from error
            raise

    def send_file(self, address: str, path: Path, told: UploadProgress) -> Reply:
        """Send a file as the form's field `binary`, without credentials.

        Raises:
            LostAnswerError: it broke off.
            StoreAwayError: the storage is overloaded for longer than there is time.
        """
        deadline = Deadline.after(self._clock, self._seconds)
        while True:
            form = _Form(path, told)
            reply = self._send(
                "POST",
                address,
                data=form,
                headers={"Content-Type": form.content_type, "Accept": "application/json"},
                timeout=(_CONNECT, _UPLOAD_READ),
            )
            if reply.status in _BROKEN:
                raise LostAnswerError(f"answered {reply.status} {reply.words}".strip())
            if reply.status not in _OVERLOADED:
                return reply
            self._put_off(reply, deadline)

    def away(self, error: Exception) -> StoreAwayError:
        """What to say of a store that did not answer."""
        return StoreAwayError(self._title, str(error))

    def odd(self, problem: str) -> StoreError:
        """What to say of an answer that is not as documented."""
        return StoreAwayError(self._title, problem)

    def check_login(self, reply: Reply) -> None:
        """Tell an answer about the login from others.

        Raises:
            StoreLoginError: it is one.
        """
        if reply.status in (401, 403):
            problem = "does not take the credentials" if reply.status == 401 else "the credentials may not do this"
            raise StoreLoginError(self._title, problem, details=reply.words)

    def _asked(self, method: str, path: str, body: Mapping[str, Any] | None, *, may_repeat: bool) -> Reply:
        deadline, attempts, is_refreshed = Deadline.after(self._clock, self._seconds), 0, False
        pause = _FIRST_PAUSE
        while True:
            attempts += 1
            try:
                reply = self._once(method, path, body)
            except LostAnswerError:
                if not may_repeat or attempts == _ATTEMPTS or deadline.has_passed:
                    raise
                deadline.pause(pause)
                pause *= 2
                continue
            if reply.status == 401 and not is_refreshed and self._login.can_refresh and _needs_refresh(reply):
                self._refresh()
                is_refreshed = True
                continue
            if reply.status == 401:
                self.check_login(reply)
            if reply.status not in _OVERLOADED:
                return reply
            self._put_off(reply, deadline)

    def _once(self, method: str, path: str, body: Mapping[str, Any] | None) -> Reply:
        address = path if path.startswith("http") else self.dashboard + path
        login = self._login if _origin(address) == _origin(self.dashboard) else None
        reply = self._send(
            method,
            address,
            json=body,
            auth=_Authorized(login),
            headers={"Accept": "application/json"},
            timeout=(_CONNECT, _READ),
        )
        if reply.status in _BROKEN:
            raise LostAnswerError(f"answered {reply.status} {reply.words}".strip())
        return reply

    def _send(self, method: str, address: str, **options: Any) -> Reply:
        options.setdefault("auth", _Authorized(None))
        try:
            with self._session.request(method, address, stream=True, allow_redirects=False, **options) as response:
                text = _bounded(response)
                return Reply(
                    status=response.status_code, headers=response.headers, document=_object(text), text=text[:4000]
                )
        except requests.RequestException as error:
            raise LostAnswerError(_problem(error)) from error
        except OSError as error:
            raise LostAnswerError(error.strerror or type(error).__name__) from error

    def _put_off(self, reply: Reply, deadline: Deadline) -> None:
        """Wait as long as an overloaded store asks."""
        seconds = _retry_after(reply, now=self._clock.time())
        if seconds > deadline.remaining:
            raise StoreAwayError(
                self._title, f"is overloaded (answered {reply.status}) and asks to come back in {seconds:.0f} s"
            )
        _LOG.debug("put off for %.0f s", seconds)
        deadline.pause(seconds)

    def _refresh(self) -> None:
        """Renew the discharge, which lives for hours; the root lives for as long as it was exported for."""
        _LOG.debug("refreshing the discharge")
        try:
            reply = self._send(
                "POST",
                f"{self._login_address}/api/v2/tokens/refresh",
                json={"discharge_macaroon": self._login.discharge},
                headers={"Accept": "application/json"},
                timeout=(_CONNECT, _READ),
            )
        except LostAnswerError as error:
            raise StoreAwayError(self._title, f"its login service {error}") from error
        if reply.status in _BROKEN | _OVERLOADED:
            raise StoreAwayError(self._title, f"its login service answered {reply.status}")
        discharge = reply.document.get("discharge_macaroon")
        if reply.status != 200 or not isinstance(discharge, str):
            raise StoreLoginError(self._title, "its login service does not renew the credentials", details=reply.words)
        self._login = self._login.refreshed(discharge)


class _Authorized(AuthBase):
    """The one source of the Authorization header: with it, requests reads no .netrc."""

    def __init__(self, login: Login | None) -> None:
        self._login = login

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.pop("Authorization", None)
        if self._login is not None:
            request.headers["Authorization"] = self._login.header()
        return request


class _Form:
    """A multipart form with one file, sent in pieces."""

    def __init__(self, path: Path, told: UploadProgress) -> None:
        boundary = uuid.uuid4().hex
        self.content_type = f"multipart/form-data; boundary={boundary}"
        name = path.name.replace("\\", "_").replace('"', "_")
        self._head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="binary"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._path = path
        self._size = path.stat().st_size
        self._told = told

    def __len__(self) -> int:
        return len(self._head) + self._size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        sent = 0
        with self._path.open("rb") as file:
            while piece := file.read(min(_PIECE, self._size - sent)):
                yield piece
                sent += len(piece)
                self._told(sent, self._size)
        if sent != self._size:
            _changed(self._path)
        yield self._tail


def _changed(path: Path) -> NoReturn:
    raise OSError(f"{path.name} became shorter while it was sent")


def _needs_refresh(reply: Reply) -> bool:
    challenge = next((value for key, value in reply.headers.items() if key.lower() == "www-authenticate"), "")
    return "needs_refresh=1" in challenge or reply.has_code("macaroon-needs-refresh")


def _retry_after(reply: Reply, *, now: float) -> float:
    """Seconds to wait, from the header (seconds or a date) or the body that the API's registration has."""
    header = next((value for key, value in reply.headers.items() if key.lower() == "retry-after"), "").strip()
    if header.isascii() and header.isdigit():
        return float(header)
    try:
        at = email.utils.parsedate_to_datetime(header)
    except (TypeError, ValueError):
        said = reply.document.get("retry_after")
        return float(said) if isinstance(said, int | float) and said >= 0 else 2 * _FIRST_PAUSE
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.fromtimestamp(now, UTC)).total_seconds())


def _origin(address: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(address)
    return parts.scheme, parts.hostname, parts.port


def _bounded(response: requests.Response) -> str:
    data = bytearray()
    for piece in response.iter_content(65536):
        data += piece
        if len(data) > _MAX_ANSWER:
            raise LostAnswerError(f"answered with more than {_MAX_ANSWER} bytes")
    return data.decode("utf-8", "replace")


def _object(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _problem(error: requests.RequestException) -> str:
    """What happened, without the request, whose headers are nobody's business."""
    if isinstance(error, requests.exceptions.SSLError):
        return "shows a certificate that this host does not trust"
    if isinstance(error, requests.Timeout):
        return "does not answer in time"
    if isinstance(error, requests.ConnectionError):
        return "cannot be reached, or broke the connection"
    return f"gave no answer that can be read ({type(error).__name__})"
