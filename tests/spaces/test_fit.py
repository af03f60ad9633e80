"""``compression: fit``: each architecture as mildly compressed as a fixed cost allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from spaces.cost.compression import Pruning, Quantisation
from spaces.file.search_file import SearchFile
from spaces.grid.compression_losses import compressions, losses_of
from spaces.grid.plan import make_plan
from spaces.grid.search_space import SearchSpace

RICH: dict[str, Any] = {
    "space__compression": "fit",
    "space__depth": {"low": 1, "high": 3},
    "space__width": {"low": 32, "high": 128, "step": 32},
    "space__quantisation": {
        "choices": ["none", "bf16", "static-8", "rtn-8", "rtn-6", "gptq-4", "rtn-4", "rtn-3"]
    },
    "space__pruning": {"choices": ["structured", "neurons", "unstructured"]},
    "space__sparsity": {"low": 0.0, "high": 0.9, "step": 0.1},
}


@pytest.mark.parametrize("task", ["classification", "translation"])
def test_every_architecture_gets_the_mildest_compression_within_the_limit(
    task: str, make_task_search: Callable[..., SearchFile]
) -> None:
    limit = {"classification": 0.15, "translation": 0.3}[task]
    space = SearchSpace(make_task_search(task, **RICH, constraints__max_size_mb=limit))
    assert [d.name for d in space.dimensions] == ["depth", "width", "budget"]
    mildest_first = compressions(space.definition, space.task.name)
    used = []
    for point in space.points():
        configuration = space.configuration(point)
        size = space.cost(configuration).size_mb
        count = mildest_first.index(configuration.compression)
        if not space.is_feasible(configuration):
            count = len(mildest_first)
        else:
            used.append(size / limit)
        for milder in mildest_first[:count]:
            assert space.cost(configuration.with_compression(milder)).size_mb > limit, milder
    assert all(fraction <= 1.0 for fraction in used)
    assert len(used) >= space.size / 2
    assert max(used) > 0.95


def test_the_mildest_comes_first_and_none_twice(make_search: Callable[..., SearchFile]) -> None:
    search = make_search(**RICH, constraints__max_size_mb=1.0)
    every = compressions(search.space, search.task.name)
    assert every[0].quantisation is Quantisation.NONE
    assert every[0].sparsity == 0.0
    assert len(set(every)) == len(every) == 8 * 3 * 10
    added = [losses_of(search.task.name).added_by(one) for one in every]
    assert added == sorted(added)


def test_an_architecture_that_no_compression_fits_is_infeasible(
    make_search: Callable[..., SearchFile],
) -> None:
    space = SearchSpace(
        make_search(space__compression="fit", constraints__max_size_mb=0.045, space__width=64)
    )
    plan = make_plan(space, 5)
    assert plan.feasible == sum(
        space.cost(space.configuration(point)).size_mb <= 0.045 for point in space.points()
    )
    assert 0 < plan.feasible < plan.configurations == space.size


def test_a_limit_on_flops_is_met_by_removing_parts(make_search: Callable[..., SearchFile]) -> None:
    dense = SearchSpace(make_search(**{**RICH, "space__compression": "search"}))
    limit = 0.5 * dense.extreme_costs()[1].flops
    space = SearchSpace(make_search(**RICH, constraints__max_flops=limit))
    largest = space.configuration(tuple(len(d.values) - 1 for d in space.dimensions))
    assert space.cost(largest).flops <= limit
    assert largest.compression.pruning is not Pruning.UNSTRUCTURED
    assert largest.compression.quantisation is Quantisation.NONE
    smallest = space.configuration((0,) * len(space.dimensions))
    assert smallest.compression == compressions(space.definition, space.task.name)[0]
