"""What can go wrong, by whose fault it is.

ServingError
  RequestError          the client's: an HTTP status and a sentence for the `{"error": ...}` body
  LoadError             the model folder's: the server cannot serve it and leaves with exit code 3
  UnknownModelError     the client's: there is no folder of that name
  PredictionError       the runtime's: it broke on a request that looked right
  BusyError             nobody's: too much is going on, try again
"""

from __future__ import annotations

from http import HTTPStatus


class ServingError(Exception):
    """A failure told in one line."""


class RequestError(ServingError):
    """A request that cannot be answered as it is.

    Attributes:
        status: the HTTP status of the answer.
        headers: further headers of the answer, as on the wire.
    """

    def __init__(
        self, message: str, status: int = HTTPStatus.BAD_REQUEST, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        super().__init__(message)
        self.status = int(status)
        self.headers = headers


class LoadError(ServingError):
    """A model that cannot be served; the text is the termination log's reason."""


class UnknownModelError(ServingError):
    """No folder has a model of that name."""


class PredictionError(ServingError):
    """The runtime failed.

    Attributes:
        by_input: whether the request's own values made it fail, which is the client's to mend.
    """

    def __init__(self, message: str, *, by_input: bool) -> None:
        super().__init__(message)
        self.by_input = by_input


class BusyError(ServingError):
    """All workers are busy and the queue is full."""
