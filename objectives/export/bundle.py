"""The exported folder of a model, with all that predictions need: tokenizer and labels.

The folder holds ``model.safetensors`` and ``config.json`` as the store has them, ``tokenizer.json``
where the model reads text, ``task.json``, which also has the SHA-256 of the others, and
``load_and_run.py``, an example of its use.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template
from typing import Any

from objectives.compression.model_file import CONFIG, WEIGHTS, ModelFileError
from objectives.data.prepared_data import PreparedData
from spaces.file.sources import Data
from spaces.file.tasks import Task

BUNDLE_FORMAT = 1
TASK = "task.json"
TOKENIZER = "tokenizer.json"
SCRIPT = "load_and_run.py"

_SCRIPT = Template('''"""$purpose: python load_and_run.py $arguments"""

import sys
from pathlib import Path

from objectives.export.inference import InputError, load

if len(sys.argv) != $count:
    sys.exit(f"usage: {__doc__}")
try:
    (prediction,) = load(Path(__file__).parent).predict([$given])
except InputError as error:
    sys.exit(f"error: {error}")
print($printed)
''')

_PURPOSES = {
    "classification": ("The class of a text", "TEXT"),
    "masked-lm": ("A text with its masks filled", "'TEXT WITH <mask>'"),
    "causal-lm": ("The continuation of a text", "PROMPT"),
    "translation": ("The translation of a sentence", "SENTENCE"),
    "image-classification": ("The class of an image", "FILE"),
}
"""The purpose and the arguments of a task's script."""


@dataclass(frozen=True)
class PredictionTask:
    """The task of an exported model, as far as predictions depend on it.

    Args:
        labels: Name of each class, in the order of the logits; empty without classes.
        takes_pairs: Whether an input is a pair of texts.
        beams: Beams of the search that decodes (translation).
    """

    name: str
    labels: tuple[str, ...] = ()
    takes_pairs: bool = False
    beams: int = 1

    @classmethod
    def of(cls, task: Task, sources: Data, data: PreparedData) -> PredictionTask:
        """The task of the models of a search, by its task, data sources and prepared data."""
        return cls(
            name=task.name,
            labels=data.label_names,
            takes_pairs=getattr(sources.labelled, "text_pair", None) is not None,
            beams=getattr(task, "beams", 1),
        )


def write_bundle(folder: Path, model: Path, task: PredictionTask, tokenizer: Path) -> None:
    """Write a stored model, its task and its tokenizer file, if there is one, to a folder."""
    for name in (WEIGHTS, CONFIG):
        shutil.copyfile(model / name, folder / name)
    if tokenizer.exists():
        shutil.copyfile(tokenizer, folder / TOKENIZER)
    written = {"format": BUNDLE_FORMAT, **asdict(task), "sha256": _digests(folder)}
    (folder / TASK).write_text(json.dumps(written, indent=1, ensure_ascii=False), encoding="utf-8")
    (folder / SCRIPT).write_text(_script(task))


def read_task(folder: Path) -> PredictionTask:
    """Read the task of an exported model, and check the files of the folder.

    Raises:
        ModelFileError: A file is missing, damaged, or of another format.
    """
    try:
        written: dict[str, Any] = json.loads((folder / TASK).read_text(encoding="utf-8"))
        if written.pop("format") != BUNDLE_FORMAT:
            raise ValueError(f"its format is not {BUNDLE_FORMAT}")
        digests: dict[str, str] = dict(written.pop("sha256"))
        task = PredictionTask(**{**written, "labels": tuple(written["labels"])})
        if task.name not in _PURPOSES:
            raise ValueError(f"there is no task {task.name!r}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{folder / TASK} cannot be read: {error}") from error
    found = _digests(folder)
    for name, digest in digests.items():
        if name not in found:
            raise ModelFileError(f"{folder / name} is missing")
        # One flipped byte of weights loads without an error.
        if found[name] != digest:
            raise ModelFileError(f"{folder / name} is damaged: it has changed since its export")
    return task


def _script(task: PredictionTask) -> str:
    purpose, arguments = _PURPOSES[task.name]
    if task.takes_pairs:
        purpose, arguments = "The class of a pair of texts", "TEXT TEXT"
    return _SCRIPT.substitute(
        purpose=purpose,
        arguments=arguments,
        count=3 if task.takes_pairs else 2,
        given="(sys.argv[1], sys.argv[2])" if task.takes_pairs else "sys.argv[1]",
        printed="sys.argv[1] + prediction.text" if task.name == "causal-lm" else "prediction",
    )


def _digests(folder: Path) -> dict[str, str]:
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in (WEIGHTS, CONFIG, TOKENIZER)
        if (folder / name).is_file()
    }
