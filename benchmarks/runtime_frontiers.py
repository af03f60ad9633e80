"""Which models of a finished search change places where another runtime executes them.

Models of the search that are still in its store are measured in each runtime, as ``tlc measure``
does: all, or with ``--layers N`` those on the first N frontiers of what the search measured, each
of what is left without the ones before. Then the script prints, for each cost, the frontier in each
runtime, and the models that are on the frontier of one runtime and not on that of another.

    python benchmarks/runtime_frontiers.py default --study sqlite:////home/me/.tlc/study.db
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import click

from objectives.runtimes.names import installed_runtimes
from objectives.store.store import Store
from search.analysis.machine_costs import RuntimeCosts
from search.analysis.runtime_costs import runtime_costs
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.file.storage import Locations

T = TypeVar("T")
TITLES = {"size_mb": "size, MB", "latency_ms": "latency, ms"}


def frontier_of(
    rows: Sequence[T], costs: Callable[[T], tuple[float, float]], *, ascends: bool
) -> list[T]:
    """Rows that no other beats on score and cost, the cheapest first.

    Args:
        costs: Cost and score of a row.
        ascends: Whether a larger score is better.
    """
    sign = 1.0 if ascends else -1.0
    best, found = float("-inf"), []
    for row in sorted(rows, key=lambda each: (costs(each)[0], -sign * costs(each)[1])):
        if sign * costs(row)[1] > best:
            best = sign * costs(row)[1]
            found.append(row)
    return found


def first_layers(
    records: Sequence[TrialRecord], layers: int, *, ascends: bool
) -> list[TrialRecord]:
    """Trials on the first frontiers of score and size, and of score and latency."""
    left, found = list(records), []
    for _ in range(layers):
        layer = {
            record.number: record
            for cost in TITLES
            for record in frontier_of(
                left,
                lambda each, cost=cost: (each.result[cost], each.result["score"]),
                ascends=ascends,
            )
        }
        found += layer.values()
        left = [record for record in left if record.number not in layer]
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
        runtime: frontier_of(
            [row for row in rows if row.runtime == runtime],
            lambda row: (getattr(row, cost), row.score),
            ascends=ascends,
        )
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
@click.option("--layers", default=0, help="Only models on the first so many frontiers.")
def main(name: str, url: str, layers: int) -> None:
    study = Study.load(name, url)
    ascends = study.search.metric.is_maximised
    records = with_models(study)
    if layers:
        records = first_layers(records, layers, ascends=ascends)
    rows = list(runtime_costs(study, records, installed_runtimes()))
    noisy = sum(row.noisy for row in rows)
    print(f"{name}: {len(records)} models, {noisy} of {len(rows)} latencies are estimates")
    for cost in TITLES:
        print_frontiers(rows, cost, ascends=ascends)


if __name__ == "__main__":
    main()
