"""A system under test, and the scores that ``benchmarks/faults.py`` collects."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.checker import Score, check
from tests.faults.system import SystemUnderTest
from tests.search.conftest import empty_mlflow

__all__ = ["empty_mlflow"]


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """Seed of the random choices of the tests."""
    return int(pytestconfig.getoption("--fault-seed"))


@pytest.fixture
def document(search_document: dict[str, Any]) -> dict[str, Any]:
    """A search file, which a test may change."""
    return copy.deepcopy(search_document)


@pytest.fixture(scope="session")
def search_document(corpus: Path) -> dict[str, Any]:
    """A search over small language models that train in seconds."""
    return {
        "name": "endure",
        "task": {"name": "causal-lm"},
        "data": {
            "unlabelled": {"source": "files", "train": str(corpus / "text.txt")},
            "vocabulary_size": 400,
            "sequence_length": 16,
        },
        "space": {
            "depth": {"low": 1, "high": 2},
            "width": {"low": 32, "high": 64, "step": 32},
            "budget": {"unit": "steps", "choices": [100, 200, 300]},
            "quantisation": {"choices": ["none", "rtn-8", "rtn-4"]},
        },
        "training": {"batch_size": 16, "checkpoint_seconds": 0.2},
        "measurement": {"repeats": 10},
        "sampler": "random",
        "trials": 8,
    }


@pytest.fixture
def system(
    tmp_path: Path, document: dict[str, Any], seed: int, empty_mlflow: Path
) -> Iterator[SystemUnderTest]:
    """A system under test; its processes are killed at the end."""
    made = SystemUnderTest(tmp_path, document, seed)
    made.document["seed"] = seed
    # Randomly one or two concurrent trials.
    made.document["concurrency"] = 2 - seed % 2
    made.home.mkdir()
    shutil.copy(empty_mlflow, made.home / "mlflow.db")
    yield made
    made.close()


class RunChecker:
    """Checks a system, records the score, and fails the test if a guarantee was violated."""

    def __init__(self, record: Any) -> None:
        self._record = record

    def __call__(self, system: SystemUnderTest) -> Score:
        """Check the guarantees.

        Raises:
            AssertionError: A guarantee was violated.
        """
        score = check(system)
        figures = {name: getattr(score, name) for name in ("lost", "doubled", "excess", "false")}
        self._record("score", json.dumps({**figures, "recovery": system.recovery_seconds}))
        assert score.is_clean, "\n".join([*score.problems, system.output[-2000:]])
        return score


@pytest.fixture
def run_checker(record_property: Any) -> RunChecker:
    """The checker."""
    return RunChecker(record_property)
