"""Who may import whom: builder -> hooks <- fleet; the images import none of them."""

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("snapedge_builder", "snapedge_fleet", "snapedge_hooks")

SOURCES = {
    "hooks/src": {"snapedge_hooks"},
    "builder/src": {"snapedge_builder", "snapedge_hooks"},
    "fleet/src": {"snapedge_fleet", "snapedge_hooks"},
    "kserve-images": set(),
}


def imported_packages(path: Path) -> set[str]:
    """The top-level names that a module imports absolutely."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("folder", sorted(SOURCES))
def test_a_package_imports_only_what_the_arrows_allow(folder: str) -> None:
    modules = [path for path in (ROOT / folder).rglob("*.py") if ".venv" not in path.parts]
    assert modules
    wrong = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in modules
        for name in imported_packages(path) & set(OURS)
        if name not in SOURCES[folder]
    }
    assert wrong == set()


def test_the_device_side_needs_only_the_standard_library() -> None:
    allowed = set(sys.stdlib_module_names) | {"snapedge_hooks"}
    imported = {
        f"{path.name}: {name}"
        for path in (ROOT / "hooks/src").rglob("*.py")
        for name in imported_packages(path)
        if name not in allowed
    }
    assert imported == set()


@pytest.mark.parametrize("name", ["builder", "hooks", "fleet"])
def test_folder_names_are_not_importable(name: str) -> None:
    """They would import as empty namespace packages from the root, and do nothing."""
    assert importlib.util.find_spec(name) is None


def test_no_module_outgrows_one_sitting() -> None:
    long = {
        f"{path.relative_to(ROOT)}: {lines}"
        for folder in SOURCES
        for path in (ROOT / folder).rglob("*.py")
        if ".venv" not in path.parts and (lines := len(path.read_text().splitlines())) > 500
    }
    assert long == set()
