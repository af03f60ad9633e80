"""Searches that start from a tiny checkpoint, and what is cut from it and exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from objectives.compression import model_file
from objectives.data.batches import Batch
from objectives.data.prepared_data import PreparedData
from objectives.export.bundle import write_bundle
from objectives.export.evaluation import write_examples
from objectives.export.prediction_task import PredictionTask
from objectives.measurement.evaluation import Evaluation
from objectives.models.checkpoint.resolve import with_checkpoints
from objectives.objective import Objective
from objectives.tasks import make_task, prepare_for
from objectives.tasks.base import Task
from spaces.cost.architecture import Architecture
from spaces.cost.checkpoint import Checkpoint
from spaces.file.search_file import SearchFile
from spaces.loading import from_document
from tests.checkpoints import DEPTH, WIDTH

SOURCES = {
    "classification": "labelled",
    "regression": "labelled",
    "token-classification": "tagged",
    "causal-lm": "unlabelled",
    "translation": "parallel",
    "image-classification": "images",
}
"""The data of each task that models from a checkpoint read."""


def search_from(
    source: Path | str,
    store: Path,
    document: dict[str, Any],
    data: dict[str, Any] | None = None,
    layers: str = "evenly-spaced",
    **space: Any,
) -> SearchFile:
    """A search of the task and the data of a document, with what its checkpoint determines.

    Args:
        data: Further fields of its data.
        layers: Which layers models keep.
        space: Dimensions other than by default.
    """
    task = document["task"]
    kind = SOURCES[task["name"]]
    length = {} if kind == "images" else {"sequence_length": 16}
    if kind == "parallel":
        length["target_length"] = 16
    search = from_document(
        {
            "name": "pretrained",
            "task": task,
            "data": {kind: document["data"][kind], **length, **(data or {})},
            "model": {"from": str(source), "layers": layers},
            "space": {
                "depth": {"low": 1, "high": DEPTH},
                "width": WIDTH,
                "budget": {"choices": [20.0, 40.0]},
                **space,
            },
            "training": {"batch_size": 8, "learning_rate": 1e-3},
            "storage": {"store": str(store)},
            "trials": 2,
        }
    )
    return with_checkpoints(search, store)[0]


def checkpoint_of(search: SearchFile) -> Checkpoint:
    assert search.model is not None
    assert search.model.checkpoint is not None
    return search.model.checkpoint


def task_of(search: SearchFile, data_root: Path, vocabulary: int = 0) -> Task:
    return make_task(search, prepare_for(search, data_root, vocabulary))


def start_of(task: Task, architecture: Architecture) -> Any:
    """The model that training starts from."""
    torch.manual_seed(0)
    model = task.build(architecture.shape)
    initialise = task.initialise_from(architecture)
    assert initialise is not None
    initialise(model)
    return model.eval()


def original(task: Task) -> torch.Tensor:
    """The number in the checkpoint of each token."""
    return torch.from_numpy(task.prepared.original_tokens.astype("int64"))


def with_old_numbers(batch: Batch, task: Task) -> Batch:
    """A batch with the token numbers of the checkpoint."""
    sides = batch.keys() & {"input_ids", "decoder_input_ids"}
    return {**batch, **{side: original(task)[batch[side]] for side in sides}}


def loaded(task: Task) -> Any:
    """The whole checkpoint as transformers loads it, with the random head of a classifier."""
    torch.manual_seed(0)
    assert task.start is not None
    return task.start.opened.load(task.workload.classes)


def export(
    search: SearchFile,
    data: PreparedData,
    objective: Objective,
    result: Evaluation,
    folder: Path,
    *,
    with_onnx: bool,
) -> tuple[PredictionTask, Any]:
    """Export the model of a trial and its examples to an empty folder; returns its task, and the
    model as tlc loads it."""  # fmt: skip
    task = PredictionTask.of(search.task, search.data, data, search.workload, search.metric.name)
    batches = make_task(search, data).calibration()
    with objective.store.open(result.model) as stored:
        assert stored is not None
        write_bundle(folder, stored, task, data.tokenizer_file, batches, with_onnx=with_onnx)
        model = model_file.load(stored)
    write_examples(folder, search.task, search.data, data, search.workload)
    return task, model
