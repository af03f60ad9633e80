"""The designer: what it proposes, and what it learns from trials and failures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from search.samplers.frontier.design_space import DesignSpace, grid_neighbours
from search.samplers.frontier.designer import Designer
from search.samplers.frontier.features import training_features
from search.samplers.frontier.history import FailureCause, StageSeconds, Trial
from spaces.cost.metric import Metric, accuracy, perplexity
from tests.search.samplers.spaces import LIMITS, design_space, grid


def test_running_trials_added_one_by_one_or_together_give_the_same_proposals() -> None:
    everything, width = grid()
    choices = replace(
        design_space(),
        runs=everything.training[::width],
        compressions=everything.compression[:width],
        log_costs=lambda runs: np.zeros((len(runs), width)),
    )
    running = [(0, 0), (3, 2), (5, 1)]
    together, one_by_one = (Designer(choices, seed=0) for _ in range(2))
    for count in range(len(running)):
        one_by_one.proposals(running[:count])
    expected = together.proposals(running).quality
    assert one_by_one.proposals(running).quality == pytest.approx(expected, abs=0.02)
    alone = Designer(choices, seed=0).proposals([]).quality
    assert expected[:, 3].std(0).mean() < 0.5 * alone[:, 3].std(0).mean()


def test_the_model_before_compression_is_observed_once() -> None:
    design_space = replace(
        large_design_space(np.ones((10, 3), dtype=bool)), compressions=np.eye(3, 4, k=-1) * 0.5
    )
    known, unknown = (Designer(design_space, seed=0) for _ in range(2))
    took = StageSeconds(1.0, 1.0, 0.1)
    known.update([Trial(4, 1, 0.4, seconds=took, dense=0.8)])
    unknown.update([Trial(4, 1, 0.4, seconds=took)])
    low, expected, high = known.predict(4, 0)
    assert low < 0.8 < high
    assert expected == pytest.approx(0.8, abs=0.05)
    assert high - low < 0.5 * np.ptp(unknown.predict(4, 0))
    # Other runs, and other compressions of this one, are expected to be better for it.
    for candidate in ((4, 2), (3, 0), (5, 2)):
        assert known.predict(*candidate)[1] > unknown.predict(*candidate)[1]
    before = known.predict(4, 2)
    known.update([Trial(4, 0, 0.8, seconds=took, dense=0.8)])
    assert known.predict(4, 2) == pytest.approx(before)


def test_a_trial_is_priced_by_the_devices_that_it_occupies() -> None:
    took = StageSeconds(stable=10.0, cooldown=2.0, evaluate=1.0)
    everything, width = grid()
    choices = replace(
        design_space(),
        runs=everything.training[::width],
        compressions=everything.compression[:1],
        baseline=0.1,
    )
    eight = np.array([1.0] * 3 + [8.0] * 3)
    plain, priced = (Designer(replace(choices, devices=d), seed=0) for d in (None, eight))
    for designer in (plain, priced):
        designer.update([Trial(run, 0, 0.5, seconds=took) for run in (0, 3)])
    # Both architectures were measured, so that the seconds are the same but for the price.
    seconds = [each.proposals([]).seconds[:, 0] for each in (plain, priced)]
    assert seconds[1] == pytest.approx(eight * seconds[0])
    assert priced.seconds(4, 0) == pytest.approx(plain.seconds(4, 0))
    assert 0.0 < priced.average_rate == pytest.approx(plain.average_rate * 2 / 9)


@pytest.mark.parametrize("cause", FailureCause)
def test_only_a_bad_model_makes_others_like_it_unlikely(cause: FailureCause) -> None:
    design_space = large_design_space(np.ones((10, 3), dtype=bool))
    candidates = [(run, compression) for run in range(5) for compression in range(3)]
    good = [
        Trial(*candidate, 0.5 + candidate[0] / 100 - candidate[1] / 20) for candidate in candidates
    ]
    before, after = (Designer(design_space, seed=0) for _ in range(2))
    before.update(good)
    after.update([*good, Trial(6, 0, None, cause=cause)])
    fall = before.predict(6, 1)[1] - after.predict(6, 1)[1]
    assert fall > 0.1 if cause is FailureCause.MODEL else fall == pytest.approx(0.0, abs=1e-6)


def test_a_run_that_the_machine_failed_is_proposed_again_once_it_is_trained() -> None:
    designer = Designer(large_design_space(np.ones((10, 3), dtype=bool)), seed=0)

    def proposed() -> set[int]:
        proposals = designer.proposals([])
        return set(proposals.runs[np.isfinite(proposals.gain).any(1)])

    assert proposed() == set(range(10))
    designer.update([Trial(6, 0, None, cause=FailureCause.MACHINE)])
    assert proposed() == set(range(10)) - {6}
    designer.update([Trial(6, 1, 0.5, seconds=StageSeconds(1.0, 1.0, 0.1))])
    assert proposed() == set(range(10))


def large_design_space(feasible: np.ndarray) -> DesignSpace:
    """Ten runs under 600 compressions, more than are compared at a time."""
    count = feasible.shape[1]
    costs = np.where(feasible, np.linspace(0.0, 0.9, count), np.nan)
    steps = np.arange(1.0, 11.0) * 100
    return DesignSpace(
        runs=np.log2(steps)[:, None] * np.eye(5)[2],
        architecture=np.zeros(10, dtype=np.int64),
        steps=steps,
        depth=np.ones(10),
        step_flops=np.ones(10),
        compressions=np.linspace(0.0, 1.0, count)[:, None] * np.eye(4)[2],
        log_costs=lambda runs: costs[runs],
        limits=LIMITS,
    )


@pytest.mark.slow
def test_a_large_design_space_is_exhausted_only_when_all_of_it_was_tried() -> None:
    feasible = np.zeros((10, 600), dtype=bool)
    feasible[:, 300:315] = True
    designer = Designer(large_design_space(feasible), seed=0)
    tried = set()
    while (proposal := designer.proposals([]).best()) is not None:
        candidate = proposal.candidate
        assert feasible[candidate]
        assert candidate not in tried
        tried.add(candidate)
        designer.update([Trial(*candidate, quality=0.5, seconds=StageSeconds(1.0, 1.0, 0.1))])
    assert len(tried) == feasible.sum()


@pytest.mark.parametrize(
    ("metric", "score", "low", "high", "error"),
    [
        (accuracy(10), 0.7, 0.66, 0.74, 0.04 / 1.96),
        # A factor of 1.1 is ln 1.1 of the ln 1000 nats of a guess.
        (perplexity(1000), 20.0, 20.0 / 1.1, 20.0 * 1.1, np.log(1.1) / np.log(1000) / 1.96),
    ],
)
def test_the_error_of_a_quality_is_that_of_the_interval_of_its_score(
    metric: Metric, score: float, low: float, high: float, error: float
) -> None:
    result = {"score": score, "score_low": low, "score_high": high}
    trial = Trial.of_result(0, 0, result, [metric])
    assert trial.error == pytest.approx(error)


def test_early_failures_count_after_hundreds_of_later_trials() -> None:
    designer = Designer(large_design_space(np.ones((10, 600), dtype=bool)), seed=0)
    designer.update([Trial(9, column, None) for column in range(100)])
    others = [Trial(column % 9, column, 0.5) for column in range(600)]
    designer.update(others)
    assert designer.predict(9, 300)[1] < 0.45
    assert designer.predict(0, 1)[1] == pytest.approx(0.5, abs=0.05)


def test_a_lucky_score_does_not_hide_the_gain_of_other_candidates() -> None:
    candidates = [(run, column) for run in range(9) for column in (0, 1, 2)]
    scores = dict.fromkeys(candidates, 0.5) | {(4, 0): 0.6}

    def gain(error: float) -> float:
        designer = Designer(large_design_space(np.ones((10, 3), dtype=bool)), seed=0)
        designer.update([Trial(*each, score, error=error) for each, score in scores.items()])
        return float(designer.proposals([]).gain[9].max())

    assert gain(error=0.05) > 2.0 * gain(error=0.001)


def test_neighbours_differ_in_one_dimension() -> None:
    sizes = (3, 2, 4)
    index = int(np.ravel_multi_index((1, 1, 0), sizes))
    near = [np.unravel_index(each, sizes) for each in grid_neighbours(index, sizes)]
    assert [tuple(map(int, each)) for each in near] == [
        (1, 1, 1), (1, 0, 0), (0, 1, 0), (2, 1, 0),
    ]  # fmt: skip


def test_a_larger_vocabulary_is_expected_to_go_on_as_it_began() -> None:
    pieces = np.array([4_000.0, 8_000.0, 16_000.0] * 3)
    width = np.repeat([64.0, 128.0, 256.0], 3)
    features = training_features(
        depth=np.ones(9), width=width, steps=np.full(9, 100.0), heads=width / 32,
        feed_forward=4 * width, vocabulary=pieces,
    )  # fmt: skip
    designer = Designer(
        replace(
            design_space(),
            runs=features,
            architecture=np.arange(9),
            steps=np.full(9, 100.0),
            depth=np.ones(9),
            step_flops=width,
            compressions=np.zeros((1, 4)),
        ),
        seed=0,
    )
    designer.update(
        [Trial(run, 0, 0.5 + 0.1 * (run % 3), error=0.01) for run in (0, 1, 3, 4, 6, 7)]
    )
    for run in (2, 5, 8):
        assert designer.predict(run, 0)[1] > designer.predict(run - 1, 0)[1] + 0.02
