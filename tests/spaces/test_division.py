"""A step is divided where its predicted memory does not fit."""

from __future__ import annotations

import pytest

from spaces.cost.architecture import Architecture
from spaces.cost.memory.division import WHOLE_STEP, Division, StepMemory
from spaces.cost.memory.training import training_memory
from spaces.cost.workload import Family, Workload

ARCHITECTURE = Architecture.of(12, 768)
WORKLOAD = Workload(Family.LLAMA, 8192, 512)
BATCH = 16


def bytes_of(division: Division, *, dropout: float = 0.0, workers: int = 1) -> float:
    return training_memory(
        ARCHITECTURE,
        WORKLOAD,
        batch_size=BATCH,
        workers=workers,
        micro_batches=division.micro_batches,
        checkpointed=division.checkpointed,
        dropout=dropout,
    ).total


@pytest.mark.parametrize(
    ("settings", "available", "expected"),
    [
        (StepMemory(), WHOLE_STEP, WHOLE_STEP),
        (StepMemory(), Division(4), Division(4)),
        (StepMemory(), Division(16, checkpointed=True), Division(16, checkpointed=True)),
        (StepMemory(), None, Division(16, checkpointed=True)),
        (StepMemory(activation_checkpointing=False), None, Division(16)),
        (StepMemory(activation_checkpointing=True), WHOLE_STEP, Division(1, checkpointed=True)),
        (StepMemory(micro_batch_size=5), WHOLE_STEP, Division(4)),
        (StepMemory(dropout=0.1), Division(1, checkpointed=True), Division(1, checkpointed=True)),
    ],
)
def test_the_first_division_that_fits_is_taken(
    settings: StepMemory, available: Division | None, expected: Division
) -> None:
    limit = 0.0 if available is None else bytes_of(available, dropout=settings.dropout)
    found = settings.division(
        ARCHITECTURE,
        WORKLOAD,
        batch_size=BATCH,
        precision="fp32",
        on_gpu=False,
        available_bytes=limit,
    )
    assert found == expected


def test_workers_divide_their_part_of_the_batch() -> None:
    found = StepMemory().division(
        ARCHITECTURE,
        WORKLOAD,
        batch_size=BATCH,
        precision="fp32",
        on_gpu=False,
        available_bytes=bytes_of(Division(2), workers=4),
        workers=4,
    )
    assert found == Division(2)
