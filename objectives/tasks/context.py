"""What a search gives to its task: data, schedule, seed, and what models start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from objectives.data.prepared_data import PreparedData
from objectives.tasks.checkpoint_start import CheckpointStart
from objectives.training.stages import Stages
from spaces.cost.workload import Workload
from spaces.file.training import Training

if TYPE_CHECKING:
    from objectives.tasks.labelled.teachers import Teachers


@dataclass(frozen=True, eq=False)
class TaskContext:
    """What a task is trained and scored with.

    Args:
        name: Name of the task in the search file.
        data: Its prepared data.
        stages: Make the stages of training.
        workload: What its models read and predict.
        training: The section of the search file.
        metric: Name of what models are scored by.
        seed: Determines the order of the training data and its masks, as that of a configuration
            does; the data, its splits and its scores do not depend on it.
        start: The checkpoint that models start from; without it, from random weights.
        teachers: Those of distillation.
        code: Hash or version of the code of a user's own task.
    """

    name: str
    data: PreparedData
    stages: Stages
    workload: Workload
    training: Training
    metric: str
    seed: int
    start: CheckpointStart | None = None
    teachers: Teachers | None = None
    code: str = ""
