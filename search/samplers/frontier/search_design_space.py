"""The design space of a search file: its grid as training runs and compressions."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from search.arrays import Floats, Integers
from search.hypervolume import Scale
from search.samplers.frontier.compression_columns import compression_columns
from search.samplers.frontier.design_space import DesignSpace, grid_neighbours
from search.samplers.frontier.earlier import EarlierTrial, placed
from search.samplers.frontier.features import (
    ALWAYS,
    category_features,
    is_in_doublings,
    kind_features,
    setting_feature,
    training_features,
    varying,
)
from search.samplers.frontier.known_costs import KnownCosts
from search.storage.optuna_space import distributions, parameters_from, point_from
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration, Settings
from spaces.cost.flops import pretraining_workload, training_step_flops
from spaces.cost.units import BudgetUnit
from spaces.file.training_space import searchable_values
from spaces.grid.search_space import COMPRESSION_FIELDS, SearchSpace

StoredBy = Callable[[list[Configuration]], list[tuple[bool, bool]]]
"""Whether the store has the final model and the stable path of some training runs."""


class SearchDesignSpace:
    """A search space as a design space, and the mapping between their points and candidates.

    Args:
        stored: What earlier searches left in the store; nothing by default.
        earlier: Trials of earlier searches, whose runs and compressions have features too, and are
            no candidates where the space lacks them.
    """

    def __init__(
        self,
        space: SearchSpace,
        stored: StoredBy | None = None,
        earlier: Sequence[EarlierTrial] = (),
    ) -> None:
        self._space = space
        self.criteria = space.criteria
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
        self._known_costs = KnownCosts(
            space, self._runs, self._compressions, self._architecture, self._configuration
        )
        self._fixed = searchable_values(space.search.training)
        if space.is_fit:
            # What each architecture is fitted with is no feature.
            earlier = list(filter(self._is_fitted_alike, earlier))
        sizes_of_both = len(self._runs), len(self._compressions)
        self._placed = placed(earlier, sizes_of_both, self._earlier_run, self._earlier_compression)
        self.earlier = self._placed.trials
        """The trials of earlier searches."""
        self.design_space = self._design_space(stored)

    def _earlier_run(self, earlier: EarlierTrial) -> int | None:
        """The run of the space that an earlier trial trained."""
        configuration = earlier.configuration
        run = self._run_of.get(_training(configuration))
        if run is None or configuration.seed != self._space.seed:
            return None
        settings = self._fixed | dict(configuration.training)
        common = settings.keys() & earlier.settings.keys()
        is_same = all(settings[name] == earlier.settings[name] for name in common)
        return run if is_same and self._steps(run) == earlier.steps else None

    def _earlier_compression(self, earlier: EarlierTrial, run: int | None) -> int | None:
        """The compression of the space that an earlier trial had."""
        if self._space.is_fit:
            return 0
        compression = earlier.configuration.compression
        is_other_unit = earlier.unit is not self._space.schedule.unit
        if compression not in self._compressions or (compression.recovery and is_other_unit):
            return None
        index = self._compressions.index(compression)
        return index if run is None else self._canonical(run, index)

    def _is_fitted_alike(self, earlier: EarlierTrial) -> bool:
        run = self._earlier_run(earlier)
        compression = earlier.configuration.compression
        return run is not None and self._runs[run].compression == compression

    def _steps(self, run: int) -> int:
        """Steps of a run's budget. Seconds may buy none, and features are logarithms."""
        configuration = self._runs[run]
        steps = self._space.steps(configuration.budget, configuration.architecture)
        return max(1, steps.pretraining)

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
        return self._known_costs.first_with_same_model(run, compression)

    def _design_space(self, stored: StoredBy | None) -> DesignSpace:
        space, schedule, others = self._space, self._space.schedule, self._placed
        runs = [*self._runs, *(each.configuration for each in others.runs)]
        architectures = [c.architecture for c in runs]
        depth = _column(a.depth + a.decoder_depth for a in architectures)
        own_steps = map(self._steps, range(len(self._runs)))
        steps = _column([*own_steps, *(each.steps for each in others.runs)])
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
        own_store = [(False, False)] * len(self._runs) if stored is None else stored(self._runs)
        in_store = np.array([*own_store, *[(False, False)] * len(others.runs)])
        effective, steps_per_unit = self._effective(), self._recovery_steps_per_unit()
        paid_per_unit = schedule.teacher_factor * steps_per_unit
        recoveries = [each.recovery for each in effective[: len(self._compressions)]]
        settings, kinds = varying(self._settings()), kind_features(architectures)
        recovery_steps = [each * float(np.median(steps_per_unit)) for each in recoveries]
        recovery_steps += [each for _, each in others.compressions]
        # Fitted compressions differ between architectures, which have features of their own.
        compressions, methods = (
            (np.zeros((1, ALWAYS)), np.zeros((1, 0)))
            if space.is_fit
            else compression_columns(effective, recovery_steps)
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
            architecture=_numbered(architectures),
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
            log_costs=lambda chosen: self._log_costs(chosen)[..., 0],
            limits=(0.0, 0.0) if self.criteria.is_at_fixed_cost else limits,
            baseline=scale.metric.guessing_quality,
            further_costs=(lambda chosen: self._log_costs(chosen)[..., 1:])
            if scale.further_costs
            else None,
            further_limits=tuple(
                (math.log10(each.lowest), math.log10(each.highest)) for each in scale.further_costs
            ),
            further_baselines=tuple(each.guessing_quality for each in scale.further_metrics),
            is_trained=in_store[:, 0],
            has_stable_path=in_store[:, 1],
            step_seconds=_column(
                schedule.seconds_per_step(a) if schedule.knows_steps_of(a) else math.nan
                for a in architectures
            )
            if schedule.unit is BudgetUnit.SECONDS
            else None,
            recovery_steps=(
                lambda chosen: np.outer(
                    paid_per_unit[chosen], [*recoveries, *[0.0] * len(others.compressions)]
                )
            )
            if any(recoveries)
            else None,
            devices=self._devices(architectures),
            earlier=(len(others.runs), len(others.compressions)),
            at_least_as_large=self._at_least_as_large,
            run_neighbours=self._run_neighbours,
            compression_neighbours=lambda index: grid_neighbours(index, self._compression_sizes),
        )

    def _devices(self, architectures: list[Architecture]) -> Floats | None:
        """Devices that trials of some architectures occupy, in those of the least."""
        placement = self._space.search.placement
        by_architecture = {each: placement(each).devices for each in set(architectures)}
        least, most = min(by_architecture.values()), max(by_architecture.values())
        if least == most:
            return None
        return _column(by_architecture[each] / least for each in architectures)

    def _settings(self) -> list[Mapping[str, float]]:
        """Values of the settings of training of each run."""
        own = (self._fixed | dict(run.training) for run in self._runs)
        return [*own, *(each.settings for each in self._placed.runs)]

    def _at_least_as_large(self, run: int) -> list[int]:
        needs_at_least = self._space.search.needs_at_least
        architectures = [each.architecture for each in self._runs]
        found = {a for a in set(architectures) if needs_at_least(a, architectures[run])}
        return [index for index, each in enumerate(architectures) if each in found]

    def _run_neighbours(self, run: int) -> Iterator[int]:
        for row in grid_neighbours(int(self._rows[run]), self._run_sizes):
            near = int(np.searchsorted(self._rows, row))
            # Not every checkpoint has every value.
            if near < len(self._rows) and self._rows[near] == row:
                yield near

    def _recovery_steps_per_unit(self) -> Floats:
        """Steps of a unit of recovery (in the unit of the budget) of each run of the space,
        ``(runs,)``."""
        space = self._space
        longest = max(each.recovery for each in self._compressions)
        if longest == 0.0:
            return np.zeros(len(self._runs))
        steps = (space.steps(0.0, c.architecture, recovery=longest).recovery for c in self._runs)
        return _column(steps) / longest

    def _effective(self) -> list[Compression]:
        """The compressions without settings that have no effect on the largest architecture."""
        largest = max(self._runs, key=lambda run: (run.architecture.depth, run.architecture.heads))
        every = [*self._compressions, *(each for each, _ in self._placed.compressions)]
        return [largest.with_compression(each).canonical().compression for each in every]

    def _log_costs(self, runs: Integers) -> Floats:
        """``(len(runs), compressions, cost axes)``."""
        own, columns = runs < len(self._runs), len(self._compressions)
        sizes = len(runs), columns + len(self._placed.compressions), len(self.criteria.axes)
        costs = np.full(sizes, np.nan)
        if own.any():
            costs[own, :columns] = self._known_costs.of(runs[own])
        return costs


def _training(configuration: Configuration) -> tuple[Architecture, float, Settings]:
    """What tells training runs of a search apart."""
    return configuration.architecture, configuration.budget, configuration.training


def _numbered(values: Iterable[Hashable]) -> Integers:
    """A number for each value, in the order in which they come; equal ones have the same."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values])


def _column(values: Any) -> Floats:
    return np.array(list(values), dtype=np.float64)
