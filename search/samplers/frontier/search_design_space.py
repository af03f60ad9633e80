"""The design space of a search file: its grid as training runs and compressions."""

from __future__ import annotations

import math
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from search.arrays import Floats, Integers
from search.pareto import Scale
from search.samplers.frontier.design_space import DesignSpace
from search.samplers.frontier.features import ALWAYS, compression_features, training_features
from search.storage.optuna_space import distributions, parameters_from, point_from
from spaces.cost.compression import Compression, Pruning
from spaces.cost.configuration import Configuration
from spaces.cost.flops import pretraining_step_flops
from spaces.grid.search_space import COMPRESSION_FIELDS, Point, SearchSpace

CAREFUL_BITS = 0.3
"""What choosing codes with care is worth, before any trial."""

StoredBy = Callable[[list[Configuration]], list[tuple[bool, bool]]]
"""Whether the store has the final model and the stable path of some training runs."""


class SearchDesignSpace:
    """A search space as a design space, and the mapping between their points and candidates.

    Args:
        space: The search space.
        stored: What an earlier search left in the store; nothing without.
    """

    def __init__(
        self,
        space: SearchSpace,
        stored: StoredBy | None = None,
    ) -> None:
        self._space = space
        self.metric = space.search.metric
        sizes = [len(dimension.values) for dimension in space.dimensions]
        training = sum(d.name not in COMPRESSION_FIELDS for d in space.dimensions)
        self._run_sizes, self._compression_sizes = sizes[:training], sizes[training:]
        self.distributions = distributions(space)
        self._rows: dict[int, Floats] = {}
        self._same_as: dict[int, Integers] = {}
        self._compressions = [
            self._configuration(0, index).compression
            for index in range(prod(self._compression_sizes))
        ]
        self.design_space = self._design_space(stored)

    def run_of(self, configuration: Configuration) -> int:
        """The training run of a configuration."""
        return self._runs[configuration.architecture, configuration.budget]

    def candidate_from(self, parameters: dict[str, Any]) -> tuple[int, int]:
        """Run and compression that Optuna's parameters mean."""
        point = point_from(self._space, parameters)
        training = len(self._run_sizes)
        run = np.ravel_multi_index(point[:training], self._run_sizes)
        compression = (
            np.ravel_multi_index(point[training:], self._compression_sizes)
            if self._compression_sizes
            else 0
        )
        return int(run), self._first_of(int(run), int(compression))

    def candidate_of(self, configuration: Configuration) -> tuple[int, int]:
        """Run and compression of a configuration of the space."""
        run = self.run_of(configuration)
        if not self._compression_sizes:
            return run, 0
        return run, self._first_of(run, self._compressions.index(configuration.compression))

    def parameters(self, run: int, compression: int) -> dict[str, Any]:
        """Optuna's parameters for a run and a compression."""
        return parameters_from(self._space, self._point(run, compression))

    def _point(self, run: int, compression: int) -> Point:
        places = (
            *np.unravel_index(run, self._run_sizes),
            *np.unravel_index(compression, self._compression_sizes),
        )
        return tuple(map(int, places))

    def _configuration(self, run: int, compression: int) -> Configuration:
        return self._space.configuration(self._point(run, compression))

    def _run_with(self, architecture: int) -> int:
        """The first run of an architecture."""
        return int(np.flatnonzero(self._architecture == architecture)[0])

    def _first_of(self, run: int, compression: int) -> int:
        """The first compression that makes the same model of a run."""
        return int(self._first(int(self._architecture[run]))[compression])

    def _first(self, architecture: int) -> Integers:
        """That of each compression: a share of one layer, or of one head, may remove nothing."""
        if architecture not in self._same_as:
            run = self._run_with(architecture)
            first: dict[Compression, int] = {}
            self._same_as[architecture] = np.array(
                [
                    first.setdefault(self._configuration(run, index).canonical().compression, index)
                    for index in range(len(self._compressions))
                ]
            )
        return self._same_as[architecture]

    def _design_space(self, stored: StoredBy | None) -> DesignSpace:
        space, search = self._space, self._space.search
        runs = [self._configuration(run, 0) for run in range(prod(self._run_sizes))]
        architectures = {a: k for k, a in enumerate(dict.fromkeys(c.architecture for c in runs))}
        self._runs = {(c.architecture, c.budget): run for run, c in enumerate(runs)}
        self._architecture = np.array([architectures[c.architecture] for c in runs])
        steps = [
            space.schedule.steps(c.budget, c.architecture, space.workload).pretraining for c in runs
        ]
        work = {
            a: pretraining_step_flops(a, space.workload, batch_size=search.training.batch_size)
            for a in architectures
        }
        scale = Scale.of(space)
        there = np.array([(False, False)] * len(runs) if stored is None else stored(runs))
        effective, recovered = self._effective(runs), self._recovered(runs)
        recoveries = [each.recovery for each in effective]
        return DesignSpace(
            runs=training_features(
                depth=_column(c.architecture.depth + c.architecture.decoder_depth for c in runs),
                width=_column(c.architecture.width for c in runs),
                steps=_column(steps),
                heads=_column(c.architecture.heads for c in runs),
                feed_forward=_column(c.architecture.feed_forward for c in runs),
            ),
            architecture=self._architecture,
            steps=_column(steps),
            depth=_column(c.architecture.depth + c.architecture.decoder_depth for c in runs),
            step_flops=_column(work[c.architecture] for c in runs),
            compressions=self._coordinates(effective, float(np.median(recovered))),
            log_costs=self._log_costs,
            limits=(0.0, 0.0)
            if search.is_at_fixed_cost
            else (math.log10(scale.lowest), math.log10(scale.highest)),
            baseline=scale.metric.guessing_quality,
            is_trained=there[:, 0],
            has_stable_path=there[:, 1],
            recovery_steps=(lambda chosen: np.outer(recovered[chosen], recoveries))
            if any(recoveries)
            else None,
        )

    def _recovered(self, runs: list[Configuration]) -> Floats:
        """Steps that each unit of recovery buys a run, ``(len(runs),)``."""
        space = self._space
        longest = max(each.recovery for each in self._compressions)
        if longest == 0.0:
            return np.zeros(len(runs))
        steps = (
            space.schedule.steps(0.0, c.architecture, space.workload, recovery=longest).recovery
            for c in runs
        )
        return _column(steps) / longest

    def _effective(self, runs: list[Configuration]) -> list[Compression]:
        """The compressions without what has no effect, even on the largest architecture."""
        largest = max(runs, key=lambda run: (run.architecture.depth, run.architecture.heads))
        return [
            largest.with_compression(each).canonical().compression for each in self._compressions
        ]

    def _coordinates(self, every: list[Compression], recovered: float) -> Floats:
        """Coordinates of some compressions; a unit of recovery buys so many steps."""
        if self._space.is_fit:
            # What is fitted to a limit differs from architecture to architecture, which the
            # coordinates of training tell apart.
            return np.zeros((1, ALWAYS))
        return compression_features(
            bits=_column(_bits(c) for c in every),
            group_size=_column(c.group_size for c in every),
            is_static=_column(c.quantisation.is_static for c in every),
            structured=_column(_removed(c) for c in every),
            unstructured=_column(c.unstructured_sparsity for c in every),
            layers=_column(c.sparsity * (c.pruning is Pruning.LAYERS) for c in every),
            recovery=_column(c.recovery * recovered for c in every),
        )

    def _log_costs(self, runs: Integers) -> Floats:
        return np.stack([self._row(int(self._architecture[run])) for run in runs])

    def _row(self, architecture: int) -> Floats:
        """Costs of an architecture under every compression; computed when first asked for."""
        if architecture not in self._rows:
            run = self._run_with(architecture)
            costs = [self._cost(run, k) for k in range(len(self._compressions))]
            redundant = self._first(architecture) != np.arange(len(costs))
            self._rows[architecture] = np.log10(np.where(redundant, np.nan, costs))
        return self._rows[architecture]

    def _cost(self, run: int, compression: int) -> float:
        """Inference cost; NaN where it is known to break a constraint."""
        configuration, search = self._configuration(run, compression), self._space.search
        if not self._space.is_feasible(configuration):
            return math.nan
        if search.is_at_fixed_cost:
            return 1.0
        if search.cost.name == "latency_ms":
            assert self._space.latency_of is not None, "latencies are measured before the search"
            return self._space.latency_of(configuration)
        return float(getattr(self._space.cost(configuration), search.cost.name))


def _removed(compression: Compression) -> float:
    """Share of each layer's matrices that structured pruning removes: attention has four of twelve
    parts, the feed-forward block eight."""
    parts = {Pruning.STRUCTURED: 1.0, Pruning.HEADS: 1 / 3, Pruning.NEURONS: 2 / 3}
    return parts.get(compression.pruning, 0.0) * compression.sparsity


def _bits(compression: Compression) -> float:
    """Bits that round-to-nearest would need to do as little harm."""
    careful = compression.quantisation.method in ("gptq", "hqq")
    return compression.quantisation.bits + CAREFUL_BITS * careful


def _column(values: Any) -> Floats:
    return np.array(list(values), dtype=np.float64)
