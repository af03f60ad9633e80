"""References in a figure: points where their size is the cost axis, lines where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.storage.references import ReferenceRecord
from spaces.cost.criteria import Criteria

REFERENCES_NAME, DOMINATED_NAME = "references", "no better than a reference of its size"
FARTHEST = 0.1
"""References smaller than this fraction of the smallest model are lines: as points they would
stretch the axis, and they are within every limit that is drawn."""


@dataclass(frozen=True)
class ReferencePoints:
    """References by how they are drawn.

    Args:
        points: Those with a place on the cost axis.
        lines: Those that only have a score.
    """

    points: list[ReferenceRecord]
    lines: list[ReferenceRecord]

    @classmethod
    def of(
        cls, references: Sequence[ReferenceRecord], criteria: Criteria, costs: Sequence[float]
    ) -> ReferencePoints:
        """The references beside trials of some costs."""
        smallest = FARTHEST * min(costs, default=0.0)
        has_place = [
            criteria.cost.name == "size_mb" and reference.size_mb > max(smallest, 0.0)
            for reference in references
        ]
        drawn = list(zip(references, has_place, strict=True))
        return cls(
            [reference for reference, placed in drawn if placed],
            [reference for reference, placed in drawn if not placed],
        )


def reference_text(reference: ReferenceRecord, criteria: Criteria) -> str:
    """A reference's score, interval, size and making, in Plotly's subset of HTML."""
    metric, result = criteria.metric, reference.result
    interval = f"{metric.text(result['score_low'])}–{metric.text(result['score_high'])}"
    making = "<br>".join(reference.description.split("; "))
    return (
        f"<b>{reference.name}</b><br>{metric.name} {metric.text(result['score'])} ({interval})<br>"
        f"{reference.size_mb:.3g} MB<br>{making}"
    )
