"""Optuna's own plots of a study: axes with the names and values of the search file."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna import visualization

from search.samplers.optuna_samplers import FeasibleSampler
from search.storage.optuna_space import ordinal_distributions, parameters_from, point_from_ordinal
from search.storage.study import Study
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace
from tests.search.conftest import made_up_result


@pytest.fixture
def made_up(make_search: Callable[..., SearchFile], home: Path) -> Study:
    """Twenty trials of a space with regular and irregular numbers, words, and one fixed value."""
    search = make_search(
        trials=20,
        space__depth={"low": 1, "high": 4},
        space__width={"choices": [32, 64, 128]},
        space__budget={"choices": [20, 40, 80]},
        space__quantisation={"choices": ["none", "rtn-8", "rtn-4"]},
        space__sparsity={"low": 0.0, "high": 0.6, "step": 0.2},
    )
    study = Study.open(search, f"sqlite:///{home / 'study.db'}")
    study.optuna.sampler = FeasibleSampler(study.space, "random", seed=0, trials=20)
    for k in range(20):
        record = study.ask()
        size = study.space.cost(record.configuration).size_mb
        study.tell_result(record.number, made_up_result(0.5 + k / 50, size))
    return study


def axes(figure: Any) -> dict[str, list[Any]]:
    """The values on the axis of each parameter of a slice plot."""
    found = {}
    for trace in figure.data:
        axis = figure.layout[trace.xaxis.replace("x", "xaxis")]
        is_category = axis.type == "category"
        values = axis.categoryarray if is_category else sorted(set(trace.x))
        found[axis.title.text] = [v.strip("'") if is_category else v for v in values]
    return found


def test_a_slice_plot_shows_names_and_values_in_their_order(made_up: Study) -> None:
    shown = axes(visualization.plot_slice(made_up.optuna, target=lambda trial: trial.values[0]))
    assert shown["depth"] == [1, 2, 3, 4]
    assert shown["width"] == ["32", "64", "128"]
    assert shown["budget"] == ["20.0", "40.0", "80.0"]
    assert shown["quantisation"] == ["none", "rtn-8", "rtn-4"]
    assert shown["sparsity"] == pytest.approx([0.0, 0.2, 0.4, 0.6])
    assert shown.keys() == {dimension.name for dimension in made_up.space.dimensions}


def test_parallel_coordinates_show_names_and_values(made_up: Study) -> None:
    figure = visualization.plot_parallel_coordinate(
        made_up.optuna, target=lambda trial: trial.values[0], target_name="accuracy"
    )
    assert set(figure.layout.xaxis.ticktext) == {
        "accuracy",
        *(dimension.name for dimension in made_up.space.dimensions),
    }
    values = {annotation.text for annotation in figure.layout.annotations}
    assert {"32", "64", "128", "none", "rtn-8", "rtn-4"} <= values


def test_a_point_of_the_pareto_front_names_its_configuration(made_up: Study) -> None:
    figure = visualization.plot_pareto_front(made_up.optuna)
    assert {figure.layout.xaxis.title.text, figure.layout.yaxis.title.text} == {
        "accuracy",
        "size_mb",
    }
    text = "".join(label for trace in figure.data for label in trace.text)
    assert '"width": 32' in text
    assert '"quantisation": "rtn-8"' in text


def test_samplers_that_use_order_get_indices(made_up: Study) -> None:
    space = made_up.space
    rng = random.Random(0)
    grid = ordinal_distributions(space)
    assert grid["width"].high == 2  # type: ignore[attr-defined]
    assert grid["depth"].high == 4  # type: ignore[attr-defined]
    for _ in range(20):
        point = space.random_point(rng)
        ordinal = {
            name: index if name in ("width", "budget", "quantisation") else value
            for (name, value), index in zip(
                parameters_from(space, point).items(), point, strict=True
            )
        }
        ordinal |= {d.name: 0 for d in space.dimensions if len(d.values) == 1}
        assert point_from_ordinal(space, ordinal) == point


def test_a_single_value_is_shown_as_itself(make_search: Callable[..., SearchFile]) -> None:
    space = SearchSpace(make_search(space__depth=2))
    assert parameters_from(space, next(iter(space.points())))["depth"] == 2
