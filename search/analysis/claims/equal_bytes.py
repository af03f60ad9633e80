"""Claim 4: at equal bytes, a large model compressed beats a small one that is not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from search.analysis.claims.curves import thinned
from search.analysis.claims.observations import gain_unit, score_of
from search.analysis.claims.resampling import Resampled
from search.analysis.claims.verdict import (
    Effect,
    Verdict,
    answer_above,
    bias_reduced_best,
    mean_of,
    too_noisy,
)
from search.arrays import Booleans, Floats

MOST_LEVELS = 6
LEAST_LEVELS = 2
"""Levels of bytes that must be comparable at equal compute for the verdict to use it."""
ROUNDING = 1.05
"""Compute counts as equal up to this factor: budgets are rounded to whole steps."""
NEGLIGIBLE = 0.003
"""Gain of quality below which it counts as none."""
COMPUTE, BUDGET = "equal compute", "equal budget"
CLAIM = (
    4,
    "Compressed-large beats dense-small",
    "Within the same bytes and the same training, a larger model compressed scores better than "
    "the best model that fits without compression.",
)


@dataclass(frozen=True)
class Contest:
    """The best compressed model against the best dense one within the same bytes.

    Args:
        setting: What the two have in common besides their bytes.
        size_bytes: Most bytes.
        dense: Cell of the best dense model.
        compressed: Index of the best compressed model.
        gain: Quality of the compressed minus that of the dense, ``(1 + DRAWS,)``.
    """

    setting: str
    size_bytes: int
    dense: int
    compressed: int
    gain: Floats


def beats_dense(data: Resampled) -> Verdict:
    """Claim 4: at equal bytes, compressed-large beats dense-small."""
    at_compute, at_budget = (_contests(data, setting) for setting in (COMPUTE, BUDGET))
    decisive, other = at_compute, at_budget
    if len(at_compute) < LEAST_LEVELS:
        decisive, other = other, decisive
    evidence = (*at_compute, *at_budget)
    rows = tuple(_row(data, each) for each in evidence)
    if not decisive:
        return Verdict(
            *CLAIM,
            "No compressed model fits into the bytes of a smaller dense one of the same training.",
            missing=(
                "two sizes at the same budget, the larger one compressed below the dense bytes of "
                "the smaller: 4 bits or less bring a factor of 7",
            ),
            rows=rows,
            evidence=evidence,
        )
    factor, unit = gain_unit(data.observations.metric)
    effect = Effect.of(factor * mean_of([each.gain for each in decisive]), unit)
    answer = answer_above(effect, NEGLIGIBLE * factor)
    return Verdict(
        *CLAIM,
        _reading(data, decisive, other),
        answer,
        effect,
        missing=too_noisy(answer),
        rows=rows,
        evidence=evidence,
    )


def _contests(data: Resampled, setting: str) -> list[Contest]:
    """One contest for each level of bytes at which something larger fits compressed."""
    sizes = sorted({run.size_bytes for run in data.cells})[:-1]
    contests = [_contest(data, setting, size) for size in sizes]
    return thinned(list(filter(None, contests)), MOST_LEVELS)


def _contest(data: Resampled, setting: str, size: int) -> Contest | None:
    """The contest at one level of bytes: its gain is the mean over common trainings."""
    trainings = _trainings(data, setting, size)
    rounds = list(filter(None, (_round(data, setting, size, *each) for each in trainings)))
    if not rounds:
        return None
    # The round of most training is shown; all of them count.
    last = max(rounds, key=lambda each: data.cells[each.dense].training_flops)
    return replace(last, gain=mean_of([each.gain for each in rounds]))


def _trainings(data: Resampled, setting: str, size: int) -> list[tuple[Booleans, Booleans]]:
    """Which cells and which compressed models have the same training, for each that occurs."""
    flops = np.array([run.training_flops for run in data.cells])
    budgets = np.array([run.budget for run in data.cells])
    spent = np.array([each.training_flops for each in data.compressed])
    own = budgets[data.parents]
    if setting == BUDGET:
        # Recovery is training that the dense model did not get.
        plain = np.array([each.compression.recovery == 0 for each in data.compressed], dtype=bool)
        return [(budgets == each, (own == each) & plain) for each in np.unique(budgets)]
    fits = np.array([run.size_bytes <= size for run in data.cells])
    caps = ROUNDING * np.unique(flops[fits])
    return [(flops <= cap, spent <= cap) for cap in thinned(caps.tolist())]


def _round(
    data: Resampled, setting: str, size: int, dense: Booleans, compressed: Booleans
) -> Contest | None:
    small = np.flatnonzero(dense & np.array([run.size_bytes <= size for run in data.cells]))
    if len(small) == 0:
        return None
    best = int(small[data.quality[0, small].argmax()])
    least = data.cells[best].parameters
    fits = [
        each.is_compressed and each.size_bytes <= size and each.run.parameters > least
        for each in data.compressed
    ]
    large = np.flatnonzero(compressed & np.array(fits, dtype=bool))
    if len(large) == 0:
        return None
    scores = data.compressed_quality[:, large]
    gain = bias_reduced_best(scores) - bias_reduced_best(data.quality[:, small])
    return Contest(setting, size, best, int(large[scores[0].argmax()]), gain)


def _reading(data: Resampled, decisive: list[Contest], other: list[Contest]) -> str:
    factor, unit = gain_unit(data.observations.metric)
    is_at_compute = decisive[0].setting == COMPUTE
    gains = [factor * float(each.gain[0]) for each in decisive]
    best = int(np.argmax(gains))
    won = sum(Effect.of(each.gain, "").low > 0 for each in decisive)
    words = "with no more training compute" if is_at_compute else "at the same budget"
    text = (
        f"Compared {words}: clearly better at {won} of {len(decisive)} byte levels, "
        f"at best {gains[best]:+.2g} {unit} within {decisive[best].size_bytes / 1e6:.3g} MB."
    )
    if other:
        average = factor * float(mean_of([each.gain for each in other])[0])
        where = BUDGET if is_at_compute else "equal training compute"
        text += f" At {where} it is {average:+.2g} on average."
    elif not is_at_compute:
        text += " No larger model was trained with as little compute as the small ones."
    return text


def _row(data: Resampled, contest: Contest) -> dict[str, str]:
    metric = data.observations.metric
    factor, unit = gain_unit(metric)
    effect = Effect.of(factor * contest.gain, unit)
    dense, compressed = data.cells[contest.dense], data.compressed[contest.compressed]
    before = metric.text(score_of(metric, float(data.quality[0, contest.dense])))
    after = metric.text(score_of(metric, float(data.compressed_quality[0, contest.compressed])))
    return {
        "at": f"{contest.size_bytes / 1e6:.3g} MB",
        "training": contest.setting,
        "dense": f"{dense.architecture} · {before}",
        "compressed": f"{compressed.run.architecture} {compressed.compression} · {after}",
        f"gain ({unit})": f"{effect.estimate:+.2f}",
        "95 % interval": effect.interval,
    }
