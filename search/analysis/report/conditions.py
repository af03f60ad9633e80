"""Under which conditions the numbers were measured, and the search file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import yaml

from search.analysis.report.report_data import ReportData
from search.formatting import has_noisy_latency

T = TypeVar("T")


def conditions(data: ReportData) -> list[tuple[str, str]]:
    """Facts: name and value."""
    search = data.space.search
    facts = [("seed", str(search.seed)), ("sampler", search.sampler)]
    facts += [("data", str(data.data["fingerprint"]))] if data.data else []
    facts += _measured(data)
    finished = [record.finished for record in data.records if record.finished]
    started = [record.started for record in data.records if record.started]
    facts += [("first trial", f"{min(started):%Y-%m-%d %H:%M} UTC")] if started else []
    facts += [("last result", f"{max(finished):%Y-%m-%d %H:%M} UTC")] if finished else []
    return facts


def search_file(data: ReportData) -> str:
    """The search file as YAML."""
    # Where things are kept is no part of what was measured, and a URL may hold a password.
    document = data.space.search.model_dump(
        mode="json", exclude_none=True, exclude={"storage", "address"}
    )
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return text


def _measured(data: ReportData) -> list[tuple[str, str]]:
    """Versions and latency conditions, each that occurs among the trials."""
    versions = _distinct(record.result.get("versions") for record in data.complete)
    latencies = _distinct(_latency(record.result.get("latency")) for record in data.complete)
    facts = [("versions", ", ".join(f"{k} {v}" for k, v in each.items())) for each in versions]
    facts += [("latency", each) for each in latencies]
    noisy = sum(has_noisy_latency(record.result) for record in data.complete)
    if noisy:
        count = f"{noisy} of {len(data.complete)}: other programs disturbed them"
        facts.append(("noisy latencies", count))
    return facts


def _latency(latency: dict[str, object] | None) -> str | None:
    if latency is None:
        return None
    return (
        f"10th percentile of calls after {latency['warm_up']}, batch "
        f"{latency['batch_size']}, {latency['sequence_length']} tokens, threads "
        f"{latency['threads']}, {latency['device']} {latency['processor']}"
    )


def _distinct(values: Iterable[T | None]) -> list[T]:
    found: list[T] = []
    for value in values:
        if value is not None and value not in found:
            found.append(value)
    return found
