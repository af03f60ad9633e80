"""Smaller models from a larger one, against training them from scratch in equal device-seconds.

A model is trained to the end of its stable path, pruned there to half of its heads and neurons or
to half of its layers, and trained further while the learning rate falls (``training.recovery_start:
last-stage``), from the labels or from the larger model. A model of the same shape is trained from
scratch

- for as many steps: the larger model costs nothing, as a search trains it anyway;
- for more steps, whose FLOPs are those of the larger model's stable path: it is charged.

A step with a teacher counts as the FLOPs of both.

    python benchmarks/inheritance.py --data ../shared/data --seeds 3
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
from small_models import small_search

from objectives.objective import Objective
from objectives.tasks.base import Task
from objectives.training.path import TrainingPath
from objectives.training.recovery import recovery_path
from objectives.training.trainer import Trainer
from spaces.cost.architecture import Architecture, Shape
from spaces.cost.compression import Compression, Pruning
from spaces.cost.configuration import Configuration, content_hash
from spaces.cost.flops import forward_flops
from spaces.file.search_file import SearchFile
from spaces.file.training import LAST_STAGE, RecoveryDistillation

TABLE = Path(__file__).parent / "tables" / "inheritance.csv"
LARGE = Architecture.of(4, 64)
BUDGET = 400
"""Steps of the larger model; what is inherited is that after its stable path, four fifths of it."""
STEPS = (100,)
"""Steps of the smaller models."""
TASKS = ("causal-lm", "masked-lm")
SMALLER = (
    Compression(sparsity=0.5, pruning=Pruning.STRUCTURED),
    Compression(sparsity=0.5, pruning=Pruning.LAYERS),
)
COLUMNS = ("task", "seed", "smaller", "way", "steps", "trained_steps", "loss", "seconds")


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--table", type=click.Path(path_type=Path), default=TABLE, show_default=True)
@click.option("--scratch", type=click.Path(path_type=Path), default=Path(".tlc/inheritance"))
def main(data: Path, seeds: int, table: Path, scratch: Path) -> None:
    scratch.mkdir(parents=True, exist_ok=True)
    known: set[tuple[str, str]] = set()
    if table.exists():
        with table.open() as file:
            known = {(row["task"], row["seed"]) for row in csv.DictReader(file)}
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if not known:
            writer.writeheader()
        for seed in range(seeds):
            for task in TASKS:
                for row in () if (task, str(seed)) in known else _rows(task, data, scratch, seed):
                    writer.writerow({"task": task, "seed": seed, **row})
                    file.flush()


def _rows(task: str, data: Path, scratch: Path, seed: int) -> Iterator[dict[str, object]]:
    search = small_search(task, data, scratch, seed=seed, recovery_start=LAST_STAGE)
    search = _with_budget(search, BUDGET)
    inheriting = Objective(search)
    taught = Objective(_taught(search), inheriting.data)
    trainer = inheriting._trainer
    large = Configuration(LARGE, BUDGET, Compression(), seed)
    stable = inheriting._task.stages.steps(large).stable
    for smaller in SMALLER:
        shape = smaller.shape_of(LARGE)
        flops = [forward_flops(each, search.workload) for each in (LARGE.shape, shape)]
        name, ratio = str(smaller), flops[0] / flops[1]
        for steps in STEPS:
            for way, objective in (("inherited", inheriting), ("inherited, taught", taught)):
                length = steps
                if objective is taught:
                    # The teacher's forward pass is a third of its training step.
                    length = round(steps / (1.0 + ratio / 3.0))
                path = _inherited(objective._task, large, replace(smaller, recovery=length))
                yield _row(trainer, path, name, way, steps)
            for way, more in (("scratch", 0), ("scratch, larger model charged", stable * ratio)):
                total = steps + round(more)
                objective = Objective(_with_budget(search, total), inheriting.data)
                path = _from_scratch(objective._task, large, shape, total)
                yield _row(trainer, path, name, way, steps)


def _taught(search: SearchFile) -> SearchFile:
    training = {"recovery_distillation": RecoveryDistillation()}
    return search.model_copy(update={"training": search.training.model_copy(update=training)})


def _with_budget(search: SearchFile, steps: int) -> SearchFile:
    """The search with one budget, whose tenth is the warm-up."""
    budget = search.space.budget.model_copy(update={"choices": [float(steps)]})
    return search.model_copy(update={"space": search.space.model_copy(update={"budget": budget})})


def _inherited(task: Task, large: Configuration, smaller: Compression) -> TrainingPath:
    configuration = large.with_compression(smaller)
    path = task.path(configuration)
    return recovery_path(task, task.stages, configuration, path, task.calibration())


def _from_scratch(task: Task, large: Configuration, shape: Shape, steps: int) -> TrainingPath:
    """Training of a shape that pruning leaves, with a warm-up and a decay of its own."""
    decay = task.path(replace(large, budget=steps))
    assert decay.parent is not None

    def of_shape(path: TrainingPath, parent: TrainingPath | None) -> TrainingPath:
        key = content_hash({"shape": str(shape), "of": path.key})
        return replace(path, key=key, build=lambda: task.build(shape), parent=parent)

    return of_shape(decay, of_shape(decay.parent, None))


def _row(
    trainer: Trainer, path: TrainingPath, smaller: str, way: str, steps: int
) -> dict[str, object]:
    state, _ = trainer.train(path)
    own = [] if way.startswith("inherited") else state.history
    stages = [*own, state.facts(path)]
    row = {
        "smaller": smaller,
        "way": way,
        "steps": steps,
        "trained_steps": sum(stage["steps"] for stage in stages),
        "loss": f"{state.validation['loss']:.6f}",
        "seconds": f"{sum(stage['seconds'] for stage in stages):.2f}",
    }
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()
