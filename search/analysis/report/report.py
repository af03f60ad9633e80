"""Writing the report of a search, and logging it to the search's run in MLflow."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from search.analysis.mlflow_artefacts import log_artefacts
from search.analysis.report.compute import compute_section
from search.analysis.report.conditions import conditions, search_file
from search.analysis.report.dimensions import dimensions_section
from search.analysis.report.frontier import frontier_section, levels_section
from search.analysis.report.progress import progress_section
from search.analysis.report.report_data import ReportData, Section
from search.analysis.report.summary import summary
from search.analysis.report.training_reuse import training_section
from search.plots.pages import render
from search.plots.trial_points import short_text
from search.storage.study import Study
from spaces.errors import UserError
from spaces.file.storage import Locations

FILE = "report.html"
ARTEFACTS = "report"
"""Folder of the run's artefacts."""


@dataclass(frozen=True)
class Report:
    """Where a report is.

    Args:
        path: The page.
        is_tracked: Whether MLflow has it.
    """

    path: Path
    is_tracked: bool


def write_report(study: Study, folder: Path | None = None) -> Report:
    """Write the report of a search, and log it.

    Args:
        study: The record.
        folder: Where to write it; without one, among the reports of the search.

    Raises:
        UserError: The folder cannot be written.
    """
    where = Locations.of(study.search.storage)
    path = (folder or where.reports / study.search.name) / FILE
    page = report_page(ReportData.of(study))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{FILE}.new")
        temporary.write_text(page, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path.parent} cannot be written: {error.strerror}") from error
    return Report(path, log_artefacts(study, where, [path], ARTEFACTS))


def report_page(data: ReportData) -> str:
    """The report of a search as a page that needs no other file and no network."""
    search = data.space.search
    return render(
        "search.analysis",
        "report.html.j2",
        title=f"{search.name}: report",
        search=search,
        data=data,
        short_text=short_text,
        summary=summary(data),
        sections=sections(data),
        conditions=conditions(data),
        search_file=search_file(data),
    )


def sections(data: ReportData) -> list[Section]:
    """The sections in their order; without a complete trial, only what was spent."""
    if not data.complete:
        return [compute_section(data)]
    return [
        frontier_section(data),
        levels_section(data),
        progress_section(data),
        dimensions_section(data),
        training_section(data),
        compute_section(data),
    ]
