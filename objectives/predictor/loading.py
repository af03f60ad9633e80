"""Opening an exported folder: its files are checked before they are used."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from .errors import ModelError
from .model import Model
from .runtimes import AUTO_CLASSES, open_runtime

FORMAT = 7
TASK = "task.json"
TOKENIZER = "tokenizer.json"


def load(folder: Path | str, runtime: str | None = None) -> Model:
    """Load an exported model.

    Args:
        folder: The exported folder.
        runtime: ``onnxruntime`` or ``transformers``; by default the first whose file and packages
            are there.

    Raises:
        ModelError: A file is missing or damaged, or no runtime can be used.
    """
    folder = Path(folder)
    task = read_task(folder)
    tokenizer = None
    if (folder / TOKENIZER).is_file():
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        # A <s> in a text is text, as in training.
        tokenizer.encode_special_tokens = True
        tokenizer.no_padding()
    return Model(task, tokenizer, open_runtime(folder, task, runtime))


def read_task(folder: Path) -> dict[str, Any]:
    """Read the task of an exported model, and check the files of the folder.

    Raises:
        ModelError: A file is missing, damaged, or of another format.
    """
    try:
        task: dict[str, Any] = json.loads((folder / TASK).read_text(encoding="utf-8"))
        if task["format"] != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        if task["name"] not in AUTO_CLASSES:
            raise ValueError(f"there is no task {task['name']!r}")
        digests = dict(task["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / TASK} cannot be read: {error}") from error
    for name, digest in digests.items():
        if not (folder / name).is_file():
            raise ModelError(f"{folder / name} is missing")
        # One flipped byte of weights loads without an error.
        if sha256(folder / name) != digest:
            raise ModelError(f"{folder / name} is damaged: it has changed since its export")
    return task


def sha256(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
