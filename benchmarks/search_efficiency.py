"""How much compute samplers need to find the frontier of recorded tables.

Replays every sampler on every table in simulated time, with training from scratch for each trial
and with tlc's shared training, which separates the gain of the sampler from that of sharing.
Finished replays are kept in the results file, so that an interrupted run continues. A results file
belongs to one version of the samplers: use another file after a change.

    pip install -c constraints.txt botorch syne-tune smac    # the peers outside Optuna, optional
    python benchmarks/search_efficiency.py --seeds 20
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from matplotlib.figure import Figure
from peers import available
from rich.console import Console
from rich.table import Table as Lines

from search.replay.replay import FixedOrder, Replay, RowSampler, replay
from search.replay.report import Summary, draw_on
from search.replay.row_samplers import ROW_SAMPLERS
from search.replay.table import Table

TABLES = Path(__file__).parent / "tables"
UNTIL, PARALLEL_UNTIL = 0.981, 0.951
PARALLEL = (4, 16)
PARALLEL_SEEDS = 10
"""Largest number of seeds with several workers: a replay with 16 takes ten times as long."""
LEVEL, PARALLEL_LEVEL, EARLY_LEVELS = 0.98, 0.95, (0.90, 0.95)
SLOW = {"gp", "botorch-qlognehvi", "smac-parego"}
"""Samplers that take about a second for a proposal; an option sets the number of their seeds."""
SLOW_TRIALS = 300
"""Length of their replays in trials."""

DRAWN = ("frontier", "oracle", "tpe", "nsgaii", "random")

Key = tuple[str, str, int, int]
"""Table, sampler, workers, seed."""
Conditions = tuple[str, int, bool]
"""Sampler, workers, whether training is shared."""


@click.command()
@click.option("--seeds", default=20, show_default=True)
@click.option("--slow-seeds", default=3, show_default=True, help="Seeds of the slow samplers.")
@click.option("--processes", default=2, show_default=True)
@click.option("--only", multiple=True, help="Only these samplers.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw all tables in this PNG.")
@click.option("--results", default="search_efficiency.jsonl", show_default=True)
@click.argument("tables", nargs=-1, type=click.Path(path_type=Path))
def main(
    seeds: int,
    slow_seeds: int,
    processes: int,
    only: tuple[str, ...],
    picture: Path | None,
    results: str,
    tables: tuple[Path, ...],
) -> None:
    """Replay all samplers on TABLES (default: those in benchmarks/tables)."""
    paths = {path.name.split(".")[0]: path for path in tables or sorted(TABLES.glob("*.csv.gz"))}
    kept = Path(results)
    known = {key: made for key, made in _read(kept)} if kept.exists() else {}
    wanted = [key for key in _wanted(list(paths), seeds, slow_seeds) if not only or key[1] in only]
    missing = [key for key in wanted if key not in known]
    with ProcessPoolExecutor(processes) as pool, kept.open("a") as out:
        futures = {pool.submit(_replay, str(paths[key[0]]), *key[1:]): key for key in missing}
        for done, future in enumerate(as_completed(futures), 1):
            key = futures[future]
            known[key] = future.result()
            out.write(json.dumps({"key": key, **_to_dict(known[key])}) + "\n")
            out.flush()
            click.echo(f"{done}/{len(missing)} {' '.join(map(str, key))}", err=True)
    drawn = []
    for name, path in paths.items():
        table = Table.read(path)
        summaries = _summaries(table, {key: known[key] for key in wanted if key[0] == name})
        if summaries:
            _print(table, summaries)
            drawn.append((table, summaries))
    if picture is not None and drawn:
        _draw(drawn, picture)


def _wanted(tables: list[str], seeds: int, slow_seeds: int) -> Iterator[Key]:
    for table in tables:
        yield from ((table, "oracle", workers, 0) for workers in (1, *PARALLEL))
        for sampler in _samplers():
            if sampler != "oracle":
                count = slow_seeds if sampler in SLOW else seeds
                yield from ((table, sampler, 1, seed) for seed in range(count))
        for workers in PARALLEL:
            count = min(seeds, PARALLEL_SEEDS)
            yield from ((table, "frontier", workers, seed) for seed in range(count))


def _samplers() -> dict[str, Callable[[Table, int], RowSampler]]:
    return {**ROW_SAMPLERS, **available()}


def _replay(path: str, sampler: str, workers: int, seed: int) -> Replay:
    torch.set_num_threads(1)
    table = Table.read(Path(path))
    row_sampler = _samplers()[sampler](table, seed)
    if sampler in SLOW:
        row_sampler = _AtMost(row_sampler, SLOW_TRIALS)
    until = UNTIL if workers == 1 else PARALLEL_UNTIL
    return replay(table, row_sampler, workers=workers, sharing=True, until=until)


class _AtMost:
    """A row sampler that ends after a number of rows."""

    def __init__(self, row_sampler: RowSampler, count: int) -> None:
        self._row_sampler, self._left = row_sampler, count

    def ask(self) -> int | None:
        self._left -= 1
        return self._row_sampler.ask() if self._left >= 0 else None

    def tell(self, row: int) -> None:
        self._row_sampler.tell(row)


def _to_dict(made: Replay) -> dict[str, Any]:
    return {
        "rows": made.rows.tolist(),
        "seconds": made.seconds.round(3).tolist(),
        "hypervolume": made.hypervolume.round(6).tolist(),
        "busy": made.busy_seconds,
    }


def _read(path: Path) -> Iterator[tuple[Key, Replay]]:
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        lists = (np.array(entry[name]) for name in ("rows", "seconds", "hypervolume"))
        yield tuple(entry["key"]), Replay(*lists, busy_seconds=entry["busy"])


def _summaries(table: Table, shared: dict[Key, Replay]) -> dict[Conditions, Summary]:
    replays: dict[Conditions, list[Replay]] = {}
    for (_, sampler, workers, _), made in shared.items():
        replays.setdefault((sampler, workers, True), []).append(made)
        if workers == 1 and sampler not in ("frontier", "oracle"):
            # Peers ignore times, so they choose the same rows without shared training.
            alone = replay(table, FixedOrder(made.rows), workers=1, sharing=False, until=UNTIL)
            replays.setdefault((sampler, 1, False), []).append(alone)
    return {
        (sampler, workers, sharing): Summary(sampler, sharing, workers, made)
        for (sampler, workers, sharing), made in replays.items()
    }


def _draw(drawn: list[tuple[Table, dict[Conditions, Summary]]], picture: Path) -> None:
    """A panel for each table: the frontier sampler, the oracle, fast peers, TPE from scratch."""
    figure = Figure(figsize=(5.2 * len(drawn), 4.4), layout="constrained")
    for place, (table, summaries) in enumerate(drawn, 1):
        axes = figure.add_subplot(1, len(drawn), place)
        wanted = [*((name, 1, True) for name in DRAWN), ("tpe", 1, False)]
        draw_on(axes, table, [summaries[key] for key in wanted if key in summaries])
    figure.savefig(picture, dpi=130)


def _print(table: Table, summaries: dict[Conditions, Summary]) -> None:
    middle = {key: summary.seconds_to(LEVEL)[1] for key, summary in summaries.items()}
    own = middle.get(("frontier", 1, True), np.nan)
    lines = Lines(box=None, header_style="bold", pad_edge=False)
    for name in (
        "sampler",
        "training",
        "seeds",
        *(f"to {level:.0%}" for level in EARLY_LEVELS),
        "seconds to 98 %",
        "quartiles",
        "times frontier",
    ):
        lines.add_column(name, justify="left" if name in ("sampler", "training") else "right")
    for key in sorted(middle, key=lambda key: middle[key]):
        summary = summaries[key]
        if summary.workers == 1:
            low, median, high = map(_text, summary.seconds_to(LEVEL))
            ratio = _text(middle[key] / own, ".2f")
            training = "shared" if summary.sharing else "from scratch"
            seeds = str(len(summary.replays))
            early = [_text(summary.seconds_to(level)[1]) for level in EARLY_LEVELS]
            cells = summary.sampler, training, seeds, *early, median, f"{low}–{high}", ratio
            lines.add_row(*cells)
    console = Console(width=110)
    console.print(f"\n{table.name}: {len(table):,} configurations", style="bold")
    console.print(lines)
    _print_targets(middle, console)
    _print_times_oracle(summaries, console)
    _print_parallel(table, summaries, console)


def _print_targets(middle: dict[Conditions, float], console: Console) -> None:
    own = middle.get(("frontier", 1, True), np.nan)
    shared = {k[0]: v for k, v in middle.items() if k[1] == 1 and k[2]}
    if not {"frontier", "oracle", "tpe"} <= shared.keys():
        return
    peers = {name: v for name, v in shared.items() if name not in ("frontier", "oracle")}
    best = min(peers, key=lambda name: peers[name])
    console.print(
        f"of TPE from scratch: {own / middle['tpe', 1, False]:.3f} (wanted: 0.125)   "
        f"of the best peer with sharing, {best}: {own / peers[best]:.2f} (wanted: 0.33)   "
        f"of the oracle: {own / shared['oracle']:.2f} (wanted: 2.5)"
    )


def _print_times_oracle(summaries: dict[Conditions, Summary], console: Console) -> None:
    oracle, own = (summaries.get((name, 1, True)) for name in ("oracle", "frontier"))
    if oracle is None or own is None:
        return
    ratios = ", ".join(
        f"{own.seconds_to(level)[1] / oracle.seconds_to(level)[1]:.2f} to {level:.0%}"
        for level in (*EARLY_LEVELS, LEVEL)
    )
    console.print(f"median seconds of frontier over those of the oracle: {ratios}")


def _print_parallel(table: Table, summaries: dict[Conditions, Summary], console: Console) -> None:
    if ("frontier", 1, True) not in summaries:
        return
    alone = summaries["frontier", 1, True].seconds_to(PARALLEL_LEVEL)[1]
    longest = _longest_needed(table)
    for workers in PARALLEL:
        took = {
            name: summaries[name, workers, True].seconds_to(PARALLEL_LEVEL)[1]
            for name in ("frontier", "oracle")
            if (name, workers, True) in summaries
        }
        if "frontier" not in took:
            continue
        seconds = took["frontier"]
        # No number of workers finishes before the longest training that is needed.
        bound = alone / max(alone / workers, longest) / workers
        console.print(
            f"{workers} workers: {_text(seconds)} s to 95 %, one worker {_text(alone)} s: "
            f"efficiency {alone / seconds / workers:.0%} (wanted: 70 %; the longest training "
            f"that 95 % needs takes {_text(longest)} s, which allows {bound:.0%}; the oracle, with "
            f"as many workers, needs {_text(took.get('oracle', np.nan))} s)"
        )


def _longest_needed(table: Table) -> float:
    """Shortest time limit for a single row at which the rows within it have 95 % of the
    hypervolume, in seconds."""
    c = table.columns
    alone = c["train_seconds_stable"] + c["train_seconds_cooldown"] + c["compress_eval_seconds"]
    whole = table.hypervolume(np.arange(len(table)))
    order = np.argsort(alone, kind="stable")
    first, last = 0, len(order) - 1
    while first < last:
        middle = (first + last) // 2
        if table.hypervolume(order[: middle + 1]) >= PARALLEL_LEVEL * whole:
            last = middle
        else:
            first = middle + 1
    return float(alone[order[first]])


def _text(value: float, form: str = ",.0f") -> str:
    return format(value, form) if np.isfinite(value) else "never"


if __name__ == "__main__":
    main()
