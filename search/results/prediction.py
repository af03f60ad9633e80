"""Predicts the score of a configuration from the trials of a study, without training it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from search.pareto import in_finish_order
from search.results.schemas import Prediction
from search.samplers.frontier.designer import Designer
from search.samplers.frontier.history import Trial
from search.samplers.frontier.search_design_space import SearchDesignSpace
from search.samplers.measured_costs import recorded_costs
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.errors import UserError
from spaces.grid.grid import Grid, Point


class PredictionError(UserError):
    """The configuration is not in the search space, or no trial is complete."""


class Predictor:
    """The surrogate of the ``frontier`` sampler, fitted to the trials of any sampler.

    Sampling its hyperparameters takes a second or two, so it is made once for a snapshot. It is
    not safe to use in several threads at once.

    Raises:
        PredictionError: No trial is complete.
    """

    def __init__(self, study: Study, records: list[TrialRecord]) -> None:
        self._study = study
        self._records = [record for record in records if record.is_complete]
        if not self._records:
            raise PredictionError(f"search {study.search.name!r} has no complete trial yet")
        # A space of its own: the study's is shared with queries that know no latencies.
        self._space = study.make_space(recorded_costs(study))
        self._searched = SearchDesignSpace(self._space)
        design_space = self._searched.design_space
        columns = len(design_space.compressions)
        # Inference costs only matter to acquisition, not to predictions.
        free = replace(
            design_space,
            log_costs=lambda runs: np.zeros((len(runs), columns)),
            further_costs=None,
            further_limits=(),
            further_baselines=(),
        )
        self._designer = Designer(free, study.search.seed)
        self._designer.update(
            Trial.of_result(
                *self._searched.candidate_of(record.configuration),
                record.result,
                [study.search.metric],
            )
            for record in in_finish_order(self._records)
        )

    def predict(self, values: Mapping[str, Any]) -> Prediction:
        """The predicted score of a configuration, with its 95 % interval.

        Args:
            values: A value of the space for each dimension; those with one value may be left out.

        Raises:
            PredictionError: A dimension is missing or unknown, or has no such value.
        """
        study, space = self._study, self._space
        try:
            configuration = space.configuration(point_of(space, values))
        except ValueError as error:
            raise PredictionError(f"checkpoint: {error}") from error
        run, compression = self._searched.candidate_of(configuration)
        low, expected, high = self._designer.predict(run, compression)
        metric = study.search.metric
        worst, best = sorted((metric.value_at(low), metric.value_at(high)))
        cost = space.cost(configuration)
        tried = [r.number for r in self._records if r.configuration.hash == configuration.hash]
        return Prediction(
            text=str(configuration),
            configuration=configuration.to_dict(),
            metric=metric.name,
            score=metric.value_at(expected),
            score_low=worst,
            score_high=best,
            size_mb=cost.size_mb,
            flops=float(cost.flops),
            is_feasible=space.is_feasible(configuration),
            seconds=self._designer.seconds(run, compression),
            trials=len(self._records),
            trial=tried[0] if tried else None,
        )


def point_of(space: Grid, values: Mapping[str, Any]) -> Point:
    """The grid point of some values.

    Raises:
        PredictionError: A dimension is missing or unknown, or has no such value.
    """
    known = {dimension.name: dimension.values for dimension in space.dimensions}
    given = {name: allowed[0] for name, allowed in known.items() if len(allowed) == 1} | dict(
        values
    )
    faults = [
        f"{name}: is not a dimension of this search; they are {', '.join(sorted(known))}"
        for name in values
        if name not in known
    ]
    point = []
    for name, allowed in known.items():
        matches = [
            index
            for index, value in enumerate(allowed)
            if name in given and _is_same(given[name], value)
        ]
        if matches:
            point.append(matches[0])
            continue
        text = ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in allowed)
        fault = "is missing"
        if name in given:
            fault = f"{json.dumps(given[name], default=str)} is not in this search"
        faults.append(f"{name}: {fault}; allowed: {text}")
    if faults:
        raise PredictionError("\n".join(faults))
    return tuple(point)


def _is_same(given: Any, value: Any) -> bool:
    if isinstance(given, bool) or isinstance(value, bool):
        return given is value
    if isinstance(given, str) != isinstance(value, str):
        return False
    if isinstance(given, int | float) and isinstance(value, int | float):
        return bool(np.isclose(given, value, rtol=1e-9, atol=0.0))
    return bool(given == value)
