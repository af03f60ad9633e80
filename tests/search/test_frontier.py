"""Frontier and hypervolume against their definitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.hypervolume import Scale, hypervolume, hypervolume_history
from search.pareto import best, best_dense, frontier, nearest, nondominated
from search.storage.trials import TrialRecord
from spaces.cost import metric
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.cost.inference_cost import ALWAYS, COSTS
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace
from tests.search.conftest import made_up_result

SCALE = Scale(COSTS["size_mb"], metric.accuracy(2), lowest=0.01, highest=1.0)
points = st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 2.0)), max_size=20)


def record(number: int, accuracy: float, size_mb: float, state: str = "complete") -> TrialRecord:
    moment = datetime(2020, 1, 1) + timedelta(seconds=number)
    return TrialRecord(
        number=number,
        state=state,
        configuration=Configuration(Architecture.of(1, 32), 1.0, Compression()),
        result=made_up_result(accuracy, size_mb) if state == "complete" else {},
        message="",
        started=moment,
        finished=moment,
    )


@pytest.fixture(scope="module")
def search(request: pytest.FixtureRequest) -> SearchFile:
    import copy

    from spaces.loading import validate

    return validate(copy.deepcopy(request.getfixturevalue("document")))


@given(values=points)
def test_the_frontier_is_what_nothing_dominates(
    values: list[tuple[float, float]], search: SearchFile
) -> None:
    records = [record(i, a, c) for i, (a, c) in enumerate(values)]
    members = frontier(records, search.criteria)
    for a, c in values:
        assert any(m.result["score"] >= a and m.result["size_mb"] <= c for m in members)
    for one in members:
        assert not any(
            (a >= one.result["score"] and c < one.result["size_mb"])
            or (a > one.result["score"] and c <= one.result["size_mb"])
            for a, c in values
        )
    assert [m.result["size_mb"] for m in members] == sorted(m.result["size_mb"] for m in members)


@given(points, st.tuples(st.floats(0, 1), st.floats(0.01, 2.0)))
def test_hypervolume_is_a_share_and_never_falls(
    values: list[tuple[float, float]], one_more: tuple[float, float]
) -> None:
    before = hypervolume(values, SCALE)
    assert 0.0 <= before <= 1.0
    assert hypervolume([*values, one_more], SCALE) >= before - 1e-12


def test_hypervolume_of_known_boxes() -> None:
    assert hypervolume([(1.0, 0.01)], SCALE) == pytest.approx(1.0)
    assert hypervolume([(0.75, 0.1)], SCALE) == pytest.approx(0.25)
    assert hypervolume([(0.75, 0.01), (1.0, 0.1)], SCALE) == pytest.approx(0.75)
    assert hypervolume([(0.5, 0.01), (1.0, 1.0), (0.4, 0.1)], SCALE) == 0.0
    # Cheaper than the box: a latency can be.
    assert hypervolume([(1.0, 0.001)], SCALE) == pytest.approx(1.0)


@given(values=points)
def test_the_history_is_the_hypervolume_of_each_prefix(
    values: list[tuple[float, float]], search: SearchFile
) -> None:
    records = [record(i, a, c) for i, (a, c) in enumerate(values)]
    history = hypervolume_history(records, search.criteria, SCALE)
    assert history == pytest.approx(
        [hypervolume(values[: i + 1], SCALE) for i in range(len(values))]
    )


def test_what_failed_is_never_on_the_frontier(search: SearchFile) -> None:
    records = [record(0, 0.6, 0.2), record(1, 0, 0, "diverged"), record(2, 0, 0, "running")]
    assert [member.number for member in frontier(records, search.criteria)] == [0]
    assert len(hypervolume_history(records, search.criteria, SCALE)) == 2


def test_what_breaks_a_constraint_is_not_on_the_frontier(
    make_search: Callable[..., SearchFile],
) -> None:
    limited = make_search(constraints__max_size_mb=0.3)
    records = [record(0, 0.6, 0.2), record(1, 0.9, 0.4)]
    assert [member.number for member in frontier(records, limited.criteria)] == [0]


def test_best_is_the_most_accurate_within_the_limits(search: SearchFile) -> None:
    records = [record(0, 0.6, 0.1), record(1, 0.7, 0.2), record(2, 0.7, 0.3), record(3, 0.9, 0.5)]

    def number(**limits: float) -> Any:
        found = best(records, search.criteria, limits)
        return found.number if found else None

    assert number(size_mb=0.35) == 1  # the cheaper one of two equals
    assert number(size_mb=0.35, latency_ms=1.5) == 0
    assert number() == 3
    assert number(size_mb=0.05) is None
    missed = nearest(records, search.criteria, {"size_mb": 0.05})
    assert missed is not None
    assert missed.number == 0


def test_of_equals_the_one_that_is_cheaper_to_train_is_named(search: SearchFile) -> None:
    equals = [record(number, 0.8, 0.1) for number in range(3)]
    for each, flops, latency_ms in zip(equals, (3e9, 1e9, 2e9), (1.0, 2.0, 1.5), strict=True):
        each.result.update(training_flops=flops, latency_ms=latency_ms)
    for records in (equals, equals[::-1]):
        assert [each.number for each in frontier(records, search.criteria)] == [1]
        found = best(records, search.criteria, {})
        assert found is not None
        assert found.number == 1


def test_of_equal_dense_models_the_smallest_is_named_then_the_cheapest(search: SearchFile) -> None:
    equals = [record(number, 0.8, 0.1) for number in range(4)]
    for each, size_bytes, flops in zip(equals, (9, 8, 8, 8), (1e9, 3e9, 2e9, 2e9), strict=True):
        each.result.update(dense_size_bytes=size_bytes, dense_training_flops=flops)
    for records in (equals, equals[::-1]):
        found = best_dense(records, search.criteria, 1.0)
        assert found is not None
        assert found.number == 2


def test_of_equals_all_answers_name_the_same_one(search: SearchFile) -> None:
    equals = [record(number, 0.8, 0.1) for number in range(3)]
    for each, latency_ms in zip(equals, (2.0, 1.0, 1.0), strict=True):
        each.result["latency_ms"] = latency_ms
    for records in (equals, equals[::-1]):
        assert [member.number for member in frontier(records, search.criteria)] == [1]
        assert [member.number for member in nondominated(records, search.criteria, ALWAYS)] == [1]
        named = best(records, search.criteria, {})
        assert named is not None
        assert named.number == 1


def test_less_perplexity_is_better(make_task_search: Callable[..., SearchFile]) -> None:
    search = make_task_search("causal-lm")
    scale = Scale(COSTS["size_mb"], search.metric, lowest=0.01, highest=1.0)
    guessing = search.metric.guessing
    records = [
        replace(record(i, score, size), result=made_up_result(score, size, metric="perplexity"))
        for i, (score, size) in enumerate([(50.0, 0.1), (20.0, 0.2), (30.0, 0.3), (5.0, 0.5)])
    ]
    assert [member.number for member in frontier(records, search.criteria)] == [0, 1, 3]
    chosen = best(records, search.criteria, {"size_mb": 0.4})
    assert chosen is not None
    assert chosen.number == 1
    # Of two that miss by as much, the better one.
    equals = [replace(records[k], result=records[k].result | {"size_mb": 0.5}) for k in (2, 1, 0)]
    missed = nearest(equals, search.criteria, {"size_mb": 0.05})
    assert missed is not None
    assert missed.number == 1
    # Half of a uniform guess's bits saved at the tenth of the size, which is half of two decades.
    assert hypervolume([(guessing**0.5, 0.1)], scale) == pytest.approx(0.25)
    assert hypervolume([(guessing, 0.1), (2 * guessing, 0.01)], scale) == 0.0
    history = hypervolume_history(records, search.criteria, scale)
    assert history == sorted(history)
    points = [(r.result["score"], r.result["size_mb"]) for r in records]
    assert history[-1] == pytest.approx(hypervolume(points, scale))


def test_the_scale_comes_from_arithmetic_and_constraints(
    make_search: Callable[..., SearchFile],
) -> None:
    space = SearchSpace(make_search())
    scale = Scale.of(space)
    cheapest, dearest = space.extreme_costs()
    assert (scale.lowest, scale.highest) == (cheapest.size_mb, dearest.size_mb)
    assert scale.metric == metric.accuracy(2)
    assert list(scale.levels()) == sorted(scale.levels())
    limited = Scale.of(SearchSpace(make_search(constraints__max_size_mb=0.2)))
    assert limited.highest == 0.2
