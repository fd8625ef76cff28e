"""`builder build`, as a process of its own on a host that has everything it needs in folders.

    python -m tests.fakes.offlinebuild PARTS FOLDER CACHE OUTPUT

PARTS is the folder of an `OfflineRuntime`, with its repository of packages and its folder of wheels.
"""

from __future__ import annotations

import sys
from pathlib import Path

from snapedge_builder import building, runtimesource
from snapedge_builder.building import BuildRequest
from snapedge_builder.cache import Cache
from snapedge_builder.hosts import Host
from snapedge_builder.progress import Silence
from snapedge_hooks.vocabulary import Architecture

from .debrepository import DebRepository
from .wheelhouse import Wheelhouse


def main() -> None:
    """Build the folder for both architectures."""
    parts, folder, root, output = map(Path, sys.argv[1:])
    cache = Cache(root)
    host = Host(
        apt=DebRepository(parts / "repository").host(),
        architecture=Architecture.AMD64,
        environment=Wheelhouse(parts / "wheels").environment(root / "uv"),
    )
    building.build(
        BuildRequest(folder=folder, output=output),
        cache=cache,
        source=runtimesource.ComposedRuntimes(cache, host=host),
        progress=Silence(),
    )


if __name__ == "__main__":
    main()
