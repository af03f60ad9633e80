"""Seconds of a candidate, learnt from trials."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from search.samplers.frontier.cost_model import CostModel
from search.samplers.frontier.history import StageSeconds, Trial
from tests.search.samplers.spaces import design_space


def test_only_missing_steps_are_paid() -> None:
    cost_model = CostModel(design_space())
    took = cost_model.update(
        Trial(1, 0, 0.5, seconds=StageSeconds(stable=20.0, cooldown=5.0, evaluate=1.0))
    )
    assert took == pytest.approx(26.0)
    training = cost_model.training_seconds()
    assert training[1] == 0.0
    # 200 steps more at 0.1 s each, and a cooldown of a quarter of the stable path, as measured.
    assert training[2] == pytest.approx(20.0 + 10.0, rel=0.05)
    assert training[0] == pytest.approx(2.5, rel=0.05)  # the stable path is there
    again = cost_model.update(
        Trial(1, 0, 0.5, seconds=StageSeconds(stable=20.0, cooldown=5.0, evaluate=1.0))
    )
    assert again == pytest.approx(1.0)


def test_an_architecture_that_never_ran_is_predicted_from_its_flops() -> None:
    cost_model = CostModel(design_space())
    cost_model.update(
        Trial(0, 0, 0.5, seconds=StageSeconds(stable=10.0, cooldown=2.0, evaluate=1.0))
    )
    training = cost_model.training_seconds()
    assert 2.0 < training[4] / training[1] < 8.0
    small, large = cost_model.evaluation_seconds(np.array([0, 4]), np.array([0])).ravel()
    assert large > small


def test_a_recovery_is_paid_with_each_compression_that_has_one() -> None:
    def recovery_steps(runs: np.ndarray) -> np.ndarray:
        return np.tile([0.0, 50.0], (len(runs), 1))

    cost_model = CostModel(replace(design_space(), recovery_steps=recovery_steps))
    took = StageSeconds(stable=10.0, cooldown=2.0, evaluate=1.0, recovery=5.0)
    assert cost_model.update(Trial(0, 1, 0.5, seconds=took)) == pytest.approx(18.0)
    without, with_recovery = cost_model.evaluation_seconds(np.array([0]), np.array([0, 1]))[0]
    assert without == pytest.approx(1.0)
    assert with_recovery == pytest.approx(1.0 + 50 * 0.1)  # 100 steps took ten seconds


def test_a_step_on_several_devices_predicts_that_of_models_on_one() -> None:
    eight = np.array([1.0] * 3 + [8.0] * 3)
    took = StageSeconds(stable=10.0, cooldown=2.0, evaluate=1.0)
    alone, spread = CostModel(design_space()), CostModel(replace(design_space(), devices=eight))
    for cost_model in (alone, spread):
        cost_model.update(Trial(3, 0, 0.5, seconds=took))
    assert spread.training_seconds()[4] == pytest.approx(alone.training_seconds()[4])
    # Eight devices took 0.1 s for a step, so one takes eight times as long.
    assert spread.training_seconds()[0] == pytest.approx(8 * alone.training_seconds()[0], rel=0.5)


def test_training_of_an_earlier_search_costs_nothing() -> None:
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


def test_the_work_of_a_search_does_not_depend_on_the_store() -> None:
    everything = np.ones(6, dtype=bool)
    warm, cold = (
        CostModel(replace(design_space(), is_trained=everything, has_stable_path=everything)),
        CostModel(design_space()),
    )
    took = StageSeconds(stable=20.0, cooldown=5.0, evaluate=1.0)
    for run in (1, 1, 2, 0):
        trial = Trial(run, 0, 0.5, seconds=took)
        assert warm.update(trial) == pytest.approx(cold.update(trial))
