"""Searches with more than two objectives: frontier, hypervolume, answers, figures and MLflow."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.hypervolume import CostRange, Scale, hypervolume, hypervolume_history
from search.pareto import frontier
from search.plots.figures import write_figures
from search.results.queries import StudyQueries
from search.storage.study import Study
from spaces.cost import metric
from spaces.cost.criteria import Criteria
from spaces.cost.inference_cost import COSTS
from spaces.errors import UserError
from spaces.file.search_file import SearchFile
from tests.search.conftest import made_up_result
from tests.search.test_frontier import record

SIZE, LATENCY = COSTS["size_mb"], COSTS["latency_ms"]
CRITERIA = Criteria(metric.accuracy(2), SIZE, {}, further_costs=(LATENCY,))
SCALE = Scale(SIZE, metric.accuracy(2), 0.01, 1.0, further_costs=(CostRange(LATENCY, 0.1, 10.0),))
points = st.lists(
    st.tuples(st.floats(0, 1), st.floats(0.01, 2.0), st.floats(0.1, 20.0)), max_size=12
)
Point = tuple[float, float, float]


@given(values=points)
def test_the_frontier_of_two_costs_is_what_nothing_dominates(values: list[Point]) -> None:
    records = [record(i, a, c) for i, (a, c, _) in enumerate(values)]
    for each, (_, _, latency) in zip(records, values, strict=True):
        each.result["latency_ms"] = latency
    members = [
        (m.result["score"], m.result["size_mb"], m.result["latency_ms"])
        for m in frontier(records, CRITERIA)
    ]
    for a, c, t in values:
        assert any(m[0] >= a and m[1] <= c and m[2] <= t for m in members)
    for one in members:
        assert not any(
            a >= one[0] and c <= one[1] and t <= one[2] and (a, c, t) != one for a, c, t in values
        )
    history = hypervolume_history(records, CRITERIA, SCALE)
    assert history == pytest.approx(
        [hypervolume(values[: k + 1], SCALE) for k in range(len(values))]
    )


@given(values=points)
def test_the_hypervolume_is_the_mean_over_limits_of_the_area_within_them(
    values: list[Point],
) -> None:
    """What the sampler relies on."""
    plane = Scale(SIZE, metric.accuracy(2), 0.01, 1.0)
    limits = [0.1 * 100 ** ((k + 0.5) / 400) for k in range(400)]
    areas = [hypervolume([(a, c) for a, c, t in values if t <= each], plane) for each in limits]
    assert hypervolume(values, SCALE) == pytest.approx(sum(areas) / len(areas), abs=0.02)


@pytest.fixture
def study(make_search: Callable[..., SearchFile], home: Path, empty_database: Path) -> Study:
    """Three trials: a small slow one, a large fast one, and one that is worse than both."""
    home.mkdir()
    shutil.copy(empty_database, home / "study.db")
    search = make_search(
        trials=20,
        objectives=["accuracy", "macro-f1", "size_mb", "latency_ms"],
        constraints__max_latency_ms=10.0,
    )
    study = Study.open(search, f"sqlite:///{home / 'study.db'}")
    for score, f1, size, latency in (
        (0.7, 0.6, 0.1, 8.0),
        (0.7, 0.6, 0.4, 2.0),
        (0.6, 0.5, 0.5, 9.0),
        (0.5, 0.8, 0.6, 9.5),
    ):
        further = {"macro-f1": {"value": f1, "low": f1 - 0.1, "high": f1 + 0.1}}
        result = made_up_result(score, size, latency_ms=latency, further_scores=further)
        ends = {"macro-f1": f1, "macro-f1_low": f1 - 0.1, "macro-f1_high": f1 + 0.1}
        study.tell_result(study.ask().number, {**result, **ends})
    return study


def test_answers_have_every_objective(study: Study, home: Path) -> None:
    queries = StudyQueries(f"sqlite:///{home / 'study.db'}")
    name = study.search.name
    found = queries.frontier(name)
    assert [member.trial for member in found.members] == [0, 1, 3]
    assert [member.further_scores for member in found.members] == [
        {"macro-f1": 0.6}, {"macro-f1": 0.6}, {"macro-f1": 0.8},
    ]  # fmt: skip
    summary = queries.search(name)
    assert summary.objectives == ["accuracy", "macro-f1", "size_mb", "latency_ms"]
    assert 0.0 < summary.hypervolume < 1.0
    fast = queries.best(name, {"latency_ms": 3.0}).trial
    assert fast is not None
    assert fast.trial == 1
    assert study.optuna.metric_names == summary.objectives
    assert [trial.number for trial in study.optuna.best_trials] == [0, 1, 3]


def test_there_is_a_figure_for_each_cost(study: Study, tmp_path: Path) -> None:
    write_figures(study, tmp_path)
    page = (tmp_path / "frontier.html").read_text()
    for cost in ("size", "latency"):
        assert f"<b>accuracy against {cost}</b>" in page


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        (["accuracy", "size_mb", "macro-f1"], "the scores come first"),
        (["size_mb", "flops"], "the scores come first, and one at least"),
        (["accuracy", "flops", "flops"], "flops is there twice"),
        (["accuracy", "bleu", "flops"], "not bleu"),
        (["accuracy", "size_mb", "latency_ms"], "latency_ms needs constraints.max_latency_ms"),
        (["accuracy", "macro-f1"], "accuracy and macro-f1 without a cost needs a constraint"),
    ],
)
def test_objectives_that_cannot_work_are_refused(
    make_search: Callable[..., SearchFile], objectives: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        make_search(objectives=objectives)
