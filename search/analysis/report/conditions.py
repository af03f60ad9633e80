"""Under which conditions the numbers hold, and the search file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import yaml
from markupsafe import Markup

from search.analysis.report.markup import joined, tag
from search.analysis.report.report_data import ReportData
from search.formatting import has_noisy_latency

T = TypeVar("T")


def section(view: ReportData) -> Markup:
    """Facts, and the file behind a fold."""
    search = view.search
    facts = [("seed", str(search.seed)), ("sampler", search.sampler)]
    facts += [("data", str(view.data["fingerprint"]))] if view.data else []
    facts += [(name, value) for name, value in _measured(view)]
    finished = [record.finished for record in view.records if record.finished]
    started = [record.started for record in view.records if record.started]
    facts += [("first trial", f"{min(started):%Y-%m-%d %H:%M} UTC")] if started else []
    facts += [("last result", f"{max(finished):%Y-%m-%d %H:%M} UTC")] if finished else []
    rows = [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts]
    notes = [tag("p", note, class_="quiet") for note in _notes(view)]
    return joined([tag("dl", *rows, class_="facts"), *notes, _file(view)])


def _measured(view: ReportData) -> list[tuple[str, str]]:
    """Versions and latency conditions, each that occurs among the trials."""
    versions = _distinct(record.result.get("versions") for record in view.complete)
    latencies = _distinct(_latency(record.result.get("latency")) for record in view.complete)
    told = [("versions", ", ".join(f"{k} {v}" for k, v in each.items())) for each in versions]
    told += [("latency", each) for each in latencies]
    noisy = sum(has_noisy_latency(record.result) for record in view.complete)
    if noisy:
        told.append(
            ("noisy latencies", f"{noisy} of {len(view.complete)}: other programs disturbed them")
        )
    return told


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


def _notes(view: ReportData) -> list[str]:
    notes = [
        "Scores are those of the compressed model as it was loaded back, on the validation split, "
        "which also chose it; intervals are 95\u202f% over the examples of that split, not over "
        "seeds. The test split was read once, for the frontier.",
    ]
    if view.scale.cost.name == "size_mb":
        notes.append("Sizes are bytes on disk without the tokenizer; a MB is 10^6 bytes.")
    return notes


def _file(view: ReportData) -> Markup:
    # Where things are kept is no part of what was measured, and a URL may hold a password.
    document = view.search.model_dump(
        mode="json", exclude_none=True, exclude={"storage", "address"}
    )
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return tag("details", tag("summary", "the search file"), tag("pre", tag("code", text)))
