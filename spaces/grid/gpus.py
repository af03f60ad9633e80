"""The memory that training takes, and how trials share GPUs by it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from spaces.cost.architecture import Architecture
from spaces.cost.families import parameters
from spaces.file.resources import Placement, training_bytes
from spaces.grid.search_space import SearchSpace


@dataclass(frozen=True)
class ModelMemory:
    """What training a model takes.

    Args:
        model: The architecture, as text.
        predicted_bytes: Peak of each of its workers, by arithmetic: of the memory of a GPU in bf16,
            or without GPUs of the process in fp32.
        least_bytes: The same with its batches divided as far as that needs less.
        gpus: GPUs of each worker.
        workers: Workers that train it together.
    """

    model: str
    predicted_bytes: int
    least_bytes: int
    gpus: float
    workers: int

    @classmethod
    def of(cls, space: SearchSpace, architecture: Architecture) -> ModelMemory:
        """That of an architecture of a space."""
        placement = space.search.placement(architecture)
        whole, divided = (
            training_bytes(
                architecture,
                space.workload_of(architecture.checkpoint),
                space.search.training,
                on_gpu=bool(placement.gpus),
                workers=placement.workers,
                sharded=placement.strategy == "fsdp",
                is_divided=is_divided,
            )
            for is_divided in (False, True)
        )
        gpus = placement.gpus or 0.0
        return cls(str(architecture), whole, min(whole, divided), gpus, placement.workers)

    @property
    def trials_per_gpu(self) -> int:
        """Trials of such models that share a GPU; 1 where each has its own."""
        return int(1.0 / self.gpus) if 0.0 < self.gpus < 1.0 else 1


@lru_cache(maxsize=1)
def least_placement(space: SearchSpace) -> Placement:
    """What a trial of the smallest model of a space occupies."""
    return space.search.placement(_by_parameters(space)[0])


def smallest_and_largest(space: SearchSpace) -> tuple[ModelMemory, ModelMemory]:
    """The memory of the models with fewest and with most parameters."""
    ordered = _by_parameters(space)
    return ModelMemory.of(space, ordered[0]), ModelMemory.of(space, ordered[-1])


def memory_line(small: ModelMemory, large: ModelMemory) -> str:
    """What training takes, from the smallest to the largest model."""
    sizes = [f"{each.predicted_bytes / 1e9:.3g} GB ({each.model})" for each in (small, large)]
    where = "of a GPU, in bf16" if large.gpus else "in fp32 on the CPU"
    return f"memory of training, predicted: {' to '.join(dict.fromkeys(sizes))} {where}"


def gpu_lines(small: ModelMemory, large: ModelMemory, gpu_gb: float | None) -> Iterator[str]:
    """How trials share GPUs, and what does not fit one; none where trials have no GPUs.

    Args:
        small: The smallest model of a space.
        large: The largest.
        gpu_gb: Gigabytes of a GPU, where they are known.
    """
    if not large.gpus:
        return
    of = "" if gpu_gb is None else f" of {gpu_gb:.3g} GB"
    most, least = small.trials_per_gpu, large.trials_per_gpu
    if most > 1:
        yield f"{most if most == least else f'{least} to {most}'} trials share a GPU{of}"
    else:
        devices = [f"{each.gpus * each.workers:g}" for each in (small, large)]
        yield f"GPUs of a trial: {' to '.join(dict.fromkeys(devices))}{of}"
    if gpu_gb is not None and large.least_bytes > 1e9 * gpu_gb:
        yield (
            f"{large.model} needs {large.least_bytes / 1e9:.3g} GB of a GPU even where its batches "
            f"are divided, more than {gpu_gb:.3g} GB: give resources.larger_models with workers "
            "and strategy: fsdp"
        )


def _by_parameters(space: SearchSpace) -> list[Architecture]:
    return sorted(
        space.architectures(),
        key=lambda each: parameters(each, space.workload_of(each.checkpoint)),
    )
