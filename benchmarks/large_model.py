"""A causal language model of 300 M parameters on a CPU: trained, resumed, compressed, measured.

Each phase is a process of its own on one store, so that its peak (VmHWM) is its own. The longest
time between two heartbeats is what ``resources.progress_deadline_seconds`` must exceed.

    python benchmarks/large_model.py [FOLDER] [--phases train resume rtn-4]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from objectives.data.sources.standard_library import unlabelled
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.configuration import Configuration
from spaces.cost.families import parameters
from spaces.file.search_file import SearchFile
from spaces.loading import read_search

DEPTH, WIDTH = 18, 1024
FIRST, SECOND = 10.0, 14.0
"""Budgets in steps: the second continues from the stable path of the first."""
COMPRESSIONS = {
    "static-8": Compression(Quantisation.STATIC_8),
    "rtn-4": Compression(Quantisation.RTN_4),
    "gptq-4": Compression(Quantisation.GPTQ_4),
    "hqq-4": Compression(Quantisation.HQQ_4),
    "mixed-4": Compression(Quantisation.MIXED_4),
    "unstructured": Compression(pruning=Pruning.UNSTRUCTURED, sparsity=0.5),
    "structured": Compression(pruning=Pruning.STRUCTURED, sparsity=0.5),
}
PHASES = ("train", "resume", *COMPRESSIONS)
TRAIN_CHARACTERS, HELD_OUT_CHARACTERS = 1_000_000, 20_000


def write_texts(folder: Path) -> None:
    """Text of the Python standard library, so little held out that a score takes a minute."""
    for split in ("train", "validation", "test"):
        most = TRAIN_CHARACTERS if split == "train" else HELD_OUT_CHARACTERS
        text = "".join(each.replace("\n\n", "\n") + "\n\n" for each in unlabelled(split))
        (folder / f"{split}.txt").write_text(text[:most])


def search_in(folder: Path) -> SearchFile:
    """A search whose largest model has 300 M parameters."""
    changed: dict[str, Any] = {
        "name": "large",
        "data.unlabelled": {
            "source": "files",
            **{split: str(folder / f"{split}.txt") for split in ("train", "validation", "test")},
        },
        "data.vocabulary_size": 4096,
        "data.sequence_length": 64,
        "space.depth": {"choices": [1, DEPTH]},
        "space.width": {"choices": [64, WIDTH]},
        "space.budget": {"unit": "steps", "choices": [int(FIRST), int(SECOND)]},
        "training.batch_size": 8,
        "training.learning_rate": 1e-3,
        "resources.memory_gb": 7.0,
        "storage.store": str(folder / "store"),
        "storage.study": f"sqlite:///{folder / 'study.db'}",
    }
    return read_search("causal_lm", changed)


def run_phase(phase: str, folder: Path) -> dict[str, Any]:
    """One trial of the large model in this process."""
    from objectives.objective import Objective
    from objectives.store import heartbeat

    budget = FIRST if phase == "train" else SECOND
    architecture = Architecture.of(DEPTH, WIDTH)
    compression = COMPRESSIONS.get(phase, Compression())
    silence, last, what = 0.0, time.monotonic(), ""

    def listen(doing: str, _: bool) -> None:
        nonlocal silence, last, what
        now = time.monotonic()
        if now - last > silence:
            silence, what = now - last, doing
        last = now

    with heartbeat.listening(listen):
        objective = Objective(search_in(folder))
        found = objective.evaluate(Configuration(architecture, budget, compression))
    return {
        "train": found.seconds["train"],
        "compress": found.seconds["compress"],
        "measure": found.seconds["measure"],
        "steps": found.steps,
        "size_mb": found.size_bytes / 1e6,
        "loss": found.loss,
        "peak_mb": peak_bytes() / 1e6,
        "silence": silence,
        "silent_before": what,
    }


def peak_bytes() -> int:
    """The largest resident memory that this process had."""
    status = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Print a line for each phase."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--phases", nargs="+", default=PHASES, choices=PHASES)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        print(json.dumps(run_phase(given.phases[0], given.folder)))
        return
    folder = given.folder or Path(tempfile.mkdtemp(prefix="tlc-large-"))
    folder.mkdir(parents=True, exist_ok=True)
    write_texts(folder)
    search = search_in(folder)
    architecture = Architecture.of(DEPTH, WIDTH)
    print(f"{parameters(architecture, search.workload) / 1e6:.0f} M parameters, in {folder}")
    print(
        "phase         train s  compress s  measure s  new steps  MB      loss   peak MB  silence"
    )
    for phase in given.phases:
        command = [sys.executable, __file__, str(folder), "--here", "--phases", phase]
        output = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        if output.returncode:
            print(f"{phase:12}  failed with exit code {output.returncode}", flush=True)
            continue
        found = json.loads(output.stdout.splitlines()[-1])
        print(
            f"{phase:12} {found['train']:8.0f} {found['compress']:11.0f} {found['measure']:10.0f} "
            f"{found['steps']['trained']:10} {found['size_mb']:7.1f} {found['loss']:6.3f} "
            f"{found['peak_mb']:8,.0f} {found['silence']:6.0f} (before {found['silent_before']})",
            flush=True,
        )


if __name__ == "__main__":
    main()
