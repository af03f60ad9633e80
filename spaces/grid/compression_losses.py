"""The order of compressions from the mildest to the most severe, by measured loss.

``compression_losses.csv`` has the loss that each compression added to one trained model of each
task, in nats; ``benchmarks/compression.py`` measures and writes it. It is a part of tlc and does
not change during a search, so that a point of a space always means the same configuration.

What counts is the loss on training data, near whose minimum the trained model is: every change adds
to it, while validation data may favour a mild one by chance. What recovery training regains is
measured on validation data.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from itertools import chain, pairwise, product
from math import log2
from statistics import fmean, median

from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.file.space import Space

FILE = "compression_losses.csv"
COLUMNS = (
    "task", "quantisation", "group_size", "pruning", "sparsity", "recovery", "training_loss",
    "validation_loss",
)  # fmt: skip
"""Of the file; recovery is a fraction of the budget, and the losses are those that were added."""

Points = tuple[tuple[float, float], ...]
"""Ascending positions, each with the loss there; the loss does not fall."""


@dataclass(frozen=True, slots=True)
class AddedLoss:
    """The mean cross-entropy that a compression added, in nats."""

    training: float
    validation: float


@dataclass(frozen=True)
class CompressionLosses:
    """The loss that compressions add to a model of a task.

    Args:
        quantisation: By method and bits, at the logarithm of the group size; of a single group size
            where a method has no groups.
        pruning: By kind, at the sparsity.
        recovered: Fraction of the loss that remains after recovery training, by the kind of pruning
            and, of quantisation, by None.
    """

    quantisation: Mapping[Quantisation, Points]
    pruning: Mapping[Pruning, Points]
    recovered: Mapping[Pruning | None, float]

    def added_by(self, compression: Compression) -> float:
        """The loss that a compression adds, in nats: the sum of its quantisation's and pruning's.

        Between measured group sizes and sparsities it is interpolated. Recovery of any length
        counts as the one that was measured.
        """
        of_quantisation, of_pruning = 0.0, 0.0
        if compression.quantisation is not Quantisation.NONE:
            points = self.quantisation[compression.quantisation]
            of_quantisation = _at(log2(compression.group_size), points)
        if compression.sparsity:
            of_pruning = _at(compression.sparsity, ((0.0, 0.0), *self.pruning[compression.pruning]))
        if compression.recovery:
            of_quantisation *= self.recovered[None]
            of_pruning *= self.recovered[compression.pruning]
        return max(0.0, of_quantisation) + of_pruning

    def mildest_first(self, compressions: Iterable[Compression]) -> list[Compression]:
        """Compressions in the order of the loss that they add; of equal ones, more bits, fewer
        removed weights and longer recovery come first."""
        return sorted(
            compressions,
            key=lambda c: (self.added_by(c), -c.quantisation.bits, c.sparsity, -c.recovery),
        )


def compressions(space: Space, task: str) -> list[Compression]:
    """Every combination of a space's compressions, by the loss that they add to models of a task:
    the mildest first."""
    every = product(
        space.quantisation.values,
        space.group_size.values,
        space.pruning.values,
        space.sparsity.values,
        space.recovery.values,
    )
    return losses_of(task).mildest_first({Compression(*each): None for each in every})


@cache
def losses_of(task: str) -> CompressionLosses:
    """What the measurements of a task, by its name, say of any compression.

    For a compression that was not measured on it, such as the removal of layers of a single one, it
    is the mean of the other tasks.
    """
    by_task = measured_losses()
    every: dict[Compression, list[AddedLoss]] = {}
    for compression, added in chain.from_iterable(each.items() for each in by_task.values()):
        every.setdefault(compression, []).append(added)
    means = {
        compression: AddedLoss(
            fmean(each.training for each in added), fmean(each.validation for each in added)
        )
        for compression, added in every.items()
    }
    return losses_from(means | by_task.get(task, {}))


def measured_losses() -> dict[str, dict[Compression, AddedLoss]]:
    """The losses in the file, by task; recovery is a fraction of the budget."""
    text = resources.files("spaces.grid").joinpath(FILE).read_text()
    found: dict[str, dict[Compression, AddedLoss]] = {}
    for row in csv.DictReader(text.splitlines()):
        added = AddedLoss(float(row["training_loss"]), float(row["validation_loss"]))
        found.setdefault(row["task"], {})[_compression(row)] = added
    return found


def losses_from(measured: Mapping[Compression, AddedLoss]) -> CompressionLosses:
    """The losses that a matrix of measurements shows.

    Noise does not make a stronger compression milder: fewer bits, larger groups and more sparsity
    add no less.

    Args:
        measured: What prunes *and* quantises does not count: its loss is the sum of both.
    """
    quantised: dict[Quantisation, dict[float, float]] = {}
    pruned: dict[Pruning, dict[float, float]] = {}
    for compression, added in measured.items():
        if compression.recovery:
            continue
        loss = max(0.0, added.training)
        if not compression.sparsity:
            of_groups = quantised.setdefault(compression.quantisation, {})
            of_groups[log2(compression.group_size)] = loss
        elif compression.quantisation is Quantisation.NONE:
            pruned.setdefault(compression.pruning, {})[compression.sparsity] = loss
    return CompressionLosses(
        dict(_growing_with_fewer_bits(quantised)),
        {kind: _growing(of_sparsity) for kind, of_sparsity in pruned.items()},
        _recovered(measured),
    )


def _compression(row: Mapping[str, str]) -> Compression:
    return Compression(
        Quantisation(row["quantisation"]),
        int(row["group_size"]),
        Pruning(row["pruning"]),
        float(row["sparsity"]),
        float(row["recovery"]),
    )


def _growing_with_fewer_bits(
    measured: Mapping[Quantisation, Mapping[float, float]],
) -> Iterator[tuple[Quantisation, Points]]:
    floors: dict[str, dict[float, float]] = {}
    for quantisation in sorted(measured, key=lambda q: -q.bits):
        floor = floors.setdefault(quantisation.method, {})
        floor |= {at: max(loss, floor.get(at, 0.0)) for at, loss in measured[quantisation].items()}
        yield quantisation, _growing({at: floor[at] for at in measured[quantisation]})


def _growing(losses: Mapping[float, float]) -> Points:
    points: list[tuple[float, float]] = []
    for at in sorted(losses):
        points.append((at, max(losses[at], points[-1][1] if points else 0.0)))
    return tuple(points)


def _recovered(measured: Mapping[Compression, AddedLoss]) -> dict[Pruning | None, float]:
    """Medians of the fractions that are left, by the kind of pruning, and of quantisation by None.

    Heads or neurons alone, which are not measured, count as both together; any other kind as all.
    """
    left: dict[Pruning | None, list[float]] = {}
    for compression, added in measured.items():
        without = measured.get(replace(compression, recovery=0.0))
        is_quantised = compression.quantisation is not Quantisation.NONE
        is_one_kind = is_quantised != (compression.sparsity > 0.0)
        if compression.recovery and is_one_kind and without and without.validation > 0.0:
            fraction = min(1.0, max(0.0, added.validation / without.validation))
            left.setdefault(None if is_quantised else compression.pruning, []).append(fraction)
    every_pruning = [each for kind in left if kind is not None for each in left[kind]]
    found: dict[Pruning | None, float] = {None: 1.0}
    found |= dict.fromkeys(Pruning, median(every_pruning or [1.0]))
    found |= {kind: median(fractions) for kind, fractions in left.items()}
    if Pruning.STRUCTURED in left:
        found[Pruning.HEADS] = found[Pruning.NEURONS] = found[Pruning.STRUCTURED]
    return found


def _at(position: float, points: Points) -> float:
    """Linear between points, and on the line through the last two beyond the ends."""
    if len(points) == 1:
        return points[0][1]
    segments = list(pairwise(points))
    (x0, y0), (x1, y1) = next((s for s in segments if position <= s[1][0]), segments[-1])
    return y0 + (y1 - y0) * (position - x0) / (x1 - x0)
