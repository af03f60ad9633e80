"""Claims 4 and 8: at equal bytes, a large model compressed beats a small one that is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from search.analysis.claims.curves import level_name, thinned
from search.analysis.claims.inference import ALONE, TOGETHER, best_of_others, over_paths
from search.analysis.claims.measurements import Measurements
from search.analysis.claims.observations import Observations, gain_unit, score_of
from search.analysis.claims.verdict import Claim, Effect, Finding
from search.arrays import Booleans, Floats
from search.pareto import best_reference

Setting = Literal["FLOPs", "seconds", "budget"]

MOST_LEVELS = 6
LEAST_LEVELS = 2
"""Levels of bytes that must be comparable at equal FLOPs for the verdict to use it."""
ROUNDING = 1.05
"""Training counts as equal up to this factor: budgets are rounded to whole steps."""


@dataclass(frozen=True)
class Contest:
    """The best compressed model against the best dense one within the same bytes.

    Args:
        setting: What the two have in common besides their bytes.
        training: How much of it they have at most.
        size_bytes: Most bytes.
        dense: Cell of the best dense model by its mean over seeds.
        compressed: Index of the best compressed model by its mean over seeds.
        weights: Of qualities before compression and then of those after, in the gain of each seed
            between the models that the other seeds choose, ``(seeds, cells + compressed)``.
    """

    setting: Setting
    training: float
    size_bytes: int
    dense: int
    compressed: int
    weights: Floats


@dataclass(frozen=True)
class Training:
    """Which cells and which compressed models have at most some amount of training."""

    amount: float
    cells: Booleans
    compressed: Booleans


def compressed_large_wins(setting: Literal["FLOPs", "seconds"]) -> Claim:
    """The claim that compressed-large beats dense-small at equal bytes and equal training."""
    equal = "" if setting == "FLOPs" else " at equal seconds"
    return Claim(
        4 if setting == "FLOPs" else 8,
        f"Compressed-large beats dense-small{equal}",
        f"Within the same bytes and the same {setting} of training, a larger model compressed "
        "scores better than the best model that fits without compression.",
        partial(_find, settings=("FLOPs", "budget") if setting == "FLOPs" else ("seconds",)),
    )


def _find(data: Measurements, settings: Sequence[Setting]) -> Finding:
    contests = {setting: _contests(data, setting) for setting in settings}
    # At equal FLOPs, or at equal budgets where few sizes have FLOPs in common.
    decisive = max(settings, key=lambda each: len(contests[each]) >= LEAST_LEVELS)
    if not contests[decisive]:
        decisive = max(settings, key=lambda each: len(contests[each]))
    evidence = tuple(contest for setting in settings for contest in contests[setting])
    rows = tuple(_row(data, each) for each in evidence)
    if not evidence:
        return Finding(
            "No compressed model fits into the bytes of a smaller dense one of the same training.",
            missing=(
                "two sizes of the same training, the larger one compressed below the dense bytes "
                "of the smaller: 4 bits or less bring a factor of 7",
            ),
        )
    effect = gain(data, contests[decisive], TOGETHER)
    others = [(each, contests[each]) for each in settings if each != decisive]
    return Finding(
        _reading(data, decisive, contests[decisive], others), effect, rows=rows, evidence=evidence
    )


def gain(data: Measurements, contests: Sequence[Contest], confidence: float = ALONE) -> Effect:
    """Gain of the compressed models, over some contests together."""
    factor, unit = gain_unit(data.observations.metric)
    estimate = over_paths(
        np.hstack([data.qualities, data.compressed_qualities]),
        np.mean([each.weights for each in contests], axis=0),
        np.concatenate([data.architecture_of, data.architecture_of[data.parents]]),
    )
    return Effect.of(estimate, unit, lambda value: factor * value, confidence)


def _contests(data: Measurements, setting: Setting) -> list[Contest]:
    """One contest for each level of bytes at which something larger fits compressed."""
    sizes = sorted({run.size_bytes for run in data.cells})[:-1]
    contests = [_contest(data, setting, size) for size in sizes]
    return thinned(list(filter(None, contests)), MOST_LEVELS)


def _contest(data: Measurements, setting: Setting, size: int) -> Contest | None:
    """The contest at one level of bytes: its gain is the mean over common trainings."""
    trainings = _trainings(data, setting, size)
    rounds = list(filter(None, (_round(data, setting, size, each) for each in trainings)))
    if not rounds:
        return None
    # The round of most training is shown; all of them count.
    last = max(rounds, key=lambda each: each.training)
    return replace(last, weights=np.mean([each.weights for each in rounds], axis=0))


def _trainings(data: Measurements, setting: Setting, size: int) -> list[Training]:
    """Each amount of training that occurs within so many bytes."""
    if setting == "budget":
        budgets = np.array([run.budget for run in data.cells])
        # Recovery is training that the dense model did not get.
        plain = np.array([each.compression.recovery == 0 for each in data.compressed], dtype=bool)
        return [
            Training(float(each), budgets == each, (budgets[data.parents] == each) & plain)
            for each in np.unique(budgets)
        ]
    if setting == "FLOPs":
        amounts = data.training_flops
        spent = np.array([each.training_flops for each in data.compressed])
    else:
        amounts, spent = data.seconds, np.array([each.seconds for each in data.compressed])
    fits = np.array([run.size_bytes <= size for run in data.cells])
    caps = thinned(np.unique(amounts[fits]).tolist())
    return [Training(cap, amounts <= ROUNDING * cap, spent <= ROUNDING * cap) for cap in caps]


def _round(data: Measurements, setting: Setting, size: int, training: Training) -> Contest | None:
    sizes = np.array([run.size_bytes for run in data.cells])
    small = np.flatnonzero(training.cells & (sizes <= size))
    if len(small) == 0:
        return None
    fits = [each.size_bytes <= size and each.is_compressed for each in data.compressed]
    candidates = np.flatnonzero(training.compressed & np.array(fits, dtype=bool))
    parameters = np.array([run.parameters for run in data.cells])
    cells = len(data.cells)
    weights = np.zeros((len(data.qualities), cells + len(data.compressed)))
    for seed, dense in enumerate(small[best_of_others(data.qualities[:, small])]):
        large = candidates[parameters[data.parents[candidates]] > parameters[dense]]
        if len(large) == 0:
            return None
        chosen = large[best_of_others(data.compressed_qualities[:, large])[seed]]
        weights[seed, dense] -= 1.0
        weights[seed, cells + chosen] += 1.0
    best = small[data.qualities[:, small].mean(axis=0).argmax()]
    large = candidates[parameters[data.parents[candidates]] > parameters[best]]
    if len(large) == 0:
        return None
    winner = large[data.compressed_qualities[:, large].mean(axis=0).argmax()]
    return Contest(setting, training.amount, size, int(best), int(winner), weights)


def _reading(
    data: Measurements,
    decisive: Setting,
    contests: list[Contest],
    others: list[tuple[Setting, list[Contest]]],
) -> str:
    unit = gain_unit(data.observations.metric)[1]
    gains = [gain(data, [each]).estimate for each in contests]
    best = int(np.argmax(gains))
    text = (
        f"Within the same bytes and {_equal(decisive)}, compressed-large is "
        f"{np.mean(gains):+.2g} {unit} on average over {len(gains)} "
        f"size{'s' * (len(gains) > 1)}, at best {gains[best]:+.2g} within "
        f"{contests[best].size_bytes / 1e6:.3g} MB."
    )
    for setting, found in others:
        if found:
            text += f" With {_equal(setting)} it is {gain(data, found).estimate:+.2g}."
        elif setting == "FLOPs":
            text += " No larger model was trained with as few FLOPs as the small ones."
    return text


def _equal(setting: Setting) -> str:
    return "the same budget" if setting == "budget" else f"no more {setting} of training"


def _row(data: Measurements, contest: Contest) -> dict[str, str]:
    metric = data.observations.metric
    effect = gain(data, [contest])
    dense, compressed = data.cells[contest.dense], data.compressed[contest.compressed]
    before = data.qualities[:, contest.dense].mean()
    after = data.compressed_qualities[:, contest.compressed].mean()
    row = {
        "at": f"{contest.size_bytes / 1e6:.3g} MB",
        "training": _amount(contest),
        "best dense": f"{dense.architecture} · {metric.text(score_of(metric, before))}",
        "best compressed": f"{compressed.run.architecture} {compressed.compression} · "
        f"{metric.text(score_of(metric, after))}",
        f"gain ({effect.unit})": f"{effect.estimate:+.2f}",
        "95 % interval": effect.interval,
    }
    if data.observations.references:
        row["reference"] = _best_reference(data.observations, contest.size_bytes)
    return row


def _best_reference(observations: Observations, size: int) -> str:
    """The best reference within so many bytes, with its score on validation."""
    metric = observations.metric
    best = best_reference(observations.references, metric, size / 1e6)
    if best is None:
        return "none so small"
    return f"{best.name} · {metric.text(best.result['score'])}"


def _amount(contest: Contest) -> str:
    if contest.setting == "budget":
        return f"budget {contest.training:g}"
    if contest.setting == "seconds":
        return f"≤ {level_name(contest.training, 'seconds')}"
    return f"≤ {level_name(contest.training, 'training_flops')}"
