"""The GPUs of a cluster or of this machine, and what trials get of them where a search leaves it
out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

from search.execution.cluster import capacity
from search.storage.study import Study
from spaces.file.resources import Placement, Resources
from spaces.grid.gpus import gpu_lines, least_placement, memory_line, smallest_and_largest
from spaces.grid.side_by_side import idle_line, open_paths

ANSWER_SECONDS = 120.0
"""Seconds in which a node must say what memory its GPUs have, the start of a worker included."""

_PRINT_LEAST_MEMORY = (
    "import torch; cuda = torch.cuda; "
    "print(min(cuda.get_device_properties(i).total_memory for i in range(cuda.device_count())))"
)


def on_connected_cluster(resources: Resources, concurrency: int | None) -> Resources:
    """Resources as the cluster that Ray is connected to decides on them.

    Args:
        concurrency: Trials at a time, where the search gives a number.
    """
    import ray

    found = ray.cluster_resources()
    gpus, trials = found.get("GPU", 0.0), found.get("CPU", 0.0) / resources.cpus
    if resources.gpus is not None or not gpus:
        return resources.on_cluster(gpus, None, 1)
    memory_gb = resources.gpu_memory_gb or _least_memory_gb()
    trials = min(trials, concurrency or trials)
    # Ray fills a GPU before it takes another one: with more trials on each, GPUs would idle.
    return resources.on_cluster(gpus, memory_gb, max(1, int(trials / gpus)))


def as_planned(resources: Resources, address: str | None, *, gpus: int, cores: int) -> Resources:
    """Resources for a plan, which asks no cluster: those on a GPU of which the file gives the
    memory, or those on this machine where it gives no address.

    Args:
        address: Of the cluster.
        gpus: GPUs of this machine.
        cores: Its CPU cores.
    """
    if resources.gpu_memory_gb is not None:
        return resources.on_cluster(1.0, None, None)
    if address is not None:
        return resources
    if resources.gpus is not None or not gpus:
        return resources.on_cluster(gpus, None, 1)
    most = max(1, cores // resources.cpus // gpus)
    return resources.on_cluster(gpus, gpu_memory_gb_here(), most)


def trials_here(placement: Placement, *, gpus: int, cores: int) -> int:
    """Trials that this machine runs at a time, if each occupies this: at least one."""
    trials = cores // placement.cpus // placement.workers
    if placement.gpus and gpus:
        trials = min(trials, int(gpus / placement.gpus) // placement.workers)
    return max(1, trials)


def gpu_notices(asked: float | None, decided: float | None) -> Iterator[str]:
    """Lines about GPUs of the connected cluster that trials do not use, or need not have alone.

    Args:
        asked: ``resources.gpus`` of the file.
        decided: The same as the cluster decided.
    """
    import ray

    gpus = ray.cluster_resources().get("GPU", 0.0)
    if gpus and asked == 0.0:
        yield f"resources.gpus is 0: trials do not see the {gpus:g} GPUs of the cluster"
    if asked is None and decided == 1.0:
        yield (
            "the memory of a GPU is not known: each trial gets a whole one; "
            "resources.gpu_memory_gb lets small models share one"
        )


def start_lines(study: Study) -> Iterator[str]:
    """How the trials of a search share the GPUs of the connected cluster, and whether workers
    idle."""
    space, search = study.space, study.search
    small, large = smallest_and_largest(space)
    if large.gpus:
        yield memory_line(small, large)
    yield from gpu_lines(small, large, search.resources.gpu_memory_gb)
    at_a_time = capacity(least_placement(space))
    at_a_time = min(at_a_time, search.concurrency or at_a_time)
    left = open_paths(space, [record.configuration for record in study.records()])
    if left and (line := idle_line(at_a_time, left)):
        yield line


def _least_memory_gb() -> float | None:
    """Gigabytes of the smallest GPU of the connected cluster; None where a node does not know."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [each for each in ray.nodes() if each["Alive"] and each["Resources"].get("GPU")]
    asked = [
        ray.remote(
            num_cpus=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
        )(gpu_memory_gb_here).remote()
        for node in nodes
    ]
    try:
        answers = ray.get(asked, timeout=ANSWER_SECONDS)
    except (ray.exceptions.RayError, TimeoutError):
        return None
    return None if None in answers else min(answers)


def gpu_memory_gb_here() -> float | None:
    """Gigabytes of the smallest GPU of this machine, as torch knows it; None without any.

    In a process of its own, which leaves no context on the GPU, and sees what is hidden from this
    worker.
    """
    environment = {key: value for key, value in os.environ.items() if value}
    command = [sys.executable, "-c", _PRINT_LEAST_MEMORY]
    try:
        found = subprocess.run(
            command, env=environment, capture_output=True, timeout=ANSWER_SECONDS, check=True
        )
    except subprocess.SubprocessError:
        return None
    return int(found.stdout) / 1e9
