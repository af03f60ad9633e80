"""What models are compared with: references, dense models of the same bytes, ends of the space."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any, Literal

from search.pareto import best_dense, dominating_reference
from search.results.baselines import DenseModel, Edge, Reference, advice
from search.results.schemas import Best, Frontier, FrontierMember
from search.seeds import Repeats, SeedScores
from search.storage.references import ReferenceRecord
from search.storage.trials import TrialRecord
from spaces.cost.configuration import Configuration
from spaces.cost.criteria import Criteria
from spaces.cost.metric import Metric
from spaces.cost.units import quantity
from spaces.grid.search_space import GROWING, SearchSpace

BOUNDED = ("budget", "sparsity", *GROWING)
"""Dimensions of which more gives larger or smaller models, so that their ends bound a search."""


def frontier_members(
    members: Iterable[TrialRecord],
    repeats: Repeats,
    tests: Mapping[int, Mapping[str, Any]],
    metric: Metric,
) -> list[FrontierMember]:
    """Trials of the frontier as query results, with what is known of them on test and over
    seeds."""
    return [
        FrontierMember.of(
            record, tests.get(record.number, {}), SeedScores.of(record, repeats, tests, metric)
        )
        for record in members
    ]


def compared_frontier(
    space: SearchSpace,
    records: Sequence[TrialRecord],
    members: Sequence[FrontierMember],
    references: Sequence[ReferenceRecord],
) -> Frontier:
    """The frontier beside the references and the dense models of the same bytes.

    Args:
        records: All trials of the search.
        members: The frontier, the cheapest first.
    """
    criteria = space.criteria
    for member in members:
        reference = dominating_reference(references, criteria, member.score, member.size_mb)
        member.dominated_by = None if reference is None else reference.name
        member.dense = _dense(records, criteria, member.size_mb)
    numbers = {member.trial for member in members}
    chosen = [record.configuration for record in records if record.number in numbers]
    top = max((member.score for member in members), key=criteria.metric.quality, default=None)
    is_beaten = dominating_reference(references, criteria, top, inf) is not None
    return Frontier(
        members=list(members),
        references=_answers(references, criteria),
        edges=edges(space, chosen),
        advice=advice(space.workload_of(chosen[0].checkpoint)) if is_beaten and members else None,
    )


def compared_best(
    best: Best,
    space: SearchSpace,
    records: Sequence[TrialRecord],
    found: TrialRecord,
    references: Sequence[ReferenceRecord],
) -> Best:
    """The best model beside the references and the dense models within the limit of bytes.

    Args:
        found: The record of the best model, or of the nearest.
    """
    criteria = space.criteria
    limit = min(best.limits.get("size_mb", inf), criteria.limits.get("size_mb", inf))
    score = found.result["score"] if best.is_within else None
    reference = dominating_reference(references, criteria, score, limit)
    if reference is not None:
        best.dominated_by = Reference.of(reference, criteria.metric.name)
        best.advice = advice(space.workload_of(found.configuration.checkpoint))
    best.references = _answers((r for r in references if r.size_mb <= limit), criteria)
    most = found.result["size_mb"] if limit == inf else limit
    best.dense = _dense(records, criteria, most)
    best.edges = edges(space, [found.configuration])
    return best


def edges(space: SearchSpace, models: Sequence[Configuration]) -> list[Edge]:
    """The dimensions at one end of which all of some models lie.

    Only dimensions with several values count, and nothing is below one layer or no sparsity.
    """
    found = []
    for dimension in space.dimensions:
        if dimension.name not in BOUNDED or len(dimension.values) < 2:
            continue
        values = {model.value_of(dimension.name) for model in models}
        low, high = min(dimension.values), max(dimension.values)
        unit = space.definition.budget.unit
        if values == {high}:
            found.append(_edge(dimension.name, "largest", high, unit, count=len(models)))
        elif values == {low} and low > 1:
            found.append(_edge(dimension.name, "smallest", low, unit, count=len(models)))
    return found


def _edge(
    name: str, end: Literal["largest", "smallest"], value: float, unit: str, *, count: int
) -> Edge:
    adjective = {"largest": "longest", "smallest": "shortest"}[end] if name == "budget" else end
    amount = f"{quantity(value).strip()} {unit}" if name == "budget" else f"{value:g}"
    noun = name.replace("_", " ")
    every = "all " if count > 1 else ""
    return Edge(
        dimension=name,
        end=end,
        value=value,
        text=f"{every}at the {adjective} {noun}, {amount}: widen {name}",
    )


def _dense(records: Iterable[TrialRecord], criteria: Criteria, max_mb: float) -> DenseModel | None:
    found = best_dense(records, criteria, max_mb)
    return None if found is None else DenseModel.of(found)


def _answers(references: Iterable[ReferenceRecord], criteria: Criteria) -> list[Reference]:
    return [Reference.of(record, criteria.metric.name) for record in references]
