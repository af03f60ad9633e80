"""Expected hypervolume improvement of one candidate, and of all compressions of a training run.

The cost of a candidate is known and its quality is sampled, so the frontier is a step function of
the logarithm of cost, and a candidate's improvement is the area between its own step and that
function.

Emmerich, Deutz & Klinkenberg 2011, *Hypervolume-based expected improvement* (the criterion);
Daulton, Balandat & Bakshy 2020, arXiv 2006.05078 (its Monte Carlo form for several points).

The hypervolume of more than two objectives is the mean, over limits of the further ones, of the
area that the trials within these limits dominate in the first score and the first cost (Fubini's
theorem; While et al. 2006, *A faster algorithm for calculating hypervolume*, slice in the same
way). So its expected improvement is a mean of expected improvements of areas. Limits are drawn anew
for each proposal, quasi-randomly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np

from search.arrays import Booleans, Floats, Integers

MARGIN = 1 / 128
"""Of the range of log costs, by which the reference point exceeds the limit. At the limit itself a
model, such as a search looks for, would add no area, and would never be proposed."""
TOLERANCE = 1e-9
"""Of logarithms of cost."""
SLICES = 8
"""Limits of each proposal; a power of two, as a Sobol sequence needs."""


Reached = tuple[float, ...]
"""Qualities of the scores of a candidate, then logarithms of its costs."""


@dataclass(frozen=True)
class Staircase:
    """The best quality at each cost.

    Args:
        costs: Logarithms of the costs at which the frontier rises, ascending from the least cost
            that is possible, ``(steps,)``.
        level: Quality from each of them on, ascending from the reference point's, ``(steps,)``.
        limit: Logarithm of the highest cost of a model.
        end: Logarithm of the reference point's cost.
    """

    costs: Floats
    level: Floats
    limit: float
    end: float

    @classmethod
    def of(
        cls, quality: Floats, log_cost: Floats, *, reference: float, limits: tuple[float, float]
    ) -> Staircase:
        """The staircase of some points, ``(n,)``; those whose ``log_cost`` is NaN do not count.

        Args:
            reference: Quality of the reference point.
            limits: As ``DesignSpace.limits``.
        """
        low, high = limits
        # A search at one fixed cost has one step, and the area is the quality.
        end = high + MARGIN * (high - low) if high > low else low + 1.0
        inside = log_cost <= high + TOLERANCE
        costs, quality = np.maximum(log_cost[inside], low), quality[inside]
        order = np.argsort(costs, kind="stable")
        level = np.maximum.accumulate(np.append(reference, quality[order]))
        rises = np.append(True, np.diff(level) > 0.0)
        return cls(np.append(low, costs[order])[rises], level[rises], high, end)

    def is_within(self, log_cost: Floats) -> Booleans:
        """Whether costs are known and at most the limit."""
        within: Booleans = log_cost <= self.limit + TOLERANCE
        return within

    def level_at(self, log_cost: Floats) -> Floats:
        """Quality of the frontier at some costs."""
        # Costs below the least possible are those that differ from it by rounding.
        step = np.searchsorted(self.costs, log_cost, side="right") - 1
        return self.level[np.maximum(step, 0)]

    def area_above(self, reference: float) -> float:
        """Hypervolume against a reference point of some quality."""
        widths = np.diff(self.costs, append=self.end)
        return float(widths @ np.maximum(self.level - reference, 0.0))

    def improvement(self, quality: Floats, log_cost: Floats) -> Floats:
        """Area that each point adds on its own.

        Args:
            quality: Their qualities, ``(..., n)``.
            log_cost: Logarithms of their costs, ``(n,)``; NaN for none, which adds nothing.
        """
        edges = np.append(self.costs, self.end)
        under = np.append(0.0, np.cumsum(np.diff(edges) * self.level))
        start = self._inside(log_cost)
        # From the cost on at which the frontier is as good, the point adds nothing.
        until = np.maximum(edges[np.searchsorted(self.level, quality)], start)
        covered = np.interp(until, edges, under) - np.interp(start, edges, under)
        added: Floats = np.maximum(quality * (until - start) - covered, 0.0)
        return added

    def joint_improvement(self, quality: Floats, log_cost: Floats) -> tuple[Floats, Floats]:
        """Area that the points of each block add together.

        Args:
            quality: Qualities, ``(samples, blocks, width)``; minus infinity for absent points.
            log_cost: Logarithms of their costs, ``(blocks, width)``; NaN for absent points.

        Returns:
            The mean area, and the mean number of the points that join the frontier, ``(blocks,)``.
        """
        cost = self._inside(log_cost)
        order = np.argsort(cost, axis=1, kind="stable")
        cost = np.take_along_axis(cost, order, 1)
        ordered = np.take_along_axis(quality, order[None], 2)
        best = np.maximum.accumulate(ordered, 2)
        # A block's own steps and those of the frontier; between two of them both are level.
        own = np.broadcast_to(self.costs, (len(cost), len(self.costs)))
        starts = np.sort(np.concatenate([own, cost], 1), 1)
        widths = np.diff(starts, append=np.full((len(cost), 1), self.end))
        # The number of a block's points that reach each step; the last of them has the best.
        reaching = (cost[:, None, :] <= starts[:, :, None]).sum(2)
        nothing = np.full((*best.shape[:2], 1), -np.inf)
        reached = np.take_along_axis(
            np.concatenate([nothing, best], 2),
            np.broadcast_to(reaching, (len(best), *reaching.shape)),
            2,
        )
        area = (np.maximum(reached - self.level_at(starts), 0.0) * widths).sum(2)
        before = np.concatenate([nothing, best[:, :, :-1]], 2)
        members = (ordered > before) & (ordered > self.level_at(cost))
        return area.mean(0), members.sum(2).mean(0)

    def _inside(self, log_cost: Floats) -> Floats:
        """Costs between the least possible and the reference point's, where no area is left."""
        known = np.nan_to_num(log_cost, nan=np.inf)
        return np.clip(known, self.costs[0], self.end)


@dataclass(frozen=True)
class Slice:
    """Limits of the further objectives.

    Args:
        least: Lowest quality of each further score, ``(scores,)``.
        most: Highest logarithm of each further cost, ``(costs,)``.
    """

    least: Floats
    most: Floats

    def has_costs(self, log_costs: Floats) -> Booleans:
        """Whether further costs, ``(..., costs)``, are within the limits."""
        inside: Booleans = np.all(log_costs <= self.most + TOLERANCE, axis=-1)
        return inside

    def has_qualities(self, qualities: Floats) -> Booleans:
        """Whether further qualities, ``(..., scores)``, are within the limits."""
        inside: Booleans = np.all(qualities >= self.least, axis=-1)
        return inside


def slices(
    scores: Sequence[tuple[float, float]],
    costs: Sequence[tuple[float, float]],
    rng: np.random.Generator,
) -> list[Slice]:
    """Limits of the further objectives; one without any where there are none.

    Args:
        scores: Range of the quality of each further score.
        costs: Range of the logarithm of each further cost.
    """
    ranges = np.array([*scores, *costs], dtype=np.float64).reshape(-1, 2)
    if not len(ranges):
        return [Slice(np.zeros(0), np.zeros(0))]
    # Imported here: scipy.stats takes long to import, and most searches do without it.
    from scipy.stats import qmc

    low, high = ranges.T
    # Without a margin, a model at a limit would add no volume.
    high = high + MARGIN * (high - low)
    drawn = low + qmc.Sobol(len(ranges), seed=rng).random(SLICES) * (high - low)
    return [Slice(each[: len(scores)], each[len(scores) :]) for each in drawn]


@dataclass(frozen=True)
class Proposal:
    """The candidate to try next.

    Args:
        rate: Expected hypervolume gained per second, in quality times log10 of cost.
    """

    run: int
    compression: int
    rate: float

    @property
    def candidate(self) -> tuple[int, int]:
        """The run and the compression."""
        return self.run, self.compression


@dataclass(frozen=True)
class Proposals:
    """The candidates that are compared, with their expected gains and costs.

    Args:
        runs: Indices of their training runs, ``(r,)``.
        compressions: Indices of their compressions, ``(c,)``.
        gain: Expected hypervolume gained, ``(r, c)``, in quality times log10 of cost; minus
            infinity where a candidate cannot be tried. A run that is not trained yet has one
            entry, for the gain of all its compressions together.
        seconds: Device-seconds of the work that gives it, ``(r, c)``.
        quality: Samples of the quality of each, ``(samples, r, c)``.
        trained: Runs that have a trained model, ``(r,)``.
    """

    runs: Integers
    compressions: Integers
    gain: Floats
    seconds: Floats
    quality: Floats
    trained: Booleans

    @property
    def rate(self) -> Floats:
        """Expected gain per second, ``(r, c)``."""
        return self.gain / self.seconds

    def best(self) -> Proposal | None:
        """The candidate with the greatest rate; None where no candidate can be tried."""
        rate = self.rate
        row, column = np.unravel_index(int(rate.argmax()), rate.shape)
        if not rate[row, column] >= 0.0:
            return None
        run, compression = int(self.runs[row]), int(self.compressions[column])
        return Proposal(run, compression, float(rate[row, column]))


def from_the_frontier_on(reached: list[Reached], scores: int) -> list[int]:
    """Indices of complete trials: the frontier, then the frontier of the others, and so on; in each
    the best of the first score first.

    Args:
        scores: How many of their objectives are scores, the first.
    """
    if not reached:
        return []
    rows = np.array(reached)
    qualities, costs = rows[:, :scores], np.nan_to_num(rows[:, scores:], nan=np.inf)
    rank = moocore.pareto_rank(np.hstack([-qualities, costs]))
    order: list[int] = np.lexsort((-qualities[:, 0], rank)).tolist()
    return order
