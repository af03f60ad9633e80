"""The tasks, one file each: data, loss, score, and the path of training."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

from objectives.data.batch_lengths import batch_lengths
from objectives.data.errors import DataError
from objectives.data.prepared_data import PreparedData
from objectives.tasks.base import Task
from objectives.tasks.checkpoint_start import CheckpointStart
from objectives.tasks.context import TaskContext
from objectives.tasks.labelled.teachers import Teachers
from objectives.tasks.own.importing import own_task
from objectives.training.stages import Stages
from spaces.cost.budget import StepsPerSecond
from spaces.file.base_task import BaseTask
from spaces.file.own_task import OwnTask
from spaces.file.search_file import SearchFile

BUILT_IN = {
    "classification": "objectives.tasks.labelled.classification:Classification",
    "regression": "objectives.tasks.labelled.regression:Regression",
    "token-classification": "objectives.tasks.labelled.token_classification:TokenClassification",
    "masked-lm": "objectives.tasks.masked_lm:MaskedLanguageModel",
    "causal-lm": "objectives.tasks.causal_lm:CausalLanguageModel",
    "translation": "objectives.tasks.translation:Translation",
    "summarisation": "objectives.tasks.summarisation:Summarisation",
    "image-classification": "objectives.tasks.image_classification:ImageClassification",
}
"""The classes of tlc's own tasks by their names."""


def task_of(task: BaseTask) -> Task:
    """The task that a search file names, with its fields.

    Raises:
        UserError: A user's own task cannot be imported, or has changed.
    """
    if isinstance(task, OwnTask):
        return own_task(task)
    fields = task.model_dump()
    module, _, name = BUILT_IN[fields["name"]].partition(":")
    task_class: type[Task] = getattr(import_module(module), name)
    return task_class.model_validate(fields)


def prepare_for(search: SearchFile, root: Path, vocabulary: int = 0) -> PreparedData:
    """The data of a search below a folder.

    Args:
        vocabulary: Pieces that are kept of a checkpoint's vocabulary; 0 keeps all.

    Raises:
        UserError: The data is missing, the checkpoint cannot be opened, or a task of one's own gave
            other rows before.
    """
    task, sources, tokenizer = task_of(search.task), search.data, None
    if vocabulary:
        sources = sources.model_copy(update={"vocabulary_size": vocabulary})
    if search.model is not None and sources.images is None:
        tokenizer = CheckpointStart(search.model, search.task.name).tokenizer
    prepared = task.prepare(search.task.name, _code(search), sources, root, tokenizer)
    if isinstance(search.task, OwnTask) and prepared.fingerprint != search.task.found.data:
        raise DataError(
            f"task.name: data() of {search.task.name} gave other rows than when the search "
            "started; it must return the same ones in each call and on each machine"
        )
    return prepared


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
    start = None if search.model is None else CheckpointStart(search.model, search.task.name)
    context = TaskContext(
        name=search.task.name,
        data=data,
        stages=stages,
        workload=search.workload,
        training=search.training,
        metric=search.metric.name,
        seed=search.seed,
        start=start,
        teachers=teachers,
        code=_code(search),
    )
    named = task_of(search.task)
    task = named.recast(named.variant(context), context)
    for metric in search.criteria.metrics:
        task.bound(replace(context, metric=metric.name)).check()
    return task


def _code(search: SearchFile) -> str:
    """What stands for the code of a task of one's own; empty for tlc's."""
    return search.task.found.code if isinstance(search.task, OwnTask) else ""
