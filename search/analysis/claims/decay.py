"""Claims 9 and 10: what makes quantisation cost more, longer training or the decay.

Kumar et al. 2024 (arXiv 2411.04330) and Ouyang et al. 2024 (arXiv 2411.17691) find that models are
quantised worse the longer they were trained; Catalan-Tatjer et al. 2025 (arXiv 2510.06213) that the
decay of the learning rate is the reason. Here every budget of an architecture leaves a common path
of constant learning rate, so that both can be measured: along the path, and across its decays.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from search.analysis.claims.inference import ALONE, TOGETHER, over_paths
from search.analysis.claims.measurements import Measurements
from search.analysis.claims.verdict import Claim, Effect, Finding
from search.arrays import Floats, Integers
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression

UNIT = "nats of loss"
PER_DOUBLING = f"{UNIT} per doubling of training"
LACKING = (
    "models without fine-tuning, quantised to four bits or less at two budgets, and their "
    "checkpoints before the decay (tlc claims --complete)",
)


@dataclass(frozen=True)
class Ladder:
    """One quantisation of an architecture at its budgets.

    Args:
        columns: Of its compressed models, in the order of their budgets, ``(budgets,)``.
        doublings: log2 of their steps, ``(budgets,)``.
    """

    architecture: Architecture
    compression: Compression
    columns: Integers
    doublings: Floats


def _grows_along_the_path(data: Measurements) -> Finding:
    ladders = [each for each in _ladders(data) if len(each.columns) > 1]
    if not ladders:
        return Finding("No quantisation was measured before the decay.", missing=LACKING)
    effect = _growth(data, ladders, TOGETHER)
    verb = "grows" if effect.estimate > 0 else "shrinks"
    return Finding(
        f"At a constant learning rate the cost of quantisation {verb} by "
        f"{abs(effect.estimate):.2g} nats with each doubling of training.",
        effect,
        rows=tuple(_growth_row(data, each) for each in ladders),
        evidence=tuple(ladders),
    )


def _grows_in_the_decay(data: Measurements) -> Finding:
    ladders = _ladders(data)
    if not ladders:
        return Finding("No quantisation was measured before the decay.", missing=LACKING)
    effect = _step(data, ladders, TOGETHER)
    verb = "raises" if effect.estimate > 0 else "lowers"
    return Finding(
        f"The decay {verb} the cost of quantisation by {abs(effect.estimate):.2g} nats on average.",
        effect,
        rows=tuple(_step_row(data, each) for each in ladders),
        evidence=tuple(ladders),
    )


LONGER_TRAINING = Claim(
    9,
    "Longer training makes quantisation cost more",
    "At a constant learning rate, the loss that quantisation adds grows with training.",
    _grows_along_the_path,
)
DECAY = Claim(
    10,
    "The decay makes quantisation cost more",
    "Quantisation adds more loss to a model after the decay of its learning rate than to the "
    "checkpoint at which the decay starts.",
    _grows_in_the_decay,
)


def _ladders(data: Measurements) -> list[Ladder]:
    """Every quantisation whose cost was measured before the decay too."""
    groups: dict[tuple[Architecture, Compression], list[int]] = defaultdict(list)
    for k in np.flatnonzero(np.isfinite(data.undecayed_costs).all(axis=0)):
        each = data.compressed[k]
        groups[each.run.architecture, each.compression].append(int(k))
    ladders = []
    for (architecture, compression), members in groups.items():
        steps = {k: data.compressed[k].run.steps for k in members}
        columns = sorted(members, key=steps.__getitem__)
        doublings = np.log2([steps[k] for k in columns])
        ladders.append(Ladder(architecture, compression, np.array(columns), doublings))
    return ladders


def _growth(data: Measurements, ladders: list[Ladder], confidence: float) -> Effect:
    """Slope of the cost before the decay over doublings of training."""
    weights = np.zeros(data.undecayed_costs.shape)
    for ladder in ladders:
        centred = ladder.doublings - ladder.doublings.mean()
        weights[:, ladder.columns] += centred / (centred @ centred) / len(ladders)
    costs = np.nan_to_num(data.undecayed_costs)
    estimate = over_paths(costs, weights, data.architecture_of[data.parents])
    return Effect.of(estimate, PER_DOUBLING, float, confidence)


def _step(data: Measurements, ladders: list[Ladder], confidence: float) -> Effect:
    """Cost after the decay minus that before."""
    columns = np.concatenate([ladder.columns for ladder in ladders])
    weights = np.zeros(data.costs.shape)
    weights[:, columns] = 1.0 / len(columns)
    steps = data.costs - np.nan_to_num(data.undecayed_costs)
    estimate = over_paths(steps, weights, data.architecture_of[data.parents])
    return Effect.of(estimate, UNIT, float, confidence)


def _growth_row(data: Measurements, ladder: Ladder) -> dict[str, str]:
    effect = _growth(data, [ladder], ALONE)
    costs = data.undecayed_costs[:, ladder.columns].mean(axis=0)
    first, last = (data.compressed[k].run.steps for k in ladder.columns[[0, -1]])
    return {
        "at": f"{ladder.architecture} {ladder.compression}",
        "shortest (nats)": f"{first:,} steps · {costs[0]:+.4f}",
        "longest (nats)": f"{last:,} steps · {costs[-1]:+.4f}",
        "per doubling": f"{effect.estimate:+.4f}",
        "95 % interval": effect.interval,
    }


def _step_row(data: Measurements, ladder: Ladder) -> dict[str, str]:
    effect = _step(data, [ladder], ALONE)
    before, after = (
        costs[:, ladder.columns].mean() for costs in (data.undecayed_costs, data.costs)
    )
    return {
        "at": f"{ladder.architecture} {ladder.compression}",
        "budgets": str(len(ladder.columns)),
        "before (nats)": f"{before:+.4f}",
        "after (nats)": f"{after:+.4f}",
        "difference": f"{effect.estimate:+.4f}",
        "95 % interval": effect.interval,
    }
