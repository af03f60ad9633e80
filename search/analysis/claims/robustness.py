"""Claim 3: the quality lost to compression shrinks as models grow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.analysis.claims.inference import ALONE, TOGETHER, slope_over_architectures
from search.analysis.claims.measurements import Measurements
from search.analysis.claims.verdict import Claim, Effect, Finding
from search.arrays import Floats, Integers
from spaces.cost.compression import Compression

LEAST_QUALITY = 0.1
"""Models below this fraction of the way from guessing to perfection have little to lose."""
LEAST_ERRORS = 5.0
"""Standard errors above guessing that a model needs: closer to guessing, its relative loss is noise
that is biased upwards."""
LEAST_SIZES = 4
"""Architectures that a slope needs."""
NOTICEABLE = 0.02
"""A compression that costs less than this fraction of quality does not distinguish sizes."""
UNIT = "points of relative drop per doubling of parameters"


@dataclass(frozen=True)
class Drops:
    """Relative drops of quality at one level of compression.

    Args:
        compression: The level.
        architectures: Index of that of each model, ``(models,)``.
        budgets: Training of each model; drops are compared at equal budgets, ``(models,)``.
        sizes: log2 of its parameters, ``(models,)``.
        drops: Fraction of quality lost, mean over seeds, ``(models,)``.
        seeds: Of each.
    """

    compression: Compression
    architectures: Integers
    budgets: Floats
    sizes: Floats
    drops: Floats
    seeds: int

    @property
    def mean(self) -> float:
        """Mean drop that was measured."""
        return float(self.drops.mean())

    @property
    def counts(self) -> bool:
        """Whether the compression costs enough to compare sizes by."""
        return self.mean >= NOTICEABLE

    @property
    def slope(self) -> Effect:
        """Change of the drop per doubling at this level."""
        return _slope([self], ALONE)

    @property
    def name(self) -> str:
        """What figures and tables call the level."""
        compression = self.compression
        if compression.sparsity:
            return f"{compression.pruning} {compression.sparsity:.0%}"
        return f"{compression.quantisation.bits} bits ({compression.quantisation})"


def _find(data: Measurements) -> Finding:
    usable = [k for k in range(len(data.cells)) if _has_learnt(data, k)]
    left_out = len(data.cells) - len(usable)
    excluded = f" {left_out} models near guessing are left out." if left_out else ""
    levels = _levels(data, set(usable))
    shown: dict[str, Any] = {"rows": tuple(map(_row, levels)), "evidence": tuple(levels)}
    counted = [level for level in levels if level.counts]
    if not counted:
        mild = f" Drops at {len(levels)} levels are all below 2 %." if levels else ""
        return Finding(
            "No compression with a noticeable cost was measured on "
            f"{LEAST_SIZES} sizes.{mild}{excluded}",
            missing=(f"a stronger compression, such as rtn-3, on {LEAST_SIZES} or more sizes",),
            **shown,
        )
    effect = _slope(counted, TOGETHER)
    return Finding(_reading(effect, levels, counted) + excluded, effect, **shown)


CLAIM = Claim(
    3,
    "Larger models are more robust to compression",
    "The fraction of quality lost at given bits, or given sparsity, falls with model size.",
    _find,
    is_above=False,
)


def _has_learnt(data: Measurements, cell: int) -> bool:
    error = data.cells[cell].quality_error
    return bool(data.qualities[:, cell].mean() >= max(LEAST_QUALITY, LEAST_ERRORS * error))


def _levels(data: Measurements, usable: set[int]) -> list[Drops]:
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


def _heaviness(compression: Compression) -> tuple[float, str, float, str]:
    kind, bits = str(compression.pruning), compression.quantisation.bits
    return compression.sparsity, kind, -bits, str(compression)


def _drops(data: Measurements, compression: Compression, group: list[int]) -> Drops:
    cells = data.parents[group]
    # Of means over seeds: the mean of ratios is biased where a seed learnt little.
    before = data.qualities[:, cells].mean(axis=0)
    drops = 1.0 - data.compressed_qualities[:, group].mean(axis=0) / before
    return Drops(
        compression,
        data.architecture_of[cells],
        np.array([data.cells[cell].budget for cell in cells]),
        np.log2([data.cells[cell].parameters for cell in cells]),
        drops,
        len(data.qualities),
    )


def _slope(levels: Sequence[Drops], confidence: float) -> Effect:
    """Change of the drop per doubling, in points, over some levels together.

    Only drops of the same budget are compared: models trained for longer are quantised worse (Kumar
    et al. 2024, arXiv 2411.04330), and larger ones may be those that were trained for less.
    """
    kinds = np.concatenate([np.full(len(each.drops), k) for k, each in enumerate(levels)])
    budgets = np.concatenate([each.budgets for each in levels])
    _, groups = np.unique(np.stack([kinds, budgets]), axis=1, return_inverse=True)
    estimate = slope_over_architectures(
        np.concatenate([each.sizes for each in levels]),
        np.concatenate([each.drops for each in levels]),
        np.concatenate([each.architectures for each in levels]),
        groups,
        seeds=levels[0].seeds,
    )
    return Effect.of(estimate, UNIT, lambda slope: 100.0 * slope, confidence)


def _reading(effect: Effect, levels: list[Drops], counted: list[Drops]) -> str:
    parts = [f"{each.name} {each.slope.estimate:+.2g}" for each in counted]
    mild = len(levels) - len(counted)
    note = f" {mild} milder levels cost less than 2 % and do not count." if mild else ""
    verb = "shrinks" if effect.estimate < 0 else "grows"
    return (
        f"With each doubling of parameters the fraction of quality lost {verb} by "
        f"{abs(effect.estimate):.2g} points on average ({', '.join(parts)}).{note}"
    )


def _row(level: Drops) -> dict[str, str]:
    smallest, largest = (
        level.drops[level.sizes == end].mean() for end in (level.sizes.min(), level.sizes.max())
    )
    return {
        "at": level.name,
        "models": str(len(level.drops)),
        "mean drop": f"{level.mean:.1%}",
        "smallest": f"{smallest:.1%}",
        "largest": f"{largest:.1%}",
        "slope per doubling": f"{level.slope.estimate:+.2f}",
        "95 % interval": level.slope.interval,
        "counts": "yes" if level.counts else "too mild",
    }
