"""The login in all forms that snapcraft exported over the years."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from snapedge_builder import snapstoreaddress, snapstorelogin
from snapedge_builder.snapstoreaddress import StoreAddressError
from snapedge_builder.snapstorelogin import CredentialsError
from snapedge_hooks.errors import ExitCode

CASE = json.loads((Path(__file__).parents[2] / "cases" / "macaroons" / "version-1.json").read_text())
ROOT, DISCHARGE, BOUND = CASE["root"], CASE["discharge"], CASE["bound"]
CONFIGURATION = f"[login.example.com]\nmacaroon = {ROOT}\nunbound_discharge = {DISCHARGE}\nemail = a@example.com\n"


def encoded(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.b64encode(text.encode()).decode()


def header(text: str) -> str:
    environment = {"SNAPCRAFT_STORE_CREDENTIALS": text}
    return snapstorelogin.read(environment, login_address="https://login.example.com").header()


@pytest.mark.parametrize(
    "text",
    [
        encoded({"t": "u1-macaroon", "v": {"r": ROOT, "d": DISCHARGE}}),
        encoded({"r": ROOT, "d": DISCHARGE}),
        encoded({"r": ROOT, "d": DISCHARGE})[:40] + "\n" + encoded({"r": ROOT, "d": DISCHARGE})[40:] + "\n",
        encoded(CONFIGURATION),
        CONFIGURATION,
    ],
    ids=["typed", "untyped", "wrapped", "old", "old and plain"],
)
def test_a_pair_of_macaroons_becomes_a_header_with_the_discharge_bound(text: str) -> None:
    assert header(text) == f"Macaroon root={ROOT}, discharge={BOUND}"


def test_a_single_macaroon_stands_alone_and_cannot_be_refreshed() -> None:
    environment = {"SNAPCRAFT_STORE_CREDENTIALS": encoded({"t": "macaroon", "v": "WyJtYWNhcm9vbiJd"})}
    login = snapstorelogin.read(environment, login_address="https://login.example.com")
    assert (login.header(), login.can_refresh) == ("Macaroon WyJtYWNhcm9vbiJd", False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "!",
        encoded("words"),
        encoded({"t": "other", "v": {"r": ROOT, "d": DISCHARGE}}),
        encoded({"t": "u1-macaroon", "v": {"r": ROOT}}),
        encoded({"r": f"{ROOT}\r\nHost: elsewhere", "d": DISCHARGE}),
        encoded({"r": "bm8gbWFjYXJvb24", "d": DISCHARGE}),
        encoded(CONFIGURATION.replace("login.example.com", "login.elsewhere.com")),
        "[" * 5000,
    ],
)
def test_what_is_no_login_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        header(text)
    assert caught.value.exit_code is ExitCode.USAGE
    assert not text or text not in str(caught.value)
    assert ROOT not in f"{caught.value} {caught.value.details}"


def test_a_login_does_not_show_itself() -> None:
    environment = {"SNAPCRAFT_STORE_CREDENTIALS": encoded({"r": ROOT, "d": DISCHARGE})}
    assert repr(snapstorelogin.read(environment, login_address="https://login.example.com")) == "Login()"


@pytest.mark.parametrize(
    "address",
    ["http://store.example.com", "ftp://store.example.com", "store", "https://a:b@store.example.com", "https://"],
)
def test_credentials_go_to_no_address_that_cannot_be_trusted(address: str) -> None:
    with pytest.raises(StoreAddressError):
        snapstoreaddress.dashboard({"STORE_DASHBOARD_URL": address})


def test_an_address_is_the_snap_stores_unless_another_is_named() -> None:
    assert snapstoreaddress.dashboard({}) == "https://dashboard.snapcraft.io"
    assert snapstoreaddress.dashboard({"STORE_DASHBOARD_URL": "http://127.0.0.1:80/"}) == "http://127.0.0.1:80"
