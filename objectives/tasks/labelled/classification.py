"""Text classification."""

from __future__ import annotations

from objectives.tasks.base import Task
from objectives.tasks.context import TaskContext
from objectives.tasks.labelled.classes import ClassesOfTexts
from objectives.tasks.labelled.classification_from_checkpoint import (
    ClassificationFromCheckpoint,
    DistilledClassification,
)
from objectives.tasks.labelled.fine_tuned import FineTunedTexts
from spaces.file import tasks


class Classification(ClassesOfTexts, FineTunedTexts, tasks.Classification):
    """The classification task, of texts or of pairs of texts."""

    @classmethod
    def variant(cls, context: TaskContext) -> type[Task]:
        """From a checkpoint, the budget is fine-tuning; with distillation, it has a teacher."""
        if context.start is None:
            return cls
        is_distilled = context.training.distillation is not None
        return DistilledClassification if is_distilled else ClassificationFromCheckpoint
