"""Writing the report of a search, and logging it to the search's run in MLflow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from objectives.data.prepared_data import warnings_of
from search.analysis.mlflow_artefacts import Report, write_page
from search.analysis.report.compute import compute_section, seconds_spent
from search.analysis.report.dimensions import dimensions_section
from search.analysis.report.frontier import frontier_section, levels_section
from search.analysis.report.progress import progress_section
from search.analysis.report.report_data import ReportData, Section
from search.analysis.report.training_reuse import training_section
from search.formatting import has_noisy_latency, is_corrected, measured_latency, time_conditions
from search.hypervolume import hypervolume_of
from search.pareto import nearest, quality
from search.plots.pages import render
from search.plots.style import tick_text
from search.plots.trial_points import short_text
from search.results.training_reuse import TrainingReuse
from search.storage.study import Study
from search.storage.trials import TrialRecord, gpu_hours
from spaces.cost.inference_cost import COSTS
from spaces.cost.units import duration
from spaces.errors import UserError

T = TypeVar("T")


def write_report(study: Study, folder: Path | None = None, *, with_errors: bool = True) -> Report:
    """Write the report of a search, and log it.

    Args:
        study: The search.
        folder: Where to write it; without one, among the reports of the search.
        with_errors: Whether the best model is run on the validation split, for what it gets wrong.

    Raises:
        UserError: The folder cannot be written.
    """
    data = ReportData.of(study)
    errors = _errors(study, data.best) if with_errors and data.best else None
    return write_page(study, study.search.storage, report_page(data, errors), folder)


def _errors(study: Study, best: TrialRecord) -> Section | None:
    # They import torch.
    from search.analysis.mistakes import NoErrors, mistakes_of
    from search.analysis.report.errors import LISTED, errors_section

    try:
        return errors_section(best, mistakes_of(study, best.number, LISTED))
    except NoErrors:
        return None
    except UserError as error:
        return errors_section(best, str(error))


def report_page(data: ReportData, errors: Section | None = None) -> str:
    """The report of a search as a page that needs no other file and no network.

    Args:
        errors: What the best model gets wrong.
    """
    search = data.space.search
    return render(
        "search.analysis",
        "report.html.j2",
        title=f"{search.name}: report",
        search=search,
        data=data,
        short_text=short_text,
        costs=COSTS,
        tick_text=tick_text,
        measured_latency=measured_latency,
        latency_note=_latency_note,
        summary=_summary(data),
        sections=sections(data, errors),
        conditions=_conditions(data),
        search_file=_search_file(data),
    )


def sections(data: ReportData, errors: Section | None = None) -> list[Section]:
    """The sections in their order; without a complete trial, only what was spent."""
    if not data.complete:
        return [compute_section(data)]
    return [
        frontier_section(data),
        levels_section(data),
        *([errors] if errors else []),
        progress_section(data),
        dimensions_section(data),
        training_section(data),
        compute_section(data),
    ]


def _summary(data: ReportData) -> dict[str, Any]:
    """The best trial or the one nearest to the limits, a cheaper one, and facts of the search."""
    volume = hypervolume_of(data.records, data.criteria, data.scale)
    return {
        "found": data.best or _nearest(data),
        "cheaper": data.best and _cheaper(data, data.best),
        "trials": _trials(data),
        "hypervolume": f"{volume:.3f}",
        "spent": duration(seconds_spent(data.complete)),
        "gpu_hours": gpu_hours(data.records),
        "saved": duration(TrainingReuse.of(data.records).seconds_saved),
    }


def _nearest(data: ReportData) -> TrialRecord | None:
    if not data.complete or not data.criteria.limits:
        return next(iter(data.complete), None)
    return nearest(data.complete, data.criteria, dict(data.criteria.limits))


def _cheaper(data: ReportData, leader: TrialRecord) -> TrialRecord | None:
    """The cheapest model whose score lies within the interval of the best one's."""
    ends = [data.metric.quality(leader.result[end]) for end in ("score_low", "score_high")]
    within = (r for r in data.members if quality(r, data.criteria) >= min(ends))
    cheapest = next(within, leader)
    return None if cheapest.number == leader.number else cheapest


def _trials(data: ReportData) -> str:
    finished = sum(record.is_finished for record in data.records)
    failed = sum(record.is_finished and not record.is_complete for record in data.records)
    running = len(data.records) - finished
    planned = data.space.search.trials
    state = "all finished" if finished >= planned else f"{finished:,} finished"
    parts = [f"{planned:,} planned, {state}"]
    parts += [f"{failed:,} failed"] if failed else []
    parts += [f"{running:,} running or interrupted"] if running else []
    return ", ".join(parts)


def _conditions(data: ReportData) -> list[tuple[str, str]]:
    """Under which conditions the numbers were measured: names and values."""
    search = data.space.search
    facts = [("seed", str(search.seed)), ("sampler", search.sampler)]
    facts += [("data", str(data.data["fingerprint"]))] if data.data else []
    facts += [("of the data", said) for said in warnings_of(data.data)]
    versions = _distinct(record.result.get("versions") for record in data.complete)
    facts += [("versions", ", ".join(f"{k} {v}" for k, v in each.items())) for each in versions]
    latencies = _distinct(_latency(record.result.get("latency")) for record in data.complete)
    facts += [("latency", each) for each in latencies]
    facts += _distinct(each for record in data.complete for each in _measured_costs(record.result))
    if noisy := sum(has_noisy_latency(record.result) for record in data.complete):
        count = f"{noisy} of {len(data.complete)}: other programs disturbed them"
        facts.append(("noisy latencies", count))
    started = [record.started for record in data.records if record.started]
    finished = [record.finished for record in data.records if record.finished]
    facts += [("first trial", f"{min(started):%Y-%m-%d %H:%M} UTC")] if started else []
    facts += [("last result", f"{max(finished):%Y-%m-%d %H:%M} UTC")] if finished else []
    return facts


def _latency_note(result: Mapping[str, Any]) -> str:
    """How a measured latency is to be read."""
    note = "on a noisy machine" if has_noisy_latency(result) else "10th percentile"
    if is_corrected(measured_latency(result), result["latency_ms"]):
        return f"{note}; {COSTS['latency_ms'].text(result['latency_ms'])} corrected"
    return note


def _latency(latency: dict[str, object] | None) -> str | None:
    if latency is None:
        return None
    return f"10th percentile of calls after {latency['warm_up']}, {time_conditions(latency)}"


def _measured_costs(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """How the costs were measured that only some searches have, by the noun of each."""
    for name, details in result.get("measured_costs", {}).items():
        yield COSTS[name].noun, f"{_latency(details)}"


def _distinct(values: Iterable[T | None]) -> list[T]:
    found: list[T] = []
    for value in values:
        if value is not None and value not in found:
            found.append(value)
    return found


def _search_file(data: ReportData) -> str:
    # Where things are kept is no part of what was measured, and a URL may hold a password.
    document = data.space.search.model_dump(
        mode="json", exclude_none=True, exclude={"storage", "address"}
    )
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return text
