"""The table of dense and compressed models of the same training and the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from search.cli.printing.tables import make_table
from search.equal_bytes import EqualBytes
from search.seeds import Repeats, SeedScores, spread_text
from search.storage.trials import TrialRecord
from spaces.cost.metric import Metric
from spaces.cost.units import quantity
from spaces.grid.search_space import SearchSpace


def print_equal_bytes(
    space: SearchSpace,
    rows: Sequence[EqualBytes],
    repeats: Repeats,
    tests: Mapping[int, Mapping[str, Any]],
    console: Console,
) -> None:
    """Print dense and compressed models of the same training and bytes, where both have seeds.

    Args:
        tests: Results on test, by trial number.
    """
    rows = [row for row in rows if all(map(repeats.of, row.trials))]
    if not rows:
        return
    budget, metric = space.definition.budget, space.criteria.metric
    console.print(
        f"\ntrained for the same {quantity(max(budget.values)).strip()} {budget.unit}, within the "
        f"same bytes: {metric.name} on test, mean and 95 % interval over seeds\n"
    )
    scores = {
        each.number: SeedScores.of(each, repeats, tests, metric)
        for row in rows
        for each in row.trials
    }
    console.print(_table(rows, scores, metric))


def _table(
    rows: Sequence[EqualBytes], scores: Mapping[int, SeedScores | None], metric: Metric
) -> Table:
    """Dense and compressed models within the same bytes, with their scores on test.

    Args:
        scores: Scores over seeds by the number of the trial.
    """
    table = make_table(
        "MB", "dense", "test", "compressed", "test", "reference", "test",
        left=["dense", "compressed", "reference"],
    )  # fmt: skip
    for row in rows:
        table.add_row(
            f"{row.max_bytes / 1e6:.3f}",
            *_contender(row.dense, scores, metric),
            *_contender(row.compressed, scores, metric),
            *(
                ("none", "")
                if row.reference is None
                else (row.reference.name, metric.text(row.reference.scores["test"]["score"]))
            ),
        )
    return table


def _contender(
    record: TrialRecord | None, scores: Mapping[int, SeedScores | None], metric: Metric
) -> tuple[str, str]:
    """A model and its score on test over seeds."""
    if record is None:
        return "none", ""
    architecture, compression = record.configuration.architecture, record.configuration.compression
    name = f"{architecture} {compression}"
    known = scores.get(record.number)
    if known is None or known.test is None:
        return name, ""
    spread = known.test
    if spread.low is None or spread.high is None:
        return name, spread_text(spread, metric.name)
    low, high = metric.text(spread.low), metric.text(spread.high)
    return name, f"{metric.text(spread.mean)} ({low}–{high})"
