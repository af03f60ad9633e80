"""The text output of the mistakes of a model."""

from __future__ import annotations

from rich.console import Console

from objectives.tasks.mistakes import Mistakes
from search.cli.printing.tables import make_table

MOST_CLASSES = 20
"""Of a confusion matrix; of more, the most frequent confusions are shown."""
LONGEST = 200
"""Characters of an input."""


def print_mistakes(found: Mistakes, console: Console) -> None:
    """Print the confusions of a model, and its most confident mistakes."""
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
    for each in found.worst:
        text = each.input if len(each.input) <= LONGEST else f"{each.input[:LONGEST]}…"
        table.add_row(
            str(each.row), repr(each.expected), repr(each.predicted), f"{each.confidence:.3f}", text
        )
    if found.worst:
        console.print(table)


def _print_confusions(found: Mistakes, console: Console) -> None:
    pairs = [
        (count, found.classes[expected], found.classes[predicted])
        for expected, counts in enumerate(found.confusion)
        for predicted, count in enumerate(counts)
        if count and expected != predicted
    ]
    for count, expected, predicted in sorted(pairs, key=lambda each: -each[0])[:MOST_CLASSES]:
        console.print(f"{count:,} of {expected!r} are taken for {predicted!r}")
