"""The exported folder of a model, which runs without tlc.

It holds a checkpoint of transformers, or ``model.onnx``, or both; what turns inputs into arrays;
``task.json`` with what else predictions need and the SHA-256 of the files; and ``load_and_run.py``,
which runs the model with the package ``predictor`` beside it.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from objectives import predictor
from objectives.compression import model_file
from objectives.data.batches import Batch
from objectives.export.checkpoint import Checkpoint, can_be_checkpoint, write_checkpoint
from objectives.export.onnx import OnnxModel, check_packages, export_onnx
from objectives.export.prediction_task import PredictionTask
from objectives.export.preprocessing import TOKENIZER, write_image_processor, write_tokenizer
from objectives.failures import error_with_place
from objectives.predictor.loading import FORMAT, TASK, sha256
from objectives.predictor.runtimes import OnnxRuntime
from spaces.errors import UserError


class BundleError(UserError):
    """The model of a user's own task cannot be exported."""


SCRIPT = "load_and_run.py"
_SCRIPT = '''"""Predictions and the score of the model in this folder; ``--help`` says how."""

import sys
from pathlib import Path

from predictor.command import main

sys.exit(main(Path(__file__).parent))
'''


@dataclass(frozen=True)
class Bundle:
    """What a folder holds.

    Args:
        checkpoint: That of transformers; None where it cannot compute what the model does.
        onnx: None where none was asked for.
    """

    checkpoint: Checkpoint | None
    onnx: OnnxModel | None


def write_bundle(
    folder: Path,
    stored: Path,
    task: PredictionTask,
    tokenizer: Path,
    batches: list[Batch],
    *,
    with_onnx: bool,
    address: str = "",
) -> Bundle:
    """Write a stored model and everything that it needs into an empty folder.

    Args:
        stored: The folder of the model in the store.
        address: That of the model in the store, by which measurements of the folder find its
            trial.
        tokenizer: The file of the tokenizer of the prepared data; it need not exist for images.
        batches: Inputs of the model, with which what was written is compared.
        with_onnx: Whether to write ``model.onnx`` too; it is written where there is no checkpoint.

    Raises:
        UserError: A package is missing, or what was written computes other logits.
    """
    is_checkpoint = can_be_checkpoint(stored)
    if with_onnx or not is_checkpoint:
        check_packages()
    model = model_file.load(stored)
    if model_file.read_spec(stored).workload.own:
        return _own_bundle(folder, stored, model, task, batches, with_onnx=with_onnx)
    if task.image_size:
        write_image_processor(task, folder)
    else:
        write_tokenizer(tokenizer, task, folder)
    checkpoint = onnx = None
    if is_checkpoint:
        checkpoint = write_checkpoint(stored, model, task, folder, batches)
    if with_onnx or not is_checkpoint:
        metadata = {name: json.dumps(value) for name, value in asdict(task).items() if value}
        onnx = export_onnx(stored, model, batches, folder / OnnxRuntime.file, metadata)
    shutil.copytree(
        predictor.__path__[0], folder / "predictor", ignore=shutil.ignore_patterns("__pycache__")
    )
    (folder / SCRIPT).write_text(_SCRIPT)
    digests = {
        name: sha256(folder / name)
        for name in (model_file.WEIGHTS, model_file.CONFIG, TOKENIZER, OnnxRuntime.file)
        if (folder / name).is_file()
    }
    written = {"format": FORMAT, "model": address, **asdict(task), "sha256": digests}
    (folder / TASK).write_text(json.dumps(written, indent=1))
    return Bundle(checkpoint, onnx)


def _own_bundle(
    folder: Path,
    stored: Path,
    model: Any,
    task: PredictionTask,
    batches: list[Batch],
    *,
    with_onnx: bool,
) -> Bundle:
    """Write the model of a user's own task: what turns inputs into arrays is the user's."""
    checkpoint = onnx = None
    try:
        if can_be_checkpoint(stored):
            checkpoint = write_checkpoint(stored, model, task, folder, batches)
        if with_onnx or checkpoint is None:
            onnx = export_onnx(
                stored, model, batches, folder / OnnxRuntime.file, {"task": task.name}
            )
    except UserError:
        raise
    except Exception as error:
        # The class of a user may raise anything when it is written, loaded or traced.
        raise BundleError(
            f"--to: {type(model).__name__}, the model of {task.name}, cannot be exported: "
            f"{error_with_place(error)}"
        ) from error
    return Bundle(checkpoint, onnx)
