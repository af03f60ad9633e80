"""What stands beside the models of a search in query results: references, dense models, edges."""

from __future__ import annotations

from typing import Literal

from search.results.query_result import QueryResult
from search.storage.references import ReferenceRecord
from search.storage.trials import TrialRecord
from spaces.cost.compression import Compression
from spaces.cost.workload import Workload


class Reference(QueryResult):
    """A baseline that a person would try in a minute."""

    name: str
    description: str
    """How it was made, and how its bytes are counted."""
    metric: str
    score: float
    """On validation, with its 95 % interval."""
    score_low: float
    score_high: float
    test_score: float | None
    """On test; no choice depends on it."""
    size_mb: float
    """Megabytes (10^6 bytes) that it needs to predict, tokenizer apart."""

    @classmethod
    def of(cls, record: ReferenceRecord, metric: str) -> Reference:
        """The query result of a record."""
        return cls(
            name=record.name,
            description=record.description,
            metric=metric,
            test_score=record.scores.get("test", {}).get("score"),
            size_mb=record.size_mb,
            **{name: record.result[name] for name in ("score", "score_low", "score_high")},
        )


class DenseModel(QueryResult):
    """A trained model before compression, in fp32."""

    trial: int
    """A trial that compressed it."""
    text: str
    """Its architecture and its budget."""
    score: float
    """On validation."""
    size_mb: float
    """Megabytes (10^6 bytes)."""

    @classmethod
    def of(cls, record: TrialRecord) -> DenseModel:
        """The model that a complete trial compressed."""
        configuration = record.configuration.with_compression(Compression())
        return cls(
            trial=record.number,
            text=str(configuration),
            score=record.result["dense_score"],
            size_mb=record.result["dense_size_bytes"] / 1e6,
        )


class Edge(QueryResult):
    """A dimension of the space beyond whose end better models may lie."""

    dimension: str
    end: Literal["largest", "smallest"]
    value: float
    """The value at that end, which the best model, or every member of the frontier, has."""
    text: str
    """The same in a phrase, with the advice."""


def advice(workload: Workload) -> str:
    """What to do where no model of a search is better than a reference, in a sentence."""
    if workload.checkpoint:
        return (
            "instead: use the reference itself, or start from a larger checkpoint "
            '(docs/tasks.md, "Where a reference wins")'
        )
    if workload.family.is_classifier_of_text:
        return (
            "instead: use the reference itself, start from a pretrained checkpoint, or pre-train "
            'longer on much more unlabelled text (docs/tasks.md, "Where a reference wins")'
        )
    return (
        "instead: use the reference itself, or train longer on more data "
        '(docs/tasks.md, "Where a reference wins")'
    )
