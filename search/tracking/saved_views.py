"""Saved views of an experiment's runs in MLflow: their columns, their order and their charts.

They have the format in which MLflow 3.17 itself saves what its users put under *Views*: one tag of
the experiment each. If a page cannot read one, it says so and shows its default.
"""

from __future__ import annotations

import json
from typing import Any

from spaces.cost.criteria import Criteria
from spaces.grid.search_space import SearchSpace

FRONTIER_VIEW, TRIALS_VIEW = "tlc-frontier", "tlc-trials"
"""Keys of the views in addresses."""
SECTION = "trials"


def saved_views(space: SearchSpace, created_ms: int) -> dict[str, str]:
    """Tags of an experiment that hold its saved views; dimensions that vary become columns.

    Args:
        created_ms: When the views are made, in milliseconds since 1970.
    """
    criteria = space.criteria
    varying = [d.name for d in space.dimensions if len(d.values) > 1]
    metric, cost = criteria.metric.name, criteria.cost.name
    measured = [*criteria.objectives, cost, "size_mb", "latency_p10_ms"]
    common = {
        "selectedColumns": [
            *(f"metrics.`{name}`" for name in dict.fromkeys(measured)),
            *(f"params.`{name}`" for name in varying),
            *(f"tags.`{name}`" for name in ("on_frontier", "tlc.state")),
        ],
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "runsHiddenMode": "SHOW_ALL",
        "compareRunSections": [
            {"uuid": SECTION, "name": "Trials", "display": True, "columns": 2, "cardHeight": 400}
        ],
        "compareRunCharts": _charts(criteria, varying),
    }
    views = {
        FRONTIER_VIEW: {
            "name": "Frontier, the cheapest first",
            "searchFilter": "tags.on_frontier = 'true'",
            "orderByKey": f"metrics.`{cost}`",
            "orderByAsc": True,
        },
        TRIALS_VIEW: {
            "name": "Trials, the best first",
            "searchFilter": "",
            "orderByKey": f"metrics.`{metric}`",
            "orderByAsc": not criteria.metric.is_maximised,
        },
    }
    return {
        f"mlflow.sharedViewState.{key}": json.dumps(
            {
                "name": view.pop("name"),
                "createdAt": created_ms,
                "updatedAt": created_ms,
                "state": json.dumps({**common, **view}),
            }
        )
        for key, view in views.items()
    }


def _charts(criteria: Criteria, varying: list[str]) -> list[dict[str, Any]]:
    metric = criteria.metric.name
    numbers = [name for name in varying if name not in ("quantisation", "pruning")]
    return [
        *(
            _chart(
                "SCATTER",
                f"-{each.name}" if each != criteria.cost else "",
                xaxis={"key": each.name, "type": "METRIC"},
                yaxis={"key": metric, "type": "METRIC"},
            )
            for each in criteria.axes
        ),
        _chart(
            "LINE",
            metricKey="train_loss",
            selectedMetricKeys=["train_loss"],
            xAxisKey="step",
            yAxisKey="metric",
            yAxisExpressions=[],
            xAxisScaleType="linear",
            scaleType="linear",
            range={},
            lineSmoothness=0,
            useGlobalXaxisKey=True,
            useGlobalLineSmoothing=True,
        ),
        _chart(
            "PARALLEL",
            selectedParams=[*numbers, "bits"],
            selectedMetrics=[*(each.name for each in criteria.axes), metric],
            showAllRuns=False,
        ),
    ]


def _chart(kind: str, suffix: str = "", **fields: Any) -> dict[str, Any]:
    return {
        "uuid": f"tlc-{kind.lower()}{suffix}",
        "type": kind,
        "runsCountToCompare": 100,
        "metricSectionId": SECTION,
        "deleted": False,
        "isGenerated": False,
        **fields,
    }
