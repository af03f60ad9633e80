"""Expected hypervolume improvement, for one trial and for all that one training run proposals.

The cost of a candidate is known and its quality is a sample, so the frontier is a staircase over
the logarithm of cost, and what a candidate adds is the area between its own step and the stairs.
The staircase is kept on a grid of costs; integrals over it are differences of running sums.

Emmerich, Deutz & Klinkenberg 2011, *Hypervolume-based expected improvement* (the criterion);
Daulton, Balandat & Bakshy 2020, arXiv 2006.05078 (its Monte Carlo form for several points).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.arrays import Floats, Integers

STEPS = 128
TOLERANCE = 1e-9
"""Of logarithms of cost."""


@dataclass(frozen=True)
class Staircase:
    """The best quality at each cost, on a grid.

    Args:
        edges: Logarithms of cost, ascending, ``(steps + 1,)``; the last is the reference point's.
        level: Quality that the frontier reaches in each step, ``(steps,)``, not descending, and
            at least the reference point's.
    """

    edges: Floats
    level: Floats

    @classmethod
    def of(
        cls, quality: Floats, log_cost: Floats, *, floor: float, limits: tuple[float, float]
    ) -> Staircase:
        """The staircase of some points.

        Args:
            quality: Qualities, ``(n,)``.
            log_cost: Logarithms of their costs, ``(n,)``.
            floor: Quality of the reference point.
            limits: Logarithms of the least cost and of the reference point's.
        """
        low, high = limits
        # A search at one fixed cost has one step, and the area becomes the quality.
        edges = np.linspace(low, high, STEPS + 1) if high > low else np.array([low, low + 1.0])
        level = np.full(len(edges) - 1, floor)
        first = _first_step(edges, log_cost)
        inside = first < len(level)
        np.maximum.at(level, first[inside], quality[inside])
        return cls(edges, np.maximum.accumulate(level))

    @property
    def widths(self) -> Floats:
        """Length of each step."""
        return np.diff(self.edges)

    def first_step(self, log_cost: Floats) -> Integers:
        """The first step that a point of some cost reaches; ``steps`` where it is too dear."""
        return _first_step(self.edges, log_cost)

    def area_above(self, floor: float) -> float:
        """Hypervolume against a reference point of some quality."""
        return float(self.widths @ np.maximum(self.level - floor, 0.0))

    def improvement(self, quality: Floats, first: Integers) -> Floats:
        """Area that each point would add, on its own.

        Args:
            quality: Qualities, any shape.
            first: ``first_step`` of their costs, a shape that broadcasts to it.
        """
        width = np.concatenate([[0.0], np.cumsum(self.widths)])
        under = np.concatenate([[0.0], np.cumsum(self.widths * self.level)])
        end = np.searchsorted(self.level, quality.ravel()).reshape(quality.shape)
        end = np.maximum(end, first)
        added: Floats = quality * (width[end] - width[first]) - (under[end] - under[first])
        return np.maximum(added, 0.0)

    def joint_improvement(self, quality: Floats, first: Integers) -> tuple[Floats, Floats]:
        """What all points of a block would add together.

        Args:
            quality: Qualities, ``(samples, blocks, width)``; minus infinity for absent points.
            first: ``first_step`` of their costs, ``(blocks, width)``.

        Returns:
            The mean area, and the mean number of points on the frontier then, ``(blocks,)``.
        """
        steps = len(self.level)
        order = np.argsort(first, axis=1, kind="stable")
        first = np.take_along_axis(first, order, 1)
        ordered = np.take_along_axis(quality, order[None], 2)
        best = np.maximum.accumulate(ordered, 2)
        # How many of a block's points reach each step: the last of them holds the best so far.
        reaching = (first[:, :, None] <= np.arange(steps)).sum(1)
        nothing = np.full((*best.shape[:2], 1), -np.inf)
        reached = np.take_along_axis(
            np.concatenate([nothing, best], 2),
            np.broadcast_to(reaching, (len(best), *reaching.shape)),
            2,
        )
        area = (np.maximum(reached - self.level, 0.0) * self.widths).sum(2)
        level = np.append(self.level, np.inf)[first]
        before = np.concatenate([nothing, best[:, :, :-1]], 2)
        members = (ordered > before) & (ordered > level)
        return area.mean(0), members.sum(2).mean(0)


def _first_step(edges: Floats, log_cost: Floats) -> Integers:
    steps = len(edges) - 1
    # What lies within the last step, up to the limit itself, counts as all of it: else the models
    # right under a limit, which a search is for, would never be offered.
    found: Integers = np.minimum(np.searchsorted(edges, log_cost - TOLERANCE), steps - 1)
    return np.where(log_cost <= edges[-1] + TOLERANCE, found, steps)
