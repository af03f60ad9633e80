"""A worker for the tests: joins a process group and follows rank 0 from search to search.

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
from objectives.tasks import translation
from objectives.training import stages
from objectives.training.distributed import WorkerGroup
from objectives.training.learning_problem import LearningProblem
from spaces.file.search_file import SearchFile

COUNT = 2
COLLECTIVE_SECONDS = 60.0


@dataclass(frozen=True)
class Following:
    """What to follow next.

    Args:
        search: The search file as JSON.
        data: Folder of its prepared data.
        shards: Whether models are in shards.
        broken_step: A step at which this worker's loss is no number.
    """

    search: str
    data: Path
    shards: bool
    broken_step: int | None


def join(rendezvous: Path, rank: int) -> None:
    """Become one of the workers."""
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
    """Train in fp32 and without dropout: what is left between two ways is the order of sums."""
    stages.fastest_precision = lambda: "fp32"
    translation.DROPOUT = 0.0


def main() -> None:
    """Follow until there is nothing more."""
    torch.set_num_threads(1)
    exact()
    join(Path(sys.argv[1]), rank=1)
    loss_at = LearningProblem.loss_at
    while True:
        heard: list[Following | None] = [None]
        dist.broadcast_object_list(heard, 0)
        following = heard[0]
        if following is None:
            return

        def broken(*arguments: object, _at: int | None = following.broken_step) -> torch.Tensor:
            loss = loss_at(*arguments)  # type: ignore[arg-type]
            return loss * float("nan") if arguments[2] == _at else loss

        LearningProblem.loss_at = broken  # type: ignore[assignment, method-assign]
        Objective(
            SearchFile.model_validate_json(following.search),
            open_prepared_data(following.data),
            make_workers(shards=following.shards),
        ).follow()


if __name__ == "__main__":
    main()
