"""Expected hypervolume improvement of one candidate, and of all compressions of a training run.

The cost of a candidate is known and its quality is sampled, so the frontier is a step function of
the logarithm of cost, and a candidate's improvement is the area between its own step and that
function. The function is stored on a grid of costs, and integrals over it are differences of
cumulative sums.

Emmerich, Deutz & Klinkenberg 2011, *Hypervolume-based expected improvement* (the criterion);
Daulton, Balandat & Bakshy 2020, arXiv 2006.05078 (its Monte Carlo form for several points).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.arrays import Booleans, Floats, Integers

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
        cls, quality: Floats, log_cost: Floats, *, reference: float, limits: tuple[float, float]
    ) -> Staircase:
        """The staircase of some points, ``(n,)``; those whose ``log_cost`` is NaN do not count.

        Args:
            reference: Quality of the reference point.
            limits: As ``DesignSpace.limits``.
        """
        low, high = limits
        # A search at one fixed cost has one step, and the area is the quality.
        edges = np.linspace(low, high, STEPS + 1) if high > low else np.array([low, low + 1.0])
        stairs = cls(edges, np.full(len(edges) - 1, reference))
        first = stairs.first_step(log_cost)
        inside = first < len(stairs.level)
        np.maximum.at(stairs.level, first[inside], quality[inside])
        return cls(edges, np.maximum.accumulate(stairs.level))

    @property
    def widths(self) -> Floats:
        """Length of each step."""
        return np.diff(self.edges)

    def first_step(self, log_cost: Floats) -> Integers:
        """The first step that a point of some cost reaches; ``steps`` where its cost is too high.

        A point within the last step, up to the limit itself, counts for the whole step: otherwise
        the models right below a limit, which a search looks for, would never be proposed.
        """
        steps = len(self.level)
        found = np.minimum(np.searchsorted(self.edges, log_cost - TOLERANCE), steps - 1)
        return np.where(log_cost <= self.edges[-1] + TOLERANCE, found, steps)

    def area_above(self, reference: float) -> float:
        """Hypervolume against a reference point of some quality."""
        return float(self.widths @ np.maximum(self.level - reference, 0.0))

    def improvement(self, quality: Floats, first: Integers) -> Floats:
        """Area that each point adds on its own; ``first`` is ``first_step`` of its cost."""
        width = np.concatenate([[0.0], np.cumsum(self.widths)])
        under = np.concatenate([[0.0], np.cumsum(self.widths * self.level)])
        end = np.searchsorted(self.level, quality.ravel()).reshape(quality.shape)
        end = np.maximum(end, first)
        added: Floats = quality * (width[end] - width[first]) - (under[end] - under[first])
        return np.maximum(added, 0.0)

    def joint_improvement(self, quality: Floats, first: Integers) -> tuple[Floats, Floats]:
        """Area that the points of each block add together.

        Args:
            quality: Qualities, ``(samples, blocks, width)``; minus infinity for absent points.
            first: ``first_step`` of their costs, ``(blocks, width)``.

        Returns:
            The mean area, and the mean number of the points that join the frontier, ``(blocks,)``.
        """
        steps = len(self.level)
        order = np.argsort(first, axis=1, kind="stable")
        first = np.take_along_axis(first, order, 1)
        ordered = np.take_along_axis(quality, order[None], 2)
        best = np.maximum.accumulate(ordered, 2)
        # The number of a block's points that reach each step; the last of them has the best.
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
        seconds: Seconds of the work that gives it, ``(r, c)``.
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
