"""The run of a search in MLflow: its params, tags, metrics over time and data."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from search.pareto import Scale, feasible, hypervolume_history, in_finish_order, quality
from search.storage.study import Study
from search.storage.trials import TrialRecord
from search.tracking.trial_run import milliseconds
from spaces.file.search_file import SearchFile

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Metric

BY_COMPUTE = "by_compute_seconds/"
"""MLflow shows the metrics with this prefix as a section of their own."""
LONGEST_DIGEST = 36


def search_params(study: Study) -> dict[str, Any]:
    """What cannot change between a stop and a resume of a search, as a param cannot."""
    search = study.search
    facts = {
        "task": search.task.name,
        "objectives": " ".join(search.objectives),
        "seed": search.seed,
        "configurations": study.space.size,
        "budget_unit": search.space.budget.unit,
    }
    if study.data:
        facts["data_fingerprint"] = study.data["fingerprint"][:16]
    return facts


def search_tags(search: SearchFile) -> dict[str, str]:
    """What a resume may change, for tags."""
    return {"tlc.trials": str(search.trials), "tlc.sampler": search.sampler}


def search_metrics(
    records: list[TrialRecord], search: SearchFile, scale: Scale
) -> list[list[Metric]]:
    """What the search had reached after each finished trial, in the order in which they finished.

    That is the hypervolume and the best score at each cost level: once with the number of finished
    trials as the step, and once, under ``by_compute_seconds/``, with the seconds of compute that
    they took together. A chart of MLflow has no other way to choose its horizontal axis.
    """
    from mlflow.entities import Metric

    finished = in_finish_order(records)
    allowed = {record.number for record in feasible(finished, search.criteria)}
    history = hypervolume_history(finished, search.criteria, scale)
    levels = {level: level_name(level, search) for level in scale.levels()}
    leading: dict[float, float] = {}
    seconds = 0.0
    points = []
    for step, (record, volume) in enumerate(zip(finished, history, strict=True), start=1):
        stamp = milliseconds(record.finished) or 0
        seconds += compute_seconds(record)
        reached = {"hypervolume": volume}
        for level, name in levels.items():
            if record.number in allowed and record.result[search.cost.name] <= level:
                leading[level] = max(
                    leading.get(level, -math.inf), quality(record, search.criteria)
                )
            if level in leading:
                reached[name] = search.metric.value_at(leading[level])
        points.append(
            [Metric(name, value, stamp, step) for name, value in reached.items()]
            + [
                Metric(BY_COMPUTE + name, value, stamp, int(seconds))
                for name, value in reached.items()
            ]
        )
    return points


def level_name(level: float, search: SearchFile) -> str:
    """Name of the metric that is the best score at a cost, such as ``accuracy_at_0.5_mb``."""
    return f"{search.metric.name}_at_{level:g}_{search.cost.unit.lower()}"


def compute_seconds(record: TrialRecord) -> float:
    """Seconds that a finished trial trained, compressed and measured; of a failed one, that it
    ran."""
    if record.is_complete:
        seconds = record.result["seconds"]
        return float(seconds["train"] + seconds["compress"] + seconds["measure"])
    if record.started is None or record.finished is None:
        return 0.0
    return (record.finished - record.started).total_seconds()


def search_dataset(study: Study) -> DatasetInput | None:
    """The data with its fingerprint, as MLflow's dataset; None before the first run."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    facts = study.data
    if not facts:
        return None
    sources = {
        part: value
        for part, value in study.search.data.model_dump(mode="json").items()
        if isinstance(value, dict)
    }
    kinds = [f"{part}: {value['source']}" for part, value in sources.items()]
    made = Dataset(
        name=", ".join(kinds),
        digest=facts["fingerprint"][:LONGEST_DIGEST],
        source_type="local",
        source=json.dumps(sources),
        profile=json.dumps({**facts["counts"], "labels": len(facts["label_names"])}),
    )
    return DatasetInput(made, [InputTag("mlflow.data.context", "train, validation and test")])


def last_end_ms(records: Iterable[TrialRecord]) -> int | None:
    """When the last finished trial ended, in milliseconds since 1970."""
    return max((milliseconds(r.finished) or 0 for r in records if r.finished), default=None)


def first_start_ms(records: Iterable[TrialRecord]) -> int | None:
    """When the first trial started, in milliseconds since 1970."""
    return milliseconds(min((r.started for r in records if r.started), default=None))
