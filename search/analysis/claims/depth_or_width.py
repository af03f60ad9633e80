"""Claim 6: deep against wide, at equal parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from search.analysis.claims.curves import Curve, common_levels, curves
from search.analysis.claims.resampling import Resampled
from search.analysis.claims.verdict import Answer, Effect, Verdict, count, mean_of, too_noisy
from search.arrays import Floats

EQUAL = 1.15
"""Two models have equal parameters when those of their layers differ by less than this factor.
Embeddings are left out (as in Kaplan et al. 2020, arXiv 2001.08361): in small models they are most
of all parameters, and grow with width alone."""
MARGIN = 1.0
"""Per cent of loss by which a deep model may be better before shape matters."""
UNIT = "% of loss, deep − wide"
CLAIM = (
    6,
    "Deep against wide at equal parameters",
    "With as many parameters in their layers, a wide model is as good as a deep one: its loss at "
    "equal compute is at most 1 % above.",
)


@dataclass(frozen=True)
class Pair:
    """A deep and a wide model with as many parameters in their layers.

    Args:
        deep: Curve over compute.
        wide: Curve over compute.
        at_steps: Loss of the deep over that of the wide in per cent, at equal steps; None without
            a common level.
        at_compute: The same at equal training compute.
    """

    deep: Curve
    wide: Curve
    at_steps: Floats | None
    at_compute: Floats | None


def wide_is_as_good(data: Resampled) -> Verdict:
    """Claim 6: at equal parameters, width is as good as depth."""
    pairs = list(_pairs(data))
    at_compute = [pair.at_compute for pair in pairs if pair.at_compute is not None]
    at_steps = [pair.at_steps for pair in pairs if pair.at_steps is not None]
    rows = tuple(_row(pair) for pair in pairs)
    if not at_compute:
        return Verdict(
            *CLAIM,
            "No deep and narrow model has as many parameters in its layers as a wide and shallow "
            "one, within 15 %, with training compute in common.",
            missing=("a pair such as 4x64 and 1x128: four times the depth, half the width",),
            rows=rows,
            evidence=tuple(pairs),
        )
    effect = Effect.of(mean_of(at_compute), UNIT)
    answer = _answer(effect)
    return Verdict(
        *CLAIM,
        _reading(effect, at_steps, len(at_compute)),
        answer,
        effect,
        missing=too_noisy(answer, "more pairs, or other seeds: noise is too large"),
        rows=rows,
        evidence=tuple(pairs),
    )


def _are_equal_but_shape(deep: Curve, wide: Curve) -> bool:
    """Whether the first is deeper and narrower, and both have as many layer parameters."""
    a, b = deep.architecture, wide.architecture
    layers = deep.run.layer_parameters / wide.run.layer_parameters
    is_deeper = a.depth + a.decoder_depth > b.depth + b.decoder_depth
    return is_deeper and a.width < b.width and 1 / EQUAL <= layers <= EQUAL


def _pairs(data: Resampled) -> Iterator[Pair]:
    steps = {curve.architecture: curve for curve in curves(data, "steps")}
    compute = curves(data, "training_flops")
    for deep, wide in permutations(compute, 2):
        if _are_equal_but_shape(deep, wide):
            at_steps = _difference(steps[deep.architecture], steps[wide.architecture])
            yield Pair(deep, wide, at_steps, at_compute=_difference(deep, wide))


def _difference(deep: Curve, wide: Curve) -> Floats | None:
    """Loss of the deep over that of the wide in per cent, over their common levels."""
    levels = common_levels([deep, wide], least_ratio=1.0)
    ratios = [deep.at(level) / wide.at(level) for level in levels]
    return mean_of([np.asarray(100.0 * (ratio - 1.0)) for ratio in ratios]) if ratios else None


def _answer(effect: Effect) -> Answer:
    if effect.low >= -MARGIN:
        return Answer.SUPPORTED
    return Answer.CONTRADICTED if effect.high < 0 else Answer.NOT_ENOUGH


def _reading(effect: Effect, at_steps: list[Floats], pairs: int) -> str:
    word = "above" if effect.estimate > 0 else "below"
    text = (
        f"Over {pairs} pair{'s' * (pairs > 1)} at equal compute, deep models end "
        f"{abs(effect.estimate):.2g} % {word} wide ones in loss"
    )
    if not at_steps:
        return f"{text}."
    steps = float(mean_of(at_steps)[0])
    return f"{text}; at equal steps it is {steps:+.2g} %."


def _row(pair: Pair) -> dict[str, str]:
    return {
        "at": f"{pair.deep.architecture} against {pair.wide.architecture}",
        "in layers": f"{count(pair.deep.run.layer_parameters)} · "
        f"{count(pair.wide.run.layer_parameters)}",
        "in all": f"{count(pair.deep.parameters)} · {count(pair.wide.parameters)}",
        "equal compute (%)": _cell(pair.at_compute),
        "equal steps (%)": _cell(pair.at_steps),
    }


def _cell(difference: Floats | None) -> str:
    if difference is None:
        return "–"
    effect = Effect.of(difference, UNIT)
    return f"{effect.estimate:+.2f} ({effect.interval})"
