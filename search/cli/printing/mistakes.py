"""The text output of what a model gets wrong."""

from __future__ import annotations

from rich.console import Console

from objectives.tasks.mistakes import Mistakes
from objectives.tasks.worst_texts import WorstTexts
from search.cli.printing.tables import make_table

MOST_CLASSES = 20
"""Of a confusion matrix; of more, the most frequent confusions are shown."""
LONGEST = 200
"""Characters of an input."""


def print_errors(found: Mistakes | WorstTexts, console: Console) -> None:
    """Print the confusions of a model and its most confident mistakes, or its worst texts."""
    if isinstance(found, WorstTexts):
        _print_worst_texts(found, console)
    else:
        _print_mistakes(found, console)


def _print_worst_texts(found: WorstTexts, console: Console) -> None:
    console.print(
        f"the worst of {found.texts:,} texts on {found.split}, by {found.measure} "
        f"(median {found.middle:.2f})",
        style="bold",
    )
    for each in found.worst:
        console.print(f"\n{each.score:.2f}", style="bold")
        for name, text in (("input", each.input), ("written", each.written)):
            if text or each.input:
                console.print(f"  {name:9} {_shortened(text)}", soft_wrap=True)
        name = "expected" if each.input else "passage"
        console.print(f"  {name:9} {_shortened(each.expected)}", soft_wrap=True)


def _print_mistakes(found: Mistakes, console: Console) -> None:
    console.print(
        f"{found.wrong:,} of {found.answers:,} answers on {found.split} are wrong", style="bold"
    )
    if len(found.classes) <= MOST_CLASSES:
        table = make_table("expected", *map(repr, found.classes), left=["expected"])
        for name, counts in zip(found.classes, found.confusion, strict=True):
            table.add_row(repr(name), *(f"{count:,}" for count in counts))
        console.print(table)
    else:
        _print_confusions(found, console)
    if found.worst:
        console.print("\nwrong answers, the most confident first:")
    table = make_table(
        "row",
        "expected",
        "predicted",
        "confidence",
        "input",
        left=["expected", "predicted", "input"],
    )
    # A long input takes several lines, and no room from the other columns.
    table.columns[-1].no_wrap = False
    for each in found.worst:
        table.add_row(
            str(each.row),
            repr(each.expected),
            repr(each.predicted),
            f"{each.confidence:.3f}",
            _shortened(each.input),
        )
    if found.worst:
        console.print(table)


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def _print_confusions(found: Mistakes, console: Console) -> None:
    for count, expected, predicted in found.confusions()[:MOST_CLASSES]:
        console.print(f"{count:,} of {expected!r} are taken for {predicted!r}")
