"""`pytest tests/conformance --base-url http://host:port --model simple`: how a server keeps to the protocol, scored.

The server must serve two models: `simple` (INPUT0 and INPUT1, INT32 [-1,16]; OUTPUT0 their sum, OUTPUT1 their
difference) and, for raw binary requests, an identity of FP32 [-1,-1] (`--identity`).
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

_ROWS = pytest.StashKey[list[tuple[str, bool, str]]]()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error(self) -> bool:
        """Whether the body is the protocol's error object."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return False
        return isinstance(found, dict) and list(found) == ["error"] and isinstance(found["error"], str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server and the names of its models."""

    base: str
    model: str
    identity: str

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own, with no header but what is given."""
        parts = urlsplit(self.base)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
        try:
            connection.request(method, parts.path.rstrip("/") + path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            return Answer(
                status=response.status,
                headers={name.lower(): value for name, value in response.getheaders()},
                body=response.read(),
            )
        finally:
            connection.close()

    def infer(self, document: Any, **headers: str) -> Answer:
        """An infer request for the model; bytes go as they are."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        given = {"Content-Type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
        return self.ask("POST", f"/v2/models/{self.model}/infer", body, {k: v for k, v in given.items() if v})


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--base-url", help="the server to ask, such as http://127.0.0.1:8080")
    group.addoption("--model", default="simple", help="its model of two inputs")
    group.addoption("--identity", default="identity_fp32", help="its model that gives back one FP32 tensor")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ROWS] = []


@pytest.fixture(scope="session")
def target(pytestconfig: pytest.Config) -> Target:
    base = pytestconfig.getoption("--base-url")
    if not base:
        pytest.skip("no --base-url is given")
    return Target(base=base, model=pytestconfig.getoption("--model"), identity=pytestconfig.getoption("--identity"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    outcome = yield
    report = outcome.get_result()
    row = getattr(item, "callspec", None)
    if report.when == "call" and row is not None and not report.skipped:
        told = "" if report.passed else " ".join(str(call.excinfo.value).split())[:90] if call.excinfo else ""
        item.config.stash[_ROWS].append((row.id, report.passed, told))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    rows = config.stash[_ROWS]
    if not rows:
        return
    terminalreporter.section("conformance")
    for name, passed, told in rows:
        terminalreporter.write_line(f"{'ok  ' if passed else 'MISS'}  {name:44}  {told}".rstrip())
    terminalreporter.write_line(f"score {sum(passed for _, passed, _ in rows)}/{len(rows)}")
