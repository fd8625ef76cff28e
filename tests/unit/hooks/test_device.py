"""The list of what a snap carries is what the device's entry point reaches, and nothing of builder or fleet."""

import ast
from pathlib import Path

from snapedge_hooks import device

SOURCE = Path(device.__file__).parent


def imported(module: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse((SOURCE / f"{module}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {node.module.partition(".")[0]} if node.module else {alias.name for alias in node.names}
    return found


def foreign(module: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse((SOURCE / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_modules_are_those_that_main_reaches() -> None:
    reached, waiting = {"__init__"}, ["__main__"]
    while waiting:
        module = waiting.pop()
        reached.add(module)
        waiting += imported(module) - reached
    assert tuple(sorted(reached)) == device.MODULES


def test_the_device_needs_nothing_but_the_standard_library() -> None:
    import sys

    needed = set().union(*(foreign(module) for module in device.MODULES))
    assert needed <= sys.stdlib_module_names
