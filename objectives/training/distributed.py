"""Processes that train one model together, each on its part of every batch.

They need a process group of ``torch.distributed`` that somebody has initialised, and nothing else.
Rank 0 leads: it alone reads and writes the store, looks at the clock and at the losses, and tells
the others before each step that there is one. What is stored is the whole model and optimiser, as
one process would have stored them, so the number of workers may change whenever training stops.

>>> workers = WorkerGroup(torch.device("cpu"))  # doctest: +SKIP
>>> objective = Objective(search, workers=workers)  # doctest: +SKIP
>>> objective.evaluate(configuration) if workers.rank == 0 else objective.follow()  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from objectives.failures import TrialFailure
from objectives.training.loop import optimizer_tensors, train_follower
from objectives.training.replicas import Replica, distributed, sharded
from spaces.cost.architecture import Architecture
from spaces.cost.configuration import Configuration

if TYPE_CHECKING:
    from objectives.training.paths import TrainingPath, TrainingState

LONGEST_WAIT = timedelta(days=30)
"""For an order. Rank 0 may wait for hours until another trial has trained what both need; if it
dies, its connections close, which ends the wait at once."""


class WorkerGroupLost(Exception):
    """Workers that cannot train together any more: one has died, or has stopped within a step."""


class Order(IntEnum):
    """What rank 0 tells the others."""

    STEP = 0
    COLLECT = 1
    END = 2


@dataclass(frozen=True)
class Request:
    """Training that rank 0 begins.

    Args:
        configuration: From ``Configuration.to_dict``.
        key: Of the path in the configuration's chain.
        moments: Names of the tensors that the optimiser has.
    """

    configuration: dict[str, Any]
    key: str
    moments: list[str]


class WorkerGroup:
    """The workers as one of them sees them.

    Args:
        device: Where this one computes.
        shards: Of which architectures each holds a shard (FSDP), and not the whole (DDP).
    """

    def __init__(
        self, device: torch.device, *, shards: Callable[[Architecture], bool] = lambda _: False
    ) -> None:
        self.rank = dist.get_rank()
        self.count = dist.get_world_size()
        self.device = device
        self._shards = shards
        self.are_lost = False
        # On the CPU, so that a GPU is not waited for.
        self._orders = dist.new_group(backend="gloo", timeout=LONGEST_WAIT)

    def state_device(self, architecture: Architecture) -> torch.device:
        """Where rank 0 keeps a whole model: off its device if that has no room for it."""
        return torch.device("cpu") if self._shards(architecture) else self.device

    @contextmanager
    def training(self, path: TrainingPath, state: TrainingState) -> Iterator[Replica]:
        """Meanwhile, all workers train a path from a point on; called by rank 0.

        Args:
            path: What is trained.
            state: Where it is; ``Replica.collect`` updates its model and optimiser.

        Raises:
            WorkerGroupLost: They were lost before.
        """
        if self.are_lost:
            raise WorkerGroupLost("the workers of this process were lost")
        assert state.optimizer is not None
        try:
            moments = list(optimizer_tensors(state.optimizer))
            self._ask(Request(path.configuration.to_dict(), path.key, moments))
            replica = self._replica(path, state, moments)
            yield Replica(
                replica.model,
                replica.optimizer,
                self._ordering(Order.STEP, replica.loss_at),
                self._ordering(Order.COLLECT, replica.collect),
            )
        except TrialFailure:
            # Seen between two steps, when the others wait for an order.
            self._tell(Order.END)
            raise
        except BaseException:
            # The others may be in a step that never ends.
            self.are_lost = True
            raise
        self._tell(Order.END)

    def release(self) -> None:
        """Let the others return from ``follow``; called by rank 0."""
        self._ask(None)

    def follow(self, path_of: Callable[[Configuration, str], TrainingPath]) -> None:
        """Train what rank 0 trains until it dismisses the others; called by all but rank 0.

        Args:
            path_of: The path of a configuration's chain that has a key.
        """
        while (request := self._hear_request()) is not None:
            path = path_of(Configuration.from_dict(request.configuration), request.key)
            replica = self._replica(path, None, request.moments)
            train_follower(
                replica.model,
                replica.optimizer,
                replica.loss_at,
                self._steps(replica),
                to_step=path.length,
                settings=path.optimizer_settings,
                # Each worker drops other activations of its part of the batch.
                seed=hash((path.seed, self.rank)),
            )

    def _replica(
        self, path: TrainingPath, state: TrainingState | None, moments: list[str]
    ) -> Replica:
        make = sharded if self._shards(path.architecture) else distributed
        return make(path, state, moments, self.device)

    def _ordering(self, order: Order, act: Callable[..., Any]) -> Callable[..., Any]:
        def ordered(*arguments: Any) -> Any:
            # The step is the last argument of a loss.
            self._tell(order, arguments[-1] if arguments else 0)
            return act(*arguments)

        return ordered

    def _steps(self, replica: Replica) -> Iterator[int]:
        """Steps that rank 0 tells of, until there are no more."""
        while True:
            order, step = self._hear()
            if order is Order.STEP:
                yield step
            elif order is Order.COLLECT:
                replica.collect()
            else:
                return

    def _tell(self, order: Order, step: int = 0) -> None:
        dist.broadcast(torch.tensor([order, step]), 0, group=self._orders)

    def _hear(self) -> tuple[Order, int]:
        order = torch.zeros(2, dtype=torch.int64)
        dist.broadcast(order, 0, group=self._orders)
        return Order(int(order[0])), int(order[1])

    def _ask(self, request: Request | None) -> None:
        dist.broadcast_object_list([request], 0, group=self._orders)

    def _hear_request(self) -> Request | None:
        heard: list[Request | None] = [None]
        dist.broadcast_object_list(heard, 0, group=self._orders)
        return heard[0]
