"""The tasks, one file each: data, loss, score, and the path of training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from objectives.data.batch_lengths import batch_lengths
from objectives.data.prepared_data import PreparedData
from objectives.tasks.base import Task
from objectives.tasks.causal_lm import CausalLanguageModel
from objectives.tasks.classification import Classification
from objectives.tasks.image_classification import ImageClassification
from objectives.tasks.masked_lm import MaskedLanguageModel
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


def make_task(
    search: SearchFile, data: PreparedData, steps_per_second: StepsPerSecond | None = None
) -> Task:
    """The task of a search file on its prepared data; paths need speeds for budgets in seconds."""
    lengths = batch_lengths(data, search.task.name, search.training.batch_size)
    stages = Stages(
        search.training,
        replace(search.schedule, steps_per_second=steps_per_second, lengths=lambda: lengths),
        search.workload,
        search.space.budget.values,
        data.fingerprint,
    )
    options: dict[str, Any] = {}
    if search.task.name == "translation":
        options = {"beams": search.task.beams}
    elif search.task.name == "classification":
        options = {"fine_tuning": search.training.fine_tuning}
    task: Task = _TASKS[search.task.name](
        data,
        stages,
        search.workload,
        search.training.batch_size,
        search.seed,
        **options,
    )
    return task
