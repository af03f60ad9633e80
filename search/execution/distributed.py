"""The workers of a trial: its own process leads, the others are Ray actors in its placement group.

Ray Train is not used: in Ray 2.60 a ``TorchTrainer`` inside a trial reserves a placement group of
its own. Where the trial has reserved the workers' resources, they wait without end; where it has
not, trials wait for each other; and after a trial's process is killed, the group keeps its cores
(ray#54305). These actors are part of the trial's group and end with its process, their owner.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from objectives.failures import WorkerGroupLost
from objectives.several_checkpoints import Objectives
from search.execution.gpus.visibility import hide_unassigned_gpus, keep_to_assigned_memory
from search.execution.worker_setup import WorkerSetup
from spaces.file.search_file import SearchFile

_followers: list[Any] = []
"""Handles of this process's actors, which live as long as it."""


def make_objective(setup: WorkerSetup) -> Objectives:
    """The objective of a trial's process, which leads a worker for each bundle of its placement.

    Raises:
        WorkerGroupLost: The workers could not be started.
    """
    import ray

    hide_unassigned_gpus()
    group = ray.util.get_current_placement_group() if ray.is_initialized() else None
    if group is None or group.bundle_count == 1:
        return _objective(setup)
    return _leading(setup, group)


def _leading(setup: WorkerSetup, group: Any) -> Objectives:
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    from objectives.store import heartbeat

    heartbeat.beat("starting workers")
    host, count = ray.util.get_node_ip_address(), group.bundle_count
    store = TCPStore(host, 0, count, is_master=True, wait_for_workers=False)
    for rank, bundle in enumerate(group.bundle_specs[1:], start=1):
        options = {
            "num_cpus": bundle["CPU"],
            "num_gpus": bundle.get("GPU", 0.0),
            "memory": bundle.get("memory"),
            "scheduling_strategy": PlacementGroupSchedulingStrategy(
                group, placement_group_bundle_index=rank
            ),
        }
        follower = ray.remote(**options)(_Follower).remote()
        follower.follow.remote(setup, (host, store.port), rank, count)
        _followers.append(follower)
    try:
        return _joined(setup, store, rank=0, count=count)
    except Exception as error:
        raise WorkerGroupLost(f"{count} workers could not be started: {error}") from error


class _Follower:
    """A worker that is not the trial's own process."""

    def follow(self, setup: WorkerSetup, address: tuple[str, int], rank: int, count: int) -> None:
        """Train what rank 0 trains, until its process ends."""
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        store = TCPStore(*address, count, is_master=False)
        _joined(setup, store, rank=rank, count=count).follow()


def _joined(setup: WorkerSetup, store: Any, *, rank: int, count: int) -> Objectives:
    """The objective of one of several workers."""
    import torch.distributed as dist

    from objectives.device import process_group_backend, usual_device
    from objectives.training.distributed import WorkerGroup

    file = SearchFile.model_validate_json(setup.search)
    hide_unassigned_gpus()
    device = usual_device()
    dist.init_process_group(
        process_group_backend(device),
        store=store,
        rank=rank,
        world_size=count,
        # A worker that is gone without a word, because its machine is, must not be waited for.
        timeout=timedelta(seconds=file.resources.progress_deadline_seconds),
    )
    workers = WorkerGroup(
        device,
        uses_fsdp=lambda architecture: file.placement(architecture).strategy == "fsdp",
        memory_gb_of=lambda architecture: file.placement(architecture).memory_gb,
    )
    return _objective(setup, workers)


def _objective(setup: WorkerSetup, workers: Any = None) -> Objectives:
    from objectives.data.prepared_data import open_prepared_data
    from objectives.tasks.own.shipping import install

    keep_to_assigned_memory()
    install(setup.code)
    return Objectives(
        SearchFile.model_validate_json(setup.search),
        [open_prepared_data(Path(folder)) for folder in setup.data],
        workers,
        dict(setup.speeds),
    )
