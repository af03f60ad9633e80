"""Testing the claims on searches, and writing what was found: the pages, MLflow, the terminal."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from search.analysis.claims import decay, depth_or_width, early_stopping, robustness
from search.analysis.claims.equal_bytes import compressed_large_wins
from search.analysis.claims.figures import picture
from search.analysis.claims.inference import LEAST_SEEDS, TOGETHER
from search.analysis.claims.measurements import everything, replicated
from search.analysis.claims.model_size import larger_is_better
from search.analysis.claims.observations import Observations, observe
from search.analysis.claims.verdict import Answer, Verdict, judge
from search.analysis.mlflow_artefacts import log_artefacts
from search.plots.pages import Table, render
from search.storage.study import Study
from spaces.file.storage import Locations

CLAIMS = (
    larger_is_better("training_flops"),
    larger_is_better("steps"),
    robustness.CLAIM,
    compressed_large_wins("FLOPs"),
    early_stopping.CLAIM,
    depth_or_width.CLAIM,
    larger_is_better("seconds"),
    compressed_large_wins("seconds"),
    decay.LONGER_TRAINING,
    decay.DECAY,
)
"""The six claims of Li et al. 2020, the first and the fourth again at equal seconds, and what makes
quantisation cost more."""
PAPER = "https://arxiv.org/abs/2002.11794"
STYLES = {
    Answer.SUPPORTED: "bold green",
    Answer.CONTRADICTED: "bold red",
    Answer.UNDECIDED: "dim",
}


@dataclass(frozen=True)
class ClaimsReport:
    """What was found, and where it is written.

    Args:
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


def judge_all(observations: Observations) -> list[Verdict]:
    """The verdict on each claim."""
    sets = [data for data in (replicated(observations), everything(observations)) if data]
    return [judge(claim, *sets) for claim in CLAIMS]


def write_claims(studies: Sequence[Study]) -> ClaimsReport:
    """Test the claims on searches, write the report, and log it to each one's run in MLflow.

    The files are ``claims.html``, ``claims.md`` and ``claims-N.png``.

    Raises:
        UserError: The searches cannot be pooled.
    """
    observations = observe(studies)
    verdicts = judge_all(observations)
    pictures = {each.number: image for each in verdicts if (image := picture(each))}
    folder = Locations.of(studies[0].search.storage).reports / "+".join(observations.names)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("claims-*.png"):
        old.unlink()
    for number, image in pictures.items():
        (folder / f"claims-{number}.png").write_bytes(image)
    for kind in ("html", "md"):
        text = claims_page(observations, verdicts, pictures, kind=kind)
        (folder / f"claims.{kind}").write_text(text, encoding="utf-8")
    written = sorted(folder.glob("claims*.*"))
    tracked = [
        log_artefacts(study, Locations.of(study.search.storage), written, "claims")
        for study in studies
    ]
    return ClaimsReport(observations, verdicts, folder / "claims.html", all(tracked))


def claims_page(
    observations: Observations,
    verdicts: Sequence[Verdict],
    pictures: Mapping[int, bytes],
    *,
    kind: str = "html",
) -> str:
    """The report: one self-contained HTML page, or Markdown beside its ``claims-N.png``.

    Args:
        observations: The measurements that the claims were tested on.
        verdicts: One for each claim.
        pictures: PNG by number of the claim.
        kind: ``html`` or ``md``.
    """
    tables = {
        each.number: Table("the numbers", list(each.rows[0]), rows, is_folded=True)
        for each in verdicts
        if (rows := [list(row.values()) for row in each.rows])
    }
    return render(
        "search.analysis",
        f"claims.{kind}.j2",
        title=f"Train large, then compress? {' + '.join(observations.names)}",
        paper=PAPER,
        counts=counts(observations),
        verdicts=verdicts,
        pictures={number: base64.b64encode(png).decode() for number, png in pictures.items()},
        tables=tables,
        seeds=len(observations.seeds),
        least_seeds=LEAST_SEEDS,
        confidence=f"{100 * TOGETHER:.1f} %",
    )


def counts(observations: Observations) -> str:
    """How much was measured."""
    sizes = len({run.architecture for run in observations.runs})
    seeds = len(observations.seeds)
    return (
        f"{len(observations.compressed):,} trials of {len(observations.runs):,} trained models: "
        f"{sizes} architectures, {seeds} seed{'s' * (seeds != 1)}"
    )


def print_claims(made: ClaimsReport, console: Console) -> None:
    """One line for each claim, and where the report is."""
    console.print(f"{counts(made.observations)}\n", highlight=False)
    for verdict in made.verdicts:
        effect = "" if verdict.effect is None else str(verdict.effect)
        answer = f"[{STYLES[verdict.answer]}]{verdict.answer:<17}[/]"
        console.print(
            f"{verdict.number:>2}. {verdict.title:<51} {answer} {effect}",
            highlight=False,
            soft_wrap=True,
            markup=True,
        )
    console.print(f"\nreport: {made.path} (and .md)", soft_wrap=True, highlight=False)
    if not made.is_tracked:
        console.print(
            "The report is not in MLflow: it is unreachable, or lacks the search (tlc ui sends it)"
        )
