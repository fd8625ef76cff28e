"""The registry and the cluster of a device, opened when they are first asked for."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from . import kubeconfig
from .cluster import Cluster
from .environment import SnapEnvironment
from .kubeconfig import KubeconfigError
from .kubernetes import KubernetesApi
from .registry import Registry
from .situations import ShortageError
from .snapctl import SnapCtl
from .vocabulary import HealthCode, RegistryAddress

PLUG = "mk8s"


class Doors:
    """Everything outside that a convergence acts on. A context manager: closing drops connections and secrets.

    Args:
        environment: where the credentials are.
        snapctl: to ask why they are not there.
        registry: its address.
    """

    def __init__(self, environment: SnapEnvironment, snapctl: SnapCtl, registry: RegistryAddress) -> None:
        self._environment = environment
        self._snapctl = snapctl
        self.registry = Registry(registry)
        self._api: KubernetesApi | None = None

    def kubernetes(self) -> KubernetesApi:
        """The API of MicroK8s.

        Raises:
            ShortageError: there are no credentials.
        """
        if self._api is None:
            self._api = self._connect()
        return self._api

    def cluster(self, namespace: str) -> Cluster:
        """Our objects in a namespace.

        Raises:
            ShortageError: there are no credentials.
        """
        name, owner = self._environment.object_name, self._environment.instance_name
        return Cluster(self.kubernetes(), namespace=namespace, name=name, owner=owner)

    def _connect(self) -> KubernetesApi:
        # Read at each run: a refresh of MicroK8s moves the directory and may renew the credentials.
        try:
            return KubernetesApi(kubeconfig.read(self._environment.kubeconfig))
        except FileNotFoundError as error:
            # There, and not seen: when parallel instances have just been allowed, snapd covers what it mounted before.
            name = self._environment.instance_name
            if self._snapctl.is_connected(PLUG):
                brief = "MicroK8s has written no credentials yet"
                resolution = f"wait for MicroK8s to start; where it runs, disconnect {name}:{PLUG} and connect it again"
            else:
                brief = f"Plug {PLUG} is not connected"
                resolution = f"run: snap connect {name}:{PLUG} microk8s:microk8s"
            raise ShortageError(HealthCode.NO_SLOT, brief, resolution=resolution) from error
        except KubeconfigError as error:
            raise ShortageError(HealthCode.NO_SLOT, error.brief, resolution=error.resolution) from error

    def close(self) -> None:
        """Drop connections and secrets."""
        self.registry.close()
        if self._api is not None:
            self._api.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
