"""Does one learning rate suit every size? The loss against the peak learning rate, size by size.

Trains short runs of every depth and width at the default rate of the ready-made search, half of it
and twice it, and at further factors of two until the lowest loss lies between two others. The
recipe transfers if the best rate of each size is within a factor of two of every other's, and the
default within 0.02 nats of each size's own best. The best rate is the vertex of the parabola
through the lowest loss and its neighbours, over the logarithm of the rate.

A second start continues from what ``--results`` holds.

    python benchmarks/transfer.py --task masked_lm --task causal_lm
    python benchmarks/transfer.py --task classification --task images --depths 1,2,4,8
    python benchmarks/transfer.py --task translation --parallel train.en.gz train.fr.gz
"""

from __future__ import annotations

import json
import math
import shutil
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean

import click
import matplotlib.pyplot as plt
import torch
from torch import nn

from objectives.data.prepare import prepare
from objectives.store.store import Store
from objectives.tasks import make_task
from objectives.tasks.base import Task
from objectives.training.loop import TrainingFailure
from objectives.training.optimizer import WarmupDecay
from objectives.training.path import FINE_TUNING, TrainingPath
from objectives.training.replica import TrainingProcess
from objectives.training.trainer import Trainer
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from spaces.loading import load

TASKS = ("masked_lm", "causal_lm", "classification", "translation", "images")
"""Ready-made searches: one for each task. ``classification`` sweeps the rate of fine-tuning."""
MAX_FACTOR = 2.0
"""Between the best rates of two sizes."""
MAX_LOSS = 0.02
"""Of the default rate over a size's own best, in nats."""
MAX_DOUBLINGS = 4
"""Of the default rate, up and down."""
EVALUATION_BATCHES = 48
"""Batches after the last of training that the loss is measured on. Short runs have not seen them,
and they cost less than the score of the validation split, for which translations are decoded."""

Losses = dict[int, float]
"""Loss in nats by doublings of the default rate."""


class Sweep:
    """The losses of a task at sizes and rates.

    Args:
        overrides: Of the ready-made search.
    """

    def __init__(self, task: str, overrides: list[str], *, steps: int, scratch: Path) -> None:
        self._task, self._overrides, self._steps, self._scratch = task, overrides, steps, scratch
        self._search = load(task, [f"space.budget={{unit: steps, choices: [{steps}]}}", *overrides])
        self._data = prepare(self._search.data, self._search.task, scratch / "data")

    @property
    def default_rate(self) -> float:
        """The rate that is swept, as the search has it."""
        training = self._search.training
        return (training.fine_tuning or training).learning_rate

    def losses(self, depth: int, width: int, *, seeds: int, around: int) -> Losses:
        """The mean loss over seeds at the default rate and at rates around the lowest.

        Args:
            around: Doublings of the default at which to begin.
        """
        losses: Losses = {}
        wanted = sorted({0, around - 1, around, around + 1})
        while wanted:
            for doublings in wanted:
                each = (self._loss(depth, width, doublings, seed) for seed in range(seeds))
                losses[doublings] = mean(each)
            at = lowest(losses)
            beside = (at - 1, at + 1)
            wanted = [k for k in beside if k not in losses and abs(k) <= MAX_DOUBLINGS]
        shutil.rmtree(self._scratch / "store", ignore_errors=True)
        return dict(sorted(losses.items()))

    def _loss(self, depth: int, width: int, doublings: int, seed: int) -> float:
        """Loss after training; infinite where training fails."""
        search = self._at(self.default_rate * 2.0**doublings)
        decoder_depth = depth if search.task.has_decoder else 0
        configuration = Configuration(
            Architecture.of(depth, width, decoder_depth=decoder_depth),
            search.space.budget.values[0],
            Compression(),
            seed,
        )
        task = make_task(search, self._data)
        path = self._shortened(task.path(configuration))
        path = replace(path, validate=lambda model: {"loss": self._unseen_loss(model, task)})
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # One for all rates, so that runs which differ in fine-tuning alone share the pre-training.
        store = Store(str(self._scratch / "store"))
        trainer = Trainer(store, TrainingProcess(device), checkpoint_seconds=math.inf)
        try:
            state, _ = trainer.train(path)
        except TrainingFailure:
            return math.inf
        return state.validation["loss"]

    def _at(self, rate: float) -> SearchFile:
        training = self._search.training
        if training.fine_tuning is None:
            changed = training.model_copy(update={"learning_rate": rate})
        else:
            fine_tuning = training.fine_tuning.model_copy(update={"learning_rate": rate})
            changed = training.model_copy(update={"fine_tuning": fine_tuning})
        return self._search.model_copy(update={"training": changed})

    def _shortened(self, path: TrainingPath) -> TrainingPath:
        """Fine-tuning takes as many steps as pre-training, and no epochs."""
        if path.name != FINE_TUNING:
            return path
        settings = replace(path.optimizer_settings, schedule=WarmupDecay(self._steps))
        return replace(path, length=self._steps, early_stopping=None, optimizer_settings=settings)

    def _unseen_loss(self, model: nn.Module, task: Task) -> float:
        model.eval()
        steps = range(self._steps, self._steps + EVALUATION_BATCHES)
        with torch.inference_mode():
            return mean(float(task.loss(model, task.batch(step))) for step in steps)


def lowest(losses: Losses) -> int:
    """The doublings with the lowest loss."""
    return min(losses, key=lambda doublings: losses[doublings])


def best_doublings(losses: Losses) -> float:
    """Where the parabola through the lowest loss and its neighbours has its vertex."""
    at = lowest(losses)
    below, least, above = (losses.get(at + k, math.inf) for k in (-1, 0, 1))
    if not (math.isfinite(below) and math.isfinite(above)) or below + above == 2 * least:
        return at
    return at + (below - above) / (2 * (below + above - 2 * least))


def added_by_default(losses: Losses) -> float:
    """What the default rate adds to the lowest loss."""
    return losses[0] - min(losses.values())


def print_row(size: str, losses: Losses, default: float, seconds: float) -> None:
    """A line: the best rate, what the default adds, and the loss at each rate."""
    at_rates = "  ".join(f"{default * 2.0**k:.2g}: {loss:.3f}" for k, loss in losses.items())
    best = default * 2.0 ** best_doublings(losses)
    print(
        f"{size:7} best {best:<8.2g} default +{added_by_default(losses):.3f}   {at_rates}   "
        f"{seconds:.0f} s",
        flush=True,
    )


def print_table(results: dict[str, dict[str, Losses]]) -> None:
    """Markdown: for each task and size the best rate over the default, and what that adds."""
    tasks = list(results)
    sizes = sorted({size for each in results.values() for size in each}, key=_order)
    print("\n| size | " + " | ".join(tasks) + " |\n|" + " --- |" * (len(tasks) + 1))
    for size in sizes:
        cells = []
        for task in tasks:
            losses = results[task].get(size)
            cells.append(
                f"{2.0 ** best_doublings(losses):.2f}, +{added_by_default(losses):.3f} of "
                f"{min(losses.values()):.3f}"
                if losses
                else ""
            )
        print(f"| {size} | " + " | ".join(cells) + " |")


def _order(size: str) -> list[int]:
    return [int(part) for part in size.split("x")]


def verdicts(task: str, losses: dict[str, Losses]) -> list[str]:
    """Whether each criterion holds, in a sentence with its figures."""
    best = [best_doublings(each) for each in losses.values()]
    factor = 2.0 ** (max(best) - min(best))
    added = max(added_by_default(each) for each in losses.values())

    def result(passed: bool) -> str:
        return "pass" if passed else "FAIL"

    return [
        f"{result(factor <= MAX_FACTOR)} {task}: the best rates lie within a factor of "
        f"{factor:.3g}",
        f"{result(added <= MAX_LOSS)} {task}: the default adds at most {added:.3f} nats",
    ]


def draw(results: dict[str, dict[str, Losses]], path: Path) -> None:
    """Loss against rate: a panel for each task and a line for each size."""
    figure, panels = plt.subplots(1, len(results), figsize=(5 * len(results), 4), squeeze=False)
    for panel, (task, losses) in zip(panels[0], results.items(), strict=True):
        for size, each in losses.items():
            rates = [2.0**doublings for doublings in each]
            panel.plot(rates, list(each.values()), marker="o", label=size)
        panel.set(xscale="log", xlabel="learning rate, of the default", ylabel="loss, nats")
        panel.set_title(task)
        panel.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path)


def _numbers(_: click.Context, __: click.Parameter, text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


@click.command()
@click.option("--task", "tasks", multiple=True, type=click.Choice(TASKS), default=TASKS)
@click.option("--depths", default="1,8", show_default=True, callback=_numbers)
@click.option("--widths", default="64,512", show_default=True, callback=_numbers)
@click.option("--steps", default=100, show_default=True, help="Of each run.")
@click.option("--seeds", default=1, show_default=True)
@click.option("--parallel", nargs=2, default=None, help="Training files of both languages.")
@click.option("--set", "overrides", multiple=True, help="As in tlc run.")
@click.option("--results", default="transfer.json", show_default=True, type=Path)
@click.option("--scratch", default=".tlc/transfer", show_default=True, type=Path)
def main(
    tasks: tuple[str, ...],
    depths: list[int],
    widths: list[int],
    steps: int,
    seeds: int,
    parallel: tuple[str, str] | None,
    overrides: tuple[str, ...],
    results: Path,
    scratch: Path,
) -> None:
    """Print the table and the verdicts, and draw the picture."""
    measured: dict[str, dict[str, Losses]] = {}
    if results.exists():
        measured = {
            task: {
                size: {int(k): loss for k, loss in losses.items()} for size, losses in each.items()
            }
            for task, each in json.loads(results.read_text()).items()
        }
    for task in tasks:
        if task == "translation" and parallel is None:
            print("translation: skipped, as it needs --parallel SOURCE TARGET")
            continue
        files = f"data.parallel.train=[{', '.join(parallel or ())}]"
        of_task = [files] if task == "translation" else []
        sweep = Sweep(task, [*overrides, *of_task], steps=steps, scratch=scratch)
        print(f"\n{task}, {steps} steps, {seeds} seeds: loss at each rate", flush=True)
        around = 0
        for depth in depths:
            for width in widths:
                size = f"{depth}x{width}"
                started = time.perf_counter()
                losses = measured.setdefault(task, {}).get(size)
                if losses is None:
                    losses = sweep.losses(depth, width, seeds=seeds, around=around)
                    measured[task][size] = losses
                    results.write_text(json.dumps(measured, indent=1))
                around = lowest(losses)
                seconds = time.perf_counter() - started
                print_row(size, losses, sweep.default_rate, seconds)
    print_table(measured)
    print()
    for task, of_sizes in measured.items():
        print("\n".join(verdicts(task, of_sizes)))
    if measured:
        draw(measured, results.with_suffix(".png"))


if __name__ == "__main__":
    main()
