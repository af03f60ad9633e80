"""Resources of a trial, which may grow with its model."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from spaces.cost.architecture import Architecture
from spaces.cost.families import parameters
from spaces.cost.flops import pretraining_workload
from spaces.cost.memory.training import training_memory
from spaces.cost.workload import Workload
from spaces.file.dimensions import Count, PositiveNumber, StrictModel
from spaces.file.training import Training

MARGIN = 1.15
"""What a trial asks for of the memory of a GPU, in its predicted memory: blocks of freed memory do
not always fit again."""

Gpus = Annotated[float, Field(ge=0.0)]
Retry = Annotated[int, Field(ge=0)]
Strategy = Literal["ddp", "fsdp"]


class Placement(StrictModel):
    """Workers that train a model, and the resources of each."""

    cpus: Count = 1
    """CPU cores of a worker; also the threads that it uses."""
    gpus: Gpus | None = None
    """GPUs of a worker; below 1, several trials share one. By default none on a cluster without
    GPUs; on others a fraction that the predicted memory of training fits in, or a whole GPU."""
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

    gpu_memory_gb: PositiveNumber | None = None
    """Gigabytes (10^9 bytes) of memory of a GPU, from which ``gpus`` follows where it is left out;
    by default those of the smallest GPU of the cluster."""
    trials_per_gpu: Count | None = None
    """Most trials that share a GPU where ``gpus`` is left out; by default as many as the cluster
    has CPUs for, so that all of its GPUs are used."""
    larger_models: list[LargerModels] = Field(default=[])
    """Resources of larger models, in the order of their size."""
    progress_deadline_seconds: PositiveNumber = 600.0
    """Longest time without progress (a step, a scored batch, a compressed layer) before a worker is
    considered stuck and killed; it has at least two minutes to start."""
    nodes_deadline_seconds: PositiveNumber = 1800.0
    """Longest time that a search with ``address`` and ``concurrency`` waits for an autoscaler to
    add nodes for a trial, before its first one."""
    retries: Retries = Retries()
    """How often a trial is continued without progress."""

    def on_cluster(
        self, gpus: float, memory_gb: float | None, trials_per_gpu: int | None
    ) -> Resources:
        """The same where a cluster decides on what is left out.

        Args:
            gpus: Those of the cluster.
            memory_gb: Of the smallest of them, where it is known; else a trial has a whole one.
            trials_per_gpu: Trials for each of them that its CPUs run beside each other; None where
                they are not known.
        """
        if self.gpus is not None:
            return self
        memory_gb = self.gpu_memory_gb or memory_gb
        if not gpus or memory_gb is None:
            return self.model_copy(update={"gpus": 1.0 if gpus else 0.0})
        shared = self.trials_per_gpu or trials_per_gpu
        return self.model_copy(update={"gpu_memory_gb": memory_gb, "trials_per_gpu": shared})

    def placement_of(
        self, architecture: Architecture, workload: Workload, training: Training
    ) -> Placement:
        """Resources of a model; without GPUs where none are given and no cluster decided."""
        placement = self.placement(parameters(architecture, workload))
        if placement.gpus is not None:
            return placement
        gpus = 0.0
        if self.gpu_memory_gb is not None:
            needed = MARGIN * training_bytes(architecture, workload, training, on_gpu=True)
            fitting = int(1e9 * self.gpu_memory_gb / needed)
            gpus = part_of_gpu(min(fitting, self.trials_per_gpu or fitting))
        return placement.model_copy(update={"gpus": gpus})

    def placement(self, parameters: int) -> Placement:
        """Resources of a model with so many parameters before compression, as they are given."""
        *_, last = self.placements(parameters).values()
        return last

    def placements(self, parameters: float = float("inf")) -> dict[str, Placement]:
        """Resources of models of up to so many parameters, by their field in the search file."""
        fields = {name: getattr(self, name) for name in Placement.model_fields}
        found = {"resources": self._whole_for_several(Placement(**fields))}
        for index, rule in enumerate(self.larger_models):
            if rule.from_parameters <= parameters:
                given = {name: getattr(rule, name) for name in fields}
                fields |= {name: value for name, value in given.items() if value is not None}
                placement = self._whole_for_several(Placement(**fields))
                found[f"resources.larger_models.{index}"] = placement
        return found

    def _whole_for_several(self, placement: Placement) -> Placement:
        """A placement, in which each of several workers has a whole GPU where a cluster decides."""
        if placement.gpus is None and placement.workers > 1 and self.gpu_memory_gb is not None:
            return placement.model_copy(update={"gpus": 1.0})
        return placement

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


def training_bytes(
    architecture: Architecture,
    workload: Workload,
    training: Training,
    *,
    on_gpu: bool,
    workers: int = 1,
    sharded: bool = False,
    is_divided: bool = False,
) -> int:
    """Predicted memory of a worker that trains a model, in the largest of its stages.

    Args:
        on_gpu: Of a GPU, in bf16; else of the process, in fp32.
        workers: Workers that train it together.
        sharded: Whether they share the weights (FSDP).
        is_divided: Whether batches are divided as far as they can be, and layers computed again.
    """
    stages = [(pretraining_workload(workload), training.dropout, 1)]
    if (tuning := training.fine_tuning) is not None:
        stages.append((workload, tuning.dropout, tuning.passes))
    memory = [
        training_memory(
            architecture,
            stage,
            batch_size=training.batch_size,
            precision="bf16" if on_gpu else "fp32",
            on_gpu=on_gpu,
            workers=workers,
            sharded=sharded,
            micro_batches=training.batch_size // workers if is_divided else 1,
            checkpointed=is_divided,
            dropout=dropout,
            passes=passes,
        ).total
        for stage, dropout, passes in stages
    ]
    has_teacher = training.distillation is not None or training.recovery_distillation is not None
    return max(memory) + has_teacher * 4 * parameters(architecture, workload)


def part_of_gpu(trials: int) -> float:
    """What each of so many trials that share a GPU asks for; a whole one if it cannot be shared.

    Ray counts ten-thousandths of a GPU.
    """
    return math.floor(1e4 / max(1, trials)) / 1e4


def _faults(placement: Placement, batch_size: int) -> list[str]:
    faults = []
    if batch_size % placement.workers:
        faults.append(
            f"workers: {placement.workers} does not divide training.batch_size, {batch_size}"
        )
    if placement.workers > 1 and (placement.gpus or 0.0) % 1.0:
        faults.append(
            f"gpus: {placement.workers} workers need whole devices, got {placement.gpus:g} for each"
        )
    if placement.workers == 1 and placement.strategy == "fsdp":
        faults.append(
            "strategy: fsdp shards a model over workers; workers is 1, must be at least 2"
        )
    return faults
