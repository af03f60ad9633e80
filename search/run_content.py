"""What a run in MLflow contains: params, metrics and the description, from the record alone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from search.frontier import Scale, feasible, hypervolume_history, quality
from search.records import Record
from search.study import Study
from search.tables import OPTIONS, quantity
from spaces.search_file import SearchFile

if TYPE_CHECKING:
    from mlflow.entities import Metric

UNITS = {"size_mb": "mb", "latency_ms": "ms", "flops": "flops"}

TRIAL_METRICS = (
    "loss", "dense_loss", "size_mb", "compression_ratio", "latency_ms", "flops", "parameters",
    "training_flops",
)  # fmt: skip


SCORES = ("score", "score_low", "score_high", "dense_score")
"""Logged under the metric's own name: ``accuracy``, ``accuracy_low``, …"""


def _named(name: str, result: dict[str, Any]) -> str:
    return name.replace("score", result["metric"])


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


def dimensions(record: Record, search: SearchFile) -> dict[str, Any]:
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


def trial_metrics(record: Record, curve: Iterable[list[float]]) -> list[Metric]:
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


def progress(records: list[Record], search: SearchFile, scale: Scale) -> list[Metric]:
    """Hypervolume and best score at each cost level, by number of finished trials."""
    from mlflow.entities import Metric

    finished = sorted(
        (r for r in records if r.is_finished), key=lambda r: (r.finished or r.started, r.number)
    )
    allowed = {record.number for record in feasible(finished, search)}
    history = hypervolume_history(finished, search, scale)
    leading: dict[float, float] = {}
    metrics = []
    for step, (record, volume) in enumerate(zip(finished, history, strict=True), start=1):
        stamp = milliseconds(record.finished) or 0
        metrics.append(Metric("hypervolume", volume, stamp, step))
        for level in scale.levels():
            if record.number in allowed and record.result[search.cost] <= level:
                reached = quality(record, search)
                leading[level] = max(leading.get(level, reached), reached)
            if level in leading:
                name = f"{search.metric.name}_at_{level:g}_{UNITS[search.cost]}"
                metrics.append(Metric(name, search.metric.value(leading[level]), stamp, step))
    return metrics


def description(search: SearchFile, rows: list[dict[str, Any]]) -> str:
    """The parent run's description: the frontier as a Markdown table."""
    heads = (
        "trial", "depth", "width", f"budget ({search.space.budget.unit.value})", "compression",
        search.metric.name, "95 % interval", "MB", "ms",
    )  # fmt: skip
    lines = [f"Frontier of **{search.name}**, the cheapest first:", ""]
    lines += [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    for row in rows:
        cells = (
            f"#{row['trial']}",
            row["depth"],
            row["width"],
            quantity(row["budget"]).strip(),
            row["compression"],
            search.metric.text(row["score"]),
            f"{search.metric.text(row['score_low'])} to {search.metric.text(row['score_high'])}",
            f"{row['size_mb']:.3f}",
            f"{row['latency_ms']:.2f}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "Figure: `frontier/frontier.html` under *Artifacts*."]
    if rows:
        limit = rows[len(rows) // 2][search.cost] * 1.05
        option = OPTIONS[search.cost]
        lines.append(f"The best under a limit: `tlc best {search.name} {option} {limit:.2g}`.")
    return "\n".join(lines)


def milliseconds(moment: datetime | None) -> int | None:
    """A time as MLflow counts it: milliseconds since 1970."""
    return None if moment is None else int(moment.timestamp() * 1000)


def ended(records: Iterable[Record]) -> int | None:
    """When the last finished trial ended, in milliseconds since 1970."""
    return max((milliseconds(r.finished) or 0 for r in records if r.finished), default=None)


def started(records: Iterable[Record]) -> int | None:
    """When the first trial started, in milliseconds since 1970."""
    return milliseconds(min((r.started for r in records if r.started), default=None))
