"""The searchable grid: its configurations, their cost by arithmetic, and what cannot work."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import gcd, prod
from typing import Any

from spaces.cost.architecture import Architecture
from spaces.cost.budget import MIN_STEPS
from spaces.cost.compression import SEMI_STRUCTURED_SPARSITY, Compression, Pruning
from spaces.cost.configuration import Configuration
from spaces.cost.families import parameters
from spaces.cost.workload import Family
from spaces.file.search_file import SearchFile
from spaces.grid.analytic_cost import AnalyticCost, analytic_cost
from spaces.grid.fit import compressions

COMPRESSION_FIELDS = ("quantisation", "group_size", "pruning", "sparsity", "recovery")
"""Dimensions of compression; those of training come before them."""

Point = tuple[int, ...]
"""One index per dimension, in the order of ``SearchSpace.dimensions``."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One axis: its name and its ordered values."""

    name: str
    values: tuple[Any, ...]


LatencyOf = Callable[[Configuration], float]
"""Milliseconds of a configuration, measured on a model of its shape before training."""


class SearchSpace:
    """The grid of a search file.

    Args:
        search: A search file whose fields are valid one by one; ``faults`` tells what is wrong
            with their combination.
        latency_of: Latencies, where they were measured.
    """

    def __init__(self, search: SearchFile, latency_of: LatencyOf | None = None) -> None:
        self.search = search
        self.latency_of = latency_of
        self.workload = search.workload
        self.schedule = search.schedule
        self.criteria = search.criteria
        space = search.space
        self.dimensions = tuple(
            Dimension(name, getattr(space, name).values)
            for name in type(space).model_fields
            if name != "compression"
            and getattr(space, name) is not None
            and not (self.is_fit and name in COMPRESSION_FIELDS)
        )

    @property
    def is_fit(self) -> bool:
        """Whether each architecture is compressed just as much as the constraints ask."""
        return self.search.space.compression == "fit"

    @cached_property
    def _mildest_first(self) -> list[Compression]:
        return compressions(self.search.space)

    @property
    def size(self) -> int:
        """Number of points of the grid."""
        return prod(len(dimension.values) for dimension in self.dimensions)

    def points(self) -> Iterator[Point]:
        """Every point, the last dimension changing fastest."""
        return itertools.product(*(range(len(d.values)) for d in self.dimensions))

    def shuffled(self, rng: random.Random) -> Iterator[Point]:
        """Every point, in an order that looks random and takes no memory."""
        at, stride = rng.randrange(self.size), rng.randrange(self.size)
        # A stride that has no divisor in common with the size comes by every point once.
        while gcd(stride, self.size) != 1:
            stride += 1
        for _ in range(self.size):
            at = (at + stride) % self.size
            yield self._point(at)

    def _point(self, index: int) -> Point:
        point = []
        for dimension in reversed(self.dimensions):
            index, place = divmod(index, len(dimension.values))
            point.append(place)
        return tuple(reversed(point))

    def random_point(self, rng: random.Random) -> Point:
        """A point drawn uniformly."""
        return tuple(rng.randrange(len(dimension.values)) for dimension in self.dimensions)

    def configuration(self, point: Point) -> Configuration:
        """The configuration at a point of the grid."""
        return self._configuration(
            {d.name: d.values[index] for d, index in zip(self.dimensions, point, strict=True)}
        )

    def _configuration(self, values: Mapping[str, Any]) -> Configuration:
        has_decoder = self.search.task.has_decoder
        decoder_depth = values.get("decoder_depth", values["depth"] if has_decoder else 0)
        configuration = Configuration(
            architecture=Architecture.of(
                values["depth"],
                values["width"],
                heads=values.get("heads"),
                feed_forward=values.get("feed_forward"),
                decoder_depth=decoder_depth,
            ),
            budget=float(values["budget"]),
            compression=self._mildest_first[-1]
            if self.is_fit
            else Compression(**{name: values[name] for name in COMPRESSION_FIELDS}),
            seed=self.search.seed,
        )
        return self._fitted(configuration) if self.is_fit else configuration

    def _fitted(self, configuration: Configuration) -> Configuration:
        """The mildest compression that is feasible; the heaviest where none is."""
        for compression in self._mildest_first:
            fitted = configuration.with_compression(compression)
            if self.is_feasible(fitted):
                return fitted
        return configuration

    def cost(self, configuration: Configuration) -> AnalyticCost:
        """What arithmetic knows of a configuration's inference cost."""
        return analytic_cost(configuration.architecture, configuration.compression, self.workload)

    def is_feasible(self, configuration: Configuration) -> bool:
        """Whether what is known leaves a configuration a chance within the constraints."""
        limits = self.search.constraints
        if (
            limits.max_latency_ms is not None
            and self.latency_of is not None
            and self.latency_of(configuration) > limits.max_latency_ms
        ):
            return False
        cost = self.cost(configuration)
        return (
            cost.is_smaller
            and (limits.max_size_mb is None or cost.size_mb <= limits.max_size_mb)
            and (limits.max_flops is None or cost.flops <= limits.max_flops)
        )

    def compressed_architectures(self) -> Iterator[Configuration]:
        """One configuration for every pair of architecture and compression, cheapest budget."""
        first_budget = (0,)
        if self.is_fit:
            axes = [(0,) if d.name == "budget" else range(len(d.values)) for d in self.dimensions]
            return (
                self.configuration(point).with_compression(compression)
                for point in itertools.product(*axes)
                for compression in self._mildest_first
            )
        axes = [
            first_budget if d.name == "budget" else range(len(d.values)) for d in self.dimensions
        ]
        return (self.configuration(point) for point in itertools.product(*axes))

    def extreme_costs(self) -> tuple[AnalyticCost, AnalyticCost]:
        """Least and greatest size and FLOPs in the space, each on its own.

        Cost grows with depth, width, heads and feed-forward width and falls with sparsity, so only
        the ends of those axes are looked at.
        """
        monotone = {
            "depth",
            "decoder_depth",
            "width",
            "heads",
            "feed_forward",
            "budget",
            "sparsity",
        }
        if self.is_fit:
            # What is fitted to a limit grows with nothing.
            monotone = {"budget"}
        axes = [
            sorted({d.values.index(min(d.values)), d.values.index(max(d.values))})
            if d.name in monotone
            else range(len(d.values))
            for d in self.dimensions
        ]
        costs = [self.cost(self.configuration(point)) for point in itertools.product(*axes)]
        sizes = [cost.size_mb for cost in costs]
        flops = [cost.flops for cost in costs]
        return AnalyticCost(min(sizes), min(flops)), AnalyticCost(max(sizes), max(flops))

    def largest_parameters(self) -> int:
        """Parameters of the largest model, before compression."""
        return parameters(self._largest_architecture(), self.workload)

    def faults(self) -> list[str]:
        """What makes the file impossible although each field is right, in words for its author."""
        return (
            self._shape_faults()
            or self._pruning_faults()
            or [*self._budget_faults(), *self._constraint_faults()]
        )

    def _shape_faults(self) -> list[str]:
        space = self.search.space
        faults = []
        all_heads: tuple[int | None, ...] = (None,) if space.heads is None else space.heads.values
        for width, heads in itertools.product(space.width.values, all_heads):
            try:
                architecture = Architecture.of(1, width, heads=heads)
            except ValueError as error:
                faults.append(f"space.{'width' if heads is None else 'heads'}: {error}")
                continue
            if self.workload.family is Family.LLAMA and architecture.head_width % 2:
                # Rotary embeddings turn channels in pairs: most odd numbers raise, one becomes two.
                faults.append(
                    f"space.heads: {heads} heads of a width of {width} have "
                    f"{architecture.head_width} channels each; task {self.search.task.name} needs "
                    "an even number of them"
                )
        return faults + self._group_faults()

    def _group_faults(self) -> list[str]:
        quantised = any(q.has_codes for q in self.search.space.quantisation.values)
        largest = max(self.search.space.group_size.values)
        narrowest = min(self.search.space.width.values)
        if quantised and largest > narrowest:
            return [
                f"space.group_size: a group of {largest} does not fit in a width of {narrowest}"
            ]
        if min(self.search.space.group_size.values) < 2:
            return ["space.group_size: must be at least 2"]
        return []

    def _pruning_faults(self) -> list[str]:
        space = self.search.space
        if Pruning.SEMI_STRUCTURED not in space.pruning.values:
            return []
        wrong = [s for s in space.sparsity.values if s not in (0.0, SEMI_STRUCTURED_SPARSITY)]
        if wrong:
            return [
                f"space.sparsity: {wrong[0]:g}, but pruning 2:4 removes exactly half; "
                "give 0 and 0.5, or leave 2:4 out"
            ]
        return []

    def _budget_faults(self) -> list[str]:
        space, unit = self.search.space, self.schedule.unit
        faults = []
        largest = self._largest_architecture()
        budget = min(space.budget.values)
        recovery = min((r for r in space.recovery.values if r > 0.0), default=0.0)
        steps = self.schedule.steps(budget, largest, self.workload, recovery=recovery)
        amounts = {"space.budget": (budget, steps.pretraining)}
        if self.search.task.has_fine_tuning:
            amounts["training.fine_tuning"] = (self.schedule.fine_tuning, steps.fine_tuning)
        for field, (amount, count) in amounts.items():
            if count < MIN_STEPS:
                faults.append(
                    f"{field}: {amount:g} {unit} is only {count} steps for the "
                    f"largest model, {largest}; give at least {MIN_STEPS} steps' worth"
                )
        if steps.pretraining >= MIN_STEPS and steps.decay < 1:
            faults.append(
                f"training.decay_fraction: {self.schedule.decay_fraction:g} is less than one of "
                f"the {steps.pretraining} steps that {budget:g} {unit} buy for the largest model, "
                f"{largest}; increase it"
            )
        if recovery > 0.0 and steps.recovery < 1:
            faults.append(
                f"space.recovery: {recovery:g} {unit} is less than a step for the largest model, "
                f"{largest}; give 0, or at least one step's worth"
            )
        return faults

    def _largest_architecture(self) -> Architecture:
        """The one with most parameters and FLOPs, which heads change nothing of."""
        grows = ("depth", "decoder_depth", "width", "feed_forward")
        point = tuple(
            d.values.index(max(d.values)) if d.name in grows else 0 for d in self.dimensions
        )
        return self.configuration(point).architecture

    def _constraint_faults(self) -> list[str]:
        limits = self.search.constraints
        cheapest, _ = self.extreme_costs()
        faults = []
        if limits.max_size_mb is not None and limits.max_size_mb < cheapest.size_mb:
            faults.append(
                f"constraints.max_size_mb: nothing can meet {limits.max_size_mb:g}; "
                f"the smallest model of this space has {cheapest.size_mb:.3g} MB"
            )
        if limits.max_flops is not None and limits.max_flops < cheapest.flops:
            faults.append(
                f"constraints.max_flops: nothing can meet {limits.max_flops:g}; "
                f"the cheapest model of this space takes {cheapest.flops:.3g} FLOPs"
            )
        if not faults and not any(
            self.is_feasible(shape) for shape in self.compressed_architectures()
        ):
            faults.append(
                "constraints: no model of this space meets all of them together"
                if any(self.cost(shape).is_smaller for shape in self.compressed_architectures())
                else "space.sparsity: no compression of this space makes a model smaller than its "
                "dense weights; give larger values, or 0"
            )
        return faults
