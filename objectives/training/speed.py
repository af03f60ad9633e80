"""The speed of training: steps per second of an architecture, measured once per machine type.

A budget in seconds buys the steps that an architecture trains in that time alone on a machine, so
that models are compared after equal times (Li et al. 2020, arXiv 2002.11794) and training is a
matter of steps all the same: deterministic, resumable and shared. What a step costs does not depend
on the weights, so the speed is measured on an untrained model, before the search.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from objectives.measurement.latency import processor, torch_threads
from objectives.measurement.latency_cache import COSTS
from objectives.store import heartbeat
from objectives.store.locks import MeasurementLock
from objectives.store.store import Store
from objectives.training.checkpoints.state_files import initial_state
from objectives.training.kernels import training_kernels
from objectives.training.loop import OptimizerStep
from objectives.training.path import TrainingPath
from objectives.training.replica import Replica, TrainingProcess
from spaces.cost.architecture import Architecture
from spaces.cost.configuration import content_hash
from spaces.file.resources import Placement

SPEED = "speed.json"
SPEED_FORMAT = 1
"""Raised when the same conditions would be measured in another way."""
WARM_UP = 4
BLOCKS, BLOCK = 4, 4
"""Blocks of a round, and the steps of each. Batches differ in length where they are padded."""
MIN_ROUNDS, MAX_ROUNDS = 3, 8
"""Rounds over the same batches: until the machine was quiet, and at most."""
MAX_SECONDS = 10.0
"""Seconds after which no further round begins, as training waits for the end."""
MAX_SPREAD = 1.15
"""Median over the rounds, divided by the fastest, above which other programs use the machine."""


@dataclass(frozen=True, slots=True)
class TrainingSpeed:
    """How fast an architecture trains, and the conditions.

    Args:
        steps_per_second: Steps of the stable path; each block of steps at its fastest round.
        spread: Median of the rounds divided by the fastest, on average over the blocks.
        threads: CPU threads of each of the ``workers``.
        processor: Machine and instruction set, or the GPU.
    """

    steps_per_second: float
    spread: float
    threads: int
    workers: int
    precision: str
    processor: str

    @property
    def is_noisy(self) -> bool:
        """Whether other programs disturbed the measurement."""
        return self.spread > MAX_SPREAD


@dataclass
class SpeedCache:
    """Speeds of training on machines of this type, kept in a store.

    Args:
        process: What trains: this process alone, or a worker group.
        path_of: The path to time an architecture on, as ``Stages.timed`` makes it: its key stands
            for all that the speed depends on, but for the machine.
        placement_of: Resources of an architecture.
        known: Steps per second that are given, and are not measured here.
    """

    store: Store
    process: TrainingProcess
    path_of: Callable[[Architecture], TrainingPath]
    placement_of: Callable[[Architecture], Placement]
    known: dict[Architecture, float]

    def steps_per_second(self, architecture: Architecture) -> float:
        """Steps of its stable path that an architecture trains in a second."""
        if architecture not in self.known:
            self.known[architecture] = self.of(architecture).steps_per_second
        return self.known[architecture]

    def of(self, architecture: Architecture) -> TrainingSpeed:
        """Speed of an architecture: the cached one, or measured now, and kept unless noisy."""
        path, placement = self.path_of(architecture), self.placement_of(architecture)
        key = content_hash(
            {
                "format": SPEED_FORMAT,
                "path": path.key,
                "placement": placement.model_dump(include={"cpus", "gpus", "workers", "strategy"}),
                "processor": processor(self.process.device),
                "torch": torch.__version__,
            }
        )
        # The second of two processes that ask for it finds what the first measured.
        with self.store.lock(key):
            speed = self._read(f"{COSTS}/{key}")
            if speed is None:
                speed = measure_speed(self.process, path, placement)
                if not speed.is_noisy:
                    self._write(f"{COSTS}/{key}", speed)
            return speed

    def _read(self, address: str) -> TrainingSpeed | None:
        with self.store.open(address) as folder:
            if folder is None:
                return None
            return TrainingSpeed(**json.loads((folder / SPEED).read_text()))

    def _write(self, address: str, speed: TrainingSpeed) -> None:
        def fill(folder: Path) -> None:
            (folder / SPEED).write_text(json.dumps(asdict(speed)))

        self.store.write(address, fill, is_final=True)


def measure_speed(
    process: TrainingProcess, path: TrainingPath, placement: Placement
) -> TrainingSpeed:
    """Train an untrained model for some steps while nothing else trains on this machine.

    Every round trains on the same batches. A block of them counts with its fastest round, which is
    the one that other programs disturbed least.
    """
    state = initial_state(path, process.state_device(path.architecture), None)
    with (
        MeasurementLock().measurement(),
        torch_threads(placement.cpus),
        process.replica(path, state) as replica,
    ):
        seconds = np.array(_rounds(replica, steps_at_once=path.steps_at_once))
    fastest = seconds.min(axis=0)
    return TrainingSpeed(
        steps_per_second=float(BLOCKS * BLOCK / fastest.sum()),
        spread=float(np.mean(np.median(seconds, axis=0) / fastest)),
        threads=placement.cpus,
        workers=placement.workers,
        precision=path.optimizer_settings.precision,
        processor=processor(process.device),
    )


def _rounds(replica: Replica, *, steps_at_once: int) -> list[list[float]]:
    """Seconds of each block in each round, ``(rounds, blocks)``."""
    step = OptimizerStep(replica)
    replica.model.train()
    rounds: list[list[float]] = []
    precision = replica.settings.precision
    with training_kernels(
        replica.model,
        precision=precision,
        steps=steps_at_once,
        checkpointed=replica.division.checkpointed,
    ):
        _time(step, range(WARM_UP))
        started = time.monotonic()
        while _should_repeat(rounds, time.monotonic() - started):
            starts = range(0, BLOCKS * BLOCK, BLOCK)
            rounds.append([_time(step, range(start, start + BLOCK)) for start in starts])
    return rounds


def _should_repeat(rounds: list[list[float]], elapsed: float) -> bool:
    if not rounds:
        return True
    if len(rounds) >= MAX_ROUNDS or elapsed > MAX_SECONDS:
        return False
    spread = np.mean(np.median(rounds, axis=0) / np.min(rounds, axis=0))
    return len(rounds) < MIN_ROUNDS or bool(spread > MAX_SPREAD)


def _time(do_step: OptimizerStep, steps: range) -> float:
    """Seconds of some steps; to read the last one waits for a GPU."""
    started = time.perf_counter()
    for step in steps:
        heartbeat.beat("measuring the speed of training")
        figures = do_step(step)
    figures.tolist()
    return time.perf_counter() - started
