"""The design space of a search file: its grid as training runs and compressions."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from search.arrays import Booleans, Floats, Integers
from search.pareto import Scale
from search.samplers.frontier.design_space import DesignSpace, grid_neighbours
from search.samplers.frontier.features import (
    ALWAYS,
    category_features,
    compression_features,
    is_in_doublings,
    method_features,
    rounding_error,
    setting_feature,
    training_features,
)
from search.storage.optuna_space import distributions, parameters_from, point_from
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Pruning
from spaces.cost.configuration import Configuration, Settings
from spaces.cost.flops import pretraining_workload, training_step_flops
from spaces.cost.units import BudgetUnit
from spaces.grid.search_space import COMPRESSION_FIELDS, SearchSpace

CAREFUL_BITS = 0.3
"""Bits that a quantiser is assumed to save which chooses codes by their effect."""

StoredBy = Callable[[list[Configuration]], list[tuple[bool, bool]]]
"""Whether the store has the final model and the stable path of some training runs."""


class SearchDesignSpace:
    """A search space as a design space, and the mapping between their points and candidates.

    Args:
        stored: What earlier searches left in the store; nothing by default.
    """

    def __init__(self, space: SearchSpace, stored: StoredBy | None = None) -> None:
        self._space = space
        self.metric = space.criteria.metric
        self.distributions = distributions(space)
        sizes = [len(dimension.values) for dimension in space.dimensions]
        training = sum(d.name not in COMPRESSION_FIELDS for d in space.dimensions)
        self._run_sizes, self._compression_sizes = sizes[:training], sizes[training:]
        rows: Sequence[int] = range(prod(self._run_sizes))
        if space.parts:
            # Compressions are the last dimensions, and every checkpoint has all of them.
            rows = [row for row in rows if space.has(self._grid_point(row, 0))]
        self._rows = np.array(rows)
        """The place of each run among all combinations of its dimensions, ascending."""
        self._runs = [self._configuration(run, 0) for run in range(len(self._rows))]
        self._run_of = {_training(each): run for run, each in enumerate(self._runs)}
        self._compressions = [
            self._configuration(0, index).compression
            for index in range(prod(self._compression_sizes))
        ]
        self._architecture = _numbered(c.architecture for c in self._runs)
        self._example = np.unique(self._architecture, return_index=True)[1]
        """The first run of each architecture."""
        self._has_enough_steps = np.array([space.has_enough_steps(run) for run in self._runs])
        self._log_costs_of: dict[int, Floats] = {}
        self._meeting: dict[int, Booleans] = {}
        self._first_equal: dict[int, Integers] = {}
        self.design_space = self._design_space(stored)

    def run_of(self, configuration: Configuration) -> int:
        """The index of a configuration's training run."""
        return self._run_of[_training(configuration)]

    def candidate_from(self, parameters: dict[str, Any]) -> tuple[int, int]:
        """The run and the compression of some parameters of Optuna."""
        point = point_from(self._space, parameters)
        training = len(self._run_sizes)
        row = int(np.ravel_multi_index(point[:training], self._run_sizes))
        run = int(np.searchsorted(self._rows, row))
        if not self._compression_sizes:
            return run, 0
        compression = int(np.ravel_multi_index(point[training:], self._compression_sizes))
        return run, self._canonical(run, compression)

    def candidate_of(self, configuration: Configuration) -> tuple[int, int]:
        """The run and the compression of a configuration of the space."""
        run = self.run_of(configuration)
        if not self._compression_sizes:
            return run, 0
        return run, self._canonical(run, self._compressions.index(configuration.compression))

    def parameters(self, run: int, compression: int) -> dict[str, Any]:
        """Optuna's parameters of a run and a compression."""
        return parameters_from(self._space, self._point(run, compression))

    def _point(self, run: int, compression: int) -> tuple[int, ...]:
        return self._grid_point(self._rows[run], compression)

    def _grid_point(self, row: int, compression: int) -> tuple[int, ...]:
        indices = (
            *np.unravel_index(row, self._run_sizes),
            *np.unravel_index(compression, self._compression_sizes),
        )
        return tuple(map(int, indices))

    def _configuration(self, run: int, compression: int) -> Configuration:
        return self._space.configuration(self._point(run, compression))

    def _canonical(self, run: int, compression: int) -> int:
        return int(self._first_with_same_model(int(self._architecture[run]))[compression])

    def _first_with_same_model(self, architecture: int) -> Integers:
        """For each compression the first that gives the same model.

        They differ where a sparsity of one layer, or of one head, removes nothing.
        """
        if architecture not in self._first_equal:
            run = self._runs[self._example[architecture]]
            first: dict[Compression, int] = {}
            self._first_equal[architecture] = np.array(
                [
                    first.setdefault(run.with_compression(each).canonical().compression, index)
                    for index, each in enumerate(self._compressions)
                ]
            )
        return self._first_equal[architecture]

    def _design_space(self, stored: StoredBy | None) -> DesignSpace:
        space, schedule, runs = self._space, self._space.schedule, self._runs
        architectures = [c.architecture for c in runs]
        depth = _column(a.depth + a.decoder_depth for a in architectures)
        steps = _column(
            # Seconds may buy no step: features are logarithms.
            max(1, space.steps(c.budget, c.architecture).pretraining)
            for c in runs
        )
        flops = {
            a: training_step_flops(
                a,
                pretraining_workload(space.workload_of(a.checkpoint)),
                batch_size=schedule.batch_size,
            )
            for a in set(architectures)
        }
        scale = Scale.of(space)
        limits = math.log10(scale.lowest), math.log10(scale.highest)
        in_store = np.array([(False, False)] * len(runs) if stored is None else stored(runs))
        effective, steps_per_unit = self._effective(), self._recovery_steps_per_unit()
        recoveries = [each.recovery for each in effective]
        settings, kinds = self._settings(), self._kinds()
        compressions, methods = self._compression_features(
            effective, float(np.median(steps_per_unit))
        )
        return DesignSpace(
            runs=training_features(
                depth=depth,
                width=_column(a.width for a in architectures),
                steps=steps,
                heads=_column(a.heads for a in architectures),
                feed_forward=_column(a.feed_forward for a in architectures),
                vocabulary=_column(
                    a.vocabulary or space.workload_of(a.checkpoint).vocabulary_size
                    for a in architectures
                ),
                settings=list(map(setting_feature, settings)),
                categories=[
                    *kinds,
                    *category_features([a.checkpoint for a in architectures], list(space.parts)),
                ],
            ),
            architecture=self._architecture,
            steps=steps,
            depth=depth,
            step_flops=_column(flops[a] for a in architectures),
            compressions=np.hstack([compressions, methods]),
            stable_path=_numbered(c.stable_path for c in runs),
            settings=tuple(map(is_in_doublings, settings)),
            kinds=len(kinds),
            checkpoints=len(space.parts),
            methods=methods.shape[1],
            is_pretrained=bool(space.workload_of(runs[0].checkpoint).checkpoint),
            log_costs=self._log_costs,
            limits=(0.0, 0.0) if space.criteria.is_at_fixed_cost else limits,
            baseline=scale.metric.guessing_quality,
            is_trained=in_store[:, 0],
            has_stable_path=in_store[:, 1],
            step_seconds=_column(schedule.seconds_per_step(a) for a in architectures)
            if schedule.unit is BudgetUnit.SECONDS
            else None,
            recovery_steps=(lambda chosen: np.outer(steps_per_unit[chosen], recoveries))
            if any(recoveries)
            else None,
            run_neighbours=self._run_neighbours,
            compression_neighbours=lambda index: grid_neighbours(index, self._compression_sizes),
        )

    def _settings(self) -> list[Floats]:
        """The settings of training that vary, ``(runs,)`` each."""
        columns = zip(*([value for _, value in run.training] for run in self._runs), strict=True)
        return [column for column in map(_column, columns) if np.ptp(column) > 0.0]

    def _kinds(self) -> list[Floats]:
        """What tells activations apart, and tied embeddings, where they vary; ``(runs,)`` each."""
        architectures = [run.architecture for run in self._runs]
        activations = [each.activation for each in architectures]
        several = sorted({*activations}) if len({*activations}) > 1 else []
        tied = _column(each.tied_embeddings for each in architectures)
        return [*category_features(activations, several), *([tied] if np.ptp(tied) > 0.0 else [])]

    def _run_neighbours(self, run: int) -> Iterator[int]:
        for row in grid_neighbours(int(self._rows[run]), self._run_sizes):
            near = int(np.searchsorted(self._rows, row))
            # Not every checkpoint has every value.
            if near < len(self._rows) and self._rows[near] == row:
                yield near

    def _recovery_steps_per_unit(self) -> Floats:
        """Steps of a unit of recovery (in the unit of the budget) of each run, ``(runs,)``."""
        space = self._space
        longest = max(each.recovery for each in self._compressions)
        if longest == 0.0:
            return np.zeros(len(self._runs))
        steps = (space.steps(0.0, c.architecture, recovery=longest).recovery for c in self._runs)
        return _column(steps) / longest

    def _effective(self) -> list[Compression]:
        """The compressions without settings that have no effect on the largest architecture."""
        largest = max(self._runs, key=lambda run: (run.architecture.depth, run.architecture.heads))
        return [
            largest.with_compression(each).canonical().compression for each in self._compressions
        ]

    def _compression_features(
        self, every: list[Compression], steps_per_unit: float
    ) -> tuple[Floats, Floats]:
        """Features of compressions, and those that tell methods apart."""
        if self._space.is_fit:
            # Fitted compressions differ between architectures, which have features of their own.
            return np.zeros((1, ALWAYS)), np.zeros((1, 0))
        group_size = _column(c.group_size for c in every)
        is_static = _column(c.quantisation.is_static for c in every)
        structured = _column(_removed_fraction(c) for c in every)
        unstructured = _column(c.unstructured_sparsity for c in every)
        common = compression_features(
            bits=_column(_effective_bits(c) for c in every),
            group_size=group_size,
            is_static=is_static,
            structured=structured,
            unstructured=unstructured,
            layers=_column(c.sparsity * (c.pruning is Pruning.LAYERS) for c in every),
            recovery=_column(c.recovery * steps_per_unit for c in every),
        )
        error = rounding_error(_column(c.quantisation.bits for c in every), group_size)
        quantisers = [c.quantisation.method for c in every]
        pruners = [c.pruning.value for c in every]
        methods = method_features(
            [
                (error * (1.0 - is_static), quantisers),
                (is_static, quantisers),
                (structured, pruners),
                (unstructured, pruners),
            ]
        )
        return common, methods

    def _log_costs(self, runs: Integers) -> Floats:
        costs = np.stack([self._log_costs_row(int(self._architecture[run])) for run in runs])
        costs[~self._has_enough_steps[runs]] = np.nan
        if self._space.expressions.names:
            costs[~np.stack([self._meets_expressions(int(run)) for run in runs])] = np.nan
        return costs

    def _meets_expressions(self, run: int) -> Booleans:
        """Whether each compression of a run meets the expressions of the constraints."""
        expressions = self._space.expressions
        of_training = expressions.names & {"budget", *self._space.training_values}
        key = run if of_training else int(self._architecture[run])
        if key not in self._meeting:
            every = (self._configuration(run, index) for index in range(len(self._compressions)))
            self._meeting[key] = np.array(list(map(expressions.are_met, every)))
        return self._meeting[key]

    def _log_costs_row(self, architecture: int) -> Floats:
        """Costs of an architecture under every compression; computed when first needed."""
        if architecture not in self._log_costs_of:
            run, columns = int(self._example[architecture]), range(len(self._compressions))
            costs = [self._cost(self._configuration(run, index)) for index in columns]
            redundant = self._first_with_same_model(architecture) != columns
            self._log_costs_of[architecture] = np.log10(np.where(redundant, np.nan, costs))
        return self._log_costs_of[architecture]

    def _cost(self, configuration: Configuration) -> float:
        """Inference cost; NaN where it is known to exceed a limit."""
        space = self._space
        if not space.meets_limits(configuration):
            return math.nan
        if space.criteria.is_at_fixed_cost:
            return 1.0
        if space.criteria.cost.name == "latency_ms":
            assert space.latency_of is not None, "latencies are measured before the search"
            return space.latency_of(configuration)
        return float(getattr(space.cost(configuration), space.criteria.cost.name))


def _training(configuration: Configuration) -> tuple[Architecture, float, Settings]:
    """What tells training runs of a search apart."""
    return configuration.architecture, configuration.budget, configuration.training


def _numbered(values: Iterable[Hashable]) -> Integers:
    """A number for each value, in the order in which they come; equal ones have the same."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values])


def _removed_fraction(compression: Compression) -> float:
    """Fraction of each layer's weights that structured pruning removes: attention has four of
    twelve parts, the feed-forward block eight."""
    parts = {Pruning.STRUCTURED: 1.0, Pruning.HEADS: 1 / 3, Pruning.NEURONS: 2 / 3}
    return parts.get(compression.pruning, 0.0) * compression.sparsity


def _effective_bits(compression: Compression) -> float:
    """Bits at which round-to-nearest would lose as little."""
    quantisation = compression.quantisation
    return quantisation.bits + CAREFUL_BITS * quantisation.optimises_codes


def _column(values: Any) -> Floats:
    return np.array(list(values), dtype=np.float64)
