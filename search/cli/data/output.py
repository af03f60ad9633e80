"""The text output of what data holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from objectives.data.inspection.overview import Overview
from search.cli.printing.plan import print_plan
from search.cli.printing.tables import make_table
from spaces.cost.units import duration
from spaces.file.inputs.tables import SPLITS

if TYPE_CHECKING:
    # It would import torch.
    from search.api.forecast import Forecast

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


def print_forecast(found: Forecast, console: Console) -> None:
    """Print the data, the plan, and how long the search will take."""
    print_overview(found.data, console)
    print_plan(found.plan, found.name, console, found.trials_at_a_time)
    for reference in found.references:
        console.print(f"reference: {reference['name']}, {found.score_of(reference)} on validation")
    for model, speed in found.steps_per_second.items():
        console.print(f"measured: a step of {model} takes {1 / speed:.3g} s ({speed:.3g} a second)")
    if found.not_measured:
        console.print(f"the speed of training was not measured: {found.not_measured}")
    if found.hours is not None:
        console.print(
            f"all {found.plan.trials} trials take at most about {duration(3600 * found.hours)}, "
            f"{found.trials_at_a_time} at a time",
            style="bold",
        )
    if found.trials_in_time is not None and found.trials_in_time < found.plan.trials:
        console.print(
            f"about {found.trials_in_time} of them fit into the hours of the search",
            style="yellow",
        )
