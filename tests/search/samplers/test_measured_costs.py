"""Costs of a space that are measured before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from objectives.measurement.slowdown import MeasuredCost, MeasuredTimes
from search.analysis.claims.missing_trials import missing_trials
from search.results.queries import StudyQueries
from search.samplers.measured_costs import known_cost, measured_costs, recorded_costs
from search.storage.study import Study
from spaces.cost.configuration import Configuration
from spaces.cost.inference_cost import COSTS
from spaces.errors import UserError
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace
from tests.search.conftest import made_up_result


def milliseconds(configuration: Configuration) -> float:
    """As if latency were the product of all that makes a forward pass long."""
    architecture, compression = configuration.architecture, configuration.compression
    dense = architecture.depth * architecture.width**1.5 * (1 - compression.structured_sparsity / 2)
    return dense / 1000 * (0.5 if compression.quantisation.method == "static" else 1.0)


def measured(_: str, configurations: list[Configuration]) -> list[MeasuredCost]:
    """These latencies as on a machine at its best."""
    times = map(milliseconds, configurations)
    return [MeasuredTimes(each, each, 1.0, 1.0, 1.0, 1.0, "here") for each in times]


def test_every_shape_is_measured_once(make_search: Callable[..., SearchFile]) -> None:
    space = SearchSpace(make_search())
    asked: list[Configuration] = []

    def measure(configurations: list[Configuration]) -> list[float]:
        asked.extend(configurations)
        return [milliseconds(c) for c in configurations]

    latency_of = known_cost(space, COSTS["latency_ms"], measure)
    # Four architectures, dense or int8, whole or pruned: bits of stored weights change nothing.
    assert len(asked) == 4 * 2 * 2
    for configuration in map(space.configuration, space.points()):
        assert latency_of(configuration) == milliseconds(configuration)


def test_in_a_large_space_some_are_measured_and_the_others_predicted(
    make_search: Callable[..., SearchFile],
) -> None:
    limit = 5.0
    space = SearchSpace(
        make_search(
            space__depth={"low": 1, "high": 40},
            objectives=["accuracy", "size_mb"],
            constraints__max_latency_ms=limit,
        )
    )
    asked: list[Configuration] = []

    def measure(configurations: list[Configuration]) -> list[float]:
        asked.extend(configurations)
        # A call in eight is interrupted: it takes twice as long.
        return [
            milliseconds(c) * (2.0 if k % 8 == 7 else 1.0) for k, c in enumerate(configurations)
        ]

    latency_of = known_cost(space, COSTS["latency_ms"], measure)
    assert latency_of.measured == len(set(asked)) == len(asked) == 40
    near = [milliseconds(each) / limit for each in asked[30:]]
    assert max(abs(ratio - 1.0) for ratio in near) < 0.5
    everything = set(map(space.configuration, space.points())) - set(asked)
    errors = [abs(latency_of(c) / milliseconds(c) - 1) for c in everything]
    assert sorted(errors)[len(errors) // 2] < 0.1
    assert sorted(errors)[9 * len(errors) // 10] < 0.2
    assert 0.0 < latency_of.error.median < latency_of.error.p90


def test_a_limit_that_no_model_meets_is_refused(make_search: Callable[..., SearchFile]) -> None:
    space = SearchSpace(make_search(constraints__max_latency_ms=0.001))
    with pytest.raises(
        UserError, match=r"max_latency_ms: nothing can meet 0\.001; the least latency"
    ):
        known_cost(space, COSTS["latency_ms"], lambda cs: [milliseconds(c) for c in cs])


def _study(search: SearchFile, home: Path) -> tuple[Study, str]:
    """A study with three results, and where it is."""
    url = f"sqlite:///{home / 'study.db'}"
    study = Study.open(search, url)
    seconds = {"stable": 1.0, "cooldown": 0.2, "recovery": 0.0, "compress": 0.1, "measure": 0.1}
    for score in (0.6, 0.7, 0.8):
        study.tell_result(study.ask().number, made_up_result(score, 0.1, seconds=seconds))
    return study, url


def _everywhere(study: Study) -> list[dict[str, Any]]:
    """Values of every point of a space."""
    dimensions = study.space.dimensions
    return [
        {d.name: d.values[index] for d, index in zip(dimensions, point, strict=True)}
        for point in study.space.points()
    ]


def test_what_if_works_where_latency_is_an_objective(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    search = make_search(
        objectives=["accuracy", "latency_ms"], constraints__max_latency_ms=5.0, trials=20
    )
    study, url = _study(search, home)
    prediction = StudyQueries(url).what_if("tiny", _everywhere(study)[0])
    assert prediction.score_low < prediction.score < prediction.score_high


def test_queries_use_the_latencies_that_the_run_measured(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    study, url = _study(make_search(constraints__max_latency_ms=0.5, trials=20), home)
    assert recorded_costs(study) == {}
    searching = SearchSpace(study.search, measured_costs(study, measured))
    other = Study.load("tiny", url)
    recorded = recorded_costs(other)
    latency_of = recorded["latency_ms"]
    everything = list(map(searching.configuration, searching.points()))
    assert [latency_of(c) for c in everything] == [milliseconds(c) for c in everything]
    queries = StudyQueries(url)
    found = [queries.what_if("tiny", values).is_feasible for values in _everywhere(study)]
    assert found == [searching.is_feasible(configuration) for configuration in everything]
    assert not all(found)
    wanted = missing_trials(SearchSpace(other.search, recorded), [])
    assert all(milliseconds(addition.configuration) <= 0.5 for addition in wanted)


def test_known_latencies_are_restated_by_a_reference_that_is_faster_later(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    study, url = _study(make_search(constraints__max_latency_ms=0.4, trials=20), home)

    def slowly(cost: str, configurations: list[Configuration]) -> list[MeasuredCost]:
        """The last of them on a machine that was slower by half."""
        times = measured(cost, configurations)
        slow = 1.5 * milliseconds(configurations[-1])
        return [*times[:-1], MeasuredTimes(slow, slow, 3.0, 3.0, 3.0, 3.0, "elsewhere")]

    everything = list(study.space.compressed_architectures())
    slow = measured_costs(study, slowly)["latency_ms"]
    study.learn_references([MeasuredTimes(1.0, 1.0, 2.0, 2.0, 2.0, 2.0, "elsewhere")])
    now = recorded_costs(Study.load("tiny", url))["latency_ms"]
    assert [now(each) for each in everything] == pytest.approx(list(map(milliseconds, everything)))
    assert [slow(each) for each in everything] != [now(each) for each in everything]


def test_what_if_fits_compressions_as_the_run_does(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    search = make_search(space__compression="fit", constraints__max_latency_ms=0.6, trials=20)
    study, url = _study(search, home)
    searching = SearchSpace(search, measured_costs(study, measured))
    fitted = list(map(searching.configuration, searching.points()))
    assert fitted != list(map(study.space.configuration, study.space.points()))
    queries = StudyQueries(url)
    found = [queries.what_if("tiny", values).configuration for values in _everywhere(study)]
    assert found == [configuration.to_dict() for configuration in fitted]
