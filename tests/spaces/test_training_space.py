"""Fields of ``training`` as dimensions: their values, their limits, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from spaces.file.training import Training
from spaces.file.training_space import TrainingSpace
from spaces.grid.plan import make_plan
from spaces.grid.search_space import SearchSpace
from spaces.loading import SearchFileError, json_schema

RATES = {"low": 1e-4, "high": 1e-2, "log": True, "count": 5}


def test_the_hash_of_a_configuration_without_settings_is_as_before() -> None:
    configuration = Configuration(Architecture.of(2, 64), 800, Compression())
    assert "training" not in configuration.to_dict()
    assert configuration.hash == "aecb020dc4cad06a345ed00193e6a4da5fe6a5e50de3007f4c2699dc869fe8fb"


def test_values_are_spaced_by_number_or_by_logarithm(
    make_search: Callable[..., SearchFile],
) -> None:
    search = make_search(
        space__training={
            "learning_rate": RATES,
            "weight_decay": {"low": 0, "high": 0.3, "count": 4},
            "decay_fraction": 0.1,
            "fine_tuning": {"dropout": {"choices": [0.3, 0.0]}},
        }
    )
    assert search.space.training_values == {
        "learning_rate": (1e-4, 0.0003162, 1e-3, 0.003162, 1e-2),
        "weight_decay": (0.0, 0.1, 0.2, 0.3),
        "decay_fraction": (0.1,),
        "fine_tuning.dropout": (0.3, 0.0),
    }
    space = SearchSpace(search)
    names = [dimension.name for dimension in space.dimensions]
    assert names.index("fine_tuning.dropout") < names.index("quantisation")
    chosen = {space.configuration(point).training for point in space.points()}
    assert len(chosen) == 5 * 4 * 1 * 2
    assert all(dict(each)["decay_fraction"] == 0.1 for each in chosen)
    assert SearchFile.model_validate(search.to_dict()) == search


def test_only_settings_that_act_on_it_tell_stable_paths_apart() -> None:
    base = Configuration(Architecture.of(1, 32), 40, Compression())
    paths = {
        Configuration(
            base.architecture, 40, Compression(), training=(("decay_fraction", decay), *rest)
        ).stable_path
        for decay in (0.1, 0.2)
        for rest in ((), (("fine_tuning.dropout", 0.1),), (("learning_rate", 1e-3),))
    }
    assert len(paths) == 2


def test_the_plan_counts_each_setting_as_a_training_of_its_own(
    make_search: Callable[..., SearchFile],
) -> None:
    one = make_plan(SearchSpace(make_search(trials=10**6)), 10**6)
    search = make_search(trials=10**6, space__training={"learning_rate": RATES})
    five = make_plan(SearchSpace(search), 10**6)
    assert five.configurations == 5 * one.configurations
    assert five.training_flops == pytest.approx(5 * (one.training_flops or 0.0))


def test_the_limits_of_the_values_are_those_of_the_fields() -> None:
    definitions = json_schema()["$defs"]

    def limits(node: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in node.items() if "imum" in key.lower()}

    def check(searched: str, fixed: str) -> None:
        fields = definitions[fixed]["properties"]
        for name, node in definitions[searched]["properties"].items():
            numbers = [each for each in node["anyOf"] if each.get("type") in ("number", "integer")]
            for number in numbers:
                # One million bounds every whole number of a space.
                assert (
                    limits(number).items() - {("maximum", 1_000_000)}
                    == limits(fields[name]).items()
                ), name

    check("TrainingSpace", "Training")
    check("FineTuningSpace", "FineTuning")
    check("DistillationSpace", "Distillation")


def test_every_field_is_searched_or_refused_with_its_reason() -> None:
    assert {*TrainingSpace.model_fields, *TrainingSpace.refused} == {*Training.model_fields}


REFUSED: dict[str, dict[str, Any]] = {
    "space.training: batch_size cannot be searched: it changes what a step of the budget is; "
    "allowed: learning_rate": {"batch_size": {"choices": [8, 16]}},
    "space.training.fine_tuning: r_drop cannot be searched": {"fine_tuning": {"r_drop": 1.0}},
    "space.training.learning_rte: is not a known key; did you mean learning_rate": {
        "learning_rte": 1e-3
    },
    "space.training.learning_rate.choices.1: input should be greater than 0, but is -0.1": {
        "learning_rate": {"choices": [0.1, -0.1]}
    },
    "space.training.learning_rate: give choices, or low, high and count": {
        "learning_rate": {"low": 0.1, "high": 1.0}
    },
    "space.training.learning_rate: empty: high": {
        "learning_rate": {"low": 1.0, "high": 0.1, "count": 3}
    },
    "space.training.weight_decay: log needs a low above 0, not 0.0": {
        "weight_decay": {"low": 0.0, "high": 1.0, "count": 3, "log": True}
    },
    "with warmup_fraction 0.5, decay_fraction 0.6: training.warmup_fraction: 0.5 of the smallest": {
        "warmup_fraction": {"choices": [0.1, 0.5]},
        "decay_fraction": {"choices": [0.2, 0.6]},
    },
    "space.training.distillation: this search has no training.distillation": {
        "distillation": {"weight": 0.5}
    },
    "less than one step": {"decay_fraction": {"choices": [0.01, 0.2]}},
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_cannot_be_searched_is_refused(
    fault: str, make_search: Callable[..., SearchFile]
) -> None:
    with pytest.raises(SearchFileError) as error:
        make_search(space__training=REFUSED[fault])
    assert fault in str(error.value)


def test_fine_tuning_needs_a_task_that_has_it(make_task_search: Callable[..., SearchFile]) -> None:
    with pytest.raises(SearchFileError, match=r"space.training.fine_tuning: this search has no"):
        make_task_search("causal-lm", space__training={"fine_tuning": {"dropout": 0.1}})
