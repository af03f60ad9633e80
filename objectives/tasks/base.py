"""The interface of all tasks, tlc's and a user's own: data, model, loss and score.

A task is one class: its fields are those of ``task`` in a search file. A user's own gives ``data``
and ``model``, and what else differs from a classifier (docs/own-task.md). tlc's own tasks read the
section ``data`` of a search file (``FromSources``), have families of models that tlc knows, and
override what they do otherwise: their score, their stages of training, their references.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import PrivateAttr
from torch import nn

from objectives.data.batches import (
    EVALUATION_BATCH_SIZE,
    Batch,
    forward_arguments,
    logits,
    on_device,
)
from objectives.data.columns import (
    ColumnBatches,
    column_batch,
    column_batches,
    groups_of,
    write_splits,
)
from objectives.data.encoding import IGNORED
from objectives.data.prepare import own_data_key, prepare_once
from objectives.data.prepared_data import PreparedData
from objectives.data.pretrained_tokenizer import PretrainedTokenizer
from objectives.measurement.score import Predict, Score, logits_of
from objectives.measurement.scores.classes import score_classifier
from objectives.measurement.scores.examples import (
    label_loss,
    label_scores,
    measured,
    score_of_examples,
)
from objectives.models.decoding import Decoding
from objectives.references.classifiers import majority_class
from objectives.references.reference import Reference
from objectives.tasks.checkpoint_start import CheckpointStart
from objectives.tasks.context import TaskContext
from objectives.tasks.own.errors import of_method
from objectives.training.learning_problem import LearningProblem
from objectives.training.path import Epoch, TrainingPath
from objectives.training.stages import Stages
from spaces.cost.architecture import Architecture
from spaces.cost.configuration import Configuration
from spaces.cost.metric import Metric
from spaces.cost.workload import Workload
from spaces.file.dimensions import StrictModel
from spaces.file.sources import Data
from spaces.file.space import Measurement

CALIBRATION_BATCHES = 4
CLASS_METRICS = ("accuracy", "balanced-accuracy", "macro-f1", "matthews")

T = TypeVar("T", bound="Task")


class Task(LearningProblem, StrictModel):
    """What models are trained for: the base class of every task.

    A subclass in a package of one's own needs ``data`` and ``model``. Without more, its models
    classify: their logits are compared with the array ``labels``.

    Attributes:
        metric: What models are scored by: ``accuracy``, ``balanced-accuracy``, ``macro-f1`` or
            ``matthews`` of classes, ``perplexity``, or a ``tlc.Metric`` with a name, the value of a
            guess and the perfect one.
        version: Of the code; raise it when the same fields train or score otherwise. Without it, a
            hash of the source of the class's package stands for it.
        parametrised: Whether tlc draws the initial weights, and scales the learning rate for each
            depth and width (CompleteP, arXiv 2505.01618). Without, weights stay as ``model`` makes
            them, and all have one learning rate.
    """

    metric: ClassVar[str | Metric] = "accuracy"
    version: ClassVar[str] = ""
    parametrised: ClassVar[bool] = True

    _context: TaskContext | None = PrivateAttr(default=None)

    # What a user's own task defines.

    def data(self) -> Mapping[str, Any]:
        """The splits ``train``, ``validation`` and ``test``: each a mapping from names to arrays
        with a row for each example, or a ``datasets.Dataset``.

        Arrays named as arguments of the model's forward pass (``input_ids``, ``attention_mask``,
        ``pixel_values``, …) are its inputs, all others are for ``loss`` and ``scores``. ``group``
        says which rows depend on each other: equal numbers, such as one for each document.

        Each call must return the same rows.
        """
        raise NotImplementedError

    def model(self, architecture: Architecture) -> nn.Module:
        """An untrained model of transformers with the ``depth``, ``width``, ``heads`` and
        ``feed_forward`` (and ``decoder_depth``) of an architecture."""
        raise NotImplementedError

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Loss of a model on a batch; by default the cross-entropy of ``labels``."""
        return label_loss(logits(model, batch), batch["labels"])

    def terms(self, batch: Batch) -> int:
        """Number of terms of a batch that ``loss`` is the mean of: by default its labels, of a loss
        of one's own its rows."""
        if type(self).loss is Task.loss:
            return int((batch["labels"] != IGNORED).sum())
        return super().terms(batch)

    def scores(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """What a model achieves on each row of a batch, ``(rows,)``; the score of a split is their
        mean (``value``).

        By default the fraction of the labels of a row that is predicted; of the metric
        ``perplexity``, their mean cross-entropy in nats.
        """
        return label_scores(logits(model, batch), batch["labels"], self.metric_name)

    def value(self, scores: npt.NDArray[np.float64]) -> float:
        """The score of a split from what ``scores`` gave for its rows, ``(rows, ...)``.

        By default their mean. A score that is no mean, such as F1, overrides it; its interval is
        then that of a bootstrap.
        """
        return float(scores.mean())

    # What a search makes of it.

    @classmethod
    def variant(cls, context: TaskContext) -> type[Task]:
        """The class that a search trains: where a checkpoint or a teacher changes the problem, a
        subclass may be another than the named one."""
        return cls

    def bound(self, context: TaskContext) -> Self:
        """The same task with what a search gives to it."""
        return self.recast(type(self), context)

    def recast(self, kind: type[T], context: TaskContext | None = None) -> T:
        """The task of another class with the same fields.

        Args:
            context: By default its own.
        """
        values = {name: getattr(self, name) for name in kind.model_fields if hasattr(self, name)}
        made = kind.model_construct(**values)
        made._context = context or self._context
        return made

    def check(self) -> None:
        """Refuse data that cannot be trained on.

        Raises:
            UserError: There are too few examples.
        """

    @property
    def context(self) -> TaskContext:
        """What a search gives to it."""
        assert self._context is not None, "the task of a search is made by make_task"
        return self._context

    @property
    def prepared(self) -> PreparedData:
        """Its prepared data."""
        return self.context.data

    @property
    def stages(self) -> Stages:
        """Make the stages of training."""
        return self.context.stages

    @property
    def workload(self) -> Workload:
        """What its models read and predict."""
        return self.context.workload

    @property
    def batch_size(self) -> int:
        """Rows of a training batch."""
        return self.context.training.batch_size

    @property
    def seed(self) -> int:
        """Seed of the order of the training data."""
        return self.context.seed

    @property
    def start(self) -> CheckpointStart | None:
        """The checkpoint that models start from, where there is one."""
        return self.context.start

    @property
    def metric_name(self) -> str:
        """Name of what models are scored by: a search may choose among several."""
        if self._context is not None:
            return self._context.metric
        return self.metric if isinstance(self.metric, str) else self.metric.name

    @property
    def dropout(self) -> float:
        """That of the search."""
        return self.stages.dropout

    @property
    def kind(self) -> str:
        """Part of the key of its paths."""
        return self.context.name

    @property
    def identity(self) -> dict[str, Any]:
        """How the layers of a checkpoint are chosen; of a user's own task, its fields and code."""
        start = {} if self.start is None else self.start.identity
        own = {"fields": self.model_dump(mode="json"), "code": self.context.code}
        return {**start, **(own if self.context.code else {})}

    def prepare(
        self, name: str, code: str, sources: Data, root: Path, tokenizer: PretrainedTokenizer | None
    ) -> PreparedData:
        """Its data, stored below a folder; a second call only opens it.

        Args:
            name: Name of the task in the search file.
            code: Hash or version of its code.
            sources: The section ``data`` of the search file.
            tokenizer: That of the checkpoint that models start from.

        Raises:
            UserError: The data is missing, empty, or not of the right form.
        """
        key = own_data_key(name, code, self.model_dump(mode="json"))
        return prepare_once(root, key, lambda folder: write_splits(self._rows(), folder))

    def _rows(self) -> Mapping[str, Any]:
        with of_method("data"):
            return self.data()

    def path(self, configuration: Configuration) -> TrainingPath:
        """The chain of training that a configuration of the same seed asks for; its end is the
        final model."""
        return self.stages.stable_and_decay(configuration, self)

    def timed_path(self, architecture: Architecture) -> TrainingPath:
        """A path on which the speed of the stable path is measured."""
        return self.stages.timed(architecture, self)

    def initialise_from(self, architecture: Architecture) -> Callable[[nn.Module], None] | None:
        """What is kept of the checkpoint, where there is one."""
        start = self.start
        if start is None:
            return None
        tokens = self.prepared.original_tokens if self.workload.vocabulary_size else None
        return lambda model: start.cut_into(
            model, architecture, self.workload, tokens, self.calibration(), self.loss
        )

    @cached_property
    def train_batches(self) -> Callable[[int], Batch]:
        """Batches of the training split by step."""
        return ColumnBatches(self.prepared.columns("train"), self.batch_size, self.seed)

    @property
    def epoch(self) -> Epoch:
        """The rows of the training split, at full length."""
        rows = self.prepared.counts["train rows"]
        return Epoch(rows, rows * self.workload.sequence_length)

    def batch(self, step: int) -> Batch:
        """The training batch of a step."""
        return self.train_batches(step)

    def score(self, model: nn.Module, split: str) -> Score:
        """Score of a model on a split, with its 95 % interval of independent groups."""
        if self._is_classifier:
            return self._classifier_score(logits_of(model), split)
        columns = self.prepared.columns(split)
        batches = on_device(column_batches(columns, EVALUATION_BATCH_SIZE), model)
        scores, loss = measured(model.eval(), batches, self.scores, self.loss)
        statistic = None if type(self).value is Task.value else self.value
        return score_of_examples(self.metric_name, scores, groups_of(columns), loss, statistic)

    def calibration(self) -> list[Batch]:
        """Training batches of one shape, for pruning, calibration and checks of compression."""
        return [self.batch(step) for step in range(CALIBRATION_BATCHES)]

    def references(self) -> Iterator[Reference]:
        """What a person would try in a minute, fitted to the training split, the smallest first; by
        default the majority class, where models classify."""
        if self._is_classifier:
            labels = self.prepared.columns("train")["labels"]
            yield majority_class(labels, self.workload.outputs, self._classifier_score)

    @property
    def _is_classifier(self) -> bool:
        """Whether its scores are those of the classes of whole inputs."""
        labels = self.prepared.columns("train").get("labels")
        is_usual = type(self).scores is Task.scores and type(self).value is Task.value
        is_scored = is_usual and self.metric_name in CLASS_METRICS
        return is_scored and labels is not None and labels.ndim == 1 and labels.min() >= 0

    def _classifier_score(self, predict: Predict, split: str) -> Score:
        columns = self.prepared.columns(split)
        batches = column_batches(columns, EVALUATION_BATCH_SIZE)
        return score_classifier(predict, batches, groups_of(columns), self.metric_name)

    def latency_input(self, batch_size: int) -> Batch:
        """Arguments of a forward pass on inputs of full length, to measure latency with."""
        columns = self.prepared.columns("validation")
        rows = np.arange(batch_size) % self.prepared.counts["validation rows"]
        return forward_arguments(column_batch(columns, rows))

    def decoding(self, measurement: Measurement) -> Decoding:
        """A text that models write, to measure the costs of decoding with.

        Raises:
            NotImplementedError: Models of this task write no tokens.
        """
        raise NotImplementedError
