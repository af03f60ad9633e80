"""The house: which way imports point, and what may not be there."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "spaces": {"spaces"},
    "objectives": {"spaces", "objectives"},
    "search": {"spaces", "objectives", "search"},
}
FOREIGN = {
    "spaces": {"torch", "ray", "optuna", "mlflow", "transformers", "datasets"},
    "objectives": {"ray", "optuna", "mlflow"},
    "search": set(),
}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_point_one_way(package: str) -> None:
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        names = imported(path)
        assert names & set(ALLOWED) <= ALLOWED[package], path
        assert not names & FOREIGN[package], path


def test_the_mlflow_folder_does_not_shadow_mlflow() -> None:
    assert not list((ROOT / "mlflow").rglob("*.py"))
    script = "import mlflow; print(mlflow.__version__)"
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.startswith("3.")


def test_nothing_is_pickled() -> None:
    for package in ALLOWED:
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text()
            assert not imported(path) & {"pickle", "cloudpickle", "dill", "joblib"}, path
            assert "torch.save" not in text, path
            assert "torch.load(" not in text, path
