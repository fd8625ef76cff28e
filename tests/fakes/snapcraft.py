"""A `snapcraft` that publishes into a file: its commands, words and exit codes are those of the real one (8 and 9).

The file is run as the program; tests make one with `FakeSnapcraft` and look at what it has. Like the real one it prints
results on standard output, progress and errors on standard error, blocks until a file was reviewed, takes its login
from the environment, and tells no digests in its table of revisions.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

CREDENTIALS = "dGhlIHNlY3JldCBvZiBhIHB1Ymxpc2hlcg=="
State = dict[str, Any]


class FakeSnapcraft:
    """The program in a folder, and the store behind it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.program = folder / "snapcraft"
        self.program.write_text(
            f"#!{sys.executable}\nimport runpy\n"
            f"runpy.run_path({__file__!r}, {{'STATE': {str(folder / 'state.json')!r}}}, '__main__')\n"
        )
        self.program.chmod(0o755)
        self._path = folder / "state.json"
        self._path.write_text(json.dumps({"names": {}, "revisions": {}, "releases": {}, "calls": [], "faults": []}))

    @property
    def state(self) -> State:
        found: State = json.loads(self._path.read_text())
        return found

    def own(self, name: str, owner: str = "us") -> None:
        with _state(self._path) as state:
            state["names"][name] = owner
            state["revisions"].setdefault(name, [])
            state["releases"].setdefault(name, [])

    def fail(self, command: str, how: str, *, times: int = 1, after: int = 0) -> None:
        """Have a command go wrong so often, after so many that go well.

        `how`: away, lost (done, but the answer did not come), manual, rejected, slow, forbidden, careless.
        """
        with _state(self._path) as state:
            state["faults"].append({"command": command, "how": how, "times": times, "after": after})

    def add(self, name: str, architecture: str, version: str, content: bytes = b"old", channel: str = "") -> int:
        """Have the store know an earlier file."""
        with _state(self._path) as state:
            number = _add(state, name, architecture, version, hashlib.sha3_384(content).hexdigest())
            if channel:
                state["releases"][name].append({"arch": architecture, "channel": channel, "revision": number})
        return number

    def calls(self, *commands: str) -> list[list[str]]:
        return [call for call in self.state["calls"] if not commands or call[0] in commands]

    def channel(self, name: str, channel: str) -> dict[str, int]:
        """What a channel leads to by architecture."""
        return _channel(self.state, name, channel)


@contextlib.contextmanager
def _state(path: Path) -> Iterator[State]:
    with path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        state: State = json.load(file)
        yield state
        file.seek(0)
        file.truncate()
        json.dump(state, file)


def _add(state: State, name: str, architecture: str, version: str, digest: str) -> int:
    revisions = state["revisions"][name]
    revisions.append({"revision": len(revisions) + 1, "arch": architecture, "version": version, "sha3": digest})
    return len(revisions)


def _channel(state: State, name: str, channel: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for release in state["releases"].get(name, []):
        if release["channel"] == channel:
            if release["revision"] is None:
                found.pop(release["arch"], None)
            else:
                found[release["arch"]] = release["revision"]
    return found


def _full(channel: str) -> str:
    risks = ("stable", "candidate", "beta", "edge")
    return f"latest/{channel}" if channel.split("/")[0] in risks else channel


def _die(*lines: str, code: int = 1) -> NoReturn:
    for line in lines:
        print(line, file=sys.stderr)
    print("Full execution log: '/root/.local/state/snapcraft/log/snapcraft.log'", file=sys.stderr)
    sys.exit(code)


_AWAY = "Maximum retries exceeded trying to reach the store."


def _fault(state: State, command: str) -> str:
    for fault in state["faults"]:
        if fault["command"] == command:
            if fault["after"]:
                fault["after"] -= 1
            elif fault["times"]:
                fault["times"] -= 1
                return str(fault["how"])
    return ""


def main(words: list[str], path: Path) -> None:
    parser = argparse.ArgumentParser(prog="snapcraft")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("names")
    register = commands.add_parser("register")
    register.add_argument("name")
    register.add_argument("--yes", action="store_true")
    register.add_argument("--private", action="store_true")
    upload = commands.add_parser("upload")
    upload.add_argument("file")
    upload.add_argument("--release")
    revisions = commands.add_parser("list-revisions")
    revisions.add_argument("name")
    release = commands.add_parser("release")
    release.add_argument("name")
    release.add_argument("revision", type=int)
    release.add_argument("channels")
    close = commands.add_parser("close")
    close.add_argument("name")
    close.add_argument("channel")
    given = parser.parse_args(words)
    with _state(path) as state:
        state["calls"].append(words)
        how = _fault(state, given.command)
    secret = os.environ.get("SNAPCRAFT_STORE_CREDENTIALS", "")
    if sys.stdin.read():
        _die("somebody types")
    if not secret:
        _die("You are required to login before continuing", "Enter your Ubuntu One e-mail address and password.")
    if secret != CREDENTIALS:
        _die(
            "Exported credentials are no longer valid for the Snap Store.",
            "Recommended resolution: Run export-login and update SNAPCRAFT_STORE_CREDENTIALS.",
        )
    if how == "away":
        _die(_AWAY)
    if how == "forbidden":
        _die("Store operation failed:", "- macaroon-permission-required: Permission is required: channel")
    if how == "careless":
        _die(f"unexpected answer to a request with Authorization: Macaroon {secret}")
    if how == "refused":
        _die("Store operation failed:", "- invalid-field: The 'channels' field content is not valid.")
    with _state(path) as state:
        _COMMANDS[given.command](state, given, how)
    if how == "slow":
        time.sleep(30)
    if how == "lost":
        _die(_AWAY)


def _names(state: State, given: argparse.Namespace, how: str) -> None:
    ours = sorted(name for name, owner in state["names"].items() if owner == "us")
    if not ours:
        print("No registered snaps")
        return
    print("Name    Since                 Visibility    Notes")
    for name in ours:
        print(f"{name}  2026-01-01T00:00:00Z  public        -")


def _register(state: State, given: argparse.Namespace, how: str) -> None:
    if not given.yes:
        _die("cannot ask")
    if given.name in state["names"]:
        _die("Issue encountered while processing your request: [409] Conflict.")
    state["names"][given.name] = "us"
    state["revisions"][given.name], state["releases"][given.name] = [], []
    print(f"Registered {given.name!r}")


def _upload(state: State, given: argparse.Namespace, how: str) -> None:
    file = Path(given.file)
    name, version, architecture = file.stem.rsplit("_", 2)
    if state["names"].get(name) != "us":
        _die("Store operation failed:", f"- resource-not-found: Snap not found for name={name}")
    print("Uploading...", file=sys.stderr)
    digest = hashlib.sha3_384(file.read_bytes()).hexdigest()
    print("Status: processing", file=sys.stderr)
    if any(found["sha3"] == digest for found in state["revisions"][name]):
        _die(
            "Status: error while processing",
            "Issues while processing snap:",
            "- binary_sha3_384: A file with this exact same content has already been uploaded",
        )
    if how == "rejected":
        _die("Status: error while processing", "Issues while processing snap:", "- human review required: plug mk8s")
    number = _add(state, name, architecture, version, digest)
    print("Status: will need manual review" if how == "manual" else "Status: ready to release!", file=sys.stderr)
    message = f"Revision {number!r} created for {name!r}"
    if given.release:
        for channel in given.release.split(","):
            state["releases"][name].append({"arch": architecture, "channel": _full(channel), "revision": number})
        message += f" and released to {given.release!r}"
    if how not in ("lost", "slow"):
        print(message)


def _list_revisions(state: State, given: argparse.Namespace, how: str) -> None:
    if state["names"].get(given.name) != "us":
        _die("Store operation failed:", f"- resource-not-found: Snap not found for name={given.name}")
    releases = state["releases"][given.name]
    has_channels = bool(releases)
    print("Rev.    Uploaded              Arches    Version" + ("    Channels" if has_channels else ""))
    for found in reversed(state["revisions"][given.name]):
        cells = [str(found["revision"]), "2026-01-01T00:00:00Z", found["arch"], found["version"]]
        if has_channels:
            mine = sorted({item["channel"] for item in releases if item["revision"] == found["revision"]})
            stars = [
                channel + "*" * (_channel(state, given.name, channel).get(found["arch"]) == found["revision"])
                for channel in mine
            ]
            cells.append(",".join(stars) or "-")
        print("    ".join(cells))


def _release(state: State, given: argparse.Namespace, how: str) -> None:
    found = [item for item in state["revisions"][given.name] if item["revision"] == given.revision]
    if not found:
        _die("Store operation failed:", f"- resource-not-found: Revision {given.revision} does not exist")
    for channel in given.channels.split(","):
        state["releases"][given.name].append(
            {"arch": found[0]["arch"], "channel": _full(channel), "revision": given.revision}
        )
    print(f"Released {given.name!r} revision {given.revision!r} to channels: {given.channels!r}")


def _close(state: State, given: argparse.Namespace, how: str) -> None:
    channel = _full(given.channel)
    for architecture in _channel(state, given.name, channel):
        state["releases"][given.name].append({"arch": architecture, "channel": channel, "revision": None})
    print(f"Channel {given.channel!r} for {given.name!r} is now closed")


_COMMANDS = {
    "names": _names,
    "register": _register,
    "upload": _upload,
    "list-revisions": _list_revisions,
    "release": _release,
    "close": _close,
}

if __name__ == "__main__":
    main(sys.argv[1:], Path(globals()["STATE"]))
