"""How much of the differences between trials each dimension explains."""

from __future__ import annotations

import math
from dataclasses import dataclass

import optuna
from optuna.distributions import IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, create_trial

from search.analysis.report.report_data import ReportData, value_of
from search.storage.trials import TrialRecord
from spaces.grid.grid import Dimension

FEWEST = 20
"""Complete trials below which a forest explains nothing."""
MOST = 2000
"""Trials that the forest sees; more of them take time and change little."""
METHOD = (
    "The share of the variance over the whole grid that a dimension explains alone, averaged over "
    "all others: fANOVA (Hutter et al. 2014, with Optuna) on a random forest fitted to the trials. "
    "Where the sampler hardly looked, the forest guesses; what dimensions do only together is in "
    "the last row."
)


@dataclass(frozen=True)
class Importance:
    """What one dimension explains.

    Args:
        dimension: The dimension.
        score: Share of the variance of the metric's quality share.
        cost: Share of the variance of the logarithm of the cost.
    """

    dimension: Dimension
    score: float
    cost: float


def importances(view: ReportData) -> list[Importance]:
    """Importance of each dimension that has several values, the greatest for the score first.

    Empty with fewer than ``FEWEST`` complete trials, or where all are alike.
    """
    free = [dimension for dimension in view.space.dimensions if len(dimension.values) > 1]
    trials = [trial for record in _thinned(view.complete) if (trial := _trial(view, record, free))]
    if len(trials) < FEWEST:
        return []
    study = optuna.create_study(directions=["maximize", "minimize"])
    study.add_trials(trials)
    of_score, of_cost = (_shares(study, free, objective) for objective in (0, 1))
    if not any(of_score):
        return []
    found = [Importance(*each) for each in zip(free, of_score, of_cost, strict=True)]
    return sorted(found, key=lambda each: -each.score)


def _thinned(records: list[TrialRecord]) -> list[TrialRecord]:
    if len(records) <= MOST:
        return records
    return [records[k * len(records) // MOST] for k in range(MOST)]


def _trial(view: ReportData, record: TrialRecord, free: list[Dimension]) -> FrozenTrial | None:
    """A trial in Optuna's words: each value as its place in its dimension."""
    values = {each.name: value_of(record.configuration, each.name) for each in free}
    if any(values[each.name] not in each.values for each in free):
        return None
    return create_trial(
        params={each.name: each.values.index(values[each.name]) for each in free},
        distributions={each.name: IntDistribution(0, len(each.values) - 1) for each in free},
        values=[view.quality(record), math.log(record.result[view.cost.name])],
    )


def _shares(study: optuna.Study, free: list[Dimension], objective: int) -> list[float]:
    names = [dimension.name for dimension in free]
    try:
        found = get_param_importances(
            study,
            evaluator=FanovaImportanceEvaluator(seed=0),
            params=names,
            target=lambda trial: trial.values[objective],
            normalize=False,
        )
    except RuntimeError:
        # No tree has any variance: the trials are alike.
        return [0.0] * len(free)
    return [float(found[name]) for name in names]
