"""The search file: everything that defines a search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from spaces.cost.architecture import Architecture
from spaces.cost.budget import Schedule
from spaces.cost.configuration import content_hash, differing_keys
from spaces.cost.criteria import (
    Criteria,
    Objectives,
    costs_among,
    criteria_of,
    first_cost,
    objective_faults,
)
from spaces.cost.inference_cost import Cost
from spaces.cost.metric import Metric
from spaces.cost.workload import Family, Workload
from spaces.errors import UserError
from spaces.file.dimensions import Count, PositiveNumber, StrictModel
from spaces.file.model import Model
from spaces.file.own_task import named_differences
from spaces.file.resources import Placement, Resources
from spaces.file.sampler_names import SamplerName, sampler_faults
from spaces.file.sources import Data
from spaces.file.space import Constraints, Measurement, Space
from spaces.file.storage import Storage
from spaces.file.tasks import (
    FINE_TUNING,
    FROM_DATA,
    SCORE,
    USUAL_DROPOUT,
    Task,
    data_faults,
    named_metric,
    named_task,
    smoothing_faults,
)
from spaces.file.training import WITHOUT_EFFECT, Training

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
NAME_RULE = "a name has letters, digits, _ and -, at most 64, and starts with a letter or digit"

Name = Annotated[str, Field(pattern=NAME_PATTERN)]

FROM_A_CHECKPOINT = {"learning_rate": 1e-4, "recovery_learning_rate": 5e-5}
"""Fields of ``training`` where models start from a checkpoint, by default: all sizes have the same
rates, for pre-trained weights need no parametrisation."""


class InconsistentFields(ValueError):
    """Fields that are valid one by one and contradict each other, with every fault."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("; ".join(faults))


class SearchFile(StrictModel):
    """A whole search."""

    name: Name
    """Name of the search, of its study and of its MLflow experiment."""
    task: Task
    data: Data = Data()
    model: Model | None = None
    """A checkpoint that every model starts from, or several, among which the search chooses;
    without it, from random weights."""
    space: Space
    training: Training
    objectives: Objectives
    """The metric of the task, or ``score`` for whatever it is, and the inference cost that is
    weighed against it (by default ``size_mb``), or several; or the metric alone, within the
    constraints. Further metrics of the task may follow the first, by which the best is chosen."""
    constraints: Constraints = Constraints()
    measurement: Measurement = Measurement()
    sampler: SamplerName = "frontier"
    """``frontier``, which chooses the trial with the highest expected gain per second, one of
    Optuna's samplers, or the grid in its order."""
    stop: Literal["auto", "trials"] = "trials"
    """``auto`` ends the search before its trials or hours are over, when the expected gain of
    every trial is too low for its time (sampler ``frontier``)."""
    from_searches: list[Name] = Field(default=[], max_length=20)
    """Earlier searches of the same task, data and metric, perhaps with another space: the sampler
    ``frontier`` learns from their trials, which are none of this search."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of training and of the sampler."""
    seeds: Annotated[int, Field(ge=1, le=100)] = 1
    """Seeds of training of what the search finds. At its end, after its ``trials`` or ``hours``, it
    trains what is on its frontier, and only that, again with the seeds ``seed + 1``,
    ``seed + 2``, …: the scores of these had no part in the selection."""
    trials: Annotated[int, Field(ge=1, le=1_000_000)]
    """Trials after which the search ends."""
    hours: PositiveNumber | None = None
    """Hours after which no new trial starts."""
    gpu_hours: PositiveNumber | None = None
    """GPU-hours of its trials, failed ones too, after which no new one starts."""
    concurrency: Count | None = None
    """Trials at a time; without it, as many as the cluster has resources for."""
    resources: Resources = Resources()
    address: str | None = None
    """Address of a running Ray cluster; without it, Ray is started on this machine."""
    storage: Storage = Storage()

    @model_validator(mode="before")
    @classmethod
    def _usual_objectives(cls, document: Any) -> Any:
        if not isinstance(document, dict):
            return document
        objectives = document.get("objectives", (SCORE, "size_mb"))
        if isinstance(objectives, list | tuple) and tuple(objectives[:1]) == (SCORE,):
            objectives = [named_metric(document) or SCORE, *objectives[1:]]
        return {**document, "objectives": objectives}

    @model_validator(mode="before")
    @classmethod
    def _usual_training(cls, document: Any) -> Any:
        training = document.get("training") if isinstance(document, dict) else None
        if not isinstance(training, dict):
            return document
        if document.get("model") is not None:
            return {**document, "training": {**FROM_A_CHECKPOINT, **training}}
        name = named_task(document)
        training = {"dropout": USUAL_DROPOUT.get(name, 0.0), **training}
        settings = {} if training.get("fine_tuning") is None else training["fine_tuning"]
        if name in FINE_TUNING and isinstance(settings, dict):
            training["fine_tuning"] = {**FINE_TUNING[name], **settings}
        return {**document, "training": training}

    @model_validator(mode="after")
    def _is_consistent(self) -> SearchFile:
        faults = [
            *data_faults(self.task, self.data, from_checkpoint=self.model is not None),
            *self.data.faults(),
            *self._task_faults(),
            *smoothing_faults(self.task, self.training, self.space),
            *self._objective_faults(),
            *self.training.faults(),
            *(self.space.training.faults(self.training) if self.space.training else ()),
            *self.resources.faults(self.training.batch_size),
        ]
        if faults:
            raise InconsistentFields(faults)
        return self

    def _task_faults(self) -> Iterator[str]:
        task = self.task
        if self.training.fine_tuning is not None and not task.has_fine_tuning:
            yield f"training.fine_tuning: task {task.name} has none; its budget is all training"
        if not task.needs and (self.training.dropout or "dropout" in self.space.training_values):
            yield f"training.dropout: the models of {task.name} have their own; make it its field"
        if self.space.decoder_depth is not None and task.is_opened and not task.has_decoder:
            yield f"space.decoder_depth: task {task.name} has no decoder"
        if self.model is not None:
            yield from self._checkpoint_faults(self.model)
            return
        for field, given in (
            ("space.vocabulary: trims the vocabulary of", self.space.vocabulary),
            ("training.distillation: its teacher is", self.training.distillation),
        ):
            if given is not None:
                yield f"{field} a checkpoint; give model.from"

    def _checkpoint_faults(self, model: Model) -> Iterator[str]:
        yield from model.faults()
        yield from self.space.faults_from_checkpoint()
        yield from self.training.faults_from_checkpoint()
        if not self.task.starts_from_checkpoints:
            yield f"model: task {self.task.name} starts from random weights; leave model out"
            return
        if self.task.needs == ("unlabelled",) and self.space.vocabulary is not None:
            yield f"space.vocabulary: task {self.task.name} keeps the whole vocabulary"
        if self.training.distillation is not None and self.task.name != "classification":
            yield f"training.distillation: task {self.task.name} has none; classification has"
        if self.task.needs == ("images",) and self.space.vocabulary is not None:
            yield f"space.vocabulary: task {self.task.name} reads no text"
        # What tlc writes names the default.
        if not model.is_opened and "encoder" in self.task.model_fields_set:
            yield "task.encoder: the models of a search from a checkpoint are of its family"
        if self.checkpoints and any(p.workers > 1 for p in self.resources.placements().values()):
            yield "resources.workers: models of several checkpoints are each trained by one worker"

    def _objective_faults(self) -> Iterator[str]:
        limits = self.constraints.limits
        yield from objective_faults(
            self.objectives,
            limits,
            task=self.task.name,
            known=self.task.metrics(self.data),
        )
        if self.space.compression == "fit" and not limits:
            yield "space.compression: fit needs a constraint, such as constraints.max_size_mb"
        if self.seed + self.seeds > 2**31:
            yield f"seeds: {self.seeds} seeds from {self.seed} on exceed the largest, {2**31 - 1}"
        yield from sampler_faults(self.sampler, self.stop, self.name, self.from_searches)

    @property
    def is_at_fixed_cost(self) -> bool:
        """Whether no cost is an objective: the search is for the best score within its
        constraints."""
        return not costs_among(self.objectives)

    @property
    def cost(self) -> Cost:
        """The first inference cost that the score is weighed against, or that is limited."""
        return first_cost(self.objectives, self.constraints.limits)

    @property
    def criteria(self) -> Criteria:
        """The criteria by which trials are compared."""
        known = self.task.metrics(self.data)
        return criteria_of(self.objectives, self.metric, known, self.constraints.limits)

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints that the search chooses among; empty where there is no choice."""
        names = () if self.model is None else self.model.names
        return names if len(names) > 1 else ()

    def alone(self, checkpoint: str) -> SearchFile:
        """The same search from one of its several checkpoints: with its data, and the values of
        dimensions that it has. Without several, the search itself."""
        if not checkpoint:
            return self
        assert self.model is not None
        model = self.model.alone(checkpoint)
        if self.model.opened is None:
            return self.model_copy(update={"model": model})
        data = self.model.opened[checkpoint].data
        assert model.checkpoint is not None
        pieces = 0 if data.images is not None else data.vocabulary_size
        space = self.space.kept_of(model.checkpoint, pieces)
        return self.model_copy(update={"model": model, "data": data, "space": space})

    def with_training(self, values: Mapping[str, float]) -> SearchFile:
        """The same search with other values of some fields of ``training``, by name."""
        if not values:
            return self
        return self.model_copy(update={"training": self.training.with_values(values)})

    @property
    def workload(self) -> Workload:
        """Inputs and outputs of every model of the search, which has no several checkpoints."""
        workload = self.task.workload_of(self.data)
        if self.model is None:
            return workload
        checkpoint = self.model.checkpoint
        if checkpoint is None:
            raise UserError(f"model.from: {', '.join(self.model.names)} was not opened yet")
        if workload.image_size:
            # With the class token, and whatever others its family has.
            patches = (workload.image_size // workload.patch_size) ** 2
            workload = replace(workload, sequence_length=patches + checkpoint.layout.special_tokens)
        return replace(workload, family=Family.CHECKPOINT, checkpoint=self.model.description or "")

    @property
    def metric(self) -> Metric:
        """The score of models."""
        name, known = self.objectives[0], self.task.metrics(self.data)
        if not known:
            raise UserError(f"task.name: {self.task.name} was not opened yet")
        # A name that the task lacks is a fault of the file, which its validation lists.
        return next((each for each in known if each.name == name), known[0])

    @property
    def schedule(self) -> Schedule:
        """How budgets are spent."""
        fine_tuning = self.training.fine_tuning
        return Schedule(
            unit=self.space.budget.unit,
            batch_size=self.training.batch_size,
            decay_fraction=self.training.decay_fraction,
            task_passes=1 if fine_tuning is None else fine_tuning.passes,
            has_taught_recovery=self.training.recovery_distillation is not None,
        )

    def placement(self, architecture: Architecture) -> Placement:
        """Resources of a model of an architecture."""
        own = self.alone(architecture.checkpoint)
        return self.resources.placement_of(architecture, own.workload, self.training)

    def needs_at_least(self, one: Architecture, other: Architecture) -> bool:
        """Whether a model needs at least the memory of another, of the same kind of device."""
        return one.is_at_least(other) and self.placement(one) == self.placement(other)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can write; ``SearchFile.model_validate`` reads them.

        Sizes that were left out are left out, so that what reads them knows it.
        """
        return self.model_dump(mode="json", exclude={"data": self.data.missing_sizes()})

    def to_public_dict(self) -> dict[str, Any]:
        """The same with passwords removed from the URLs."""
        document = self.to_dict()
        document["storage"] = Storage.without_passwords(document["storage"])
        return document

    def local_paths(self) -> list[tuple[str, str]]:
        """Every local file and folder that is named to be read, with its field.

        Another machine may lack them, and a service must not open them unasked.
        """
        return [*self.data.local_paths(), *(self.model.local_paths() if self.model else ())]

    def resolved(self) -> SearchFile:
        """The same with absolute locations, for a process in another folder."""
        return self.model_copy(update={"storage": self.storage.resolved()})

    def identity(self) -> dict[str, Any]:
        """The fields that determine the results of a search: another identity is another search.

        Duration, resources, locations and sampler may change between a stop and a resume.
        """
        fields = self.to_dict()
        kept = (
            "task",
            "data",
            "model",
            "space",
            "training",
            "objectives",
            "constraints",
            "measurement",
        )
        identity = {key: fields[key] for key in (*kept, "seed")}
        for name in WITHOUT_EFFECT:
            del identity["training"][name]
        for name in FROM_DATA:
            identity["task"].pop(name, None)
        return identity

    def differences(self, other: SearchFile) -> list[str]:
        """Names of the fields of the identity in which another search differs."""
        return named_differences(differing_keys(self.identity(), other.identity()))

    @property
    def fingerprint(self) -> str:
        """Hash of the identity."""
        return content_hash(self.identity())
