"""The claims of Li et al. 2020, for docs/results.md.

Runs a search for each seed of a task, adds the trials that the claims need, and writes the report
to ``docs/results/``. A second start continues an interrupted run.

    python benchmarks/results.py images
    python benchmarks/results.py causal_lm --text valid.txt test.txt
    python benchmarks/results.py translation --pairs train.en.gz train.fr.gz \\
        --validation-pairs val.en.gz val.fr.gz
"""

from __future__ import annotations

import shutil
from pathlib import Path

import click
from rich.console import Console

from search.analysis.claims.missing_trials import run_missing_trials
from search.analysis.claims.report import print_claims, write_claims
from search.cli.printing.progress import Progress
from search.execution.run import run
from spaces.file.search_file import SearchFile
from spaces.file.storage import Locations
from spaces.loading import load

QUANTISATION = "[none, rtn-8, gptq-4, rtn-4, rtn-3, rtn-2]"
SPARSITY = "{choices: [0.0, 0.25]}"
TRIALS = 2
"""Trials that the sampler chooses; the claims request the others."""


def causal_lm(text: tuple[str, str], seed: int) -> SearchFile:
    """Six Llama shapes on running text."""
    source = f"{{source: files, format: text, train: {text[0]}, validation: {text[1]}}}"
    return load(
        "causal_lm",
        [
            f"name=claims-causal-lm-{seed}",
            f"seed={seed}",
            f"data.unlabelled={source}",
            "space.depth={choices: [1, 4]}",
            "space.width={choices: [32, 64, 128]}",
            *_common(seconds="[2, 4, 8]"),
        ],
    )


def translation(pairs: tuple[str, str], validation: tuple[str, str], seed: int) -> SearchFile:
    """Six shapes of an encoder and a decoder on sentence pairs."""
    return load(
        "translation",
        [
            f"name=claims-translation-{seed}",
            f"seed={seed}",
            f"data.parallel.train=[{pairs[0]}, {pairs[1]}]",
            f"data.parallel.validation=[{validation[0]}, {validation[1]}]",
            "space.depth={choices: [1, 2]}",
            "space.width={choices: [32, 64, 128]}",
            *_common(seconds="[8, 16, 32]"),
        ],
    )


def _common(seconds: str) -> list[str]:
    """What the three have in common: budgets in seconds, which give common steps and FLOPs too."""
    return [
        f"space.budget={{unit: seconds, choices: {seconds}}}",
        f"space.quantisation.choices={QUANTISATION}",
        f"space.sparsity={SPARSITY}",
        f"trials={TRIALS}",
        "hours=1",
        "concurrency=1",
    ]


def images(seed: int) -> SearchFile:
    """Six Vision Transformers on handwritten digits."""
    return load(
        "images",
        [
            f"name=claims-images-{seed}",
            f"seed={seed}",
            "space.depth={choices: [1, 4]}",
            "space.width={choices: [32, 64, 128]}",
            *_common(seconds="[1, 2, 4]"),
        ],
    )


@click.command()
@click.argument("task", type=click.Choice(["causal_lm", "translation", "images"]))
@click.option("--text", nargs=2, default=None, help="Training and validation text.")
@click.option("--pairs", nargs=2, default=None, help="Training sentences and translations.")
@click.option("--validation-pairs", nargs=2, default=None, help="The same for validation.")
@click.option("--seeds", default=3, show_default=True)
@click.option("--out", default="docs/results", show_default=True)
def main(
    task: str,
    text: tuple[str, str] | None,
    pairs: tuple[str, str] | None,
    validation_pairs: tuple[str, str] | None,
    seeds: int,
    out: str,
) -> None:
    console = Console(width=160)
    progress = Progress(console)
    if task == "images":
        searches = [images(seed) for seed in range(seeds)]
    elif task == "causal_lm" and text:
        searches = [causal_lm(text, seed) for seed in range(seeds)]
    elif task == "translation" and pairs and validation_pairs:
        searches = [translation(pairs, validation_pairs, seed) for seed in range(seeds)]
    else:
        raise click.UsageError(f"{task} needs its files: --text, or --pairs and --validation-pairs")
    studies = [
        run_missing_trials(
            run(search, progress).study, Locations.of(search.storage).study_url, progress
        )
        for search in searches
    ]
    made = write_claims(studies)
    print_claims(made, console)
    folder = Path(out) / task
    folder.mkdir(parents=True, exist_ok=True)
    for picture in made.path.parent.glob("claims-*.png"):
        shutil.copy(picture, folder)
    shutil.copy(made.path.with_suffix(".md"), folder / "claims.md")


if __name__ == "__main__":
    main()
