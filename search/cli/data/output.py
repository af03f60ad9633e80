"""The text output of what data holds."""

from __future__ import annotations

from rich.console import Console

from objectives.data.inspection.overview import Overview
from search.cli.printing.tables import make_table
from spaces.file.inputs.tables import SPLITS

MOST_CLASSES = 12
LONGEST = 300
"""Characters of an example that are shown."""


def print_overview(found: Overview, console: Console) -> None:
    """Print splits, classes, examples and notices."""
    counts = ", ".join(f"{count:,} {name}" for name, count in found.counts.items())
    console.print(f"data: {counts}", soft_wrap=True)
    if found.classes:
        table = make_table("class", *SPLITS, left=["class"])
        for name, by_split in [*found.classes.items()][:MOST_CLASSES]:
            table.add_row(repr(name), *(f"{by_split[split]:,}" for split in SPLITS))
        console.print(table)
        if (rest := len(found.classes) - MOST_CLASSES) > 0:
            console.print(f"and {rest:,} more classes")
    if found.examples:
        console.print("training examples as models read them:")
    for example in found.examples:
        tokens = example.tokens
        cut = " (as many tokens as models read)" if example.is_full else ""
        shown = tokens if len(tokens) <= LONGEST else f"{tokens[:LONGEST]} …"
        label = f"  →  {example.label[:LONGEST]}" if example.label else ""
        console.print(f"  {shown}{cut}{label}", soft_wrap=True)
    for notice in found.notices:
        console.print(notice, style="yellow", soft_wrap=True)
