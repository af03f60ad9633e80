"""Samplers propose nothing that breaks an expression of the constraints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from search.samplers.base import SpaceExhaustedError
from search.samplers.frontier.sampler import FrontierSampler
from search.samplers.frontier.search_design_space import SearchDesignSpace
from search.samplers.optuna_samplers import FeasibleSampler
from search.storage.study import Study
from spaces.file.search_file import SearchFile
from tests.search.conftest import made_up_result


@pytest.mark.parametrize("name", ["frontier", "tpe", "grid"])
def test_all_that_meets_the_expressions_is_tried_and_nothing_else(
    name: str, make_search: Callable[..., SearchFile], home: Path
) -> None:
    search = make_search(
        trials=100,
        constraints={"expressions": ["budget > 20 or depth == 1", "bits < 8 or sparsity > 0"]},
        space__width=32,
        space__quantisation={"choices": ["none", "rtn-4"]},
        sampler=name,
    )
    study = Study.open(search, f"sqlite:///{home / 'study.db'}")
    space = study.space
    sampler = (
        FrontierSampler(SearchDesignSpace(space), seed=0)
        if name == "frontier"
        else FeasibleSampler(space, name, seed=0, trials=100)
    )
    study.optuna.sampler = sampler
    seconds = dict.fromkeys(("stable", "cooldown", "recovery", "compress", "measure"), 1.0)
    for _ in range(9):
        record = study.ask()
        size = space.cost(record.configuration).size_mb
        study.tell_result(record.number, made_up_result(0.6, size, seconds=seconds))
    with pytest.raises(SpaceExhaustedError):
        sampler.check(study.optuna)
    tried = {record.configuration for record in study.records()}
    every = {space.configuration(point) for point in space.points()}
    assert tried == {
        each
        for each in every
        if (each.budget > 20 or each.architecture.depth == 1)
        and (each.compression.quantisation == "rtn-4" or each.compression.sparsity > 0)
    }
