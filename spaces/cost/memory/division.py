"""How a worker divides a step so that it fits into memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from spaces.cost.architecture import Architecture
from spaces.cost.memory.training import training_memory
from spaces.cost.units import Precision
from spaces.cost.workload import Workload


@dataclass(frozen=True, slots=True)
class Division:
    """How a worker computes its part of a batch.

    Args:
        micro_batches: Equal parts that are computed one after another; their gradients add up.
        checkpointed: Whether layers are computed again in the backward pass.
    """

    micro_batches: int = 1
    checkpointed: bool = False


WHOLE_STEP = Division()


@dataclass(frozen=True, slots=True)
class StepMemory:
    """What the memory of a step depends on beside its model, and how it may be divided.

    Args:
        micro_batch_size: Most sequences that a worker computes at once; None divides where a whole
            step does not fit.
        activation_checkpointing: Whether layers are computed again; ``auto`` where no division
            without it fits.
        dropout: Of training.
        passes: Forward passes over a batch in each step.
    """

    micro_batch_size: int | None = None
    activation_checkpointing: bool | Literal["auto"] = "auto"
    dropout: float = 0.0
    passes: int = 1

    def division(
        self,
        architecture: Architecture,
        workload: Workload,
        *,
        batch_size: int,
        precision: Precision,
        on_gpu: bool,
        available_bytes: float,
        workers: int = 1,
        sharded: bool = False,
    ) -> Division:
        """The first division that fits, or the smallest; the arguments are those of
        ``training_memory``, with the bytes that a worker may use."""
        found = WHOLE_STEP
        for found in self._divisions(batch_size // workers):
            memory = training_memory(
                architecture,
                workload,
                batch_size=batch_size,
                precision=precision,
                on_gpu=on_gpu,
                workers=workers,
                sharded=sharded,
                micro_batches=found.micro_batches,
                checkpointed=found.checkpointed,
                dropout=self.dropout,
                passes=self.passes,
            )
            if memory.total <= available_bytes:
                break
        return found

    def _divisions(self, rows: int) -> Iterator[Division]:
        """Divisions of so many sequences, the fastest first.

        With dropout, parts drop other activations than the whole, and layers that are computed
        again drop the same: these come first.
        """
        counts = [count for count in range(1, rows + 1) if rows % count == 0]
        if (most := self.micro_batch_size) is not None:
            counts = [next(count for count in counts if rows // count <= most)]
        choices = [False, True]
        if self.activation_checkpointing != "auto":
            choices = [self.activation_checkpointing]
        if self.dropout > 0.0:
            return (Division(count, choice) for count in counts for choice in choices)
        return (Division(count, choice) for choice in choices for count in counts)
