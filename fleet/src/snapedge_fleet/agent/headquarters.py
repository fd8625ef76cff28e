"""The agent's door to the fleet server: enrol, ask, report, fetch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from snapedge_fleet.errors import ServerAwayError, ServerRefusalError, TwoAgentsError
from snapedge_fleet.wire import AGENT_HEADER, INTERVAL_HEADER, reason_of, refusal

_TIMEOUT = (5.0, 60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a poll brought: a new wish, or None where it is the one that is known."""

    document: dict[str, Any] | None
    etag: str
    interval: float | None


class Headquarters:
    """Calls to one fleet server on behalf of one device."""

    def __init__(self, url: str, device: str, agent: str, *, ca_file: Path | None = None) -> None:
        self._url = url.rstrip("/")
        self._device = device
        self._session = requests.Session()
        self._session.headers[AGENT_HEADER] = agent
        if ca_file is not None:
            self._session.verify = str(ca_file)

    def use_token(self, token: str) -> None:
        """Speak as the device that the token belongs to."""
        self._session.headers["Authorization"] = f"Bearer {token}"

    def enrol(self, claim: str, architecture: str) -> str:
        """The device's token, in exchange for a claim word.

        Raises:
            ServerAwayError: the server does not answer.
            ServerRefusalError: it refuses the word.
        """
        body = {"device": self._device, "claim": claim, "architecture": architecture}
        answer = self._call("POST", "/v1/enrol", json=body)
        return str(_object(self._url, answer)["token"])

    def ask(self, etag: str) -> Answer:
        """What the device is to have now.

        Raises:
            ServerAwayError: the server does not answer.
            ServerRefusalError: it refuses the device.
            TwoAgentsError: another agent speaks for the device.
        """
        headers = {"If-None-Match": etag} if etag else {}
        answer = self._call("GET", f"/v1/d/{self._device}/state", headers=headers)
        interval = _number(answer.headers.get(INTERVAL_HEADER))
        if answer.status_code == 304:
            return Answer(document=None, etag=etag, interval=interval)
        document = _object(self._url, answer)
        return Answer(document=document, etag=answer.headers.get("ETag", ""), interval=interval)

    def report(self, document: Mapping[str, Any]) -> None:
        """Tell what the device has.

        Raises:
            ServerAwayError: the server does not answer.
            ServerRefusalError: it refuses the report.
            TwoAgentsError: another agent speaks for the device.
        """
        self._call("POST", f"/v1/d/{self._device}/report", json=document)

    @contextmanager
    def fetch(self, path: str, *, start: int, tag: str) -> Iterator[tuple[int, Iterator[bytes]]]:
        """A file of the store from a byte on: the byte it really starts at, and its pieces.

        Raises:
            ServerAwayError: the server does not answer, or stops in the middle.
            ServerRefusalError: it has no such file.
        """
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers |= {"Range": f"bytes={start}-", "If-Range": tag}
        answer = self._call("GET", path, headers=headers, stream=True)
        with answer:
            yield (start if answer.status_code == 206 else 0), self._pieces(answer)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _pieces(self, answer: requests.Response) -> Iterator[bytes]:
        try:
            yield from answer.iter_content(256 * 1024)
        except requests.RequestException as error:
            raise ServerAwayError(self._url, reason_of(error)) from error

    def _call(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            answer = self._session.request(method, self._url + path, timeout=_TIMEOUT, **options)
        except requests.RequestException as error:
            raise ServerAwayError(self._url, reason_of(error)) from error
        if answer.ok:
            return answer
        problem = refusal(self._url, answer)
        answer.close()
        if isinstance(problem, ServerRefusalError) and problem.status == 409 and "two agents" in problem.brief:
            raise TwoAgentsError(self._device, problem.details)
        raise problem


def _object(url: str, answer: requests.Response) -> dict[str, Any]:
    try:
        document = json.loads(answer.content)
    except ValueError as error:
        raise ServerAwayError(url, "its answer is not JSON") from error
    if not isinstance(document, dict):
        raise ServerAwayError(url, "its answer is no JSON object")
    return document


def _number(text: str | None) -> float | None:
    try:
        number = None if text is None else float(text)
    except ValueError:
        return None
    return number if number is not None and 0 < number < 1e9 else None
