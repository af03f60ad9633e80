"""What a run in MLflow contains: its name, params, metrics and data, from the record alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from search.pareto import Scale, feasible, hypervolume_history, in_finish_order, quality
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.cost.units import quantity
from spaces.file.search_file import SearchFile

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Metric

BY_COMPUTE = "by_compute_seconds/"
"""MLflow makes a section of its page of what is before the slash."""
LONGEST_DIGEST = 36

UNITS = {"size_mb": "mb", "latency_ms": "ms", "flops": "flops"}

TRIAL_METRICS = (
    "loss", "dense_loss", "size_mb", "compression_ratio", "latency_ms", "flops", "parameters",
    "training_flops",
)  # fmt: skip


SCORES = ("score", "score_low", "score_high", "dense_score")
"""Logged under the metric's own name: ``accuracy``, ``accuracy_low``, …"""


def _named(name: str, result: dict[str, Any]) -> str:
    return name.replace("score", result["metric"])


def trial_name(record: TrialRecord, search: SearchFile) -> str:
    """What a person reads of a trial in a list of runs."""
    return f"#{record.number} {in_words(record, search)}"


def in_words(record: TrialRecord, search: SearchFile) -> str:
    """A configuration as people say it: ``depth 2, width 64, 400 steps, rtn-4``."""
    architecture = record.configuration.architecture
    decoder = f"+{architecture.decoder_depth}" if architecture.decoder_depth else ""
    budget = quantity(record.configuration.budget).strip()
    return (
        f"depth {architecture.depth}{decoder}, width {architecture.width}, "
        f"{budget} {search.space.budget.unit.value}, {record.configuration.compression}"
    )


def identity(study: Study) -> dict[str, Any]:
    """What cannot change between a stop and a resume of a search, as a param cannot."""
    search = study.search
    facts = {
        "task": search.task.name,
        "objectives": " ".join(search.objectives),
        "seed": search.seed,
        "configurations": study.space.size,
        "budget_unit": search.space.budget.unit.value,
    }
    if study.data:
        facts["data_fingerprint"] = study.data["fingerprint"][:16]
    return facts


def plan(search: SearchFile) -> dict[str, str]:
    """What a resume may change, for tags."""
    return {"tlc.trials": str(search.trials), "tlc.sampler": search.sampler}


def dimensions(record: TrialRecord, search: SearchFile) -> dict[str, Any]:
    """Every dimension of a trial."""
    architecture = record.configuration.architecture
    compression = record.configuration.compression
    budget = record.configuration.budget
    return {
        "depth": architecture.depth,
        "decoder_depth": architecture.decoder_depth,
        "width": architecture.width,
        "heads": architecture.heads,
        "feed_forward": architecture.feed_forward,
        "budget": int(budget) if budget.is_integer() else budget,
        "budget_unit": search.space.budget.unit.value,
        "quantisation": compression.quantisation.value,
        "bits": compression.quantisation.bits,
        "group_size": compression.group_size,
        "pruning": compression.pruning.value,
        "sparsity": compression.sparsity,
        "recovery": compression.recovery,
        "seed": record.configuration.seed,
        "configuration_hash": record.configuration.hash[:16],
    }


def trial_metrics(record: TrialRecord, curve: Iterable[list[float]]) -> list[Metric]:
    """The numbers of a complete trial, and ``[step, training loss]`` of its curve."""
    from mlflow.entities import Metric

    # The time of the record, and not of sending: a second sending then gives the same rows.
    stamp = milliseconds(record.finished) or 0
    result = record.result
    values = {_named(name, result): float(result[name]) for name in SCORES}
    values |= {name: float(result[name]) for name in TRIAL_METRICS}
    values["train_seconds"] = result["seconds"]["train"]
    values["saved_seconds"] = result["seconds"]["saved"]
    values["steps_trained"] = float(result["steps"]["trained"])
    metrics = [Metric(name, value, stamp, 0) for name, value in values.items()]
    return metrics + [Metric("train_loss", loss, stamp, int(step)) for step, loss in curve]


def progress(records: list[TrialRecord], search: SearchFile, scale: Scale) -> list[list[Metric]]:
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


def dataset(study: Study) -> DatasetInput | None:
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


def milliseconds(moment: datetime | None) -> int | None:
    """A time as MLflow counts it: milliseconds since 1970."""
    return None if moment is None else int(moment.timestamp() * 1000)


def ended(records: Iterable[TrialRecord]) -> int | None:
    """When the last finished trial ended, in milliseconds since 1970."""
    return max((milliseconds(r.finished) or 0 for r in records if r.finished), default=None)


def started(records: Iterable[TrialRecord]) -> int | None:
    """When the first trial started, in milliseconds since 1970."""
    return milliseconds(min((r.started for r in records if r.started), default=None))
