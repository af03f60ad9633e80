"""Expected hypervolume improvement against moocore's hypervolume."""

from __future__ import annotations

from typing import Any

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.samplers.frontier.acquisition import MARGIN, Staircase
from tests.search.samplers.spaces import LIMITS

point = st.tuples(st.floats(0.2, 1.0), st.floats(0.0, 1.0))


def dominated(points: list[tuple[float, float]]) -> float:
    inside = np.array([(-a, c) for a, c in points])
    return float(moocore.hypervolume(inside, ref=[-0.2, 1.0 + MARGIN])) if points else 0.0


def staircase(points: list[tuple[float, float]]) -> Staircase:
    quality, cost = np.array(points).reshape(-1, 2).T
    return Staircase.of(quality, cost, reference=0.2, limits=LIMITS)


@given(st.lists(point, max_size=8), point)
def test_improvement_is_the_hypervolume_that_a_point_adds(
    known: list[tuple[float, float]], new: tuple[float, float]
) -> None:
    stairs = staircase(known)
    added = stairs.improvement(np.array([new[0]]), np.array([new[1]]))[0]
    assert added == pytest.approx(dominated([*known, new]) - dominated(known), abs=1e-9)


@given(st.lists(point, max_size=8), st.lists(point, min_size=1, max_size=6))
def test_joint_improvement_is_the_hypervolume_that_a_set_adds(
    known: list[tuple[float, float]], new: list[tuple[float, float]]
) -> None:
    stairs = staircase(known)
    quality, cost = np.array(new).T
    area, members = stairs.joint_improvement(quality[None, None, :], cost[None, :])
    assert area[0] == pytest.approx(dominated([*known, *new]) - dominated(known), abs=1e-9)
    assert 0 <= members[0] <= len(new)


def test_at_one_cost_improvement_is_that_of_quality() -> None:
    stairs = Staircase.of(np.array([0.6]), np.array([2.0]), reference=0.1, limits=(2.0, 2.0))
    added = stairs.improvement(np.array([0.75, 0.5]), np.array([2.0, 2.0]))
    assert added == pytest.approx([0.15, 0.0])


def front_and_candidates(seed: int) -> tuple[list[tuple[float, float]], np.ndarray, np.ndarray]:
    """A random frontier, and samples of the qualities of candidates at random costs."""
    rng = np.random.default_rng(seed)
    known = list(zip(rng.uniform(0.2, 1.0, 12), rng.uniform(0.0, 1.0, 12), strict=True))
    costs = rng.uniform(0.0, 1.0, 6)
    means, deviations = rng.uniform(0.3, 0.9, 6), rng.uniform(0.01, 0.2, 6)
    samples = means + deviations * rng.standard_normal((64, 6))
    return known, costs, np.clip(samples, 0.2, 1.0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 9999))
def test_expected_improvement_is_that_of_moocore(seed: int) -> None:
    known, costs, samples = front_and_candidates(seed)
    found = staircase(known).improvement(samples, costs).mean(0)
    before = dominated(known)
    exact = np.mean(
        [[dominated([*known, (q, c)]) - before for q, c in zip(row, costs, strict=True)]
         for row in samples], axis=0,
    )  # fmt: skip
    assert found == pytest.approx(exact, rel=1e-6, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 9999))
def test_expected_joint_improvement_is_that_of_moocore(seed: int) -> None:
    known, costs, samples = front_and_candidates(seed)
    areas, _ = staircase(known).joint_improvement(samples[:, None, :], costs[None, :])
    joint = [dominated([*known, *zip(row, costs, strict=True)]) for row in samples]
    assert areas[0] == pytest.approx(np.mean(joint) - dominated(known), rel=1e-6, abs=1e-9)


@given(st.lists(st.floats(0.25, 1.0), min_size=16, max_size=16, unique=True), st.randoms())
def test_members_are_the_points_of_a_set_that_are_on_the_frontier(
    qualities: list[float], random: Any
) -> None:
    costs = [step / 128 for step in random.sample(range(128), 16)]
    points = list(zip(qualities, costs, strict=True))
    known, new = points[:8], points[8:]
    stairs = staircase(known)
    quality, cost = np.array(new).T
    _, members = stairs.joint_improvement(quality[None, None, :], cost[None, :])
    on_front = moocore.is_nondominated(np.array([(-q, c) for q, c in points]))
    assert members[0] == on_front[8:].sum()
