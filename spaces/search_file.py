"""The search file: what a person writes to start a search."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from spaces.budget import Schedule
from spaces.compression import Pruning, Quantisation
from spaces.configuration import content_hash
from spaces.dimensions import (
    Budgets,
    Choices,
    Integers,
    Numbers,
    PositiveNumber,
    Prunings,
    Quantisations,
    Shares,
    StrictModel,
)
from spaces.shapes import Workload

Count = Annotated[int, Field(ge=1)]
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"


class StandardLibrary(StrictModel):
    """The Python standard library of the running interpreter: nothing to download.

    Unlabelled text is its source files. Labelled examples are snippets of about 64 tokens, and the
    label is the package that they come from.
    """

    source: Literal["standard_library"]


class Files(StrictModel):
    """Local files that Hugging Face ``datasets`` reads."""

    source: Literal["files"]
    format: Literal["csv", "tsv", "jsonl", "text", "parquet"] | None = None
    """Format of the files; without it, what the ending of ``train`` says."""
    train: str
    """Path of the training file, from the current folder."""
    validation: str | None = None
    """Path of the validation file; without it, a tenth of the training rows is held out."""
    test: str | None = None
    """Path of the test file; without it, a tenth of the training rows is held out."""
    columns: list[str] | None = None
    """Column names, for CSV and TSV files that have no header line."""
    text: str = "text"
    """Column that holds the text."""
    label: str = "label"
    """Column that holds the label (labelled data only)."""


class Hub(StrictModel):
    """A data set of the Hugging Face Hub."""

    source: Literal["hub"]
    dataset: str
    """Repository of the data set, such as ``stanfordnlp/sst2``."""
    config: str | None = None
    """Configuration of the data set, where it has several."""
    revision: str | None = None
    """Commit, tag or branch; name a commit for a search that can be repeated."""
    train: str = "train"
    """Split to train on."""
    validation: str | None = None
    """Split to choose on; without it, a tenth of the training rows is held out."""
    test: str | None = None
    """Split to report on; without it, a tenth of the training rows is held out."""
    text: str = "text"
    """Column that holds the text."""
    label: str = "label"
    """Column that holds the label (labelled data only)."""


Source = Annotated[StandardLibrary | Files | Hub, Field(discriminator="source")]


class Task(StrictModel):
    """What the models are trained for."""

    name: Literal["classification"] = "classification"
    """``classification``: pre-train a masked language model, then fine-tune it to classify."""
    classes: Annotated[int, Field(ge=2, le=10_000)]
    """Number of labels in the labelled data."""


class Data(StrictModel):
    """Where the text comes from and how it becomes tokens."""

    unlabelled: Source
    """Text for pre-training and for the tokenizer."""
    labelled: Source
    """Examples for fine-tuning, validation and test."""
    vocabulary_size: Annotated[int, Field(ge=300, le=1_000_000)] = 4096
    """Tokens of the byte-level BPE vocabulary that is trained on the unlabelled text."""
    sequence_length: Annotated[int, Field(ge=8, le=4096)] = 64
    """Longest input in tokens."""


class Space(StrictModel):
    """The dimensions that are searched. A single value fixes a dimension."""

    depth: Integers
    """Layers."""
    width: Integers
    """Hidden size."""
    heads: Integers | None = None
    """Attention heads; without it, one per 32 of width."""
    feed_forward: Integers | None = None
    """Feed-forward width; without it, four times the width."""
    budget: Budgets
    """Pre-training, in ``steps``, ``tokens`` or training ``flops``."""
    quantisation: Quantisations = Choices[Quantisation](choices=[Quantisation.NONE])
    """Quantisation of linear layers and embeddings."""
    group_size: Integers = Numbers[int](choices=[32])
    """Weights that share one scale."""
    pruning: Prunings = Choices[Pruning](choices=[Pruning.STRUCTURED])
    """What pruning removes."""
    sparsity: Shares = Numbers[float](choices=[0.0])
    """Share that pruning removes."""


class Training(StrictModel):
    """How every model is trained; the budget is a dimension of the space."""

    batch_size: Count = 32
    """Sequences in a step."""
    learning_rate: PositiveNumber = 2e-3
    """Peak AdamW learning rate at width 128; matrices of other widths get it times 128 / width."""
    fine_tuning_learning_rate: PositiveNumber = 1e-3
    """The same for fine-tuning."""
    warmup_steps: Count = 20
    """Steps in which the learning rate rises from zero."""
    decay_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Share of the budget, at its end, in which the learning rate falls to zero."""
    fine_tuning: PositiveNumber
    """Budget of fine-tuning, in the unit of ``space.budget``."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    """Decoupled weight decay of the matrices."""
    gradient_clip: PositiveNumber = 1.0
    """Largest norm of the gradient."""
    checkpoint_seconds: PositiveNumber = 30.0
    """Training that a crash may cost, at most."""


class Constraints(StrictModel):
    """What a model must meet. All of it is known before training, and never trained past."""

    max_size_mb: PositiveNumber | None = None
    """Largest compressed model, in megabytes (10^6 bytes) on disk."""
    max_latency_ms: PositiveNumber | None = None
    """Highest median latency, in milliseconds, under the conditions of ``measurement``."""
    max_flops: PositiveNumber | None = None
    """Most forward FLOPs for one sequence."""

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set, by the cost that they limit."""
        named = {
            "size_mb": self.max_size_mb,
            "latency_ms": self.max_latency_ms,
            "flops": self.max_flops,
        }
        return {cost: limit for cost, limit in named.items() if limit is not None}


class Measurement(StrictModel):
    """The conditions of a latency."""

    batch_size: Count = 1
    """Sequences in a batch."""
    threads: Count = 1
    """CPU threads."""
    repeats: Annotated[int, Field(ge=10, le=10_000)] = 40
    """Timed calls, each next to one of a reference model."""


class Resources(StrictModel):
    """What one trial occupies."""

    cpus: Count = 1
    """CPU cores; also the threads that training uses."""
    gpus: Annotated[float, Field(ge=0.0)] = 0.0
    """GPUs; below 1 trials share one."""


class Storage(StrictModel):
    """Where things are kept. Without values, in the folder ``.tlc`` (or ``TLC_HOME``)."""

    study: str | None = None
    """SQLAlchemy URL of the Optuna study."""
    store: str | None = None
    """Folder or fsspec URL of checkpoints and compressed models."""
    store_max_gb: PositiveNumber = 20.0
    """Quota of the store; the least useful checkpoints go first."""
    mlflow: str | None = None
    """MLflow tracking URI; ``MLFLOW_TRACKING_URI`` goes before it."""


Cost = Literal["size_mb", "latency_ms", "flops"]
# pydantic's strict mode takes no list for a tuple, and a search file has nothing else.
AccuracyAndCost = Annotated[tuple[Literal["accuracy"], Cost], Field(strict=False)]
AccuracyAlone = Annotated[tuple[Literal["accuracy"]], Field(strict=False)]
Objectives = AccuracyAndCost | AccuracyAlone


class SearchFile(StrictModel):
    """A whole search."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    """Name of the search, of its study and of its MLflow experiment."""
    task: Task
    data: Data
    space: Space
    training: Training
    objectives: Objectives = ("accuracy", "size_mb")
    """Accuracy, and the inference cost that it is weighed against; or accuracy alone, within the
    constraints."""
    constraints: Constraints = Constraints()
    measurement: Measurement = Measurement()
    sampler: Literal["frontier", "tpe", "gp", "nsgaii", "random", "grid"] = "frontier"
    """What chooses the next trial: ``frontier``, which spends compute where a second of it moves
    the frontier most, one of Optuna's samplers, or the grid in its order."""
    stop: Literal["auto", "trials"] = "trials"
    """``auto`` ends the search, before its trials or hours are over, when no trial is worth its
    seconds any more (sampler ``frontier``)."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of training and of the sampler."""
    trials: Annotated[int, Field(ge=1, le=1_000_000)]
    """Trials after which the search ends."""
    hours: PositiveNumber | None = None
    """Hours after which no new trial starts."""
    concurrency: Count | None = None
    """Trials at a time; without it, as many as the cluster has resources for."""
    resources: Resources = Resources()
    address: str | None = None
    """Address of a running Ray cluster; without it, Ray is started on this machine."""
    storage: Storage = Storage()

    @model_validator(mode="after")
    def _only_frontier_stops(self) -> SearchFile:
        if self.stop == "auto" and self.sampler != "frontier":
            raise ValueError(
                f"stop: auto needs sampler: frontier, which knows what a trial is worth; "
                f"{self.sampler} does not"
            )
        return self

    @model_validator(mode="after")
    def _accuracy_alone_has_a_constraint(self) -> SearchFile:
        if self.is_at_fixed_cost and not self.constraints.limits:
            raise ValueError(
                "objectives: accuracy alone needs a constraint, such as constraints.max_size_mb; "
                "without one, name the cost that it is weighed against"
            )
        return self

    @model_validator(mode="after")
    def _latency_has_a_reference(self) -> SearchFile:
        if self.cost == "latency_ms" and self.constraints.max_latency_ms is None:
            raise ValueError(
                "objectives: latency_ms needs constraints.max_latency_ms, "
                "which is the reference point of the hypervolume"
            )
        return self

    @property
    def is_at_fixed_cost(self) -> bool:
        """Whether the search is for the best accuracy within its constraints, and no frontier."""
        return len(self.objectives) == 1

    @property
    def cost(self) -> str:
        """The inference cost that accuracy is weighed against, or the first that is limited."""
        return (
            self.objectives[1] if len(self.objectives) == 2 else next(iter(self.constraints.limits))
        )

    @property
    def workload(self) -> Workload:
        """What every model of the search reads and answers."""
        return Workload(
            vocabulary_size=self.data.vocabulary_size,
            sequence_length=self.data.sequence_length,
            classes=self.task.classes,
        )

    @property
    def schedule(self) -> Schedule:
        """How budgets become steps."""
        return Schedule(
            unit=self.space.budget.unit,
            batch_size=self.training.batch_size,
            decay_share=self.training.decay_share,
            fine_tuning=self.training.fine_tuning,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can write and ``SearchFile.model_validate`` reads."""
        return self.model_dump(mode="json")

    def identity(self) -> dict[str, Any]:
        """What determines the results of a search: two files that differ in it are two searches.

        How long it runs, where, and with which sampler may change between a stop and a resume.
        """
        fields = self.to_dict()
        kept = ("task", "data", "space", "training", "objectives", "constraints", "measurement")
        identity = {key: fields[key] for key in (*kept, "seed")}
        del identity["training"]["checkpoint_seconds"]
        return identity

    @property
    def fingerprint(self) -> str:
        """Hash of the identity."""
        return content_hash(self.identity())
