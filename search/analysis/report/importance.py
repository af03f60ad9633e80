"""How much of the variance between trials each dimension explains."""

from __future__ import annotations

import math
from dataclasses import dataclass

import optuna
from optuna.distributions import IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, create_trial

from search.analysis.report.report_data import ReportData
from search.pareto import quality
from search.plots.trial_points import value_of
from search.storage.trials import TrialRecord
from spaces.grid.grid import Dimension

FEWEST = 20
"""Complete trials that a forest needs."""
MOST = 2000
"""Trials that the forest is fitted to; more of them take time and change little."""


@dataclass(frozen=True)
class Importance:
    """The variance that one dimension explains.

    Args:
        dimension: The dimension.
        score: Fraction of the variance of the quality.
        cost: Fraction of the variance of the logarithm of the cost.
    """

    dimension: Dimension
    score: float
    cost: float


def importances(data: ReportData) -> list[Importance]:
    """Importance of each dimension that has several values, the greatest for the score first.

    Empty with fewer than ``FEWEST`` complete trials, or where all are alike.
    """
    free = [dimension for dimension in data.space.dimensions if len(dimension.values) > 1]
    records = thinned(data.complete, MOST)
    trials = [trial for record in records if (trial := _trial(data, record, free))]
    if len(trials) < FEWEST:
        return []
    study = optuna.create_study(directions=["maximize", "minimize"])
    study.add_trials(trials)
    of_score, of_cost = (_fractions(study, free, objective) for objective in (0, 1))
    if not any(of_score):
        return []
    found = [Importance(*each) for each in zip(free, of_score, of_cost, strict=True)]
    return sorted(found, key=lambda each: -each.score)


def thinned(records: list[TrialRecord], most: int) -> list[TrialRecord]:
    """At most so many trials, evenly over the search."""
    if len(records) <= most:
        return records
    return [records[k * len(records) // most] for k in range(most)]


def _trial(data: ReportData, record: TrialRecord, free: list[Dimension]) -> FrozenTrial | None:
    """A trial of Optuna: each value as its index in its dimension."""
    values = {each.name: value_of(record.configuration, each.name) for each in free}
    if any(values[each.name] not in each.values for each in free):
        return None
    return create_trial(
        params={each.name: each.values.index(values[each.name]) for each in free},
        distributions={each.name: IntDistribution(0, len(each.values) - 1) for each in free},
        values=[quality(record, data.criteria), math.log(record.result[data.cost.name])],
    )


def _fractions(study: optuna.Study, free: list[Dimension], objective: int) -> list[float]:
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
