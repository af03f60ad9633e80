"""Write the figures of docs/reliability.md from what the scorecards and the soak left.

python benchmarks/faults.py --seeds 3 --json docs/reliability/tlc.json
python benchmarks/plain_stack.py --json docs/reliability/plain.json
python benchmarks/soak.py --minutes 20 --json docs/reliability/soak.json
python benchmarks/reliability_page.py
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import click

DOCS = Path(__file__).parents[1] / "docs"
FIGURES = ("lost", "doubled", "excess", "false")


def of_tlc(rows: list[dict[str, Any]]) -> tuple[str, str, str]:
    """Cells about the runs of a fault: passed, broken promises, the longest recovery."""
    if not rows:
        return "not measured", "", ""
    passed = sum(row["passed"] for row in rows)
    figures = " / ".join(str(sum(row[figure] for row in rows)) for figure in FIGURES)
    recovery = max(row["recovery"] for row in rows)
    return f"{passed} of {len(rows)}", figures, f"{recovery:.0f} s" if recovery else ""


def of_plain(rows: list[dict[str, Any]]) -> str:
    """A cell about what the same fault does to the plain search."""
    cells = []
    for row in rows:
        figures = [f"{row[figure]} {figure}" for figure in FIGURES if row.get(figure)]
        words = row["words"].splitlines()[0].replace("|", "/")
        cells.append("; ".join([", ".join(figures), words] if figures else [words]))
    return "<br>".join(cells) or "not measured"


def table() -> str:
    """The table in Markdown."""
    ours: dict[int, list[dict[str, Any]]] = defaultdict(list)
    path = DOCS / "reliability" / "tlc.json"
    for row in json.loads(path.read_text()) if path.exists() else []:
        ours[row["fault"]].append(row)
    plain: dict[int, list[dict[str, Any]]] = defaultdict(list)
    path = DOCS / "reliability" / "plain.json"
    for row in json.loads(path.read_text())["rows"] if path.exists() else []:
        plain[row["fault"]].append(row)
    lines = [
        f"| | fault | tlc passed | {' / '.join(FIGURES)} | recovery | plain stack |",
        "|---|---|---|---|---|---|",
    ]
    for number in sorted({*ours, *plain}):
        name = (ours[number] or plain[number])[0]["name"]
        cells = (str(number), name, *of_tlc(ours[number]), of_plain(plain[number]))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def soak() -> str:
    """What the last soak found, in two sentences."""
    path = DOCS / "reliability" / "soak.json"
    if not path.exists():
        return "Not measured."
    figures = json.loads(path.read_text())
    faults = ", ".join(f"{name} {count}" for name, count in sorted(figures["faults"].items()))
    states = ", ".join(f"{name} {count}" for name, count in sorted(figures["states"].items()))
    broken = ", ".join(f"{figures[figure]} {figure}" for figure in FIGURES)
    return (
        f"Measured over {figures['minutes']:.0f} minutes and {figures['steps']:,} optimiser steps: "
        f"{broken}. Faults from outside: {faults.replace('_', ' ')}. Trials: {states}."
    )


def between(text: str, name: str, content: str) -> str:
    """The text with other content between a pair of marks."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}\n{content}\n{end}{after}"


def main() -> None:
    """Put the table and the soak's figures between their marks."""
    page = DOCS / "reliability.md"
    text = between(page.read_text(), "measured", table())
    page.write_text(between(text, "soak", soak()))
    click.echo(f"wrote {page.relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
