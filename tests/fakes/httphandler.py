"""What the fake HTTP servers have in common: connections are kept, nothing is printed, a client may go at any time."""

from __future__ import annotations

import ssl
from http.server import BaseHTTPRequestHandler
from typing import Any


class QuietHandler(BaseHTTPRequestHandler):
    """Of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args: Any) -> None:
        """Nothing."""

    def handle(self) -> None:
        """Every request, until the client goes."""
        try:
            super().handle()
        except (ConnectionError, TimeoutError, ssl.SSLError):
            self.close_connection = True
