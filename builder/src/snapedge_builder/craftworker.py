"""The only caller of craft-parts, in a process of its own: `python -m snapedge_builder.craftworker`.

craft-parts changes the working directory and keeps process-wide state, and takes half a second to load; here it does
both to nobody. One JSON request a line on standard input, one JSON answer a line on standard output; the end of input
ends the process, so it never outlives the build that started it.

    {"tree": FOLDER, "work": FOLDER, "architecture": "arm64"}  ->  {"prime": FOLDER} or {"error": TEXT, "details": TEXT}
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any, Literal

import craft_parts
from craft_parts import packages, plugins
from craft_parts.packages import base

PART = "snap"


class TreeProperties(plugins.PluginProperties, frozen=True):
    """What a part of the `tree` plugin says."""

    plugin: Literal["tree"] = "tree"
    tree_folder: str


class TreePlugin(plugins.Plugin):
    """Links a finished folder into the part.

    craft-parts' own `dump` copies a source twice on its way here; ours may hold layers of hundreds of megabytes.
    """

    properties_class = TreeProperties

    def get_build_snaps(self) -> set[str]:
        """None."""
        return set()

    def get_build_packages(self) -> set[str]:
        """None."""
        return set()

    def get_build_environment(self) -> dict[str, str]:
        """None."""
        return {}

    def get_build_commands(self) -> list[str]:
        """One: hard links, links kept as links."""
        options = self._options
        assert isinstance(options, TreeProperties)
        source = shlex.quote(f"{options.tree_folder}/.")
        target = shlex.quote(str(self._part_info.part_install_dir))
        return [f"cp --archive --link --no-dereference {source} {target}"]


def main() -> None:
    """Answer requests until there are none."""
    # An interrupt is the builder's to handle; it closes our input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever anything prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # On Debian and Ubuntu craft-parts wants python-apt even where no package is ever asked for.
    packages.Repository = base.DummyRepository  # type: ignore[assignment]
    plugins.register({"tree": TreePlugin})
    for line in sys.stdin:
        answers.write(json.dumps(_answer(json.loads(line))) + "\n")
        answers.flush()


def _answer(request: dict[str, Any]) -> dict[str, str]:
    work = Path(request["work"])
    log = work / "lifecycle.log"
    try:
        with log.open("w") as output:
            lifecycle = craft_parts.LifecycleManager(
                {"parts": {PART: {"plugin": "tree", "tree-folder": request["tree"]}}},
                application_name="snapedge",
                cache_dir=work / "cache",
                work_dir=str(work / "parts"),
                arch=request["architecture"],
                parallel_build_count=1,
            )
            with lifecycle.action_executor() as executor:
                executor.execute(lifecycle.plan(craft_parts.Step.PRIME), stdout=output, stderr=output)
    except craft_parts.PartsError as error:
        return {"error": error.brief, "details": log.read_text(errors="replace")}
    except OSError as error:
        return {"error": f"{error.strerror}: {error.filename}", "details": ""}
    return {"prime": str(lifecycle.project_info.dirs.prime_dir)}


if __name__ == "__main__":
    main()
