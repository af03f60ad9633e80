"""A small real search on synthetic files: tiny models, seconds to train."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spaces.loading import validate
from spaces.search_file import SearchFile

ANIMALS = ["cat", "dog", "horse", "cow", "hen"]
TOOLS = ["saw", "drill", "plane", "axe", "file"]
FILLERS = ["the", "a", "old", "small", "sees", "has", "takes", "near", "with", "and"]


def _sentence(rng: random.Random, nouns: list[str]) -> str:
    words = [rng.choice(FILLERS) for _ in range(rng.randint(3, 9))]
    for place in rng.sample(range(len(words)), 3):
        words[place] = rng.choice(nouns)
    return " ".join(words)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``train.tsv``, ``dev.tsv``, ``test.tsv`` (two classes) and ``text.txt``."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = random.Random(0)
    for name, count in {"train": 400, "dev": 100, "test": 100}.items():
        lines = []
        for index in range(count):
            nouns, label = ((ANIMALS, "animal"), (TOOLS, "tool"))[index % 2]
            lines.append(f"{_sentence(rng, nouns)} {name}{index}\t{label}")
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    text = [_sentence(rng, rng.choice([ANIMALS, TOOLS])) for _ in range(3000)]
    (folder / "text.txt").write_text("\n".join(text) + "\n")
    return folder


@pytest.fixture(scope="session")
def document(corpus: Path) -> dict[str, Any]:
    """A valid search file as a dictionary; copy it before changing it."""
    return {
        "name": "tiny",
        "task": {"classes": 2},
        "data": {
            "unlabelled": {"source": "files", "train": str(corpus / "text.txt")},
            "labelled": {
                "source": "files",
                "train": str(corpus / "train.tsv"),
                "validation": str(corpus / "dev.tsv"),
                "test": str(corpus / "test.tsv"),
                "columns": ["sentence", "label"],
                "text": "sentence",
            },
            "vocabulary_size": 400,
            "sequence_length": 16,
        },
        "space": {
            "depth": {"low": 1, "high": 2},
            "width": {"low": 32, "high": 64, "step": 32},
            "budget": {"unit": "steps", "choices": [20, 40]},
            "quantisation": {"choices": ["none", "static-8", "rtn-8", "rtn-4"]},
            "sparsity": {"choices": [0.0, 0.5]},
        },
        "training": {"batch_size": 16, "fine_tuning": 40, "warmup_steps": 5},
        "measurement": {"repeats": 10},
        # Its trials train different models from the first; the frontier sampler has its own tests.
        "sampler": "tpe",
        "trials": 6,
    }


@pytest.fixture
def make_search(document: dict[str, Any]) -> Callable[..., SearchFile]:
    """Make a search file from the valid one with fields replaced, as ``space__depth=4``."""

    def make(**fields: Any) -> SearchFile:
        changed = copy.deepcopy(document)
        for path, value in fields.items():
            *parents, last = path.split("__")
            place = changed
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = value
        return validate(changed)

    return make


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh TLC_HOME for one test."""
    monkeypatch.setenv("TLC_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "home"
