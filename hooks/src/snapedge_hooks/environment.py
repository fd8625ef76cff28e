"""Where a hook or service runs: what snapd says of it in the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import SnapedgeError


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapEnvironment:
    """The snap's own view of itself.

    Attributes:
        snap: the read-only content of this revision.
        common: data that every revision shares; never rolled back.
        data: data of this revision alone.
        instance_name: the snap's name, with `_<key>` where instances run in parallel.
        revision: as snapd counts, `x1` for a file that no store gave.
        architecture: the device's Debian architecture.
    """

    snap: Path
    common: Path
    data: Path
    instance_name: str
    revision: str
    architecture: str

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> SnapEnvironment:
        """What snapd set.

        Raises:
            SnapedgeError: a variable is missing: this is not run by snapd.
        """

        def variable(name: str) -> str:
            value = environment.get(name)
            if not value:
                raise SnapedgeError(f"{name} is not set", resolution="run this as a hook or service of a snap")
            return value

        return cls(
            snap=Path(variable("SNAP")),
            common=Path(variable("SNAP_COMMON")),
            data=Path(variable("SNAP_DATA")),
            instance_name=variable("SNAP_INSTANCE_NAME"),
            revision=variable("SNAP_REVISION"),
            architecture=variable("SNAP_ARCH"),
        )

    @property
    def object_name(self) -> str:
        """The InferenceService's name: the instance name, with the `_` that Kubernetes does not take as `-`."""
        return self.instance_name.replace("_", "-")

    @property
    def kubeconfig(self) -> Path:
        """Where the content slot puts MicroK8s' credentials while the plug `mk8s` is connected."""
        return self.data / "microk8s" / "credentials" / "client.config"

    @property
    def archives(self) -> Path:
        """Where image archives lie for MicroK8s to take when it is connected to the slot `configuration`."""
        return self.common / "launcher" / "sideload"

    @property
    def state_file(self) -> Path:
        """The cache of what was done."""
        return self.common / "state.json"

    @property
    def lock_file(self) -> Path:
        """What keeps hooks and services from converging at once."""
        return self.common / "lock"
