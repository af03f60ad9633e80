"""Testing the claims of searches: the page, its files, MLflow, and what the command prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from search.analysis.claims import page
from search.analysis.claims.claims import judge
from search.analysis.claims.figures import picture
from search.analysis.claims.observations import Observations, observe
from search.analysis.claims.resampling import resample
from search.analysis.claims.verdict import Answer, Verdict
from search.analysis.mlflow_artefacts import log_artefacts
from search.storage.study import Study
from spaces.file.storage import Locations

ARTEFACTS = "claims"
"""Folder of each run's artefacts."""
STYLES = {
    Answer.SUPPORTED: "bold green",
    Answer.CONTRADICTED: "bold red",
    Answer.NOT_ENOUGH: "dim",
}


@dataclass(frozen=True)
class ClaimsReport:
    """What was found, and where it is written.

    Args:
        observations: What was tested on.
        verdicts: The answers.
        path: The HTML page.
        is_tracked: Whether MLflow has it.
    """

    observations: Observations
    verdicts: list[Verdict]
    path: Path
    is_tracked: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can write."""
        return {
            "searches": list(self.observations.names),
            "seeds": list(self.observations.seeds),
            "trials": len(self.observations.compressed),
            "models": len(self.observations.runs),
            "claims": [verdict.to_dict() for verdict in self.verdicts],
            "report": str(self.path),
            "is_tracked": self.is_tracked,
        }


def write_claims(studies: Sequence[Study]) -> ClaimsReport:
    """Test the claims on searches, write the report, and log it to each one's run in MLflow.

    Raises:
        UserError: The searches cannot be pooled.
    """
    observations = observe(studies)
    where = Locations.of(studies[0].search.storage)
    folder = where.reports / "+".join(observations.names)
    verdicts = write(observations, folder)
    written = [folder / "claims.html", folder / "claims.md", *sorted(folder.glob("claims-*.png"))]
    tracked = [
        log_artefacts(study, Locations.of(study.search.storage), written, ARTEFACTS)
        for study in studies
    ]
    return ClaimsReport(observations, verdicts, folder / "claims.html", all(tracked))


def write(observations: Observations, folder: Path) -> list[Verdict]:
    """Test the claims, and write ``claims.html``, ``claims.md`` and ``claims-N.png``."""
    data = resample(observations)
    verdicts = judge(data)
    drawn = {verdict.number: picture(verdict, data) for verdict in verdicts}
    pictures = {number: image for number, image in drawn.items() if image is not None}
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("claims-*.png"):
        old.unlink()
    for number, image in pictures.items():
        (folder / f"claims-{number}.png").write_bytes(image)
    (folder / "claims.md").write_text(page.markdown(observations, verdicts, pictures))
    (folder / "claims.html").write_text(page.html(observations, verdicts, pictures))
    return verdicts


def print_claims(made: ClaimsReport, console: Console) -> None:
    """One line for each claim, and where the report is."""
    console.print(f"{page.counts(made.observations)}\n", highlight=False)
    for verdict in made.verdicts:
        effect = "" if verdict.effect is None else str(verdict.effect)
        answer = f"[{STYLES[verdict.answer]}]{verdict.answer:<17}[/]"
        console.print(
            f"{verdict.number}. {verdict.title:<45} {answer} {effect}",
            highlight=False,
            soft_wrap=True,
            markup=True,
        )
    console.print(f"\nreport: {made.path} (and .md)", soft_wrap=True, highlight=False)
    if not made.is_tracked:
        console.print("MLflow does not have it: it is away, or lacks the search (tlc ui sends it)")
