"""What a trial occupies, and how that grows with its model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from spaces.file.dimensions import Count, PositiveNumber, StrictModel

Gpus = Annotated[float, Field(ge=0.0)]
Strategy = Literal["ddp", "fsdp"]


class Placement(StrictModel):
    """What a model is trained on: workers, and what each of them occupies."""

    cpus: Count = 1
    """CPU cores of a worker; also the threads that it uses."""
    gpus: Gpus = 0.0
    """GPUs of a worker; below 1 trials share one."""
    memory_gb: PositiveNumber | None = None
    """Gigabytes (10^9 bytes) of memory that are set aside on a node for a worker; without it, none
    are."""
    workers: Count = 1
    """Processes that train one model together, each on its share of every batch."""
    strategy: Strategy = "ddp"
    """What each of several workers holds: ``ddp`` the whole model, ``fsdp`` a shard of it, of its
    gradients and of its optimiser, for models that one device has no room for."""


class LargerModels(StrictModel):
    """What models occupy from a size on; fields without a value are those of smaller models."""

    from_parameters: Count
    """Parameters of the smallest such model, before compression."""
    cpus: Count | None = None
    gpus: Gpus | None = None
    memory_gb: PositiveNumber | None = None
    workers: Count | None = None
    strategy: Strategy | None = None


class Resources(Placement):
    """What one trial occupies."""

    larger_models: list[LargerModels] = Field(default=[])
    """What larger models occupy, in the order of their size."""
    progress_deadline_seconds: PositiveNumber = 600.0
    """Longest time without a sign of progress (a step, a scored batch, a compressed layer), after
    which a worker counts as stuck and is killed; it has two minutes at least for its start."""

    def placement(self, parameters: int) -> Placement:
        """What a model is trained on.

        Args:
            parameters: Its parameters before compression.
        """
        *_, last = self.placements(parameters).values()
        return last

    def placements(self, parameters: float = float("inf")) -> dict[str, Placement]:
        """What models up to a size are trained on, by the field of the search file that says so."""
        fields = {name: getattr(self, name) for name in Placement.model_fields}
        found = {"resources": Placement(**fields)}
        for index, rule in enumerate(self.larger_models):
            if rule.from_parameters <= parameters:
                given = {name: getattr(rule, name) for name in fields}
                fields |= {name: value for name, value in given.items() if value is not None}
                found[f"resources.larger_models.{index}"] = Placement(**fields)
        return found

    def faults(self, batch_size: int) -> list[str]:
        """What is impossible although each field is right, in words for its author.

        Args:
            batch_size: Sequences in a training step.
        """
        sizes = [rule.from_parameters for rule in self.larger_models]
        faults = [
            f"{field}.{fault}"
            for field, place in self.placements().items()
            for fault in _faults(place, batch_size)
        ]
        if sizes != sorted(set(sizes)):
            faults.append(
                f"resources.larger_models: from_parameters must rise from one to the next, got "
                f"{sizes}"
            )
        return faults


def _faults(place: Placement, batch_size: int) -> list[str]:
    faults = []
    if batch_size % place.workers:
        faults.append(
            f"workers: {place.workers} cannot share training.batch_size {batch_size} evenly; "
            f"allowed are divisors of it"
        )
    if place.workers > 1 and place.gpus != int(place.gpus):
        faults.append(
            f"gpus: {place.workers} workers need devices of their own, got {place.gpus:g} for "
            "each; allowed are whole numbers"
        )
    if place.workers == 1 and place.strategy == "fsdp":
        faults.append("strategy: fsdp divides a model among workers; workers is 1, must be more")
    return faults
