"""An arena for each test, and the scores that ``benchmarks/faults.py`` collects."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.arena import Arena
from tests.faults.checker import Score, check
from tests.search.conftest import empty_mlflow

__all__ = ["empty_mlflow"]


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """Seed of what the tests leave to chance."""
    return int(pytestconfig.getoption("--fault-seed"))


@pytest.fixture
def document(search_document: dict[str, Any]) -> dict[str, Any]:
    """A search file; change it at will."""
    return copy.deepcopy(search_document)


@pytest.fixture(scope="session")
def search_document(corpus: Path) -> dict[str, Any]:
    """A search of small language models whose trainings last seconds."""
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
        "training": {"batch_size": 16, "warmup_steps": 5, "checkpoint_seconds": 0.2},
        "measurement": {"repeats": 10},
        "sampler": "random",
        "trials": 8,
    }


@pytest.fixture
def arena(
    tmp_path: Path, document: dict[str, Any], seed: int, empty_mlflow: Path
) -> Iterator[Arena]:
    """A search under test; whatever it started is killed at the end."""
    made = Arena(tmp_path, document, seed)
    made.document["seed"] = seed
    # As chance has it, two trials at a time or one.
    made.document["concurrency"] = 2 - seed % 2
    made.home.mkdir()
    shutil.copy(empty_mlflow, made.home / "mlflow.db")
    yield made
    made.close()


class Judge:
    """Checks an arena, records the score and fails the test where it is not clean."""

    def __init__(self, record: Any) -> None:
        self._record = record

    def __call__(self, arena: Arena) -> Score:
        """Hold the search to its promises.

        Raises:
            AssertionError: One of them was broken.
        """
        score = check(arena)
        figures = {name: getattr(score, name) for name in ("lost", "doubled", "excess", "false")}
        self._record("score", json.dumps({**figures, "recovery": arena.recovery_seconds}))
        assert score.is_clean, "\n".join([*score.problems, arena.output[-2000:]])
        return score


@pytest.fixture
def judge(record_property: Any) -> Judge:
    """The checker."""
    return Judge(record_property)
