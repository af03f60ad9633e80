"""Repeats with further seeds: what is repeated, what they are kept out of, and what they say."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from objectives.measurement.slowdown import MeasuredTimes
from search.execution.jobs import RepeatJobs
from search.hypervolume import Scale, hypervolume_of
from search.pareto import frontier
from search.results.queries import StudyQueries
from search.samplers.frontier.sampler import FrontierSampler
from search.samplers.frontier.search_design_space import SearchDesignSpace
from search.samplers.optuna_samplers import FeasibleSampler
from search.seeds import Repeats, SeedScores, Spread
from search.storage.lease_holder import local_lease
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.cost.metric import accuracy, perplexity
from spaces.file.search_file import SearchFile
from spaces.grid.plan import make_plan
from spaces.grid.search_space import SearchSpace
from tests.search.conftest import Tlc, made_up_result

LATENCY = {
    **MeasuredTimes(1.0, 0.9, 0.6, 0.5, 0.5, 0.45, "here")._asdict(), "p50_ms": 1.1,
    "p95_ms": 1.3, "reference_p50_ms": 0.65, "noisy": False, "batch_size": 1,
    "sequence_length": 16, "threads": 1, "device": "cpu", "processor": "x", "runtime": "torch",
    "slowdown": 1.2,
}  # fmt: skip
SECONDS = {
    "train": 4.0, "saved": 6.0, "compress": 0.1, "measure": 0.1, "stable": 3.0, "cooldown": 1.0,
}  # fmt: skip


def result(score: float, size_mb: float) -> dict[str, Any]:
    """A result with the details that tables and samplers use."""
    return made_up_result(score, size_mb, latency=LATENCY, seconds=SECONDS)


def fill(study: Study, scores: tuple[float, ...] = (0.6, 0.8, 0.7, 0.75)) -> list[TrialRecord]:
    """Trials with scores and growing sizes; returns the frontier."""
    study.optuna.sampler = FeasibleSampler(study.space, "grid", seed=0, trials=20)
    for k, score in enumerate(scores):
        study.tell_result(study.ask().number, result(score, 0.1 * (k + 1)))
    return frontier(study.records(), study.search.criteria)


def repeat(study: Study, number: int, seed: int, score: float | None) -> TrialRecord:
    """A finished repeat of a trial; without a score, a failed one."""
    record = study.repeat(number, seed)
    if score is None:
        study.tell_failure(record.number, "diverged", "the loss rose")
    else:
        study.tell_result(record.number, result(score, record.number / 100))
    return study.record(record.number)


def test_only_the_frontier_is_repeated_and_what_was_started_is_not_started_again(
    study: Study,
) -> None:
    members = fill(study)
    assert [member.number for member in members] == [0, 1]
    wanted = [(each.number, each.seed) for each in Repeats(()).missing(members, 3)]
    assert wanted == [(0, 1), (0, 2), (1, 1), (1, 2)]
    repeat(study, 0, 1, 0.55)
    repeat(study, 1, 1, None)
    study.repeat(1, 2)
    left = Repeats(study.repeats()).missing(members, 3)
    assert [(each.number, each.seed) for each in left] == [(0, 2)]
    assert left[0].configuration == replace(members[0].configuration, seed=2)
    assert Repeats(study.repeats()).missing(members, 1) == []


def test_repeats_that_share_training_are_one_job(study: Study) -> None:
    members = fill(study, (0.6, 0.7, 0.8, 0.9))
    assert len(members) == 4
    jobs = RepeatJobs(study, Repeats(()).missing(members, 3))
    seen = []
    while not jobs.are_over:
        job = jobs.next()
        assert len({(r.configuration.architecture, r.configuration.seed) for r in job}) == 1
        budgets = [record.configuration.budget for record in job]
        assert budgets == sorted(budgets)
        seen.append((job[0].configuration.seed, job[0].configuration.architecture))
        assert {record.state for record in job} == {"running"}
    assert len(set(seen)) == len(seen)
    assert [seed for seed, _ in seen] == sorted(seed for seed, _ in seen)
    assert len(study.repeats()) == 8


def test_repeats_are_no_trials_of_the_search(study: Study) -> None:
    members = fill(study)
    criteria, scale = study.search.criteria, Scale.of(study.space)
    before = study.records(), hypervolume_of(study.records(), criteria, scale)
    made = repeat(study, 0, 1, 0.99)
    assert (made.repeats, made.configuration.seed) == (0, 1)
    assert made.configuration == members[0].configuration.with_seed(1)
    assert [record.number for record in study.repeats()] == [made.number]
    assert (study.records(), hypervolume_of(study.records(), criteria, scale)) == before
    # The number of a further trial comes after it, and the search still counts its own.
    assert study.ask().number == made.number + 1
    assert len(study.records()) == 5


def test_a_killed_repeat_is_taken_over_with_its_seed(study: Study) -> None:
    fill(study)
    killed = study.repeat(1, 2)
    (taken,) = study.take_over_unfinished()
    assert taken == replace(killed, attempt=2)
    assert not study.tell_result(taken.number, result(0.5, 0.1), attempt=1)
    assert study.tell_result(taken.number, result(0.6, 0.1), attempt=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["frontier", "tpe"])
def test_a_sampler_proposes_the_same_with_and_without_repeats(
    name: Any, make_search: Callable[..., SearchFile], home: Path
) -> None:
    proposals = []
    for has_repeats in (False, True):
        url = f"sqlite:///{home / f'{name}{has_repeats}.db'}"
        study = Study.open(make_search(trials=20), url)
        fill(study, (0.6, 0.62, 0.64, 0.7, 0.72, 0.71, 0.74, 0.76, 0.5, 0.6, 0.7, 0.8))
        if has_repeats:
            repeat(study, 3, 1, 0.95)
            study.repeat(0, 1)
        study.optuna.sampler = (
            FrontierSampler(SearchDesignSpace(study.space), seed=0)
            if name == "frontier"
            else FeasibleSampler(study.space, name, seed=0, trials=20)
        )
        proposals.append(study.ask().configuration)
    assert proposals[0] == proposals[1]


def test_the_scores_of_further_seeds_are_apart_from_the_selected_one(study: Study) -> None:
    members = fill(study)
    for seed, score in ((1, 0.72), (2, 0.76), (3, None)):
        repeat(study, 1, seed, score)
    tests = {1: {"score": 0.7}, 4: {"score": 0.6}}
    scores = SeedScores.of(members[1], Repeats(study.repeats()), tests, study.search.metric)
    assert scores is not None
    assert (scores.repeats, scores.failed) == ((4, 5), 1)
    assert scores.further == Spread(2, pytest.approx(0.74), pytest.approx(0.02 * math.sqrt(2)))
    low, high = stats.t.interval(0.95, 2, loc=0.76, scale=stats.sem([0.8, 0.72, 0.76]))
    assert scores.score == Spread(
        3, pytest.approx(0.76), pytest.approx(0.04), pytest.approx(low), pytest.approx(high)
    )
    assert scores.test == Spread(2, pytest.approx(0.65), pytest.approx(0.1 / math.sqrt(2)))
    assert scores.further_test == Spread(1, 0.6)
    assert SeedScores.of(members[0], Repeats(study.repeats()), tests, study.search.metric) is None


def test_an_interval_stays_within_the_range_of_its_metric() -> None:
    spread = Spread.of([0.9, 0.95, 1.0], accuracy(2))
    assert spread is not None
    assert spread.high == 1.0
    assert Spread.of([0.5, 0.5, 0.5], accuracy(2)) == Spread(3, 0.5, 0.0, 0.5, 0.5)
    spread = Spread.of([1.5, 9.0, 20.0], perplexity(100))
    assert spread is not None
    assert spread.high is not None
    assert spread.low == 1.0 < 20.0 < spread.high
    assert Spread.of([], accuracy(2)) is None


def test_answers_carry_the_spread_over_seeds(
    tlc: Tlc, make_search: Callable[..., SearchFile]
) -> None:
    study = Study.open(make_search(trials=4), tlc.study_url)
    fill(study)
    assert "1 seed: the spread over seeds of training is unknown" in tlc.ask("best", "tiny").stdout
    for seed, score in ((1, 0.72), (2, 0.76), (3, None)):
        repeat(study, 1, seed, score)
    study.set_test(1, {"score": 0.7, "examples": 100})
    study.set_test(4, {"score": 0.6, "examples": 100})

    best = tlc.ask("best", "tiny").stdout
    assert "0.740 ± 0.028 (2 seeds)" in best
    assert "0.760 ± 0.040 (3 seeds), 95 % interval of the mean 0.661 to 0.859" in best
    assert "#4, #5; 1 failed" in best
    listed = tlc.ask("frontier", "tiny").stdout
    assert "0.740±0.028" in listed
    assert "trained with 2 other seeds, which had no part in the selection" in listed
    answer = json.loads(tlc.ask("best", "tiny", "--json").stdout)["trial"]["seeds"]
    assert answer["further"] == {
        "seeds": 2, "mean": pytest.approx(0.74), "sd": pytest.approx(0.0283, rel=1e-2),
        "low": None, "high": None,
    }  # fmt: skip

    queries = StudyQueries(tlc.study_url)
    assert [trial.trial for trial in queries.trials("tiny").trials] == [0, 1, 2, 3]
    assert [trial.repeats for trial in queries.trials("tiny", repeats=True).trials] == [1, 1, 1]
    shown = queries.search("tiny")
    assert (shown.complete, shown.repeats, shown.failed) == (4, 2, 0)
    assert [failure.trial for failure in shown.failures] == [6]
    assert "#1 with seed 1" in tlc.ask("show", "tiny", "4").stdout


def test_confirm_refuses_a_running_search_and_finds_nothing_beyond_the_limits(
    tlc: Tlc, make_search: Callable[..., SearchFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(Study.open(make_search(trials=4), tlc.study_url))
    none = tlc.ask("confirm", "tiny", "--max-size-mb", "0.01")
    assert none.returncode == 3
    assert "no complete trial within the limits" in none.stderr
    with local_lease("tiny", tlc.folder / "home" / "leases"):
        running = tlc.ask("confirm", "tiny")
    assert running.returncode == 2
    assert "is running already" in running.stderr
    assert tlc.ask("confirm", "tiny", "--seeds", "1").returncode == 2


def test_the_plan_counts_the_repeats(make_search: Callable[..., SearchFile]) -> None:
    space = SearchSpace(make_search())
    one, three = make_plan(space, 16), make_plan(space, 16, seeds=3)
    assert (one.repeats, one.repeat_flops) == (0, 0.0)
    assert three.repeats == 2 * 6  # 1.5 times the square root of 16
    assert three.repeat_flops > 0
    assert (three.trials, three.training_flops) == (one.trials, one.training_flops)
    assert three.disk_bytes == pytest.approx(one.disk_bytes * 28 / 16)
