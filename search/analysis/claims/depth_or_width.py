"""Claim 6: deep against wide, at equal parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from search.analysis.claims.curves import Axis, Curve, common_levels, count, curves
from search.analysis.claims.inference import ALONE, TOGETHER, over_paths
from search.analysis.claims.measurements import Measurements
from search.analysis.claims.verdict import Claim, Effect, Finding, per_cent
from search.arrays import Floats

EQUAL = 1.15
"""Two models have equal parameters when those of their layers differ by less than this factor.
Embeddings are left out (as in Kaplan et al. 2020, arXiv 2001.08361): in small models they are most
of all parameters, and grow with width alone."""
MARGIN = 1.0
"""Per cent of loss by which a deep model may be better before shape matters."""
UNIT = "% of loss, deep − wide"


@dataclass(frozen=True)
class Pair:
    """A deep and a wide model with as many parameters in their layers, along one axis.

    Args:
        deep: Curve over the axis.
        wide: Curve over the axis.
        weights: For the logarithm of the loss of the deep over that of the wide, over their common
            levels, ``(seeds, cells)``; None without a common level.
    """

    deep: Curve
    wide: Curve
    weights: Floats | None


@dataclass(frozen=True)
class Difference:
    """What separates the two of a pair.

    Args:
        at_compute: Along FLOPs.
        effects: Loss of the deep over that of the wide in per cent, at equal FLOPs and at equal
            steps; None without a common level.
    """

    at_compute: Pair
    effects: tuple[Effect | None, Effect | None]


def _find(data: Measurements) -> Finding:
    compute, steps = (list(_pairs(data, axis)) for axis in ("training_flops", "steps"))
    differences = tuple(
        Difference(one, (_effect(data, [one]), _effect(data, [other])))
        for one, other in zip(compute, steps, strict=True)
    )
    rows = tuple(map(_row, differences))
    effect = _effect(data, compute, TOGETHER)
    if effect is None:
        return Finding(
            "No deep and narrow model has as many parameters in its layers as a wide and shallow "
            "one, within 15 %, with training FLOPs in common.",
            missing=("a pair such as 4x64 and 1x128: four times the depth, half the width",),
            rows=rows,
            evidence=differences,
        )
    return Finding(
        _reading(effect, _effect(data, steps), sum(p.weights is not None for p in compute)),
        effect,
        rows=rows,
        evidence=differences,
    )


CLAIM = Claim(
    6,
    "Deep against wide at equal parameters",
    "With as many parameters in their layers, a wide model is as good as a deep one: at equal "
    "training FLOPs the loss of the deep one is at most 1 % lower.",
    _find,
    bound=-MARGIN,
)


def _are_equal_but_shape(deep: Curve, wide: Curve) -> bool:
    """Whether the first is deeper and narrower, and both have as many layer parameters."""
    a, b = deep.architecture, wide.architecture
    layers = deep.run.layer_parameters / wide.run.layer_parameters
    is_deeper = a.depth + a.decoder_depth > b.depth + b.decoder_depth
    return is_deeper and a.width < b.width and 1 / EQUAL <= layers <= EQUAL


def _pairs(data: Measurements, axis: Axis) -> Iterator[Pair]:
    """Pairs in an order that does not depend on the axis."""
    for deep, wide in permutations(curves(data, axis), 2):
        if not _are_equal_but_shape(deep, wide):
            continue
        levels = common_levels([deep, wide], least_ratio=1.0)
        if not levels:
            yield Pair(deep, wide, None)
            continue
        weights = np.zeros(data.losses.shape)
        for level in levels:
            weights[:, deep.cells] += deep.weights(level) / len(levels)
            weights[:, wide.cells] -= wide.weights(level) / len(levels)
        yield Pair(deep, wide, weights)


def _effect(data: Measurements, pairs: Sequence[Pair], confidence: float = ALONE) -> Effect | None:
    """Loss of the deep over that of the wide in per cent, over some pairs."""
    found = [pair.weights for pair in pairs if pair.weights is not None]
    if not found:
        return None
    estimate = over_paths(np.log(data.losses), np.mean(found, axis=0), data.architecture_of)
    return Effect.of(estimate, UNIT, per_cent, confidence)


def _reading(effect: Effect, at_steps: Effect | None, pairs: int) -> str:
    word = "above" if effect.estimate > 0 else "below"
    text = (
        f"Over {pairs} pair{'s' * (pairs > 1)} at equal FLOPs, deep models end "
        f"{abs(effect.estimate):.2g} % {word} wide ones in loss"
    )
    return f"{text}." if at_steps is None else f"{text}; at equal steps {at_steps.estimate:+.2g} %."


def _row(difference: Difference) -> dict[str, str]:
    deep, wide = difference.at_compute.deep, difference.at_compute.wide
    compute, steps = (
        "–" if each is None else f"{each.estimate:+.2f} ({each.interval})"
        for each in difference.effects
    )
    return {
        "at": f"{deep.architecture} against {wide.architecture}",
        "in layers": f"{count(deep.run.layer_parameters)} · {count(wide.run.layer_parameters)}",
        "in all": f"{count(deep.parameters)} · {count(wide.parameters)}",
        "equal FLOPs (%)": compute,
        "equal steps (%)": steps,
    }
