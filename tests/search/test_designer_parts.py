"""GaussianProcessMixture, acquisition and cost_model against their definitions."""

from __future__ import annotations

from dataclasses import replace

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.samplers.frontier.acquisition import STEPS, Staircase
from search.samplers.frontier.cost_model import CostModel
from search.samplers.frontier.design_space import DesignSpace
from search.samplers.frontier.designer import Designer
from search.samplers.frontier.features import PRIOR, compression_features, training_features
from search.samplers.frontier.history import FailureCause, StageSeconds, Trial
from search.samplers.gp.gaussian_process import GaussianProcessMixture
from search.samplers.gp.hyperparameters import sample_hyperparameters
from search.samplers.gp.kernel import Features, Kernel
from search.samplers.gp.outcome_transform import OutcomeTransform

LIMITS = (0.0, 1.0)
# On the grid of costs, where the staircase is exact.
point = st.tuples(st.floats(0.2, 1.0), st.integers(0, STEPS - 1).map(lambda step: step / STEPS))


def dominated(points: list[tuple[float, float]]) -> float:
    inside = np.array([(-a, c) for a, c in points])
    return float(moocore.hypervolume(inside, ref=[-0.2, 1.0])) if points else 0.0


def staircase(points: list[tuple[float, float]]) -> Staircase:
    quality, cost = np.array(points).reshape(-1, 2).T
    return Staircase.of(quality, cost, reference=0.2, limits=LIMITS)


@given(st.lists(point, max_size=8), point)
def test_improvement_is_the_hypervolume_that_a_point_adds(
    known: list[tuple[float, float]], new: tuple[float, float]
) -> None:
    stairs = staircase(known)
    first = stairs.first_step(np.array([new[1]]))
    added = stairs.improvement(np.array([new[0]]), first)[0]
    assert added == pytest.approx(dominated([*known, new]) - dominated(known), abs=1e-9)


@given(st.lists(point, max_size=8), st.lists(point, min_size=1, max_size=6))
def test_joint_improvement_is_the_hypervolume_that_a_set_adds(
    known: list[tuple[float, float]], new: list[tuple[float, float]]
) -> None:
    stairs = staircase(known)
    quality, cost = np.array(new).T
    area, members = stairs.joint_improvement(
        quality[None, None, :], stairs.first_step(cost)[None, :]
    )
    assert area[0] == pytest.approx(dominated([*known, *new]) - dominated(known), abs=1e-9)
    assert 0 <= members[0] <= len(new)


def test_at_one_cost_improvement_is_that_of_quality() -> None:
    stairs = Staircase.of(np.array([0.6]), np.array([2.0]), reference=0.1, limits=(2.0, 2.0))
    added = stairs.improvement(np.array([0.75, 0.5]), stairs.first_step(np.array([2.0, 2.0])))
    assert added == pytest.approx([0.15, 0.0])


def grid() -> tuple[Features, int]:
    """Three architectures at two budgets, each under four compressions."""
    depth, width, steps = np.meshgrid([1.0, 2.0, 4.0], [64.0], [100.0, 200.0], indexing="ij")
    runs = training_features(
        depth=depth.ravel(),
        width=width.ravel(),
        steps=steps.ravel(),
        heads=width.ravel(),
        feed_forward=width.ravel(),
    )
    compressions = compression_features(
        bits=np.array([32.0, 8.0, 4.0, 4.0]),
        group_size=np.full(4, 32.0),
        is_static=np.zeros(4),
        structured=np.array([0.0, 0.0, 0.0, 0.5]),
        unstructured=np.zeros(4),
    )
    run = np.repeat(np.arange(6), 4)
    return Features(runs[run], np.tile(compressions, (6, 1)), run), 4


def test_trials_one_by_one_or_together_give_the_same_posterior() -> None:
    everything, width = grid()
    seen = everything.take(np.array([0, 3, 9, 14]))
    values, noise = np.array([-1.0, -1.3, -0.8, -0.7]), np.full(4, 1e-3)
    together, one_by_one = (GaussianProcessMixture(everything, width, PRIOR) for _ in range(2))
    together.observe(seen, values, noise)
    for k in range(4):
        one_by_one.observe(seen.take(np.array([k])), values[k : k + 1], noise[k : k + 1])
    assert one_by_one.posterior.mean == pytest.approx(together.posterior.mean, abs=1e-8)
    assert one_by_one.posterior.variance == pytest.approx(together.posterior.variance, abs=1e-8)


def test_what_was_measured_is_known_and_what_is_near_it_is_known_better() -> None:
    everything, width = grid()
    surrogate = GaussianProcessMixture(everything, width, PRIOR)
    before = surrogate.posterior.variance
    surrogate.observe(everything.take(np.array([0])), np.array([-0.5]), np.array([1e-6]))
    after = surrogate.posterior.variance
    assert surrogate.posterior.mean[0, 0] == pytest.approx(-0.5, abs=1e-3)
    assert after[0, 0] < 1e-4
    assert (after < before).all()
    # The same model at eight bits is all but known, another architecture is not.
    assert after[0, 1] < 0.1 * after[4, 1]


def small_noise(values: np.ndarray) -> np.ndarray:
    return np.full(values.shape, 1e-3)


def test_a_running_trial_makes_sure_and_changes_no_expectation() -> None:
    everything, width = grid()
    surrogate = GaussianProcessMixture(everything, width, PRIOR)
    surrogate.observe(everything.take(np.array([0])), np.array([-0.5]), np.array([1e-3]))
    before = surrogate.posterior
    surrogate.set_pending(everything.take(np.array([9])))
    then, expected = surrogate.with_pending(small_noise)
    assert expected == pytest.approx(before.mean.ravel()[[9]])
    assert then.mean == pytest.approx(before.mean)
    assert then.variance[2, 1] < 0.1 * before.variance[2, 1]
    # What it was known by until it ends.
    assert surrogate.posterior.variance == pytest.approx(before.variance)


def test_running_trials_that_come_and_go_are_those_that_run_now() -> None:
    everything, width = grid()
    drawn = sample_hyperparameters(
        everything.take(np.array([0, 5])), np.array([-1.0, -0.7]), np.full(2, 1e-3), PRIOR, count=3,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    kept_up, anew = (GaussianProcessMixture(everything, width, PRIOR, drawn) for _ in range(2))

    def observe(surrogate: GaussianProcessMixture, place: int, value: float) -> None:
        place_of = everything.take(np.array([place]))
        surrogate.observe(place_of, np.array([value]), np.array([1e-3]))

    kept_up.set_pending(everything.take(np.array([9, 14])))
    observe(kept_up, 0, -1.0)
    kept_up.set_pending(everything.take(np.array([3, 20])), [1])
    observe(kept_up, 9, -0.8)
    observe(kept_up, 22, -0.6)
    kept_up.set_pending(everything.take(np.array([], dtype=np.int64)), [0, 2])
    for place, value in ((0, -1.0), (9, -0.8), (22, -0.6)):
        observe(anew, place, value)
    anew.set_pending(everything.take(np.array([14, 20])))
    (expected, values), (fresh, fresh_values) = (
        each.with_pending(small_noise) for each in (kept_up, anew)
    )
    assert values == pytest.approx(fresh_values, abs=1e-8)
    assert expected.mean == pytest.approx(fresh.mean, abs=1e-8)
    assert expected.variance == pytest.approx(fresh.variance, abs=1e-8)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 99))
def test_drawn_hyperparameters_predict_better_than_the_prior_alone(seed: int) -> None:
    everything, width = grid()
    rng = np.random.default_rng(seed)
    values = -1.0 + 0.8 * rng.standard_normal(len(everything))
    noise = np.full(len(values), 1e-3)
    held_out = np.arange(0, len(values), 3)
    rest = np.setdiff1d(np.arange(len(values)), held_out)
    seen = everything.take(rest)
    drawn = sample_hyperparameters(seen, values[rest], noise[rest], PRIOR, count=4, rng=rng)

    def surprise(hyperparameters: list[np.ndarray] | None) -> float:
        surrogate = GaussianProcessMixture(everything, width, PRIOR, hyperparameters)
        surrogate.observe(seen, values[rest], noise[rest])
        variance = surrogate.posterior.variance.ravel()[held_out]
        errors = (values - surrogate.posterior.mean.ravel())[held_out]
        return float(np.mean(0.5 * errors**2 / variance + 0.5 * np.log(variance)))

    assert surprise(drawn) < surprise(None)


def test_hyperparameters_without_trials_are_the_prior() -> None:
    everything, _ = grid()
    nothing = everything.take(np.array([], dtype=np.int64))
    rng = np.random.default_rng(0)
    drawn = np.array(
        sample_hyperparameters(nothing, np.zeros(0), np.zeros(0), PRIOR, count=400, rng=rng)
    )
    kernel = Kernel(PRIOR)
    assert drawn.mean(0) == pytest.approx(kernel.prior_means, abs=0.25)
    assert drawn.std(0) == pytest.approx(kernel.prior_deviations, rel=0.25)


def test_samples_spread_as_the_mixture_does() -> None:
    everything, width = grid()
    rng = np.random.default_rng(0)
    seen, values = everything.take(np.array([0, 9, 14])), np.array([-1.0, -0.8, -0.7])
    noise = np.full(3, 1e-3)
    surrogate = GaussianProcessMixture(
        everything,
        width,
        PRIOR,
        sample_hyperparameters(seen, values, noise, PRIOR, count=3, rng=rng),
    )
    surrogate.observe(seen, values, noise)
    drawn = surrogate.posterior.samples(rng.standard_normal((4000, width)))
    assert drawn.shape == (3 * 4000, *surrogate.posterior.mean.shape)
    assert drawn.mean(0) == pytest.approx(surrogate.posterior.mean, abs=0.05)
    assert drawn.var(0) == pytest.approx(surrogate.posterior.variance, rel=0.1, abs=1e-3)


def design_space() -> DesignSpace:
    """Two architectures at three budgets; the second has four times the FLOPs."""
    return DesignSpace(
        runs=np.zeros((6, 1)),
        architecture=np.array([0, 0, 0, 1, 1, 1]),
        steps=np.array([100.0, 200.0, 400.0] * 2),
        depth=np.array([1.0] * 3 + [4.0] * 3),
        step_flops=np.array([1e9] * 3 + [4e9] * 3),
        compressions=np.zeros((1, 1)),
        log_costs=lambda runs: np.zeros((len(runs), 1)),
        limits=LIMITS,
    )


def test_only_missing_steps_are_paid() -> None:
    cost_model = CostModel(design_space())
    took = cost_model.update(
        Trial(1, 0, 0.5, seconds=StageSeconds(stable=20.0, cooldown=5.0, evaluate=1.0))
    )
    assert took == pytest.approx(26.0)
    training = cost_model.training_seconds()
    assert training[1] == 0.0
    # 200 steps more at 0.1 s each, and a cooldown of a quarter of the stable path, as seen before.
    assert training[2] == pytest.approx(20.0 + 10.0, rel=0.05)
    assert training[0] == pytest.approx(2.5, rel=0.05)  # the stable path is there
    again = cost_model.update(
        Trial(1, 0, 0.5, seconds=StageSeconds(stable=20.0, cooldown=5.0, evaluate=1.0))
    )
    assert again == pytest.approx(1.0)


def test_an_architecture_that_never_ran_is_priced_by_its_flops() -> None:
    cost_model = CostModel(design_space())
    cost_model.update(
        Trial(0, 0, 0.5, seconds=StageSeconds(stable=10.0, cooldown=2.0, evaluate=1.0))
    )
    training = cost_model.training_seconds()
    assert 2.0 < training[4] / training[1] < 8.0
    small, large = cost_model.evaluation_seconds(np.array([0, 4])).ravel()
    assert large > small


def test_a_recovery_is_paid_with_each_compression_that_has_one() -> None:
    def recovery_steps(runs: np.ndarray) -> np.ndarray:
        return np.tile([0.0, 50.0], (len(runs), 1))

    cost_model = CostModel(replace(design_space(), recovery_steps=recovery_steps))
    took = StageSeconds(stable=10.0, cooldown=2.0, evaluate=1.0, recovery=5.0)
    assert cost_model.update(Trial(0, 1, 0.5, seconds=took)) == pytest.approx(18.0)
    without, with_recovery = cost_model.evaluation_seconds(np.array([0]))[0]
    assert without == pytest.approx(1.0)
    assert with_recovery == pytest.approx(1.0 + 50 * 0.1)  # 100 steps took ten seconds


def test_what_an_earlier_search_trained_is_not_paid() -> None:
    trained, begun = np.zeros(6, dtype=bool), np.zeros(6, dtype=bool)
    trained[2] = begun[0] = begun[2] = begun[4] = True
    fresh = CostModel(design_space()).training_seconds()
    known = CostModel(
        replace(design_space(), is_trained=trained, has_stable_path=begun)
    ).training_seconds()
    assert known[2] == 0.0
    assert 0.0 < known[0] < 0.5 * fresh[0]  # its cooldown alone
    assert 0.5 * fresh[1] < known[1] < fresh[1]  # from the shorter one on
    assert known[3] == fresh[3]  # a longer path does not help a shorter one
    assert 0.5 * fresh[5] < known[5] < fresh[5]


def test_what_a_search_has_spent_does_not_depend_on_what_the_store_had() -> None:
    everything = np.ones(6, dtype=bool)
    warm, cold = (
        CostModel(replace(design_space(), is_trained=everything, has_stable_path=everything)),
        CostModel(design_space()),
    )
    took = StageSeconds(stable=20.0, cooldown=5.0, evaluate=1.0)
    for run in (1, 1, 2, 0):
        trial = Trial(run, 0, 0.5, seconds=took)
        assert warm.update(trial) == pytest.approx(cold.update(trial))


def test_noise_follows_the_evaluation_set() -> None:
    def transform(examples: int) -> OutcomeTransform:
        return OutcomeTransform.fit(np.array([0.4, 0.6, 0.8]), [examples] * 3, 0.1)

    values = transform(1000).values(np.array([0.7]))
    few, many = (transform(n).noise(values)[0] for n in (1000, 100_000))
    assert few == pytest.approx(100 * many)
    deviation = np.sqrt(few)
    low, high = transform(1000).quality(np.array([-1.0, 1.0]) * deviation + values)
    assert (high - low) / 2 == pytest.approx(np.sqrt(0.7 * 0.3 / 1000), rel=0.01)


def test_a_broken_model_does_not_make_the_others_look_alike() -> None:
    good = np.array([0.3, 0.4, 0.5])
    with_broken = OutcomeTransform.fit(np.array([*good, -3.0]), [], 0.0)
    assert with_broken.values(good) == pytest.approx(
        OutcomeTransform.fit(good, [], 0.0).values(good)
    )
    assert with_broken.lowest == 0.0


def test_running_trials_taken_in_one_by_one_or_together_promise_the_same() -> None:
    everything, width = grid()
    choices = replace(
        design_space(),
        runs=everything.training[::width],
        compressions=everything.compression[:width],
        log_costs=lambda runs: np.zeros((len(runs), width)),
    )
    running = [(0, 0), (3, 2), (5, 1)]
    together, one_by_one = (Designer(choices, PRIOR, seed=0) for _ in range(2))
    for count in range(len(running)):
        one_by_one.proposals(running[:count])
    expected = together.proposals(running).quality
    assert one_by_one.proposals(running).quality == pytest.approx(expected, abs=0.02)
    alone = Designer(choices, PRIOR, seed=0).proposals([]).quality
    assert expected[:, 3].std(0).mean() < 0.5 * alone[:, 3].std(0).mean()


def test_a_trial_tells_of_its_model_before_compression_once() -> None:
    design_space = replace(
        large_design_space(np.ones((10, 3), dtype=bool)), compressions=np.eye(3, 4, k=-1) * 0.5
    )
    known, unknown = (Designer(design_space, PRIOR, seed=0) for _ in range(2))
    took = StageSeconds(1.0, 1.0, 0.1)
    known.update([Trial(4, 1, 0.4, seconds=took, dense=0.8)])
    unknown.update([Trial(4, 1, 0.4, seconds=took)])
    low, expected, high = known.predict(4, 0)
    assert low < 0.8 < high
    assert expected == pytest.approx(0.8, abs=0.05)
    assert high - low < 0.5 * np.ptp(unknown.predict(4, 0))
    # Other runs, and other compressions of this one, are expected to be better for it.
    for place in ((4, 2), (3, 0), (5, 2)):
        assert known.predict(*place)[1] > unknown.predict(*place)[1]
    before = known.predict(4, 2)
    known.update([Trial(4, 0, 0.8, seconds=took, dense=0.8)])
    assert known.predict(4, 2) == pytest.approx(before)


@pytest.mark.parametrize("cause", FailureCause)
def test_only_a_bad_model_makes_others_like_it_unlikely(cause: FailureCause) -> None:
    design_space = large_design_space(np.ones((10, 3), dtype=bool))
    places = [(run, compression) for run in range(5) for compression in range(3)]
    good = [Trial(*place, 0.5 + place[0] / 100 - place[1] / 20) for place in places]
    before, after = (Designer(design_space, PRIOR, seed=0) for _ in range(2))
    before.update(good)
    after.update([*good, Trial(6, 0, None, cause=cause)])
    fall = before.predict(6, 1)[1] - after.predict(6, 1)[1]
    assert fall > 0.1 if cause is FailureCause.MODEL else fall == pytest.approx(0.0, abs=1e-6)


def test_what_could_not_be_trained_is_offered_again_when_it_was() -> None:
    designer = Designer(large_design_space(np.ones((10, 3), dtype=bool)), PRIOR, seed=0)

    def offered() -> set[int]:
        proposals = designer.proposals([])
        return set(proposals.runs[np.isfinite(proposals.gain).any(1)])

    assert offered() == set(range(10))
    designer.update([Trial(6, 0, None, cause=FailureCause.MACHINE)])
    assert offered() == set(range(10)) - {6}
    designer.update([Trial(6, 1, 0.5, seconds=StageSeconds(1.0, 1.0, 0.1))])
    assert offered() == set(range(10))


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


def test_a_large_design_space_is_exhausted_only_when_all_of_it_was_tried() -> None:
    feasible = np.zeros((10, 600), dtype=bool)
    feasible[:, 300:315] = True
    designer = Designer(large_design_space(feasible), PRIOR, seed=0)
    tried = set()
    while (suggestion := designer.suggest([])) is not None:
        place = (suggestion.run, suggestion.compression)
        assert feasible[place]
        assert place not in tried
        tried.add(place)
        designer.update([Trial(*place, quality=0.5, seconds=StageSeconds(1.0, 1.0, 0.1))])
    assert len(tried) == feasible.sum()
