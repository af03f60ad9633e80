"""A small real search on synthetic files, and tiny models of every family."""

from __future__ import annotations

import copy
import gc
import gzip
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from optuna.storages._rdb.storage import _VersionManager
from xdist.scheduler import LoadFileScheduling

from spaces.file.search_file import SearchFile
from spaces.loading import validate

# Two threads are slower than one for models this small.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Without an address, Ray joins any cluster of this machine, such as that of another test.
os.environ.setdefault("RAY_ADDRESS", "local")
# By default Ray runs workers at nice 15, so that a busy machine gives them little time and time
# limits of tests fail.
os.environ.setdefault("RAY_worker_niceness", "0")
# Ray ends idle workers beyond the number of cores. Starting one takes more time than most searches.
os.environ.setdefault("RAY_num_workers_soft_limit", "4")

MEMORY_DISK, LEAST_BYTES = Path("/dev/shm"), 4 * 10**9
"""Where the files of the tests are, if it has so much space. No test needs what outlives a power
cut, and on a disk the tests would wait a minute for the thousands of commits to its databases."""
if MEMORY_DISK.is_dir() and shutil.disk_usage(MEMORY_DISK).free >= LEAST_BYTES:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY_DISK))

ANIMALS = ["cat", "dog", "horse", "cow", "hen"]
TOOLS = ["saw", "drill", "plane", "axe", "file"]
FILLERS = ["the", "a", "old", "small", "sees", "has", "takes", "near", "with", "and"]


@lru_cache
def uses_finished(file: Path) -> bool:
    """Whether a test file uses the fixture ``finished`` of ``tests.search.conftest``."""
    return "finished: Tlc" in file.read_text()


class ByFile(LoadFileScheduling):  # type: ignore[misc]
    """Runs the tests of a file, and all that use the finished search, in one process each."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "finished" if uses_finished(self.config.rootpath / file) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile | None:
    """The scheduler of ``--dist loadfile``."""
    return ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Import what the tests use without collecting garbage, and examine it never.

    It is more than a million objects, which stay. To examine them again and again would take a
    tenth of the time of the tests.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        gc.enable()


LONG = (
    "test_from_checkpoint", "test_python", "test_tasks", "test_own_task_search", "test_exports",
    "test_workers", "test_frontier_sampler", "test_training", "test_submission", "test_static_int8",
    "test_arithmetic", "test_function", "test_function_sampler", "test_compression", "test_replay",
    "test_optuna_samplers", "test_tracking", "test_claims_calibration", "test_postgres",
    "test_figures", "test_translation_from_checkpoint", "test_objective", "test_own_task_files",
    "test_missing_trials", "test_own_task_code", "test_data", "test_images_from_checkpoint",
    "test_layout", "test_early_stopping", "test_gptq", "test_recovery", "test_several_checkpoints",
)  # fmt: skip
"""Files that take more than five seconds, from the longest down; but not all searches begin at
once, because a Ray that starts keeps both cores busy."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first, so that no process is left with one at the end."""

    def place(item: pytest.Item) -> int:
        if uses_finished(item.path):
            return -1
        return LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG)

    items.sort(key=place)


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
        "task": {"name": "classification", "classes": 2},
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
        "training": {
            "batch_size": 16,
            # 20 steps an epoch.
            "fine_tuning": {
                "epochs": 2,
                "held_out": 0.2,
                "learning_rate": 3e-4,
                "dropout": 0.1,
                "label_smoothing": 0.0,
                "token_dropout": 0.0,
                "r_drop": 0.0,
            },
            "recovery_learning_rate": 2e-3,
        },
        "measurement": {"repeats": 10},
        # Its trials train different models from the first; the frontier sampler has its own tests.
        "sampler": "tpe",
        "trials": 6,
    }


@pytest.fixture
def make_search(document: dict[str, Any]) -> Callable[..., SearchFile]:
    """Make a search file from the valid one with fields replaced, as ``space__depth=4``."""
    return lambda **fields: validate(_replaced(document, fields))


@pytest.fixture
def make_task_search(task_documents: dict[str, dict[str, Any]]) -> Callable[..., SearchFile]:
    """The same for any of the ``task_documents``."""
    return lambda name, **fields: validate(_replaced(task_documents[name], fields))


def _replaced(document: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    for path, value in fields.items():
        *parents, last = path.split("__")
        place = changed
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return changed


TOY_LANGUAGE = {
    "the": "le", "red": "rouge", "old": "vieux", "small": "petit", "cat": "chat", "dog": "chien",
    "cow": "vache", "sees": "voit", "takes": "prend", "likes": "aime",
}  # fmt: skip
"""Word-by-word translations."""


@pytest.fixture(scope="session")
def translations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with aligned ``train``, ``validation`` and ``test`` files in two toy languages; the
    training files are gzipped."""
    folder = tmp_path_factory.mktemp("translations")
    rng = random.Random(0)
    words = list(TOY_LANGUAGE)
    sentences = list({tuple(rng.choices(words, k=rng.randint(3, 6))): None for _ in range(1100)})
    splits = {"validation": sentences[:32], "test": sentences[32:64], "train": sentences[64:]}
    for split, chosen in splits.items():
        sides = {
            "source": [" ".join(sentence) for sentence in chosen],
            "target": [" ".join(TOY_LANGUAGE[word] for word in sentence) for sentence in chosen],
        }
        for side, lines in sides.items():
            text = ("\n".join(lines) + "\n").encode()
            if split == "train":
                (folder / f"{split}.{side}.gz").write_bytes(gzip.compress(text))
            else:
                (folder / f"{split}.{side}").write_bytes(text)
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images with a subfolder for each class: ``bright`` and ``dark``."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for label, low in (("bright", 128), ("dark", 0)):
        (folder / label).mkdir()
        for index in range(60):
            pixels = rng.integers(low, low + 128, (12, 10, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{index}.png")
    return folder


@pytest.fixture(scope="session")
def task_documents(
    document: dict[str, Any],
    corpus: Path,
    translations: Path,
    pictures: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, dict[str, Any]]:
    """A valid search file for each task, and for other kinds of its data."""
    text = {"source": "files", "train": str(corpus / "text.txt")}
    reading = {"vocabulary_size": 400, "sequence_length": 16}
    training = {"batch_size": 16}
    common = {
        **{key: document[key] for key in ("space", "measurement", "sampler", "trials")},
        "training": training,
    }
    pairs = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    pairs.write_text(_labelled_pairs())
    numbers = pairs.with_name("numbers.csv")
    numbers.write_text(_numbered_texts())
    tagged = pairs.with_name("tagged.conll")
    tagged.write_text(_tagged_sentences())
    parallel = {
        "source": "aligned_files",
        "train": [str(translations / f"train.{side}.gz") for side in ("source", "target")],
        "validation": [str(translations / f"validation.{side}") for side in ("source", "target")],
        "test": [str(translations / f"test.{side}") for side in ("source", "target")],
    }
    folder = {"source": "image_folder", "train": str(pictures)}
    summaries = tmp_path_factory.mktemp("summaries") / "documents.jsonl"
    summaries.write_text(_summarised_documents())
    return {
        "classification": document,
        "pairs": {
            **document,
            "name": "pairs",
            "data": {
                **reading,
                "unlabelled": text,
                "labelled": {
                    "source": "files",
                    "train": str(pairs),
                    "text": "premise",
                    "text_pair": "hypothesis",
                },
            },
        },
        "regression": {
            **document,
            "name": "numbers",
            "task": {"name": "regression"},
            "training": {**document["training"], "fine_tuning": _without_smoothing(document)},
            "data": {
                **reading,
                "unlabelled": text,
                "labelled": {"source": "files", "train": str(numbers), "label": "animals"},
            },
        },
        "token-classification": {
            **document,
            "name": "tags",
            "task": {"name": "token-classification", "classes": 5},
            "data": {
                **reading,
                "unlabelled": text,
                "tagged": {"source": "conll", "train": str(tagged)},
            },
        },
        "masked-lm": {
            **common,
            "name": "masked",
            "task": {"name": "masked-lm"},
            "data": {**reading, "unlabelled": text},
        },
        "causal-lm": {
            **common,
            "name": "causal",
            "task": {"name": "causal-lm"},
            "data": {**reading, "unlabelled": text},
        },
        "translation": {
            **common,
            "name": "translation",
            "task": {"name": "translation"},
            "data": {**reading, "target_length": 20, "parallel": parallel},
        },
        "summarisation": {
            **common,
            "name": "summaries",
            "task": {"name": "summarisation"},
            "data": {
                "vocabulary_size": 400,
                "sequence_length": 32,
                "target_length": 12,
                "parallel": {
                    "source": "files",
                    "train": str(summaries),
                    "text": "document",
                    "target": "summary",
                },
            },
        },
        "image-classification": {
            **common,
            "name": "images",
            "task": {"name": "image-classification", "classes": 10},
            "data": {
                "images": {"source": "digits"},
                "image_size": 8,
                "patch_size": 2,
                "channels": 1,
            },
        },
        "image folder": {
            **common,
            "name": "folder",
            "task": {"name": "image-classification", "classes": 2},
            "data": {"images": folder, "image_size": 8, "patch_size": 4},
        },
    }


def _summarised_documents() -> str:
    """Documents of several sentences as rows of JSON; the summary is the nouns of each, and a word
    with a letter that English has not."""
    rng = random.Random(2)
    rows = []
    for index in range(300):
        sentences = [_sentence(rng, rng.choice([ANIMALS, TOOLS])) for _ in range(3)]
        nouns = {word for each in sentences for word in each.split() if word in ANIMALS + TOOLS}
        summary = " ".join(["étables", *sorted(nouns)])
        rows.append({"document": f"{'. '.join(sentences)} {index}", "summary": summary})
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def _without_smoothing(document: dict[str, Any]) -> dict[str, Any]:
    """The settings of fine-tuning of a task that has no classes."""
    settings = document["training"]["fine_tuning"]
    return {name: value for name, value in settings.items() if name != "label_smoothing"}


def _numbered_texts() -> str:
    """Texts with a header: how many more of the words are animals than tools, times ten, and some
    noise."""
    rng = random.Random(3)
    lines = ["text,animals"]
    for index in range(300):
        text = _sentence(rng, rng.choice([ANIMALS, TOOLS, ANIMALS + TOOLS])) + f" {index}"
        difference = sum((word in ANIMALS) - (word in TOOLS) for word in text.split())
        lines.append(f"{text},{10 * difference + rng.random():.2f}")
    return "\n".join(lines) + "\n"


def _tagged_sentences() -> str:
    """Sentences in the format of CoNLL, with the spans of animals and of tools: a noun, and the
    article or adjective before it, if any."""
    rng = random.Random(4)
    lines = ["-DOCSTART- -X- O", ""]
    for index in range(300):
        words = [*_sentence(rng, ANIMALS + TOOLS).split(), str(index)]
        tags = ["O"] * len(words)
        for place, word in enumerate(words):
            if word in ANIMALS + TOOLS:
                kind = "ANIMAL" if word in ANIMALS else "TOOL"
                is_second = place > 0 and words[place - 1] in ("the", "a", "old", "small")
                tags[place - is_second] = f"B-{kind}"
                tags[place] = f"{'I' if is_second else 'B'}-{kind}"
        lines += [f"{word} - {tag}" for word, tag in zip(words, tags, strict=True)] + [""]
    return "\n".join(lines)


def _labelled_pairs() -> str:
    """Labelled pairs of sentences with a header: whether both are of the same kind."""
    rng = random.Random(1)
    lines = ["premise\thypothesis\tlabel"]
    for index in range(300):
        first, second = rng.choice([ANIMALS, TOOLS]), rng.choice([ANIMALS, TOOLS])
        label = "same" if first is second else "other"
        lines.append(f"{_sentence(rng, first)} {index}\t{_sentence(rng, second)}\t{label}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session", autouse=True)
def migrations_read_once() -> Iterator[None]:
    """Optuna reads the scripts of its migrations several times for each database that it opens,
    which takes longer than to make the tables."""
    read, scripts = _VersionManager._create_alembic_script, []

    def read_once(manager: _VersionManager) -> Any:
        if not scripts:
            scripts.append(read(manager))
        return scripts[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_VersionManager, "_create_alembic_script", read_once)
        yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh TLC_HOME for one test."""
    monkeypatch.setenv("TLC_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "home"


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--fault-seed``: the seed of the random choices of the fault tests."""
    parser.addoption("--fault-seed", type=int, default=0, help="seed of the tests of faults")
