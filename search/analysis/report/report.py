"""Writing the report of a search, and logging it to the search's run in MLflow."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from search.analysis.mlflow_artefacts import log_artefacts
from search.analysis.report.page import report_page
from search.analysis.report.report_data import ReportData
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
