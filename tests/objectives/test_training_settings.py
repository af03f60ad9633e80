"""Configurations with settings of training of their own: what they train, and what they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from objectives.measurement.evaluation import Evaluation
from objectives.objective import Objective
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Quantisation
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace

SEARCHED: dict[str, Any] = {
    "decay_fraction": {"choices": [0.2, 0.4]},
    "weight_decay": {"choices": [0.01, 0.1]},
    "fine_tuning": {"dropout": {"choices": [0.1, 0.3]}},
}


def configured(**settings: float) -> Configuration:
    values = {"decay_fraction": 0.2, "weight_decay": 0.01, "fine_tuning.dropout": 0.1}
    values |= {name.replace("__", "."): value for name, value in settings.items()}
    recovered = Compression(Quantisation.RTN_4, sparsity=0.5, recovery=10.0)
    training = tuple(sorted(values.items()))
    return Configuration(Architecture.of(1, 32), 40, recovered, training=training)


def stages(evaluation: Evaluation) -> list[str]:
    return [stage["name"] for stage in evaluation.stages]


@pytest.mark.usefixtures("home")
def test_a_setting_shares_what_it_does_not_change(make_search: Callable[..., SearchFile]) -> None:
    search = make_search(space__training=SEARCHED, space__recovery={"choices": [0.0, 10.0]})
    objective = Objective(search)
    first = objective.evaluate(configured())
    total = first.steps["total"]
    assert first.steps["trained"] == total == 32 + 8 + 40 + 10
    # It leaves the stable path earlier, where the first left a checkpoint.
    decay = configured(decay_fraction=0.4)
    assert objective.stored_training([decay]) == [(False, True)]
    assert objective.evaluate(decay).steps["reused"] == 24
    dropout = configured(fine_tuning__dropout=0.3)
    assert objective.evaluate(dropout).steps["reused"] == 32 + 8
    decayed_weights = configured(weight_decay=0.1)
    assert objective.stored_training([decayed_weights]) == [(False, False)]
    apart = objective.evaluate(decayed_weights)
    assert apart.steps["reused"] == 0
    assert len({first.model, apart.model}) == len({first.dense_loss, apart.dense_loss}) == 2


@pytest.mark.usefixtures("home")
def test_a_setting_trains_what_a_search_with_that_value_trains(
    make_search: Callable[..., SearchFile],
) -> None:
    recovery = {"choices": [0.0, 10.0]}
    among = Objective(make_search(space__training=SEARCHED, space__recovery=recovery))
    chosen = configured(weight_decay=0.1, decay_fraction=0.4, fine_tuning__dropout=0.3)
    found = among.evaluate(chosen)
    alone = Objective(
        make_search(
            space__recovery=recovery,
            training__weight_decay=0.1,
            training__decay_fraction=0.4,
            training__fine_tuning__dropout=0.3,
        )
    )
    again = alone.evaluate(replace(chosen, training=()))
    assert (again.model, again.checkpoint) == (found.model, found.checkpoint)
    assert again.steps["trained"] == 0
    assert stages(again) == stages(found)


@pytest.mark.usefixtures("home")
def test_a_searched_dropout_and_head_width_are_those_of_the_model(
    make_task_search: Callable[..., SearchFile],
) -> None:
    search = make_task_search(
        "image-classification",
        space__depth=1,
        space__width=32,
        space__head_width={"choices": [8, 16]},
        space__training={"dropout": {"choices": [0.0, 0.2]}},
    )
    space, tasks = SearchSpace(search), Objective(search)._tasks
    paths: dict[tuple[int, float], set[str]] = {}
    for point in space.points():
        configuration = space.configuration(point)
        path = tasks.of(configuration).path(configuration)
        config = path.build().config
        found = config.hidden_size // config.num_attention_heads, config.hidden_dropout_prob
        assert path.parent is not None
        paths.setdefault(found, set()).add(path.parent.key)
    assert paths.keys() == {(8, 0.0), (8, 0.2), (16, 0.0), (16, 0.2)}
    keys = [key for found in paths.values() for key in found]
    # One stable path each, for all budgets and compressions.
    assert len(keys) == len({*keys}) == 4
