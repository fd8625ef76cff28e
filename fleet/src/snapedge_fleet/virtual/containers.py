"""What a container is run with, from its pod and its image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from snapedge_hooks.rootfs import LayerRefusedError, RootfsCache, resolve
from snapedge_hooks.sandbox import ContainerSpec, Mount

from . import kinds
from .apply import Document
from .imagepull import Image
from .objects import ObjectStore

_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MAX_LINKS = 40


class ContainerRefusedError(Exception):
    """The container cannot be made from what its pod says."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerMaker:
    """Makes the container of one pod."""

    pod: Document
    address: str
    host_address: str
    folder: Path
    cache: RootfsCache
    config_maps: Mapping[str, Mapping[str, str]]

    @property
    def container(self) -> Document:
        """The container as the pod declares it."""
        document: Document = self.pod["spec"]["containers"][0]
        return document

    def make(self, image: Image) -> ContainerSpec:
        """The spec, and on disk what it needs; blocks."""
        arguments = [*(self.container.get("command") or image.entrypoint)]
        arguments += self.container.get("args") or ([] if self.container.get("command") else image.command)
        if not arguments:
            raise ContainerRefusedError("CreateContainerError", "no command specified")
        environment = {"PATH": _SEARCH_PATH} | image.environment
        for variable in self.container.get("env", []):
            environment[variable["name"]] = self._variable(variable)
        environment |= {"HOSTNAME": self.pod["metadata"]["name"], "SNAPEDGE_BIND": self.address}
        environment.setdefault("HOME", "/")
        self._check_program(image, arguments[0], environment["PATH"])
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "termination-log"
        log.write_bytes(b"")
        log.chmod(0o666)
        mounts = self._mounts(image)
        read_only = self.container.get("securityContext", {}).get("readOnlyRootFilesystem", False)
        return ContainerSpec(
            rootfs=image.rootfs,
            arguments=arguments,
            environment=environment,
            working_directory=self.container.get("workingDir") or image.working_directory,
            hostname=str(self.pod["metadata"]["name"])[:63].rstrip("-."),
            termination_log=log,
            scratch=self.folder,
            has_tmp=not read_only,
            mounts=mounts,
        )

    def _variable(self, variable: Document) -> str:
        if "valueFrom" not in variable:
            return str(variable.get("value", ""))
        field = variable["valueFrom"].get("fieldRef", {}).get("fieldPath", "")
        known = {
            "metadata.name": self.pod["metadata"]["name"],
            "metadata.namespace": self.pod["metadata"]["namespace"],
            "metadata.uid": self.pod["metadata"]["uid"],
            "status.podIP": self.address,
            "status.hostIP": self.host_address,
        }
        if field not in known:
            problem = f"environment variable {variable['name']} comes from what virtual pods do not know"
            raise ContainerRefusedError("CreateContainerConfigError", problem)
        return str(known[field])

    def _check_program(self, image: Image, program: str, search_path: str) -> None:
        folders = [""] if "/" in program else search_path.split(":")
        try:
            found = any(self._is_program(image.rootfs, f"{folder}/{program}") for folder in folders)
        except LayerRefusedError:
            found = False
        if not found:
            problem = (
                "failed to create containerd task: failed to create shim task: OCI runtime create failed: "
                f'exec: "{program}": stat {program}: no such file or directory'
            )
            raise ContainerRefusedError("RunContainerError", problem)

    @staticmethod
    def _is_program(rootfs: Path, name: str) -> bool:
        path = resolve(rootfs, f"{name}")
        for _ in range(_MAX_LINKS):
            if not path.is_symlink():
                return path.is_file()
            target = path.readlink()
            relative = str(target) if target.is_absolute() else f"{path.parent.relative_to(rootfs)}/{target}"
            path = resolve(rootfs, relative)
        return False

    def _mounts(self, image: Image) -> list[Mount]:
        volumes = {volume["name"]: volume for volume in self.pod["spec"].get("volumes", [])}
        mounts: list[Mount] = []
        for mount in self.container.get("volumeMounts", []):
            volume = volumes.get(mount["name"], {})
            source = self.folder / "volumes" / mount["name"]
            if "emptyDir" in volume:
                source.mkdir(parents=True, exist_ok=True)
            elif "configMap" in volume:
                self._write_config_map(volume["configMap"]["name"], source)
            else:
                problem = f"volume {mount['name']} is of a kind that virtual pods do not have"
                raise ContainerRefusedError("CreateContainerConfigError", problem)
            self.cache.add_mount_point(image.rootfs, mount["mountPath"])
            writable = "emptyDir" in volume and not mount.get("readOnly", False)
            mounts.append(Mount(source=source, target=mount["mountPath"], writable=writable))
        return mounts

    def _write_config_map(self, name: str, folder: Path) -> None:
        data = self.config_maps.get(name)
        if data is None:
            raise ContainerRefusedError("CreateContainerConfigError", f'configmap "{name}" not found')
        folder.mkdir(parents=True, exist_ok=True)
        for key, text in data.items():
            (folder / key).write_text(text)


def config_maps_of(pod: Document, store: ObjectStore) -> dict[str, dict[str, str]]:
    """The data of the ConfigMaps that a pod mounts and that there are."""
    found: dict[str, dict[str, str]] = {}
    for volume in pod["spec"].get("volumes", []):
        name = volume.get("configMap", {}).get("name", "")
        document = store.get(kinds.CONFIG_MAP, pod["metadata"]["namespace"], name)
        if document is not None:
            found[name] = document.get("data", {})
    return found
