"""Write the measured table of docs/reliability.md from what the two scorecards left.

python benchmarks/faults.py --seeds 3 --json docs/reliability/tlc.json
python benchmarks/plain_stack.py --json docs/reliability/plain.json
python benchmarks/reliability_page.py
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import click

DOCS = Path(__file__).parents[1] / "docs"
START, END = "<!-- measured -->", "<!-- /measured -->"
FIGURES = ("lost", "doubled", "excess", "false")


def of_tlc(rows: list[dict[str, Any]]) -> str:
    """A cell about the runs of a fault."""
    if not rows:
        return "not measured"
    passed = sum(row["passed"] for row in rows)
    figures = ", ".join(
        f"{total} {figure}" for figure in FIGURES if (total := sum(row[figure] for row in rows))
    )
    recovery = max(row["recovery"] for row in rows)
    parts = [f"{passed} of {len(rows)} passed", figures, f"{recovery:.0f} s" if recovery else ""]
    return "; ".join(part for part in parts if part)


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
        "| | fault | tlc: passed; recovery | plain Ray Tune + Optuna + MLflow |",
        "|---|---|---|---|",
    ]
    for number in sorted({*ours, *plain}):
        name = (ours[number] or plain[number])[0]["name"]
        cells = (str(number), name, of_tlc(ours[number]), of_plain(plain[number]))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Put the table between its marks."""
    page = DOCS / "reliability.md"
    before, _, rest = page.read_text().partition(START)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{START}\n{table()}\n{END}{after}")
    click.echo(f"wrote {page.relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
