"""The device's journal, for hooks: what they say stays readable under the snap's name after snapd has forgotten them.

snapd sends what a service prints to the journal by itself; what a hook prints it shows only if the hook fails. So a
hook tells the journal too: `journalctl -t snap.<instance>.hook.<hook>`. A strict snap may write to the socket.

The handler is our own and not that of `logging.handlers`: that module costs more to import than a hook like
check-health otherwise does.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from typing import Final

SOCKET: Final = "/dev/log"
"""Where a device's journal takes lines in syslog's form."""
MAX_BYTES: Final = 8 * 1024
"""Of one line; the rest of a longer one is left out."""
_USER: Final = 1 << 3
_SEVERITIES: Final = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG: Final = 7


def tag(instance: str, hook: str) -> str:
    """The identifier of a hook's lines, in the form of the units of a snap's services."""
    return f"snap.{instance}.hook.{hook}"


class JournalHandler(logging.Handler):
    """Sends each line as one datagram. A journal that is absent, away or busy costs the line and nothing else.

    Args:
        path: the journal's socket.
        tag: what the lines are found by.
    """

    def __init__(self, path: str, tag: str) -> None:
        super().__init__()
        self._path = path
        self._tag = tag
        self._socket: socket.socket | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record's lines."""
        try:
            door = self._connected()
            for datagram in self._datagrams(record):
                door.send(datagram)
        except OSError:
            # Told on stderr as well; a hook must not fail, nor wait, because a journal starts anew.
            self._disconnect()

    def close(self) -> None:
        """Let the socket go."""
        self._disconnect()
        super().close()

    def _datagrams(self, record: logging.LogRecord) -> Iterator[bytes]:
        severity = next((number for level, number in _SEVERITIES if record.levelno >= level), _DEBUG)
        head = f"<{_USER | severity}>{self._tag}[{record.process}]: ".encode()
        for line in self.format(record).replace("\0", " ").splitlines():
            if line:
                yield head + line.encode(errors="replace")[: MAX_BYTES - len(head)]

    def _connected(self) -> socket.socket:
        if self._socket is None:
            door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                door.setblocking(False)
                door.connect(self._path)
            except OSError:
                door.close()
                raise
            self._socket = door
        return self._socket

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
