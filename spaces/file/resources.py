"""Resources of a trial, which may grow with its model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from spaces.file.dimensions import Count, PositiveNumber, StrictModel

Gpus = Annotated[float, Field(ge=0.0)]
Retry = Annotated[int, Field(ge=0)]
Strategy = Literal["ddp", "fsdp"]


class Placement(StrictModel):
    """Workers that train a model, and the resources of each."""

    cpus: Count = 1
    """CPU cores of a worker; also the threads that it uses."""
    gpus: Gpus = 0.0
    """GPUs of a worker; below 1, several trials share one."""
    memory_gb: PositiveNumber | None = None
    """Gigabytes (10^9 bytes) of memory to reserve on a node for a worker; by default none."""
    workers: Count = 1
    """Processes that train one model together, each on its part of every batch."""
    strategy: Strategy = "ddp"
    """What each of several workers holds: ``ddp`` the whole model; ``fsdp`` a shard of it, of its
    gradients and of its optimiser, for models that do not fit on one device."""

    @property
    def devices(self) -> float:
        """Devices that a trial occupies: the GPUs of its workers, or without any the workers."""
        return self.workers * (self.gpus or 1.0)


class LargerModels(StrictModel):
    """Resources of models from a size on; by default those of smaller models."""

    from_parameters: Count
    """Parameters of the smallest such model, before compression."""
    cpus: Count | None = None
    gpus: Gpus | None = None
    memory_gb: PositiveNumber | None = None
    workers: Count | None = None
    strategy: Strategy | None = None


class Retries(StrictModel):
    """How often a trial continues from its last checkpoint, by the state that it has in the end. It
    counts from the last time that the trial had stored something new."""

    node_lost: Retry = 10
    """Its node was lost or pre-empted, or that of a further worker of its model."""
    worker_died: Retry = 2
    """Its process was killed or crashed."""
    hung: Retry = 1
    """It made no progress (``progress_deadline_seconds``)."""
    oom: Retry = 1
    """It ran out of memory, or Ray or the kernel killed its process for lack of memory."""
    error: Retry = 1
    """Something raised an unexpected error."""


class Resources(Placement):
    """Resources of one trial."""

    larger_models: list[LargerModels] = Field(default=[])
    """Resources of larger models, in the order of their size."""
    progress_deadline_seconds: PositiveNumber = 600.0
    """Longest time without progress (a step, a scored batch, a compressed layer) before a worker is
    considered stuck and killed; it has at least two minutes to start."""
    retries: Retries = Retries()
    """How often a trial is continued without progress."""

    def placement(self, parameters: int) -> Placement:
        """Resources of a model with so many parameters before compression."""
        *_, last = self.placements(parameters).values()
        return last

    def placements(self, parameters: float = float("inf")) -> dict[str, Placement]:
        """Resources of models of up to so many parameters, by their field in the search file."""
        fields = {name: getattr(self, name) for name in Placement.model_fields}
        found = {"resources": Placement(**fields)}
        for index, rule in enumerate(self.larger_models):
            if rule.from_parameters <= parameters:
                given = {name: getattr(rule, name) for name in fields}
                fields |= {name: value for name, value in given.items() if value is not None}
                found[f"resources.larger_models.{index}"] = Placement(**fields)
        return found

    def faults(self, batch_size: int) -> list[str]:
        """Valid fields that contradict each other, or a batch of so many sequences."""
        sizes = [rule.from_parameters for rule in self.larger_models]
        faults = [
            f"{field}.{fault}"
            for field, placement in self.placements().items()
            for fault in _faults(placement, batch_size)
        ]
        if sizes != sorted(set(sizes)):
            faults.append(f"resources.larger_models: from_parameters must increase, got {sizes}")
        return faults


def _faults(placement: Placement, batch_size: int) -> list[str]:
    faults = []
    if batch_size % placement.workers:
        faults.append(
            f"workers: {placement.workers} does not divide training.batch_size, {batch_size}"
        )
    if placement.workers > 1 and placement.gpus != int(placement.gpus):
        faults.append(
            f"gpus: {placement.workers} workers need whole devices, got {placement.gpus:g} for each"
        )
    if placement.workers == 1 and placement.strategy == "fsdp":
        faults.append(
            "strategy: fsdp shards a model over workers; workers is 1, must be at least 2"
        )
    return faults
