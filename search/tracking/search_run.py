"""The run of a search in MLflow: its params, tags, metrics over time and data."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

from search.hypervolume import Growth, Scale
from search.pareto import feasible
from search.storage.study import Study
from search.storage.trials import TrialRecord
from search.storage.widening import widenings
from search.tracking.trial_run import milliseconds
from spaces.cost.criteria import Criteria
from spaces.file.own_task import OwnTask
from spaces.file.sources import SOURCE_FIELDS

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Metric

BY_COMPUTE = "by_compute_seconds/"
"""MLflow shows the metrics with this prefix as a section of their own."""


def search_params(study: Study) -> dict[str, Any]:
    """The settings that a resumed search cannot change; params in MLflow are immutable too."""
    search = study.search
    params = {
        "task": search.task.name,
        "objectives": " ".join(search.objectives),
        "runtime": str(search.measurement.runtime),
        "seed": search.seed,
        "budget_unit": search.space.budget.unit,
    }
    if isinstance(search.task, OwnTask):
        own = {f"task.{name}": value for name, value in search.task.all_fields.items()}
        params |= {**own, "task_code": search.task.found.code}
    if study.data:
        params["data_fingerprint"] = study.data["fingerprint"][:16]
    return params


def search_tags(study: Study) -> dict[str, str]:
    """What a resumed search can change: in MLflow only tags can change."""
    tags = {
        "tlc.trials": str(study.search.trials),
        "tlc.sampler": study.search.sampler,
        "tlc.configurations": str(study.space.configurations),
    }
    changes = [f"{each.text} (from trial {each.trials})" for each in widenings(study.attributes)]
    return tags | ({"tlc.space_widened": "; ".join(changes)} if changes else {})


class SearchMetrics:
    """The metrics of a search after each finished trial, in the order in which they finished.

    They are the hypervolume and the best score at each cost level. Each is logged twice, because a
    chart of MLflow cannot change its horizontal axis: by the number of finished trials, and, under
    ``by_compute_seconds/``, by the compute that they took together.
    """

    def __init__(self, criteria: Criteria, scale: Scale) -> None:
        self._criteria = criteria
        self._growth = Growth(criteria, scale)
        metric, unit = criteria.metric, criteria.cost.unit.lower()
        # Such as accuracy_at_0.5_mb.
        self._levels = {f"{metric.name}_at_{level:g}_{unit}": level for level in scale.levels()}
        self._values: dict[str, float] = {}
        self._seconds = 0.0
        self.count = 0
        """Finished trials so far."""

    def add(self, record: TrialRecord) -> None:
        """Count a further finished trial."""
        criteria = self._criteria
        better = max if criteria.metric.is_maximised else min
        self.count += 1
        self._seconds += _compute_seconds(record)
        self._values["hypervolume"] = self._growth.add(record)
        if feasible([record], criteria):
            score, cost = record.result["score"], record.result[criteria.cost.name]
            for name, level in self._levels.items():
                if cost <= level:
                    self._values[name] = better(self._values.get(name, score), score)

    def after(self, record: TrialRecord) -> list[Metric]:
        """The metrics after the trial that was counted last."""
        from mlflow.entities import Metric

        timestamp = milliseconds(record.finished) or 0
        return [
            Metric(prefix + name, value, timestamp, x)
            for prefix, x in (("", self.count), (BY_COMPUTE, int(self._seconds)))
            for name, value in self._values.items()
        ]


def reference_metrics(study: Study) -> list[Metric]:
    """The score of each reference on validation and test, and its size, such as
    ``reference/majority class/accuracy``."""
    from mlflow.entities import Metric

    moment, name = int(1000 * time.time()), study.search.metric.name
    values: dict[str, float] = {}
    for reference in study.references():
        # Names of metrics may have letters, digits, spaces and few other characters.
        prefix = f"reference/{re.sub(r'[^a-zA-Z0-9 ]', '', reference.name)}"
        for split, scores in reference.scores.items():
            values[f"{prefix}/{split} {name}"] = scores["score"]
        values[f"{prefix}/size_mb"] = reference.size_mb
    return [Metric(key, value, moment, 0) for key, value in values.items()]


def search_dataset(study: Study) -> DatasetInput | None:
    """The data with its fingerprint, as MLflow's dataset; None before the first run."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    facts = study.data
    if not facts:
        return None
    given = study.search.data.model_dump(mode="json")
    sources = {field: given[field] for field in SOURCE_FIELDS if given[field] is not None}
    dataset = Dataset(
        name=", ".join(f"{field}: {source['source']}" for field, source in sources.items()),
        digest=facts["fingerprint"][:36],  # the longest digest that MLflow accepts
        source_type="local",
        source=json.dumps(sources),
        profile=json.dumps({**facts["counts"], "labels": len(facts["label_names"])}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "train, validation and test")])


def _compute_seconds(record: TrialRecord) -> float:
    """Seconds that a finished trial computed; for a failed one, how long it ran."""
    if record.is_complete:
        seconds = record.result["seconds"]
        return float(seconds["train"] + seconds["compress"] + seconds["measure"])
    if record.started is None or record.finished is None:
        return 0.0
    return (record.finished - record.started).total_seconds()
