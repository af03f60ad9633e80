"""The configurations of a search, and which of them arithmetic shows to be infeasible."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from math import inf
from typing import Any

from spaces.cost.architecture import Architecture
from spaces.cost.budget import BatchLengths, StepsPerSecond, TrainingSteps
from spaces.cost.checkpoint import checkpoint_of
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.cost.families import parameters
from spaces.cost.units import BudgetUnit
from spaces.cost.workload import Workload
from spaces.file.search_file import SearchFile
from spaces.grid.analytic_cost import AnalyticCost, analytic_cost
from spaces.grid.compression_losses import compressions
from spaces.grid.expressions import ExpressionConstraints
from spaces.grid.grid import Dimension, Grid, Point

COMPRESSION_FIELDS = ("quantisation", "group_size", "pruning", "sparsity", "recovery")
"""Dimensions of compression; those of training come before them."""
FEED_FORWARD = ("feed_forward", "feed_forward_ratio")
GROWING = ("depth", "decoder_depth", "width", *FEED_FORWARD, "vocabulary")
"""Dimensions with which parameters and FLOPs grow."""
KINDS = ("heads", "head_width", "activation", "tied_embeddings")
"""The other dimensions of architectures."""

CHECKPOINT = "checkpoint"
"""The dimension of several checkpoints."""

LengthsByCheckpoint = Callable[[str], BatchLengths | None]
"""Lengths of the batches of a checkpoint's data, by its name; an empty one stands for the only."""
CostOf = Callable[[Configuration], float]
"""A cost of a configuration, measured before training on a model of its shape."""
MeasuredCosts = Mapping[str, CostOf]
"""Those that a search measures before its first trial, by the name of the cost."""


class SearchSpace(Grid):
    """The grid of a search, and what holds for all of its configurations.

    With several checkpoints, the points of the grid are those of each checkpoint's own space
    (``parts``). Others ask for more than their checkpoint has, and stand for no configuration.

    Args:
        measured: The costs that are measured and not computed, as far as they are known.
        steps_per_second: Speeds of training, where budgets are in seconds.
        lengths: Lengths of training batches, where they are padded.
        checkpoint: Which of several checkpoints ``search`` has alone.
    """

    def __init__(
        self,
        search: SearchFile,
        measured: MeasuredCosts | None = None,
        steps_per_second: StepsPerSecond | None = None,
        lengths: LengthsByCheckpoint | None = None,
        checkpoint: str = "",
    ) -> None:
        self.search = search  # for reports, which print the whole file
        self.definition = search.space
        self.task = search.task
        self.seed = search.seed
        self.checkpoint = checkpoint
        self.parts = {
            name: SearchSpace(search.alone(name), None, steps_per_second, lengths, name)
            for name in search.checkpoints
        }
        self._workload = None if self.parts else search.workload
        self.training_values = search.space.training_values
        fractions = self.training_values.get("decay_fraction", ())
        self.schedule = replace(
            search.schedule,
            # Budgets must buy a step of each decay.
            decay_fraction=min(fractions, default=search.schedule.decay_fraction),
            steps_per_second=steps_per_second,
            lengths=None if lengths is None else lambda: lengths(checkpoint),
        )
        self.fine_tuning = search.training.fine_tuning
        self.recovery_start = search.training.recovery_start
        self.criteria = search.criteria
        self.expressions = ExpressionConstraints(search.constraints.conditions, self._known)
        self.measured: MeasuredCosts = measured or {}
        checkpoints = (Dimension(CHECKPOINT, search.checkpoints),) if self.parts else ()
        super().__init__(
            checkpoints
            + tuple(
                Dimension(name, values)
                for name, values in search.space.values().items()
                if not (self.is_fit and name in COMPRESSION_FIELDS)
            )
        )

    @property
    def is_fit(self) -> bool:
        """Whether each architecture gets the mildest compression that meets the constraints."""
        return self.definition.compression == "fit"

    def part(self, checkpoint: str) -> SearchSpace:
        """The space of one of several checkpoints; of an only one, the space itself."""
        return self.parts.get(checkpoint, self)

    def has(self, point: Point) -> bool:
        """Whether a point of the grid stands for a configuration."""
        if not self.parts:
            return True
        values = self.values(point)
        own = self.parts[values[CHECKPOINT]].dimensions
        return all(values[dimension.name] in dimension.values for dimension in own)

    def points(self) -> Iterator[Point]:
        """Every point that stands for a configuration, the last dimension changing fastest."""
        return filter(self.has, super().points())

    def random_point(self, rng: random.Random) -> Point:
        """One of these, drawn uniformly."""
        while not self.has(point := super().random_point(rng)):
            pass
        return point

    def shuffled(self, rng: random.Random) -> Iterator[Point]:
        """Each of these once, in a pseudo-random order that takes no memory."""
        return filter(self.has, super().shuffled(rng))

    @property
    def configurations(self) -> int:
        """Number of points that stand for a configuration."""
        return sum(part.size for part in self.parts.values()) if self.parts else self.size

    def configuration(self, point: Point) -> Configuration:
        """The configuration at a point of the grid.

        Raises:
            ValueError: The point asks for more than its checkpoint has.
        """
        values = self.values(point)
        configuration = Configuration(
            architecture=self.architecture(values),
            budget=float(values["budget"]),
            compression=self._mildest_first[-1]
            if self.is_fit
            else Compression(**{name: values[name] for name in COMPRESSION_FIELDS}),
            seed=self.seed,
            training=tuple(sorted((name, values[name]) for name in self.training_values)),
        )
        return self._fitted(configuration) if self.is_fit else configuration

    def architecture(self, values: Mapping[str, Any]) -> Architecture:
        """The architecture of values of the dimensions.

        Raises:
            ValueError: There is none: a size is not divisible, or a checkpoint has less.
        """
        if self.parts:
            return self.parts[values[CHECKPOINT]].architecture(values)
        workload = self.workload_of(self.checkpoint)
        if workload.checkpoint:
            vocabulary = values.get("vocabulary", 0)
            kept = checkpoint_of(workload.checkpoint).architecture(
                values["depth"],
                values["width"],
                decoder_depth=values.get("decoder_depth"),
                feed_forward=values.get("feed_forward"),
                # All pieces are the same model, however they are asked for.
                vocabulary=0 if vocabulary == workload.vocabulary_size else vocabulary,
            )
            return kept.of_checkpoint(self.checkpoint)
        return Architecture.of(
            values["depth"],
            values["width"],
            decoder_depth=values.get(
                "decoder_depth", values["depth"] if self.task.has_decoder else 0
            ),
            **{name: values[name] for name in (*KINDS, *FEED_FORWARD) if name in values},
        )

    @cached_property
    def _mildest_first(self) -> list[Compression]:
        return compressions(self.definition, self.task.name)

    def _fitted(self, configuration: Configuration) -> Configuration:
        """The mildest compression that is feasible; the heaviest where none is."""
        candidates = map(configuration.with_compression, self._mildest_first)
        return next(filter(self.is_feasible, candidates), configuration)

    def cost(self, configuration: Configuration) -> AnalyticCost:
        """The inference cost of a configuration, by arithmetic."""
        where = self.workload_of(configuration.checkpoint), self.search.measurement.runtime
        return analytic_cost(configuration.architecture, configuration.compression, *where)

    def workload_of(self, checkpoint: str) -> Workload:
        """Inputs and outputs of models from one of several checkpoints, or of all (empty)."""
        workload = self.part(checkpoint)._workload
        assert workload is not None, "each of several checkpoints has its own"
        return workload

    def _spent_by(self, architecture: Architecture) -> tuple[SearchSpace, Workload]:
        return self.part(architecture.checkpoint), self.workload_of(architecture.checkpoint)

    def steps(
        self, budget: float, architecture: Architecture, *, recovery: float = 0.0
    ) -> TrainingSteps:
        """Steps that a budget and a recovery buy an architecture, as ``Schedule.steps``."""
        part, workload = self._spent_by(architecture)
        return part.schedule.steps(budget, architecture, workload, recovery=recovery)

    def steps_of(self, configuration: Configuration) -> TrainingSteps:
        """Steps of a configuration, recovery included, at its own fraction of decay."""
        architecture = configuration.architecture
        part, workload = self._spent_by(architecture)
        fraction = dict(configuration.training).get("decay_fraction", part.schedule.decay_fraction)
        return replace(part.schedule, decay_fraction=fraction).steps(
            configuration.budget,
            architecture,
            workload,
            recovery=configuration.compression.recovery,
        )

    def training_flops(
        self,
        budget: float,
        architecture: Architecture,
        *,
        fine_tuning_steps: int = 0,
        recovery: float = 0.0,
    ) -> int:
        """Training FLOPs of an architecture, as ``Schedule.training_flops``."""
        part, workload = self._spent_by(architecture)
        return part.schedule.training_flops(
            budget,
            architecture,
            workload,
            fine_tuning_steps=fine_tuning_steps,
            recovery=recovery,
        )

    def is_feasible(self, configuration: Configuration) -> bool:
        """Whether a configuration meets the constraints and its budget buys enough steps, as far as
        is known before training."""
        return self.meets_constraints(configuration) and self.has_enough_steps(configuration)

    def meets_constraints(self, configuration: Configuration) -> bool:
        """Whether a configuration meets the constraints, as far as is known before training."""
        return self.expressions.are_met(configuration) and self.meets_limits(configuration)

    def _known(self, configuration: Configuration, name: str) -> float:
        workload = self.workload_of(configuration.checkpoint)
        if name == "parameters":
            return parameters(configuration.architecture, workload)
        if name == "vocabulary":
            return configuration.architecture.vocabulary or workload.vocabulary_size
        return float(getattr(self.cost(configuration), name))

    def meets_limits(self, configuration: Configuration) -> bool:
        """Whether a configuration meets the limits of costs, as far as they are known."""
        limits = self.criteria.limits
        if any(of(configuration) > limits.get(name, inf) for name, of in self.measured.items()):
            return False
        cost = self.cost(configuration)
        return (
            cost.is_smaller
            and cost.size_mb <= limits.get("size_mb", inf)
            and cost.flops <= limits.get("flops", inf)
        )

    def has_enough_steps(self, configuration: Configuration) -> bool:
        """Whether a budget in seconds buys an architecture enough steps, as far as they are known.

        Budgets in other units are validated with the search file.
        """
        schedule, architecture = self.schedule, configuration.architecture
        if schedule.unit is not BudgetUnit.SECONDS or not schedule.knows_steps_of(architecture):
            return True
        recovery, steps = configuration.compression.recovery, self.steps_of(configuration)
        return steps.is_enough and (recovery == 0.0 or steps.recovery >= 1)

    def architectures(self) -> list[Architecture]:
        """Every architecture once."""
        if self.parts:
            return [each for part in self.parts.values() for each in part.architectures()]
        axes = [
            range(len(d.values)) if d.name in (*GROWING, *KINDS) else (0,) for d in self.dimensions
        ]
        points = map(self.configuration, itertools.product(*axes))
        return list(dict.fromkeys(configuration.architecture for configuration in points))

    def compressed_architectures(self) -> Iterator[Configuration]:
        """Every pair of an architecture and a compression, at the first budget and settings of
        training, or at each of those that constraints name."""
        if self.parts:
            parts = self.parts.values()
            return itertools.chain.from_iterable(part.compressed_architectures() for part in parts)
        fixed = {"budget", *self.training_values} - self.expressions.names
        axes = [(0,) if d.name in fixed else range(len(d.values)) for d in self.dimensions]
        configurations = map(self.configuration, itertools.product(*axes))
        if not self.is_fit:
            return configurations
        pairs = itertools.product(configurations, self._mildest_first)
        return (architecture.with_compression(compression) for architecture, compression in pairs)

    def extreme_costs(self) -> tuple[AnalyticCost, AnalyticCost]:
        """Least and greatest size and FLOPs in the space, each on its own.

        Cost is monotone in most dimensions, of which only the ends are evaluated; the cost of what
        is fitted to a limit is monotone in none.
        """
        if self.parts:
            least, greatest = zip(*(p.extreme_costs() for p in self.parts.values()), strict=True)
            return (
                AnalyticCost(min(c.size_mb for c in least), min(c.flops for c in least)),
                AnalyticCost(max(c.size_mb for c in greatest), max(c.flops for c in greatest)),
            )
        monotone = {"budget"} if self.is_fit else {"budget", "heads", "sparsity", *GROWING}
        axes = [
            (0,)
            if d.name in ("activation", *self.training_values)
            else sorted({d.values.index(min(d.values)), d.values.index(max(d.values))})
            if d.name in monotone
            else range(len(d.values))
            for d in self.dimensions
        ]
        costs = [self.cost(self.configuration(point)) for point in itertools.product(*axes)]
        sizes = [cost.size_mb for cost in costs]
        flops = [cost.flops for cost in costs]
        return AnalyticCost(min(sizes), min(flops)), AnalyticCost(max(sizes), max(flops))

    @property
    def largest_architecture(self) -> Architecture:
        """An architecture with most parameters and FLOPs; heads change neither."""
        if self.parts:
            largest = max(self.parts.values(), key=lambda part: part.largest_parameters)
            return largest.largest_architecture
        point = tuple(
            d.values.index(max(d.values)) if d.name in GROWING else 0 for d in self.dimensions
        )
        return self.configuration(point).architecture

    @property
    def largest_parameters(self) -> int:
        """Parameters of the largest model, before compression."""
        largest = self.largest_architecture
        return parameters(largest, self.workload_of(largest.checkpoint))
