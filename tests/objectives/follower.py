"""A worker for the tests: it joins a process group and follows rank 0 in several searches.

Usage: ``python -m tests.objectives.follower RENDEZVOUS`` with a file that all workers share.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from objectives.data.prepared_data import open_prepared_data
from objectives.objective import Objective
from objectives.tasks.translation import Translation
from objectives.training import stages
from objectives.training.distributed import WorkerGroup
from objectives.training.learning_problem import LearningProblem
from spaces.file.search_file import SearchFile

COUNT = 2
COLLECTIVE_SECONDS = 60.0


@dataclass(frozen=True)
class FollowRequest:
    """The search to follow next.

    Args:
        search: The search file as JSON.
        data: Folder of its prepared data.
        shards: Whether workers hold shards (FSDP).
        broken_step: A step at which this worker's loss is NaN.
    """

    search: str
    data: Path
    shards: bool
    broken_step: int | None


def join(rendezvous: Path, rank: int) -> None:
    """Join the process group."""
    dist.init_process_group(
        "gloo",
        init_method=f"file://{rendezvous}",
        rank=rank,
        world_size=COUNT,
        timeout=timedelta(seconds=COLLECTIVE_SECONDS),
    )


def make_workers(*, shards: bool) -> WorkerGroup:
    """The workers as this process sees them."""
    return WorkerGroup(torch.device("cpu"), uses_fsdp=lambda _: shards)


def exact() -> None:
    """Train in fp32 and without dropout, so that only the order of sums differs."""
    stages.fastest_precision = lambda: "fp32"
    Translation.dropout = 0.0


def main() -> None:
    """Follow until rank 0 sends no more requests."""
    torch.set_num_threads(1)
    exact()
    join(Path(sys.argv[1]), rank=1)
    loss_at = LearningProblem.loss_at
    while True:
        received: list[FollowRequest | None] = [None]
        dist.broadcast_object_list(received, 0)
        request = received[0]
        if request is None:
            return

        def broken(*arguments: object, _at: int | None = request.broken_step) -> torch.Tensor:
            loss = loss_at(*arguments)  # type: ignore[arg-type]
            return loss * float("nan") if arguments[2] == _at else loss

        LearningProblem.loss_at = broken  # type: ignore[assignment, method-assign]
        Objective(
            SearchFile.model_validate_json(request.search),
            open_prepared_data(request.data),
            make_workers(shards=request.shards),
        ).follow()


if __name__ == "__main__":
    main()
