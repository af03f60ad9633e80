"""Searches that start from a tiny checkpoint, and what is cut from it, trained and exported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from objectives.compression import model_file
from objectives.data.batches import Batch
from objectives.data.prepared_data import PreparedData
from objectives.export.bundle import write_bundle
from objectives.export.evaluation import write_examples
from objectives.export.prediction_task import PredictionTask
from objectives.measurement.evaluation import Evaluation
from objectives.models.checkpoint.resolve import with_checkpoint
from objectives.objective import Objective
from objectives.tasks import make_task, prepare_for
from objectives.tasks.base import Task
from spaces.cost.architecture import Architecture
from spaces.cost.checkpoint import Checkpoint
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.cost.layout import Stack
from spaces.file.search_file import SearchFile
from spaces.loading import from_document

TRAINING = {"batch_size": 8, "learning_rate": 1e-3}
KILLED_AT = 7
"""Step of the last stage at which the process is killed."""


def search_of(
    source: Path | str,
    store: Path,
    task: dict[str, Any],
    data: dict[str, Any],
    space: dict[str, Any],
    training: dict[str, Any] = TRAINING,
    **model: str,
) -> SearchFile:
    """A search with what its checkpoint determines; ``model`` holds further fields of it."""
    search = from_document(
        {
            "name": "pretrained",
            "task": task,
            "data": data,
            "model": {"from": str(source), **model},
            "space": space,
            "training": training,
            "storage": {"store": str(store)},
            "trials": 2,
        }
    )
    return with_checkpoint(search)[0]


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
    return torch.from_numpy(task.data.original_tokens.astype("int64"))


def with_old_numbers(batch: Batch, task: Task) -> Batch:
    """A batch with the token numbers of the checkpoint."""
    old = original(task)
    sides = batch.keys() & {"input_ids", "decoder_input_ids"}
    return {**batch, **{side: old[batch[side]] for side in sides}}


def bypass(whole: nn.Module, stack: Stack, layers: Iterable[int]) -> None:
    """Let some layers of a stack give back what they read."""
    for index in layers:
        whole.get_submodule(f"{stack.prefix}.{index}").register_forward_hook(
            lambda _, arguments, named, output: (
                (arguments[0], *output[1:]) if isinstance(output, tuple) else arguments[0]
            ),
            with_kwargs=True,
        )


def same(a: nn.Module, b: nn.Module) -> bool:
    """Whether two models have the same weights, bit for bit."""
    one, other = a.state_dict(), b.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def configuration_of(search: SearchFile, sizes: dict[str, int], budget: float) -> Configuration:
    """What is kept of the checkpoint, without compression."""
    return Configuration(checkpoint_of(search).architecture(**sizes), budget, Compression())


def train_until_killed(
    search: SearchFile, sizes: dict[str, int], data_root: Path, folder: Path
) -> None:
    """Train in a process of its own, which is killed at a step of its last stage."""
    arguments = [search.model_dump_json(by_alias=True), json.dumps(sizes), data_root, folder]
    killed = subprocess.run(
        [sys.executable, "-c", _TRAIN_UNTIL_KILLED, *map(str, arguments)], check=False
    )
    assert killed.returncode == -signal.SIGKILL


_TRAIN_UNTIL_KILLED = f"""
import json, os, signal, sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {os.getcwd()!r})
from spaces.file.search_file import SearchFile
from tests.checkpoint_searches import configuration_of, task_of
from tests.training_paths import trainer

search = SearchFile.model_validate_json(sys.argv[1])
configuration = configuration_of(search, json.loads(sys.argv[2]), 20.0)
path = task_of(search, Path(sys.argv[3])).path(configuration).chain[-1]
real = path.loss_at

def loss_at(model, step):
    if step == {KILLED_AT}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(model, step)

trainer(Path(sys.argv[4]), every=1e-9).train(replace(path, loss_at=loss_at))
"""


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
    task = PredictionTask.of(search.task, search.data, data, search.workload)
    batches = make_task(search, data).calibration()
    with objective.store.open(result.model) as stored:
        assert stored is not None
        write_bundle(folder, stored, task, data.tokenizer_file, batches, with_onnx=with_onnx)
        model = model_file.load(stored)
    write_examples(folder, search.task, search.data, data, search.workload)
    return task, model
