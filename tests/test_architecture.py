"""The architecture: the size of packages, the direction of imports, and what is forbidden."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("spaces", "objectives", "search")
LARGEST_PACKAGE = 15
LONGEST_FILE = 350
USERS_OF_THE_WHOLE_SEARCH_FILE = 15
LONGEST_CHAIN = 16

ORDER = {
    "spaces": "errors expression cost file grid functions loading",
    "objectives": "predictor failures device store data models compression runtimes memory "
    "measurement training references tasks export completion objective several_checkpoints "
    "undecayed testing",
    "search": "arrays formatting mlflow_links process_state terminal_safe storage pareto "
    "hypervolume seeds equal_bytes "
    "samplers plots results tracking registry execution functions submission analysis maintenance "
    "replay service proposal api cli",
}
"""Each part of a package imports only parts that stand before it."""

FOREIGN = {
    "spaces": {"torch", "ray", "optuna", "mlflow", "transformers", "datasets"},
    "objectives": {"ray", "optuna", "mlflow"},
    "search": set(),
}

PRIVATE_WORDS = (
    r"signs? of life", r"patient", r"rubbish", r"told from", r"space_menu", r"menus?",
    r"displaced", r"whoever", r"mends?", r"mended", r"dearest",
)  # fmt: skip


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, Path]:
    packages = {name_of(path): path for top in PACKAGES for path in (ROOT / top).rglob("*.py")}
    return {**packages, "tlc": ROOT / "tlc.py"}


def imported(tree: ast.AST, *, deep: bool) -> Iterator[str]:
    """Names of the modules that a tree imports, deep inside functions too."""
    nodes = ast.walk(tree) if deep else ast.iter_child_nodes(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in modules() else node.module


@cache
def imports(*, deep: bool) -> dict[str, set[str]]:
    return {
        name: set(imported(ast.parse(path.read_text()), deep=deep)) - {name}
        for name, path in modules().items()
    }


def chain_from(name: str, path: tuple[str, ...], longest: dict[str, tuple[str, ...]]) -> None:
    """Find the longest chain of imports that starts at a module; fails on a cycle."""
    assert name not in path, f"import cycle: {' -> '.join([*path, name])}"
    if name in longest:
        return
    found: tuple[str, ...] = ()
    for other in sorted(imports(deep=False)[name] & modules().keys()):
        chain_from(other, (*path, name), longest)
        found = max(found, longest[other], key=len)
    longest[name] = (name, *found)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package: str) -> None:
    allowed = {*PACKAGES[: PACKAGES.index(package) + 1]}
    for name, targets in imports(deep=True).items():
        if name.split(".")[0] == package:
            tops = {target.partition(".")[0] for target in targets}
            assert tops & {*PACKAGES} <= allowed, name
            assert not tops & FOREIGN[package], name


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way_between_the_parts_of_a_package(package: str) -> None:
    order = ORDER[package].split()
    parts = {name.split(".")[1] for name in modules() if name.startswith(f"{package}.")}
    assert parts == {*order}
    for name, targets in imports(deep=True).items():
        if not name.startswith(f"{package}."):
            continue
        part = name.split(".")[1]
        for target in targets:
            if target.startswith(f"{package}."):
                other = target.split(".")[1]
                assert order.index(other) <= order.index(part), f"{name} imports {target}"


def test_there_is_no_import_cycle_and_no_long_chain() -> None:
    longest: dict[str, tuple[str, ...]] = {}
    for name in modules():
        chain_from(name, (), longest)
    chain = max(longest.values(), key=len)
    print(f"longest chain of imports, {len(chain)} modules: {' -> '.join(chain)}")
    assert len(chain) <= LONGEST_CHAIN


def loaded_with(start: str) -> set[str]:
    """Names of the modules, and of the other packages, that are loaded with a module."""
    loaded: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        known = name if name in modules() else name.partition(".")[0]
        if known not in loaded:
            loaded.add(known)
            parents = name.split(".")[:-1]
            waiting += [".".join(parents[:count]) for count in range(1, len(parents) + 1)]
            waiting += imports(deep=False).get(name, ())
    return loaded


@pytest.mark.parametrize(
    ("start", "foreign"),
    [
        ("search.cli.main", {"torch", "transformers", "ray", "mlflow", "optuna"}),
        ("search.execution.run", {"torch", "transformers"}),
        ("search.service.app", {"torch", "transformers", "ray"}),
        ("search.api.running", {"torch", "transformers", "ray", "mlflow"}),
    ],
)
def test_slow_packages_are_not_loaded_where_they_are_not_needed(
    start: str, foreign: set[str]
) -> None:
    assert not loaded_with(start) & foreign


def test_import_tlc_loads_nothing_else() -> None:
    assert {name.partition(".")[0] for name in loaded_with("tlc")} <= {
        "tlc",
        *sys.stdlib_module_names,
    }


def test_packages_and_files_are_small() -> None:
    folders = {path.parent for path in modules().values()}
    for folder in folders:
        count = sum(path.name != "__init__.py" for path in folder.glob("*.py"))
        assert count <= LARGEST_PACKAGE, f"{folder.relative_to(ROOT)} has {count} modules"
    for name, path in modules().items():
        assert len(path.read_text().splitlines()) <= LONGEST_FILE, name


def test_few_modules_use_the_whole_search_file() -> None:
    users = [
        name
        for name, path in modules().items()
        if re.search(r"\bimport\b[^\n]*\bSearchFile\b|^    SearchFile,$", path.read_text(), re.M)
    ]
    assert len(users) <= USERS_OF_THE_WHOLE_SEARCH_FILE, users


def test_private_words_are_gone() -> None:
    pattern = re.compile(rf"\b({'|'.join(PRIVATE_WORDS)})\b", re.I)
    files = [*modules().values(), ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for path in files:
        if path.name != "LOG.md":
            found = pattern.search(path.read_text())
            assert found is None, f"{path.relative_to(ROOT)}: {found}"


def test_the_mlflow_folder_does_not_shadow_mlflow() -> None:
    assert not list((ROOT / "mlflow").rglob("*.py"))
    script = "import mlflow; print(mlflow.__version__)"
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.startswith("3.")


def test_nothing_is_pickled() -> None:
    for name, path in modules().items():
        tops = {target.partition(".")[0] for target in imports(deep=True)[name]}
        assert not tops & {"pickle", "cloudpickle", "dill", "joblib"}, name
        text = path.read_text()
        assert "torch.save" not in text, name
        assert "torch.load(" not in text, name
