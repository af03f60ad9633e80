"""The tasks, one file each: data, loss, score, and the path of training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from objectives.data.batch_lengths import batch_lengths
from objectives.data.prepare import prepare
from objectives.data.prepared_data import PreparedData
from objectives.tasks.base import Task
from objectives.tasks.causal_lm import CausalLanguageModel
from objectives.tasks.checkpoint_start import CheckpointStart
from objectives.tasks.classification import Classification
from objectives.tasks.classification_from_checkpoint import ClassificationFromCheckpoint
from objectives.tasks.distillation import DistilledClassification
from objectives.tasks.image_classification import ImageClassification
from objectives.tasks.masked_lm import MaskedLanguageModel
from objectives.tasks.teachers import Teachers
from objectives.tasks.translation import Translation
from objectives.training.stages import Stages
from spaces.cost.budget import StepsPerSecond
from spaces.file.search_file import SearchFile

_TASKS: dict[str, Any] = {
    "classification": Classification,
    "masked-lm": MaskedLanguageModel,
    "causal-lm": CausalLanguageModel,
    "translation": Translation,
    "image-classification": ImageClassification,
}


_FROM_CHECKPOINTS: dict[str, Any] = {
    "classification": ClassificationFromCheckpoint,
    "causal-lm": CausalLanguageModel,
    "translation": Translation,
    "image-classification": ImageClassification,
}


def prepare_for(search: SearchFile, root: Path, vocabulary: int = 0) -> PreparedData:
    """The data of a search below a folder.

    Args:
        vocabulary: Pieces that are kept of a checkpoint's vocabulary; 0 keeps all.

    Raises:
        UserError: The data is missing, or the checkpoint cannot be opened.
    """
    if search.model is None:
        return prepare(search.data, search.task, root)
    data = search.data
    if vocabulary:
        data = data.model_copy(update={"vocabulary_size": vocabulary})
    start = CheckpointStart(search.model, search.task.name)
    return prepare(data, search.task, root, start.tokenizer if data.images is None else None)


def make_task(
    search: SearchFile,
    data: PreparedData,
    steps_per_second: StepsPerSecond | None = None,
    teachers: Teachers | None = None,
) -> Task:
    """The task of a search file on its prepared data; paths need speeds for budgets in seconds, and
    teachers where the search distils."""
    lengths = batch_lengths(data, search.task.name, search.training.batch_size)
    stages = Stages(
        search.training,
        replace(search.schedule, steps_per_second=steps_per_second, lengths=lambda: lengths),
        search.workload,
        search.space.budget.values,
        data.fingerprint,
        search.space.training_values.get("decay_fraction", ()),
    )
    made = _TASKS[search.task.name]
    options: dict[str, Any] = {"metric": search.metric.name}
    if search.task.name == "translation":
        options["beams"] = search.task.beams
    if search.model is not None:
        made = _FROM_CHECKPOINTS[search.task.name]
        options["start"] = CheckpointStart(search.model, search.task.name)
        if search.training.distillation is not None:
            made = DistilledClassification
            options |= {"settings": search.training.distillation, "teachers": teachers}
    elif search.task.name == "classification":
        options["fine_tuning"] = search.training.fine_tuning
    task: Task = made(
        data,
        stages,
        search.workload,
        search.training.batch_size,
        search.seed,
        **options,
    )
    return task
