"""Which models of a finished search change places where another runtime executes them.

Every model of the search that is still in its store is measured in each runtime, as ``tlc measure``
does, and the script prints, for each cost, the frontier in each runtime, and the models that are on
the frontier of one runtime and not on that of another.

    python benchmarks/runtime_frontiers.py default --study sqlite:////home/me/.tlc/study.db
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from objectives.runtimes.names import installed_runtimes
from objectives.store.store import Store
from search.analysis.machine_costs import RuntimeCosts
from search.analysis.runtime_costs import runtime_costs
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.file.storage import Locations

TITLES = {"size_mb": "size, MB", "latency_ms": "latency, ms"}


def frontier_of(rows: Sequence[RuntimeCosts], cost: str, *, ascends: bool) -> list[RuntimeCosts]:
    """Rows that no other beats on score and cost, the cheapest first.

    Args:
        ascends: Whether a larger score is better.
    """
    sign = 1.0 if ascends else -1.0
    best, found = float("-inf"), []
    for row in sorted(rows, key=lambda each: (getattr(each, cost), -sign * each.score)):
        if sign * row.score > best:
            best = sign * row.score
            found.append(row)
    return found


def with_models(study: Study) -> list[TrialRecord]:
    """Complete trials whose model is in the store, one of each model."""
    store = Store(Locations.of(study.search.storage).store_url)
    found: dict[str, TrialRecord] = {}
    for record in study.records():
        if record.is_complete:
            with store.open(record.result["model"]) as folder:
                if folder is not None:
                    found.setdefault(record.result["model"], record)
    return list(found.values())


def print_frontiers(rows: Sequence[RuntimeCosts], cost: str, *, ascends: bool) -> None:
    """Print the frontiers in each runtime, and what differs."""
    runtimes = list(dict.fromkeys(row.runtime for row in rows))
    on = {
        runtime: frontier_of([r for r in rows if r.runtime == runtime], cost, ascends=ascends)
        for runtime in runtimes
    }
    members = {runtime: {row.trial for row in on[runtime]} for runtime in runtimes}
    costs = {(row.trial, row.runtime): getattr(row, cost) for row in rows}
    names = {row.trial: (row.model, row.score) for row in rows}
    trials = sorted(set().union(*members.values()), key=lambda trial: costs[trial, runtimes[0]])
    print(f"\n### score and {TITLES[cost]}; * is on the frontier of the runtime\n")
    print(f"| trial | model | score | {' | '.join(runtimes)} |\n|{' --- |' * (3 + len(runtimes))}")
    for trial in trials:
        cells = (
            f"{costs[trial, runtime]:.3f}{' *' if trial in members[runtime] else ''}"
            for runtime in runtimes
        )
        model, score = names[trial]
        print(f"| {trial} | {model} | {score:.4g} | {' | '.join(cells)} |")
    first = runtimes[0]
    print()
    for runtime in runtimes[1:]:
        gone, new = members[first] - members[runtime], members[runtime] - members[first]
        print(f"{runtime} against {first}: leave {sorted(gone)}, join {sorted(new)}")


@click.command()
@click.argument("name")
@click.option("--study", "url", required=True, help="SQLAlchemy URL of the study.")
def main(name: str, url: str) -> None:
    study = Study.load(name, url)
    records = with_models(study)
    rows = list(runtime_costs(study, records, installed_runtimes()))
    noisy = sum(row.noisy for row in rows)
    print(f"{name}: {len(records)} models, {noisy} of {len(rows)} latencies are estimates")
    ascends = study.search.metric.is_maximised
    for cost in TITLES:
        print_frontiers(rows, cost, ascends=ascends)


if __name__ == "__main__":
    main()
