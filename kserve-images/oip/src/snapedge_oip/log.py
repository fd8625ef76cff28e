"""Log lines on standard error, for a machine or for a person."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from enum import Enum

import orjson


class LogFormat(Enum):
    """How a line looks."""

    JSON = "json"
    TEXT = "text"


def configure(style: LogFormat) -> None:
    """Sends everything from INFO to standard error, one line for each event."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(style))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


class _Lines(logging.Formatter):
    """One line for each record; `extra={"event": {...}}` becomes keys of the JSON object."""

    def __init__(self, style: LogFormat) -> None:
        super().__init__()
        self._format = style

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event = getattr(record, "event", None) or {}
        text = record.getMessage()
        if record.exc_info:
            event = {**event, "traceback": self.formatException(record.exc_info)}
        if self._format is LogFormat.JSON:
            return orjson.dumps({"at": at, "level": record.levelname.lower(), "message": text, **event}).decode()
        details = "".join(f" {key}={value}" for key, value in event.items())
        return f"{at} {record.levelname.lower()} {text}{details}"
