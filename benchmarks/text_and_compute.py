"""Accuracy of a classifier against the text and the compute of its pre-training.

    python benchmarks/text_and_compute.py
    python benchmarks/text_and_compute.py sst2.yaml --fractions 0.25,1 --steps 10,500 --seeds 2

Pre-trains one architecture on parts of the unlabelled text, fine-tunes it on all labelled texts and
prints validation and test accuracy, mean and standard deviation over seeds, beside logistic
regression on the same tokens. Ten steps stand for no pre-training. ``--figure`` draws the test
accuracy. The store keeps what is trained, so that a stopped run continues.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass

import numpy as np
import torch

from objectives.data.defaults import with_default_sizes
from objectives.data.encoding import Tokens
from objectives.data.prepare import prepare
from objectives.data.prepared_data import PreparedData
from objectives.store.store import Store
from objectives.tasks import make_task
from objectives.training.replica import TrainingProcess
from objectives.training.trainer import Trainer
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration, content_hash
from spaces.file.search_file import SearchFile
from spaces.file.storage import Locations
from spaces.loading import load, with_data

SPLITS = ("validation", "test")
BLOCKS = 1_000
"""Blocks into which the text is cut; a part of it is spread evenly over them."""


@dataclass(frozen=True)
class PartOfText(PreparedData):
    """Prepared data with a part of its running text to train on."""

    fraction: float = 1.0

    def token_stream(self, split: str) -> Tokens:
        """Running text of a split; of train, evenly spaced blocks."""
        stream = super().token_stream(split)
        if split != "train" or self.fraction == 1.0:
            return stream
        blocks = np.array_split(stream, BLOCKS)
        kept = np.linspace(0, BLOCKS - 1, max(1, round(self.fraction * BLOCKS))).astype(int)
        return np.concatenate([blocks[index] for index in kept])


def part_of(data: PreparedData, fraction: float) -> PartOfText:
    """Data with a part of its running text, and a fingerprint of its own."""
    key = content_hash({"data": data.fingerprint, "fraction": fraction, "blocks": BLOCKS})
    fingerprint = data.fingerprint if fraction == 1.0 else key
    return PartOfText(
        data.folder, fingerprint, data.label_names, data.counts, data.lengths, fraction
    )


def accuracies(
    search: SearchFile, data: PreparedData, architecture: Architecture, steps: int, store: Store
) -> tuple[float, ...]:
    """Accuracy on validation and test after some steps of pre-training and fine-tuning."""
    task = make_task(search, data)
    configuration = Configuration(architecture, steps, Compression(), seed=search.seed)
    process = TrainingProcess(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    trainer = Trainer(store, process, checkpoint_seconds=search.training.checkpoint_seconds)
    state, _ = trainer.train(task.path(configuration))
    return tuple(task.score(state.model, split).value for split in SPLITS)


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{deviation}"


Curves = dict[int, list[tuple[int, float, float]]]
"""By steps: tokens of text, and mean and standard deviation of the test accuracy."""


def draw(figure: str, curves: Curves, references: dict[str, float]) -> None:
    """Draw the test accuracy against the tokens, a line for each number of steps."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    fig, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for steps, points in curves.items():
        tokens, means, deviations = zip(*points, strict=True)
        label = f"{steps:,} steps of pre-training"
        axes.errorbar(tokens, means, deviations, marker="o", capsize=3, label=label)
    for name, score in references.items():
        axes.axhline(score, color="black", linestyle="--", linewidth=1)
        axes.annotate(name, (0.01, score), xycoords=("axes fraction", "data"), va="bottom")
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="tokens of unlabelled text", ylabel="test accuracy")
    fig.legend(loc="outside upper center", ncols=2)
    fig.savefig(figure, dpi=150)


def main() -> None:
    """Train every cell and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", default="classification")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--fractions", default="0.04,0.2,1", help="of the unlabelled text")
    parser.add_argument("--steps", default="10,500,2000", help="of pre-training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--architecture", default="1,64", help="depth and width")
    parser.add_argument("--figure", help="a PNG file to draw")
    arguments = parser.parse_args()

    depth, width = map(int, arguments.architecture.split(","))
    fractions = sorted(map(float, arguments.fractions.split(",")))
    budgets = sorted(map(int, arguments.steps.split(",")))
    # All budgets of the space share the path before their decay.
    choices = f"space.budget={{unit: steps, choices: {budgets}}}"
    search = load(arguments.file, [*arguments.set, choices])
    where = Locations.of(search.storage)
    search = with_data(search, with_default_sizes(search.data, search.task, where.data))
    data, store = prepare(search.data, search.task, where.data), Store(where.store_url)
    references = {
        reference.name: tuple(reference.score(split).value for split in SPLITS)
        for reference in make_task(search, data).references()
    }
    for name, values in references.items():
        print(f"{name:50} validation {values[0]:.3f}  test {values[1]:.3f}", flush=True)
    torch.set_num_threads(1)
    curves: Curves = {steps: [] for steps in budgets}
    print(f"\n{'tokens':>10} {'steps':>6} {'epochs':>6}  validation      test")
    for fraction in fractions:
        part = part_of(data, fraction)
        tokens = len(part.token_stream("train"))
        for steps in budgets:
            found = [
                accuracies(
                    search.model_copy(update={"seed": seed}),
                    part, Architecture.of(depth, width), steps, store,
                )
                for seed in range(arguments.seeds)
            ]  # fmt: skip
            validation, test = ([values[split] for values in found] for split in (0, 1))
            read = steps * search.training.batch_size * (search.data.sequence_length - 2)
            print(
                f"{tokens:10,} {steps:6,} {read / tokens:6.1f}  {spread(validation):14}  "
                f"{spread(test)}",
                flush=True,
            )
            deviation = statistics.stdev(test) if len(test) > 1 else 0.0
            curves[steps].append((tokens, statistics.fmean(test), deviation))
    if arguments.figure:
        lines = {name: values[1] for name, values in references.items() if "regression" in name}
        draw(arguments.figure, curves, lines)


if __name__ == "__main__":
    main()
