"""Claim 3: the quality lost to compression shrinks as models grow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.analysis.claims.resampling import Resampled
from search.analysis.claims.verdict import Effect, Verdict, answer_below, mean_of, too_noisy
from search.arrays import Floats, Integers
from spaces.cost.compression import Compression

LEAST_QUALITY = 0.1
"""Models below this fraction of the way from guessing to perfection have little to lose."""
LEAST_ERRORS = 5.0
"""Standard errors above guessing that a model needs: closer to guessing, its relative loss is noise
that is biased upwards."""
LEAST_SIZES = 4
"""Architectures that a slope needs, since they are resampled too."""
NOTICEABLE = 0.02
"""A compression that costs less than this fraction of quality does not distinguish sizes."""
NEGLIGIBLE = 0.1
"""Slopes below this many points per doubling count as zero: 1 point over three decades."""
CLAIM = (
    3,
    "Larger models are more robust to compression",
    "The fraction of quality lost at given bits, or given sparsity, falls with model size.",
)
UNIT = "points of relative drop per doubling of parameters"


@dataclass(frozen=True)
class Drops:
    """Relative drops of quality at one level of compression.

    Args:
        compression: The level.
        cells: Cell of each model, ``(models,)``.
        sizes: log2 of its parameters, ``(models,)``.
        drops: Fraction of quality lost, ``(1 + DRAWS, models)``.
        slopes: Change of the drop per doubling, ``(1 + DRAWS,)``.
    """

    compression: Compression
    cells: Integers
    sizes: Floats
    drops: Floats
    slopes: Floats

    @property
    def mean(self) -> float:
        """Mean drop that was measured."""
        return float(self.drops[0].mean())

    @property
    def counts(self) -> bool:
        """Whether the compression costs enough to compare sizes by."""
        return self.mean >= NOTICEABLE

    @property
    def name(self) -> str:
        """What figures and tables call the level."""
        compression = self.compression
        if compression.sparsity:
            return f"{compression.pruning} {compression.sparsity:.0%}"
        return f"{compression.quantisation.bits} bits ({compression.quantisation})"


def shrinks_with_size(data: Resampled) -> Verdict:
    """Claim 3: the relative drop at k bits and at s % sparsity shrinks as models grow."""
    usable = [k for k in range(len(data.cells)) if _has_learnt(data, k)]
    left_out = len(data.cells) - len(usable)
    excluded = f" {left_out} models near guessing are left out." if left_out else ""
    levels = _levels(data, set(usable))
    shown: dict[str, Any] = {"rows": tuple(map(_row, levels)), "evidence": tuple(levels)}
    counted = [level for level in levels if level.counts]
    if not counted:
        mild = f" Drops at {len(levels)} levels are all below 2 %." if levels else ""
        return Verdict(
            *CLAIM,
            "No compression with a noticeable cost was measured on "
            f"{LEAST_SIZES} sizes.{mild}{excluded}",
            missing=(f"a stronger compression, such as rtn-3, on {LEAST_SIZES} or more sizes",),
            **shown,
        )
    effect = Effect.of(100 * mean_of([level.slopes for level in counted]), UNIT)
    answer = answer_below(effect, NEGLIGIBLE)
    return Verdict(
        *CLAIM,
        _reading(effect, levels, counted) + excluded,
        answer,
        effect,
        missing=too_noisy(answer),
        **shown,
    )


def _has_learnt(data: Resampled, cell: int) -> bool:
    quality = data.quality[0, cell]
    return bool(quality >= max(LEAST_QUALITY, LEAST_ERRORS * data.error(cell)))


def _levels(data: Resampled, usable: set[int]) -> list[Drops]:
    """Each compression that enough sizes have, quantised ones first, the milder first."""
    groups: dict[Compression, list[int]] = defaultdict(list)
    for k, each in enumerate(data.compressed):
        if each.is_compressed and int(data.parents[k]) in usable:
            groups[each.compression].append(k)
    return [
        _drops(data, compression, groups[compression])
        for compression in sorted(groups, key=_heaviness)
        if _is_pure(compression, groups)
        and len({data.compressed[k].run.architecture for k in groups[compression]}) >= LEAST_SIZES
    ]


def _is_pure(compression: Compression, others: Iterable[Compression]) -> bool:
    """Quantised or pruned alone; pruned with the mildest quantisation where none is unquantised."""
    if not compression.sparsity:
        return True
    bits = compression.quantisation.bits
    return bits == max(each.quantisation.bits for each in others if each.sparsity)


def _heaviness(compression: Compression) -> tuple[float, str, int, str]:
    kind, bits = str(compression.pruning), compression.quantisation.bits
    return compression.sparsity, kind, -bits, str(compression)


def _drops(data: Resampled, compression: Compression, group: list[int]) -> Drops:
    cells = data.parents[group]
    # A draw can leave hardly any quality to divide by; 0.05 is half of what models must have.
    before = np.maximum(data.quality[:, cells], LEAST_QUALITY / 2)
    drops = 1.0 - data.compressed_quality[:, group] / before
    sizes = np.log2([data.cells[cell].parameters for cell in cells])
    indices = [data.architectures.index(data.cells[cell].architecture) for cell in cells]
    budgets = np.array([data.cells[cell].budget for cell in cells])
    slopes = _slope(drops, sizes, data.weights[:, indices], budgets)
    return Drops(compression, cells, sizes, drops, slopes)


def _slope(values: Floats, x: Floats, weights: Floats, groups: Floats) -> Floats:
    """Least-squares slope of values over ``x`` within groups, draw by draw.

    Groups are budgets: models trained for longer are quantised worse (Kumar et al. 2024, arXiv
    2411.04330), and larger ones may be those that were trained for less.

    Args:
        values: ``(draws, points)``.
        x: ``(points,)``.
        weights: How often each point counts, ``(draws, points)``.
        groups: Budget of each point, ``(points,)``.

    Returns:
        ``(draws,)``; NaN where a draw has one ``x`` in each group.
    """
    products, squares = np.zeros((2, len(values)))
    for group in np.unique(groups):
        inside = groups == group
        w, y = weights[:, inside], values[:, inside]
        total = np.maximum(w.sum(axis=1, keepdims=True), 1e-12)
        centred = x[inside] - (w * x[inside]).sum(axis=1, keepdims=True) / total
        products += (w * centred * y).sum(axis=1)
        squares += (w * centred**2).sum(axis=1)
    squares[squares < 1e-9] = np.nan
    return products / squares


def _reading(effect: Effect, levels: list[Drops], counted: list[Drops]) -> str:
    parts = [f"{each.name} {100 * each.slopes[0]:+.2g}" for each in counted]
    mild = len(levels) - len(counted)
    note = f" {mild} milder levels cost less than 2 % and do not count." if mild else ""
    verb = "shrinks" if effect.estimate < 0 else "grows"
    return (
        f"With each doubling of parameters the fraction of quality lost {verb} by "
        f"{abs(effect.estimate):.2g} points on average ({', '.join(parts)}).{note}"
    )


def _row(level: Drops) -> dict[str, str]:
    effect = Effect.of(100 * level.slopes, UNIT)
    smallest, largest = (
        level.drops[0, level.sizes == end].mean() for end in (level.sizes.min(), level.sizes.max())
    )
    return {
        "at": level.name,
        "models": str(len(level.cells)),
        "mean drop": f"{level.mean:.1%}",
        "smallest": f"{smallest:.1%}",
        "largest": f"{largest:.1%}",
        "slope per doubling": f"{effect.estimate:+.2f}",
        "95 % interval": effect.interval,
        "counts": "yes" if level.counts else "too mild",
    }
