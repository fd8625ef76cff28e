"""The environment that snapd gives to hooks and services, and how paths in snap.yaml are expanded with it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

from .devicepaths import DevicePaths

_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def of_snap(
    paths: DevicePaths, *, instance: str, revision: str, version: str, architecture: str, cookie: str
) -> dict[str, str]:
    """The variables of a hook or service of that snap, before what snap.yaml adds.

    SNAP_NAME has no instance key. HOME is the snap's own, as for everything that a snap runs.
    """
    name, _, key = instance.partition("_")
    snap = paths.snap(instance, revision)
    user_data = paths.user_data(instance, revision)
    return {
        "PATH": f"{paths.programs}:{_SYSTEM_PATH}",
        "LANG": "C.UTF-8",
        "TMPDIR": str(paths.scratch(instance)),
        "SNAP": str(snap),
        "SNAP_COMMON": str(paths.common(instance)),
        "SNAP_DATA": str(paths.data(instance, revision)),
        "SNAP_NAME": name,
        "SNAP_INSTANCE_NAME": instance,
        "SNAP_INSTANCE_KEY": key,
        "SNAP_VERSION": version,
        "SNAP_REVISION": revision,
        "SNAP_ARCH": architecture,
        "SNAP_LIBRARY_PATH": "/var/lib/snapd/lib/gl:/var/lib/snapd/lib/gl32:/var/lib/snapd/void",
        "SNAP_REEXEC": "",
        "SNAP_UID": str(os.getuid()),
        "SNAP_EUID": str(os.geteuid()),
        "SNAP_USER_DATA": str(user_data),
        "SNAP_USER_COMMON": str(user_data.parent / "common"),
        "SNAP_REAL_HOME": str(paths.home),
        "HOME": str(user_data),
        "SNAP_COOKIE": cookie,
        "SNAP_CONTEXT": cookie,
        # A mounted snap is read-only even for root; a folder is not, so that Python must be told.
        "PYTHONDONTWRITEBYTECODE": "1",
        # The journal of the machine is not the device's; what hooks print is in the device's log.
        "SNAPEDGE_JOURNAL": "",
    }


def extended(environment: Mapping[str, str], *additions: Mapping[str, str]) -> dict[str, str]:
    """`environment` with each of `additions` over it, whose values may name variables set before."""
    result = dict(environment)
    for addition in additions:
        result.update({key: expanded(value, result) for key, value in addition.items()})
    return result


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """`text` with $NAME and ${NAME} replaced; unknown names become empty, as snap-exec does."""
    return _VARIABLE.sub(lambda found: environment.get(found[1] or found[2], ""), text)
