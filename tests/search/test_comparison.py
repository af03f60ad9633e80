"""What models are compared with: references, dense models of the same bytes, ends of the space."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search.results.baselines import advice
from search.results.queries import StudyQueries
from search.results.schemas import Best, Frontier
from search.storage.study import Study
from spaces.cost.workload import Family, Workload
from spaces.file.search_file import SearchFile
from tests.search.conftest import Tlc, made_up_reference, made_up_result

Compare = Callable[..., tuple[Study, StudyQueries]]


@pytest.fixture
def compare(make_search: Callable[..., SearchFile], home: Path) -> Compare:
    """Make a study of trials at some points, as ``(point, score, megabytes, other values)``."""

    def make(*trials: tuple[dict[str, Any], float, float, dict[str, Any]], **fields: Any) -> Any:
        url = f"sqlite:///{home / 'study.db'}"
        study = Study.open(make_search(trials=20, **fields), url)
        for point, score, size, values in trials:
            names = {d.name: point.get(d.name, d.values[0]) for d in study.space.dimensions}
            study.optuna.enqueue_trial(names)
            study.tell_result(study.ask().number, made_up_result(score, size, **values))
        return study, StudyQueries(url)

    return make


def trial(score: float, size: float, dense: float = 0.5, **point: Any) -> Any:
    return point, score, size, {"dense_score": dense, "checkpoint": f"c/{point}"}


def frontier(queries: StudyQueries) -> Frontier:
    return queries.frontier("tiny")


def best(queries: StudyQueries, **limits: float) -> Best:
    return queries.best("tiny", limits)


def test_members_that_a_reference_dominates_name_it(compare: Compare) -> None:
    study, queries = compare(trial(0.6, 0.1), trial(0.8, 0.4, depth=2))
    study.set_references(
        [made_up_reference("majority class", 0.5, 0.0), made_up_reference("regression", 0.7, 0.1)]
    )
    found = frontier(queries)
    assert [member.dominated_by for member in found.members] == ["regression", None]
    assert [each.name for each in found.references] == ["majority class", "regression"]
    assert found.references[1].test_score == 0.69


def test_a_reference_that_is_larger_or_worse_dominates_nothing(compare: Compare) -> None:
    study, queries = compare(trial(0.6, 0.1), trial(0.8, 0.4, depth=2))
    study.set_references(
        [made_up_reference("worse", 0.59, 0.01), made_up_reference("larger", 0.7, 0.11)]
    )
    assert [member.dominated_by for member in frontier(queries).members] == [None, None]


def test_less_is_better_for_perplexity(
    make_task_search: Callable[..., SearchFile], home: Path
) -> None:
    url = f"sqlite:///{home / 'study.db'}"
    study = Study.open(make_task_search("causal-lm", trials=20), url)
    result = made_up_result(40.0, 0.5, metric="perplexity", dense_score=30.0)
    study.tell_result(study.ask().number, result)
    study.set_references(
        [made_up_reference("unigrams", 90.0, 0.1), made_up_reference("trigrams", 35.0, 0.4)]
    )
    (member,) = StudyQueries(url).frontier("causal").members
    assert member.dominated_by == "trigrams"
    advice = StudyQueries(url).frontier("causal").advice
    assert advice is not None
    assert "unlabelled" not in advice


def test_best_names_the_reference_that_no_model_within_the_limit_beats(compare: Compare) -> None:
    study, queries = compare(trial(0.6, 0.1), trial(0.8, 0.4, depth=2))
    study.set_references([made_up_reference("regression", 0.7, 0.2)])
    assert best(queries, size_mb=0.15).references == []
    assert best(queries, size_mb=0.15).dominated_by is None
    within = best(queries, size_mb=0.3).dominated_by
    assert within is not None
    assert (within.name, within.score, within.size_mb) == ("regression", 0.7, 0.2)
    assert "pretrained checkpoint" in (best(queries, size_mb=0.3).advice or "")
    assert best(queries).dominated_by is None
    assert best(queries).advice is None
    assert len(best(queries).references) == 1


@pytest.mark.parametrize("size", [0.1, 5.0])
def test_a_frontier_that_is_no_better_than_a_reference_says_what_helps(
    size: float, compare: Compare
) -> None:
    study, queries = compare(trial(0.6, 0.1), trial(0.7, 0.4, depth=2))
    study.set_references([made_up_reference("regression", 0.69, size)])
    assert frontier(queries).advice is None
    study, queries = compare(trial(0.6, 0.1), trial(0.7, 0.4, depth=2), name="other")
    study.set_references([made_up_reference("regression", 0.7, size)])
    assert "much more unlabelled text" in (queries.frontier("other").advice or "")


def test_the_best_dense_model_of_the_same_bytes_is_named(compare: Compare) -> None:
    # A synthetic dense model has four times the bytes.
    _, queries = compare(
        trial(0.6, 0.1, dense=0.65),
        trial(0.7, 0.2, dense=0.75, depth=2),
        trial(0.8, 0.8, dense=0.85, width=64),
    )
    small, middle, large = frontier(queries).members
    assert small.dense is None
    assert middle.dense is None
    assert large.dense is not None
    assert (large.dense.trial, large.dense.score, large.dense.size_mb) == (1, 0.75, 0.8)
    assert "none" in large.dense.text
    assert best(queries, size_mb=0.2).dense is None
    within = best(queries, size_mb=0.5).dense
    assert within is not None
    assert (within.trial, within.score) == (0, 0.65)


def test_the_edges_of_the_space_at_which_all_members_lie(compare: Compare) -> None:
    _, queries = compare(
        trial(0.6, 0.1, budget=40, width=32),
        trial(0.8, 0.4, budget=40, width=64),
        trial(0.5, 0.3, budget=20, depth=2),
    )
    assert [edge.text for edge in frontier(queries).edges] == [
        "all at the longest budget, 40 steps: widen budget"
    ]
    assert [edge.text for edge in best(queries).edges] == [
        "at the largest width, 64: widen width",
        "at the longest budget, 40 steps: widen budget",
    ]
    # There is nothing below one layer.
    (edge, _) = best(queries, size_mb=0.2).edges
    assert (edge.dimension, edge.end, edge.value) == ("width", "smallest", 32)


def test_a_dimension_of_one_value_has_no_edge(compare: Compare) -> None:
    space = {"depth": 1, "width": 64, "budget": {"unit": "steps", "choices": [40]}}
    _, queries = compare(trial(0.6, 0.1), space=space)
    assert frontier(queries).edges == []


def test_a_real_search_is_printed_beside_its_references(finished: Tlc) -> None:
    answer = json.loads(finished.ask("frontier", "tiny", "--json").stdout)
    names = [each["name"] for each in answer["references"]]
    assert names[0] == "majority class"
    assert names[1].startswith("logistic regression")
    assert answer["references"][1]["score"] > 0.9
    printed = finished.ask("frontier", "tiny").stdout
    for expected in ("majority class", "logistic regression", "dense"):
        assert expected in printed
    assert "best dense model" in finished.ask("best", "tiny").stdout
    missed = finished.ask("best", "tiny", "--max-size-mb", "0.001").stdout
    assert "no dense model fits in 0.001 MB" in missed


def test_references_are_measured_once(finished: Tlc) -> None:
    before = finished.study().references()
    assert "references" not in finished.ask("run", "search.yaml").stdout.partition("frontier")[0]
    assert finished.study().references() == before


def test_a_search_from_a_checkpoint_is_advised_to_take_a_larger_one() -> None:
    workload = Workload(Family.CHECKPOINT, 300, 16, classes=2, checkpoint="{}")
    assert "larger checkpoint" in advice(workload)
