"""Does one learning rate suit every size? The loss against the peak learning rate, size by size.

Trains short runs of every depth and width at the default rate of the ready-made search and at
factors of two around it. The recipe transfers if the best rate of each size is within a factor of
two of every other's, and the default within 0.02 nats of each size's own best.

    python benchmarks/transfer.py --task masked_lm --task causal_lm
    python benchmarks/transfer.py --task classification --task images --depths 1,2,4,8
    python benchmarks/transfer.py --task translation --parallel train.en.gz train.fr.gz
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import click
import matplotlib.pyplot as plt
import torch

from objectives.data.prepare import prepare
from objectives.store.store import Store
from objectives.tasks import make_task
from objectives.training.loop import TrainingFailure
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

Size = tuple[int, int]
Losses = dict[Size, dict[float, float]]
"""Validation loss in nats by depth and width, and by peak learning rate."""


def search_of(
    task: str, *, steps: int, rate: float | None, parallel: tuple[str, str] | None
) -> SearchFile:
    """The ready-made search with one budget, and another rate than its own if given."""
    overrides = [f"space.budget={{unit: steps, choices: [{steps}]}}"]
    field = "learning_rate"
    if task == "classification":
        field = "fine_tuning.learning_rate"
        # One pass a step, in half the time.
        overrides.append("training.fine_tuning={epochs: 3, r_drop: 0}")
    if rate is not None:
        overrides.append(f"training.{field}={rate}")
    if parallel is not None and task == "translation":
        overrides.append(f"data.parallel.train=[{parallel[0]}, {parallel[1]}]")
    return load(task, overrides)


def default_rate(search: SearchFile) -> float:
    """The rate that is swept, as the search has it."""
    training = search.training
    return (training.fine_tuning or training).learning_rate


def loss_of(search: SearchFile, size: Size, seed: int, folder: Path) -> float:
    """Validation loss at the end of training; infinite where training fails."""
    data = prepare(search.data, search.task, folder / "data")
    depth, width = size
    decoder_depth = depth if search.task.has_decoder else 0
    configuration = Configuration(
        Architecture.of(depth, width, decoder_depth=decoder_depth),
        search.space.budget.values[0],
        Compression(),
        seed,
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # One for all runs, so that those which differ in fine-tuning alone share the pre-training.
    store = Store(str(folder / "store"))
    trainer = Trainer(store, TrainingProcess(device), checkpoint_seconds=math.inf)
    try:
        state, _ = trainer.train(make_task(search, data).path(configuration))
    except TrainingFailure:
        return math.inf
    return state.validation["loss"]


def sweep(
    task: str,
    sizes: list[Size],
    factors: list[float],
    *,
    steps: int,
    seeds: int,
    parallel: tuple[str, str] | None,
) -> Losses:
    """The mean loss over seeds of every size at every rate."""
    default = default_rate(search_of(task, steps=steps, rate=None, parallel=parallel))
    losses: Losses = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            losses[size] = {}
            for rate in (default * factor for factor in factors):
                search = search_of(task, steps=steps, rate=rate, parallel=parallel)
                each = [loss_of(search, size, seed, Path(folder)) for seed in range(seeds)]
                losses[size][rate] = sum(each) / seeds
            print_row(size, losses[size], default)
    return losses


def best_rate(losses: dict[float, float]) -> float:
    """The rate with the lowest loss."""
    return min(losses, key=lambda rate: losses[rate])


def print_row(size: Size, losses: dict[float, float], default: float) -> None:
    """A line of the table: the best rate, what the default loses, and the loss at each rate."""
    best = best_rate(losses)
    at_rates = "  ".join(f"{rate:.2g}: {loss:.3f}" for rate, loss in losses.items())
    lost = losses[default] - losses[best]
    print(f"{size[0]}x{size[1]:<5} best {best:<8.2g} default +{lost:.3f}   {at_rates}", flush=True)


def verdicts(task: str, losses: Losses, default: float) -> list[str]:
    """Whether each criterion holds, in a sentence with its figures."""
    best = [best_rate(each) for each in losses.values()]
    ratio = max(best) / min(best)
    lost = max(each[default] - min(each.values()) for each in losses.values())

    def result(passed: bool) -> str:
        return "pass" if passed else "FAIL"

    return [
        f"{result(ratio <= MAX_FACTOR)} {task}: the best rates lie within a factor of {ratio:.3g}",
        f"{result(lost <= MAX_LOSS)} {task}: the default loses at most {lost:.3f} nats",
    ]


def draw(results: dict[str, Losses], path: Path) -> None:
    """Loss against rate: a panel for each task and a line for each size."""
    figure, panels = plt.subplots(1, len(results), figsize=(5 * len(results), 4), squeeze=False)
    for panel, (task, losses) in zip(panels[0], results.items(), strict=True):
        for (depth, width), each in losses.items():
            panel.plot(each.keys(), each.values(), marker="o", label=f"{depth}x{width}")
        panel.set(xscale="log", xlabel="peak learning rate", ylabel="validation loss, nats")
        panel.set_title(task)
        panel.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path)


def _numbers(_: click.Context, __: click.Parameter, text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


@click.command()
@click.option("--task", "tasks", multiple=True, type=click.Choice(TASKS), default=TASKS)
@click.option("--depths", default="1,4", show_default=True, callback=_numbers)
@click.option("--widths", default="64,256", show_default=True, callback=_numbers)
@click.option("--steps", default=100, show_default=True, help="Of each run.")
@click.option("--doublings", default=2, show_default=True, help="Of the rate, up and down.")
@click.option("--seeds", default=1, show_default=True)
@click.option("--parallel", nargs=2, default=None, help="Training files of both languages.")
@click.option("--picture", default="transfer.png", show_default=True, type=Path)
def main(
    tasks: tuple[str, ...],
    depths: list[int],
    widths: list[int],
    steps: int,
    doublings: int,
    seeds: int,
    parallel: tuple[str, str] | None,
    picture: Path,
) -> None:
    """Print the table and the verdicts, and draw the picture."""
    sizes = [(depth, width) for depth in depths for width in widths]
    factors = [2.0**k for k in range(-doublings, doublings + 1)]
    results: dict[str, Losses] = {}
    for task in tasks:
        if task == "translation" and parallel is None:
            print("translation: skipped, as it needs --parallel SOURCE TARGET")
            continue
        print(f"\n{task}, {steps} steps, {seeds} seeds: validation loss at each rate", flush=True)
        results[task] = sweep(task, sizes, factors, steps=steps, seeds=seeds, parallel=parallel)
    print()
    for task, losses in results.items():
        default = default_rate(search_of(task, steps=steps, rate=None, parallel=parallel))
        print("\n".join(verdicts(task, losses, default)))
    if results:
        draw(results, picture)
        print(f"\n{picture}")


if __name__ == "__main__":
    main()
