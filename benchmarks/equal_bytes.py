"""More accuracy for the same bytes: mixed bits, what recovery learns from, and where it starts.

For each task and seed the script trains a small model (``small_models.py``) and compresses it

- to equal bits and to mixed ones of the same mean (``gptq-3`` and ``mixed-3``, …);
- to 2 bits, and to half of the heads and neurons, with recovery from the labels or from the model
  before compression, after the last stage of training or in its place. The forward passes of a
  teacher count: with one, recovery has as many steps fewer as makes its FLOPs equal. A second
  length has the steps of the last stage too: in its place, that is the model with as many steps
  in all as with this stage and the shorter recovery.

Rows are appended to ``tables/equal_bytes.csv``; what is there is not measured again.
``equal_bytes_page.py`` writes the comparison into docs/compression.md.

    python benchmarks/equal_bytes.py --data ../shared/data --seeds 3
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import click
from fit_order import training_loss
from small_models import TASKS, small_search

from objectives.compression import model_file
from objectives.objective import Objective
from spaces.cost.compression import Compression, Quantisation
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from spaces.file.training import LAST_STAGE
from spaces.grid.search_space import SearchSpace

TABLE = Path(__file__).parent / "tables" / "equal_bytes.csv"
Q = Quantisation
BITS = (Q.GPTQ_2, Q.MIXED_2_5, Q.GPTQ_3, Q.MIXED_3, Q.GPTQ_4, Q.MIXED_4)
RECOVERED = (Compression(Q.RTN_2), Compression(sparsity=0.5))
RECOVERY = 0.1
"""Shorter recovery, as a fraction of the budget."""
COLUMNS = (
    "task", "seed", "compression", "teacher", "start", "recovery_steps", "size_bytes", "metric",
    "score", "loss", "dense_loss", "training_loss", "seconds",
)  # fmt: skip


class Way(NamedTuple):
    """How a model recovers.

    Args:
        steps: Of recovery, without a teacher.
    """

    teacher: bool
    start: str
    steps: int


@click.command()
@click.argument("tasks", nargs=-1)
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--table", type=click.Path(path_type=Path), default=TABLE, show_default=True)
@click.option("--scratch", type=click.Path(path_type=Path), default=Path(".tlc/equal_bytes"))
def main(tasks: tuple[str, ...], data: Path, seeds: int, table: Path, scratch: Path) -> None:
    scratch.mkdir(parents=True, exist_ok=True)
    known = _known(table)
    for seed in range(seeds):
        for task in tasks or TASKS:
            if (task, str(seed)) not in known:
                rows = list(_rows(task, data, scratch, seed))
                _append(table, rows)
                print(f"{task}, seed {seed}: {len(rows)} rows", flush=True)


def _rows(task: str, data: Path, scratch: Path, seed: int) -> Iterator[dict[str, object]]:
    search = small_search(task, data, scratch, seed=seed)
    space = SearchSpace(search)
    first = space.configuration((0,) * len(space.dimensions))
    dense = replace(first, budget=max(search.space.budget.values), compression=Compression())
    usual = Objective(search)
    tried = [dense, *(dense.with_compression(Compression(bits)) for bits in BITS)]
    tried += [dense.with_compression(each) for each in RECOVERED]
    yield from _measured(task, usual, tried, Way(teacher=False, start="", steps=0))
    last_stage = usual._task.path(dense).length
    for way in _ways(search, last_stage, int(RECOVERY * dense.budget)):
        objective = Objective(_search_of(search, way), usual.data)
        length = way.steps
        if way.teacher:
            passes = objective._search.schedule.teacher_factor / search.schedule.task_passes
            length = int(length / passes)
        recovered = [
            dense.with_compression(replace(each, recovery=float(length))) for each in RECOVERED
        ]
        yield from _measured(task, objective, recovered, way)


def _ways(search: SearchFile, last_stage: int, recovery: int) -> Iterator[Way]:
    for start in ("end", LAST_STAGE):
        yield Way(teacher=False, start=start, steps=recovery)
        yield Way(teacher=False, start=start, steps=last_stage + recovery)
        if search.workload.outputs != 1:
            yield Way(teacher=True, start=start, steps=recovery)


def _search_of(search: SearchFile, way: Way) -> SearchFile:
    document = search.model_dump()
    training = {**document["training"], "recovery_start": way.start}
    training["recovery_distillation"] = {} if way.teacher else None
    return SearchFile.model_validate({**document, "training": training})


def _measured(
    task: str, objective: Objective, tried: list[Configuration], way: Way
) -> Iterator[dict[str, object]]:
    for configuration, result in objective.evaluate_each(tried):
        if isinstance(result, Exception):
            raise result
        model = model_file.load(Path(objective.store.location(result.model)))
        compression = configuration.compression
        yield {
            "task": task,
            "seed": configuration.seed,
            "compression": str(replace(compression, recovery=0.0)),
            "teacher": int(way.teacher),
            "start": way.start,
            "recovery_steps": way.steps,
            "size_bytes": result.size_bytes,
            "metric": result.metric,
            "score": f"{result.score:.6f}",
            "loss": f"{result.loss:.6f}",
            "dense_loss": f"{result.dense_loss:.6f}",
            "training_loss": f"{training_loss(model, objective):.6f}",
            "seconds": f"{result.seconds['recovery'] or result.seconds['compress']:.2f}",
        }


def _known(table: Path) -> set[tuple[str, str]]:
    if not table.exists():
        return set()
    with table.open() as file:
        return {(row["task"], row["seed"]) for row in csv.DictReader(file)}


def _append(table: Path, rows: list[dict[str, object]]) -> None:
    is_new = not table.exists()
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
