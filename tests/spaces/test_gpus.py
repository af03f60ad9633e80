"""What a trial asks for of the GPUs of a cluster, by its predicted memory of training."""

from __future__ import annotations

from typing import Any

import pytest

from spaces.cost.architecture import Architecture
from spaces.file.resources import MARGIN, Placement, part_of_gpu, training_bytes
from spaces.grid.gpus import gpu_lines, smallest_and_largest
from spaces.grid.search_space import SearchSpace
from spaces.grid.side_by_side import idle_line, open_paths

ARCHITECTURE = Architecture.of(2, 64)


def on_cluster(
    search: Any, gpus: float = 8.0, memory_gb: float | None = 80.0, most: int = 99
) -> Any:
    resources = search.resources.on_cluster(gpus, memory_gb, most)
    return search.model_copy(update={"resources": resources})


def needed_gb(search: Any) -> float:
    return training_bytes(ARCHITECTURE, search.workload, search.training, on_gpu=True) / 1e9


@pytest.mark.parametrize(
    ("fitting", "gpus"),
    [(0.9, 1.0), (1.9, 1.0), (2.1, 0.5), (3.1, 0.3333), (7.5, 0.1428)],
)
def test_as_many_trials_share_a_gpu_as_fit(make_search: Any, fitting: float, gpus: float) -> None:
    search = make_search()
    memory_gb = fitting * MARGIN * needed_gb(search)
    assert on_cluster(search, memory_gb=memory_gb).placement(ARCHITECTURE).gpus == gpus
    # What the file says comes first.
    given = on_cluster(make_search(resources={"gpu_memory_gb": memory_gb}))
    assert given.placement(ARCHITECTURE).gpus == gpus
    assert int(1 / gpus) * gpus <= 1.0


@pytest.mark.parametrize(
    ("given", "cluster", "gpus"),
    [
        ({}, {"gpus": 0.0}, 0.0),
        ({"gpu_memory_gb": 80}, {"gpus": 0.0}, 0.0),
        ({"gpus": 0}, {}, 0.0),
        ({"gpus": 0.25}, {}, 0.25),
        ({}, {"memory_gb": None}, 1.0),
        ({}, {"most": 4}, 0.25),
        ({"trials_per_gpu": 2}, {"most": 4}, 0.5),
        ({"workers": 2}, {}, 1.0),
        ({"larger_models": [{"from_parameters": 10, "workers": 4}]}, {}, 1.0),
        ({"larger_models": [{"from_parameters": 10, "gpus": 2}]}, {}, 2.0),
    ],
)
def test_what_a_search_leaves_out_follows_from_its_cluster(
    make_search: Any, given: Any, cluster: Any, gpus: float
) -> None:
    search = on_cluster(make_search(resources=given), **cluster)
    assert search.placement(ARCHITECTURE).gpus == gpus
    assert make_search().placement(ARCHITECTURE).gpus == 0.0


def test_a_trial_is_priced_by_its_gpus_or_by_its_workers() -> None:
    assert Placement(gpus=1.0, workers=8).devices == 8.0
    assert Placement(gpus=part_of_gpu(4)).devices == 0.25
    assert Placement(gpus=0.0, workers=2).devices == 2.0


def test_a_start_says_how_trials_share_gpus_and_what_does_not_fit(make_search: Any) -> None:
    def lines(search: Any) -> str:
        memory = smallest_and_largest(SearchSpace(search))
        return "\n".join(gpu_lines(*memory, search.resources.gpu_memory_gb))

    assert lines(make_search()) == ""
    assert "4 trials share a GPU of 80 GB" in lines(on_cluster(make_search(), most=4))
    assert "2 trials share a GPU\n" in lines(make_search(resources={"gpus": 0.5})) + "\n"
    assert "GPUs of a trial: 16" in lines(make_search(resources={"gpus": 2, "workers": 8}))
    small = lines(on_cluster(make_search(), memory_gb=0.5))
    assert "GPUs of a trial: 1 of 0.5 GB" in small
    assert "more than 0.5 GB: give resources.larger_models with workers" in small


def test_more_workers_than_stable_paths_idle(make_search: Any) -> None:
    space = SearchSpace(make_search())
    every = [each for each in map(space.configuration, space.points()) if space.is_feasible(each)]
    architectures = {each.architecture for each in every}
    assert open_paths(space, ()) == len(architectures) == 4
    tried = [each for each in every if each.architecture == every[0].architecture]
    assert open_paths(space, tried[1:]) == 4
    assert open_paths(space, tried) == 3
    assert idle_line(3, 3) == ""
    assert "at most 3 train, and 5 workers idle" in idle_line(8, 3)
