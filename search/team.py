"""The workers of a trial: its own process leads, the others are Ray actors in its placement group.

They are not Ray Train's. In Ray 2.60 a ``TorchTrainer`` inside a trial reserves a placement group
of its own: where the trial has reserved what the workers need, they wait for ever; where it has
not, trials wait for each other; and once a trial's process is killed, the group of its workers
stays and holds their cores (ray#54305, seen again). These are part of the trial's group, and end
with its process, which owns them.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.cluster import bundle
from spaces.resources import Placement
from spaces.search_file import SearchFile

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    from objectives.objective import Objective

_followers: list[Any] = []
"""Handles of this process's actors: they live as long as it."""


def make_objective(search: str, data: str, place: Placement) -> Objective:
    """The objective of a process that leads as many workers as its models ask for.

    Args:
        search: The search file as JSON.
        data: Folder of the prepared data.
        place: What its models are trained on.

    Raises:
        WorkersLost: The workers could not be started.
    """
    if place.workers == 1:
        return _objective(search, data)
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    from objectives import progress
    from objectives.workers import WorkersLost

    progress.made("starting workers")
    host = ray.util.get_node_ip_address()
    store = TCPStore(host, 0, place.workers, is_master=True, wait_for_workers=False)
    wanted = bundle(place)
    for rank in range(1, place.workers):
        strategy = PlacementGroupSchedulingStrategy(
            ray.util.get_current_placement_group(), placement_group_bundle_index=rank
        )
        actor = ray.remote(
            num_cpus=wanted["CPU"],
            num_gpus=wanted.get("GPU", 0.0),
            memory=wanted.get("memory"),
            scheduling_strategy=strategy,
        )(_Follower).remote()
        actor.follow.remote(search, data, place, (host, store.port), rank)
        _followers.append(actor)
    try:
        return _joined(search, data, place, store, rank=0)
    except Exception as error:
        raise WorkersLost(f"{place.workers} workers could not be started: {error}") from error


class _Follower:
    """A worker that is not the trial's own process."""

    def follow(
        self, search: str, data: str, place: Placement, address: tuple[str, int], rank: int
    ) -> None:
        """Train what rank 0 trains, until its process ends."""
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        store = TCPStore(*address, place.workers, is_master=False)
        _joined(search, data, place, store, rank=rank).follow()


def _joined(search: str, data: str, place: Placement, store: TCPStore, *, rank: int) -> Objective:
    """The objective of one of several workers."""
    import torch
    import torch.distributed as dist

    from objectives.workers import Workers

    file = SearchFile.model_validate_json(search)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if place.gpus else "gloo",
        store=store,
        rank=rank,
        world_size=place.workers,
        # A worker that is gone without a word, because its machine is, must not be waited for.
        timeout=timedelta(seconds=file.resources.progress_deadline_seconds),
    )
    workers = Workers(
        torch.device("cuda" if place.gpus else "cpu"), shards=place.strategy == "fsdp"
    )
    return _objective(search, data, workers)


def _objective(search: str, data: str, workers: Any = None) -> Objective:
    from objectives.data import open_prepared
    from objectives.objective import Objective

    return Objective(SearchFile.model_validate_json(search), open_prepared(Path(data)), workers)
