"""Seconds and peak memory of preparing data, and of reading training batches, by its size.

Sentences of a text are drawn at random until a corpus has each size. It is prepared as one
document, as rows of JSON that are documents, or as labelled texts, in a process of its own. Another
one reads batches of what was prepared. Memory is what a process has more than after its imports:
for the preparation its peak; for batches what is its own, without the pages of mapped files, which
the system takes back.

    python benchmarks/preparation.py TEXT --megabytes 10 --megabytes 100 --megabytes 1000
"""

from __future__ import annotations

import json
import random
import re
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import click
import numpy as np

from objectives.data.batches import BucketedBatches, CausalBatches, labelled_text_batch
from objectives.data.prepare import find_prepared, prepare
from spaces.file.search_file import SearchFile
from spaces.loading import load

LENGTH, BATCH_SIZE, BATCHES = 64, 32, 1000
SENTENCES = 20
"""In a document, or a labelled text."""
FORMS = ("document", "rows", "labelled")


@click.command()
@click.argument("text", type=click.Path(exists=True, path_type=Path))
@click.option("--megabytes", multiple=True, type=int, default=(10, 100), show_default=True)
@click.option("--form", "forms", multiple=True, type=click.Choice(FORMS), default=FORMS)
def main(text: Path, megabytes: tuple[int, ...], forms: tuple[str, ...]) -> None:
    """Prepare and read corpora of some sizes."""
    lines = text.read_text(encoding="utf-8").splitlines()
    sentences = [part for line in lines for part in line.split(" . ") if len(part) > 20]
    click.echo(f"{'form':10}{'MB':>6}{'s':>8}{'MB/s':>7}{'peak MB':>9}{'MB of batches':>15}")
    for form in forms:
        for size in megabytes:
            with tempfile.TemporaryDirectory() as folder:
                write_corpus(form, Path(folder), size * 1_000_000, sentences)
                with ProcessPoolExecutor(
                    1, mp_context=get_context("spawn"), max_tasks_per_child=1
                ) as pool:
                    seconds, peak = pool.submit(prepared, form, folder).result()
                    own = pool.submit(read, form, folder).result()
            click.echo(
                f"{form:10}{size:6}{seconds:8.1f}{size / seconds:7.2f}{peak:9.0f}{own:15.0f}"
            )


def write_corpus(form: str, folder: Path, size: int, sentences: list[str]) -> None:
    """Write a corpus of about so many bytes."""
    rng, written = random.Random(0), 0
    with corpus_file(form, folder).open("w", encoding="utf-8") as file:
        while written < size:
            text = " .\n".join(rng.choices(sentences, k=SENTENCES)) + " .\n"
            row = json.dumps({"text": text, "label": rng.choice("ab")}) + "\n"
            written += file.write(text if form == "document" else row)


def corpus_file(form: str, folder: Path) -> Path:
    """Where the corpus of a form is."""
    return folder / ("corpus.txt" if form == "document" else "corpus.jsonl")


def search_of(form: str, folder: str) -> SearchFile:
    """A search on the corpus in a folder."""
    source = {"source": "files", "train": str(corpus_file(form, Path(folder)))}
    sizes = {"data.vocabulary_size": 4096, "data.sequence_length": LENGTH}
    if form != "labelled":
        return load("causal_lm", {"data.unlabelled": source, **sizes})
    texts = {"data.labelled": source, "data.unlabelled": {"source": "labelled"}}
    return load("classification", {**texts, "task.classes": 2, **sizes})


def prepared(form: str, folder: str) -> tuple[float, float]:
    """Seconds of the preparation, and its peak memory in MB."""
    search, before = search_of(form, folder), peak_mb()
    started = time.perf_counter()
    prepare(search.data, search.task, Path(folder) / "data")
    return time.perf_counter() - started, peak_mb() - before


def read(form: str, folder: str) -> float:
    """Own memory in MB after many batches."""
    search, before = search_of(form, folder), own_mb()
    data = find_prepared(search.data, search.task, Path(folder) / "data")
    assert data is not None
    batches: Callable[[int], object] = (
        BucketedBatches(labelled_text_batch, data.labelled_texts("train"), BATCH_SIZE, 0)
        if form == "labelled"
        else CausalBatches(data.token_stream("train"), LENGTH, BATCH_SIZE, 0)
    )
    for step in range(BATCHES):
        batches(step)
    return own_mb() - before


def peak_mb() -> float:
    """Highest memory of this process up to now."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def own_mb() -> float:
    """Memory of this process now, without mapped files."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1000 if found else np.nan


if __name__ == "__main__":
    main()
