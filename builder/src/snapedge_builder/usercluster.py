"""The one door to a person's own cluster: the `kubernetes` client, which knows every way to log in to one.

Of the client are used its configuration, its credentials (exec plugins, tokens, certificates) and its connection; what
is sent and read are the API's own documents.

    ClusterError             the root: the cluster did not do what it was asked
      ClusterClientError     the client is not installed, or there is no such context
      ClusterAwayError       the API does not answer, or not as one
      ClusterRefusedError    the API understood, and said no
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from snapedge_hooks.errors import ExitCode

from .errors import BuilderError

Object = dict[str, Any]
_CONNECT, _READ = 10.0, 60.0
_PROXIED = 130.0
_UNREADABLE = 400


class ClusterError(BuilderError):
    """A cluster did not do what it was asked."""


class ClusterClientError(ClusterError):
    """There is no way to the cluster from here."""

    exit_code = ExitCode.USAGE

    def __init__(self, problem: str, *, resolution: str) -> None:
        super().__init__(problem, resolution=resolution)


class ClusterAwayError(ClusterError):
    """The API does not answer."""

    exit_code = ExitCode.REMOTE_AWAY

    def __init__(self, context: str, problem: str) -> None:
        super().__init__(
            f"cluster {context}: {problem}", resolution=f"see whether `kubectl --context {context} get nodes` works"
        )


class ClusterRefusedError(ClusterError):
    """The API said no."""

    exit_code = ExitCode.REFUSED

    def __init__(self, context: str, problem: str, *, resolution: str = "") -> None:
        super().__init__(f"cluster {context}: {problem}", resolution=resolution)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiAnswer:
    """What the API, or a Service behind it, answered."""

    status: int
    body: bytes

    def document(self) -> Object:
        """The JSON object of it; empty where it is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def is_from_api(self) -> bool:
        """Whether the API itself speaks, not what is behind it."""
        return self.document().get("kind") == "Status"

    @property
    def message(self) -> str:
        """What it says, on one line."""
        said = self.document().get("message")
        return " ".join(said.split())[:400] if isinstance(said, str) else f"status {self.status}"


class UserCluster:
    """A cluster that a context of a kubeconfig names."""

    def __init__(self, context: str, *, config_file: Path | None = None) -> None:
        """A connection to the cluster.

        Args:
            context: its name in the kubeconfig.
            config_file: the kubeconfig; $KUBECONFIG or ~/.kube/config where not given.

        Raises:
            ClusterClientError: there is no client, no kubeconfig or no such context.
        """
        self.context = context
        self._client = _client(context, config_file)

    def close(self) -> None:
        """Drop connections and secrets."""
        self._client.close()

    def find(self, path: str) -> Object | None:
        """The object or list at a path of the API; None where there is none."""
        answer = self._ask("GET", path)
        return None if answer.status == 404 else self._checked(answer).document()

    def items(self, path: str, *, selector: str = "") -> list[Object]:
        """The objects of a list; none where there is no such list."""
        found = self.find(path + (f"?labelSelector={quote(selector)}" if selector else ""))
        items = None if found is None else found.get("items")
        return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []

    def create(self, path: str, document: Object) -> None:
        """Add an object to a collection."""
        self._checked(self._ask("POST", path, document))

    def delete(self, path: str) -> None:
        """Delete an object, what it owns in the background; content where it is gone already."""
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        answer = self._ask("DELETE", path, options)
        if answer.status not in (404, 410):
            self._checked(answer)

    def log_of(self, namespace: str, pod: str, *, lines: int) -> str:
        """The last lines that a pod wrote, of its run before where it began anew; empty where there are none."""
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log?tailLines={lines}"
        for address in (path + "&previous=true", path):
            answer = self._ask("GET", address)
            if answer.status == 200 and answer.body.strip():
                return answer.body.decode("utf-8", "replace").strip()
        return ""

    def through(self, namespace: str, service: str, method: str, path: str, body: bytes | None = None) -> ApiAnswer:
        """Ask a Service by the API's proxy, which leads to it from wherever the API can be reached.

        Args:
            namespace: of the Service.
            service: `name:port`.
            method: of HTTP.
            path: at the Service.
            body: JSON.
        """
        address = f"/api/v1/namespaces/{namespace}/services/http:{service}/proxy{path}"
        return self._ask(method, address, None if body is None else json.loads(body), seconds=_PROXIED)

    def _ask(self, method: str, path: str, body: Object | None = None, *, seconds: float = _READ) -> ApiAnswer:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        configuration = self._client.configuration
        headers = {"Accept": "application/json", **_authorization(configuration)}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            response = self._client.rest_client.request(
                method, f"{configuration.host}{path}", headers=headers, body=body, _request_timeout=(_CONNECT, seconds)
            )
            return ApiAnswer(status=int(response.status), body=_bytes(response.read()))
        except ApiException as error:
            # Older clients raise what newer ones return.
            if not error.status:
                raise ClusterAwayError(self.context, _line(error.reason)) from error
            return ApiAnswer(status=int(error.status), body=_bytes(error.body))
        except (HTTPError, OSError) as error:
            raise ClusterAwayError(self.context, _line(getattr(error, "reason", None) or error)) from error

    def _checked(self, answer: ApiAnswer) -> ApiAnswer:
        if 200 <= answer.status < 300:
            return answer
        if answer.status in (401, 403):
            raise ClusterRefusedError(
                self.context, answer.message, resolution="use a context whose user may do this, or another --namespace"
            )
        if answer.status >= 500 and "webhook" not in answer.message:
            raise ClusterAwayError(self.context, f"answered {answer.status}: {answer.message}")
        raise ClusterRefusedError(self.context, answer.message)


def _client(context: str, config_file: Path | None) -> Any:
    try:
        import kubernetes
    except ImportError as error:
        raise ClusterClientError(
            "the kubernetes client is not installed",
            resolution="install it with `pip install 'snapedge-builder[cluster]'`",
        ) from error
    config: Any = kubernetes.config
    try:
        return config.new_client_from_config(
            config_file=None if config_file is None else str(config_file), context=context
        )
    except config.ConfigException as error:
        raise ClusterClientError(
            f"context {context}: {_line(error)}",
            resolution="`kubectl config get-contexts` lists the contexts; --kubeconfig names another file",
        ) from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ClusterClientError(
            f"context {context}: the kubeconfig cannot be used: {_line(error)}",
            resolution="name another with --kubeconfig",
        ) from error


def _authorization(configuration: Any) -> Mapping[str, str]:
    """The headers that log in; tokens are renewed by the client as its configuration says."""
    settings = configuration.auth_settings().values()
    return {item["key"]: item["value"] for item in settings if item["in"] == "header" and item["value"]}


def _bytes(data: Any) -> bytes:
    return data if isinstance(data, bytes) else str(data or "").encode()


def _line(problem: object) -> str:
    return " ".join(str(problem).split())[:_UNREADABLE] or "no answer"
