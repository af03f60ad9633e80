"""Dense and compressed models of the same training and the same bytes, for a comparison over seeds.

The claim of Li et al. 2020 (arXiv 2002.11794) in one table: within the bytes of a small dense
model, a larger one that was trained as long and then compressed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from search.pareto import best_reference, rank
from search.storage.optuna_space import parameters_from
from search.storage.references import ReferenceRecord
from search.storage.trials import TrialRecord
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Quantisation
from spaces.cost.configuration import Configuration, Settings
from spaces.grid.search_space import COMPRESSION_FIELDS, SearchSpace

MOST_SIZES = 3
DENSE = {"quantisation": Quantisation.NONE, "sparsity": 0.0, "recovery": 0.0}
"""Values of the dimensions of compression in a model without it; the others have no effect."""


@dataclass(frozen=True)
class EqualBytes:
    """The best models within the bytes of a dense one, all trained with the longest budget.

    Args:
        max_bytes: Bytes of the dense model.
        dense: Its trial, which no smaller dense model beats; None where it was not evaluated.
        compressed: The best compressed model; None where none is as small.
        reference: The best reference; None where none is as small.
    """

    max_bytes: int
    dense: TrialRecord | None
    compressed: TrialRecord | None
    reference: ReferenceRecord | None

    @property
    def trials(self) -> list[TrialRecord]:
        """The trials that are compared."""
        return [each for each in (self.dense, self.compressed) if each is not None]


def equal_bytes(
    space: SearchSpace, records: Sequence[TrialRecord], references: Sequence[ReferenceRecord] = ()
) -> list[EqualBytes]:
    """The comparison at up to three sizes of dense models, the smallest first.

    Args:
        records: Trials of the search; validation scores decide which are compared.
    """
    criteria = space.criteria
    trained = _of_longest_budget(space, records)
    rows = []
    for largest in _dense_models(space, trained):
        max_bytes = largest.result["dense_size_bytes"]
        within = [
            each
            for each in trained
            if not _is_dense(each.configuration) and each.result["size_bytes"] <= max_bytes
        ]
        training = _training(largest.configuration)
        dense = (
            each
            for each in trained
            if _is_dense(each.configuration) and _training(each.configuration) == training
        )
        rows.append(
            EqualBytes(
                max_bytes,
                next(dense, None),
                max(within, key=lambda each: rank(each, criteria), default=None),
                best_reference(references, criteria.metric, max_bytes / 1e6),
            )
        )
    return rows


def missing_dense_trials(
    space: SearchSpace, records: Sequence[TrialRecord]
) -> list[dict[str, Any]]:
    """Parameters of the dense models of the comparison that no trial evaluated.

    They are trained already, as others of their compressions were evaluated.
    """
    tried = {record.configuration.hash for record in records}
    wanted = {
        _training(each.configuration)
        for each in _dense_models(space, _of_longest_budget(space, records))
    }
    return [
        parameters
        for parameters, configuration in _dense_points(space, wanted)
        if configuration.hash not in tried and space.is_feasible(configuration)
    ]


def _of_longest_budget(space: SearchSpace, records: Sequence[TrialRecord]) -> list[TrialRecord]:
    budget = max(space.definition.budget.values)
    return [each for each in records if each.is_complete and each.configuration.budget == budget]


def _is_dense(configuration: Configuration) -> bool:
    return configuration.canonical().compression == Compression()


def _dense_models(space: SearchSpace, trained: Sequence[TrialRecord]) -> list[TrialRecord]:
    """A trial of each architecture whose dense model no smaller one beats: the smallest, the middle
    and the largest of them."""
    quality = space.criteria.metric.quality
    best: list[TrialRecord] = []
    for record in sorted(trained, key=lambda each: int(each.result["dense_size_bytes"])):
        score = quality(record.result["dense_score"])
        if not best or score > quality(best[-1].result["dense_score"]):
            best.append(record)
    if len(best) <= MOST_SIZES:
        return best
    return [best[0], best[len(best) // 2], best[-1]]


def _training(configuration: Configuration) -> tuple[Architecture, Settings]:
    """What tells trainings to one budget apart."""
    return configuration.architecture, configuration.training


def _dense_points(
    space: SearchSpace, trained: set[tuple[Architecture, Settings]]
) -> list[tuple[dict[str, Any], Configuration]]:
    """Points without compression, at the longest budget, of some training; none where the
    space has no model without compression."""
    axes: list[Sequence[int]] = []
    for dimension in space.dimensions:
        values = dimension.values
        if dimension.name == "budget":
            axes.append([values.index(max(values))])
        elif dimension.name in DENSE:
            axes.append([k for k, each in enumerate(values) if each == DENSE[dimension.name]])
        elif dimension.name in COMPRESSION_FIELDS:
            axes.append([0])
        else:
            axes.append(range(len(values)))
    points = [] if space.is_fit else filter(space.has, itertools.product(*axes))
    each = ((parameters_from(space, point), space.configuration(point)) for point in points)
    return [pair for pair in each if _training(pair[1]) in trained]
