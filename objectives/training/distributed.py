"""Worker groups: processes that train one model together, each on its shard of every batch.

They need an initialised process group of ``torch.distributed`` and nothing else. Rank 0 leads: it
alone reads and writes the store, measures time, checks the losses, and sends the others a command
before each step. It stores the whole model and optimiser as a single process does, so the number
of workers may change whenever training stops.

>>> workers = WorkerGroup(torch.device("cpu"))  # doctest: +SKIP
>>> objective = Objective(search, workers=workers)  # doctest: +SKIP
>>> objective.evaluate(configuration) if workers.rank == 0 else objective.follow()  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from enum import IntEnum
from typing import NamedTuple

import torch
import torch.distributed as dist

from objectives.data.batches import WHOLE_BATCH, BatchShard
from objectives.failures import TrialFailure, WorkerGroupLost
from objectives.training.data_parallel import ddp_replica, fsdp_replica
from objectives.training.loop import train_follower
from objectives.training.path import TrainingPath, TrainingState
from objectives.training.replica import Replica, TrainingProcess, frozen
from spaces.cost.architecture import Architecture
from spaces.cost.configuration import Configuration
from spaces.cost.memory.division import Division

COMMAND_TIMEOUT = timedelta(days=30)
"""Rank 0 may wait for hours until another trial has trained what both need. If it dies, its
connections close, which ends the wait at once."""


class Command(IntEnum):
    """What rank 0 sends to the others while a path is trained."""

    STEP = 0
    COLLECT = 1
    END = 2


class PathRequest(NamedTuple):
    """A path that rank 0 begins to train.

    Args:
        key: Of the path in the configuration's chain.
        has_moments: Whether the optimiser has done a step.
        division: How each rank divides its part of a batch.
    """

    configuration: Configuration
    key: str
    has_moments: bool
    division: Division


class WorkerGroup(TrainingProcess):
    """The workers as one of them sees them.

    Args:
        device: Where this one computes.
        uses_fsdp: Of which architectures each worker holds a shard (FSDP) and not the whole (DDP).
        memory_gb_of: As of ``TrainingProcess``.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        uses_fsdp: Callable[[Architecture], bool] = lambda _: False,
        memory_gb_of: Callable[[Architecture], float | None] = lambda _: None,
    ) -> None:
        super().__init__(device, memory_gb_of=memory_gb_of)
        self.rank = dist.get_rank()
        self._uses_fsdp = uses_fsdp
        self._is_lost = False
        # On the CPU, so that no command waits for a GPU.
        self._commands = dist.new_group(backend="gloo", timeout=COMMAND_TIMEOUT)

    def state_device(self, architecture: Architecture) -> torch.device:
        """Where rank 0 keeps a whole model: on the CPU if its device holds a shard."""
        return torch.device("cpu") if self._uses_fsdp(architecture) else self._device

    @contextmanager
    def replica(
        self, path: TrainingPath, state: TrainingState, teacher: torch.nn.Module | None = None
    ) -> Iterator[Replica]:
        """The replica of rank 0, for the time in which all workers train a path.

        Raises:
            WorkerGroupLost: The workers were lost before.
        """
        if self._is_lost:
            raise WorkerGroupLost("the workers of this process were lost")
        try:
            has_moments = bool(state.optimizer.state)
            sharded = self._uses_fsdp(path.architecture)
            division = self.division(path, workers=dist.get_world_size(), sharded=sharded)
            request = PathRequest(path.configuration, path.key, has_moments, division)
            self._share(request)
            replica = self._make_replica(path, state, teacher, request)

            def loss_at(
                model: torch.nn.Module, step: int, part: BatchShard = WHOLE_BATCH
            ) -> torch.Tensor:
                if part.index == 0:
                    self._send(Command.STEP, step)
                return replica.loss_at(model, step, part)

            def collect() -> None:
                self._send(Command.COLLECT)
                replica.collect()

            yield replace(replica, loss_at=loss_at, collect=collect)
        except TrialFailure:
            # It was raised between two steps, when the others wait for a command.
            self._send(Command.END)
            raise
        except BaseException:
            # The others may be in a step that never ends.
            self._is_lost = True
            raise
        self._send(Command.END)

    def release(self) -> None:
        """Let the others return from ``follow``; called by rank 0."""
        self._share(None)

    def follow(self, path_of: Callable[[Configuration, str], TrainingPath]) -> None:
        """Train what rank 0 trains until it releases the others; called by all but rank 0.

        Args:
            path_of: Makes the path that has a key in a configuration's chain.
        """
        while (request := self._share(None)) is not None:
            path = path_of(request.configuration, request.key)
            # DDP and FSDP send it the weights of rank 0.
            teacher = None if path.teacher is None else frozen(path.teacher.build())
            replica = self._make_replica(path, None, teacher, request)
            # Each rank drops other activations of its shard of the batch.
            replica = replace(replica, seed=hash((path.seed, self.rank)))
            with path.while_training(replica.model):
                train_follower(replica, self._steps(replica), steps_at_once=path.steps_at_once)
            # Rank 0 may compress and score for a long time before the next path.
            del replica, teacher

    def _make_replica(
        self,
        path: TrainingPath,
        state: TrainingState | None,
        teacher: torch.nn.Module | None,
        request: PathRequest,
    ) -> Replica:
        make = fsdp_replica if self._uses_fsdp(path.architecture) else ddp_replica
        return make(
            path,
            state,
            teacher,
            has_moments=request.has_moments,
            device=self._device,
            division=request.division,
        )

    def _steps(self, replica: Replica) -> Iterator[int]:
        """The steps that rank 0 commands."""
        while True:
            command, step = self._receive()
            if command is Command.STEP:
                yield step
            elif command is Command.COLLECT:
                replica.collect()
            else:
                return

    def _send(self, command: Command, step: int = 0) -> None:
        dist.broadcast(torch.tensor([command, step]), 0, group=self._commands)

    def _receive(self) -> tuple[Command, int]:
        received = torch.zeros(2, dtype=torch.int64)
        dist.broadcast(received, 0, group=self._commands)
        return Command(int(received[0])), int(received[1])

    def _share(self, request: PathRequest | None) -> PathRequest | None:
        """The request of rank 0; those of the other ranks do not count."""
        shared = [request]
        dist.broadcast_object_list(shared, 0, group=self._commands)
        return shared[0]
