"""Write the figures of docs/reliability.md from the results of the fault tests and of the soak.

python benchmarks/faults.py --seeds 3 --json docs/reliability/tlc.json
python benchmarks/soak.py --minutes 20 --json docs/reliability/soak.json
python benchmarks/reliability_page.py
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import click
from faults import FIGURES

DOCS = Path(__file__).parents[1] / "docs"


def fault_table() -> str:
    """A Markdown table with a row for each fault, over its seeds."""
    by_fault: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in json.loads((DOCS / "reliability" / "tlc.json").read_text()):
        by_fault[row["fault"]].append(row)
    lines = [
        f"| | fault | passed | {' / '.join(FIGURES)} | longest recovery |",
        "|---|---|---|---|---|",
    ]
    for number, rows in sorted(by_fault.items()):
        passed = f"{sum(row['passed'] for row in rows)} of {len(rows)}"
        figures = " / ".join(str(sum(row[figure] for row in rows)) for figure in FIGURES)
        recovery = max(row["recovery"] for row in rows)
        seconds = f"{recovery:.0f} s" if recovery else ""
        lines.append(f"| {number} | {rows[0]['name']} | {passed} | {figures} | {seconds} |")
    return "\n".join(lines)


def soak_summary() -> str:
    """The results of the last soak, in three sentences."""
    soak = json.loads((DOCS / "reliability" / "soak.json").read_text())
    faults = ", ".join(f"{name} {count}" for name, count in sorted(soak["faults"].items()))
    states = ", ".join(f"{name} {count}" for name, count in sorted(soak["states"].items()))
    broken = ", ".join(f"{soak[figure]} {figure}" for figure in FIGURES)
    return (
        f"Measured over {soak['minutes']:.0f} minutes and {soak['steps']:,} optimiser steps: "
        f"{broken}. Faults from outside: {faults.replace('_', ' ')}. Trials: {states}."
    )


def replaced(text: str, marker: str, content: str) -> str:
    """The text with other content between a pair of marker comments."""
    start, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}\n{content}\n{end}{after}"


def main() -> None:
    """Put the table and the soak's figures between their markers."""
    page = DOCS / "reliability.md"
    text = replaced(page.read_text(), "measured", fault_table())
    page.write_text(replaced(text, "soak", soak_summary()))
    click.echo(f"wrote {page.relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
