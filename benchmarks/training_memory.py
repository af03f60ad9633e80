"""Peak memory of training, measured and as ``tlc plan`` predicts it, over growing models.

Each model trains some steps in a process of its own with tlc's loop, on a CPU. Its peak is the
kernel's (VmHWM): the process, weights, gradients, optimiser, activations and logits.

    python benchmarks/training_memory.py [--precision fp32 bf16] [--micro-batches 1]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from spaces.cost.architecture import Architecture
from spaces.cost.families import parameters
from spaces.cost.memory.training import training_memory
from spaces.file.search_file import SearchFile
from spaces.loading import read_search

CASES = (  # task, sequence length, batch, depth, width, dropout
    ("causal_lm", 128, 16, 2, 128, 0.0),
    ("causal_lm", 128, 16, 6, 256, 0.0),
    ("masked_lm", 128, 32, 6, 256, 0.1),
    ("causal_lm", 512, 4, 6, 256, 0.0),
    ("causal_lm", 128, 8, 8, 512, 0.0),
    ("masked_lm", 128, 16, 8, 512, 0.1),
    ("causal_lm", 128, 4, 12, 768, 0.0),
)
STEPS = 2
HEAD_WIDTH = 64


def search_of(task: str, length: int, batch: int, dropout: float) -> SearchFile:
    """The ready-made search of a task with larger data and batches."""
    changed = {
        "data.vocabulary_size": 8192,
        "data.sequence_length": length,
        "training.batch_size": batch,
        "training.dropout": dropout,
    }
    return read_search(task, changed)


def architecture_of(depth: int, width: int) -> Architecture:
    """A model with heads of 64 channels."""
    return Architecture.of(depth, width, heads=width // HEAD_WIDTH)


def train_here(case: tuple[str, int, int, int, int, float], precision: str, parts: int) -> int:
    """Train a model for some steps in this process; its peak in bytes."""
    import torch

    from objectives.tasks import make_task, prepare_for
    from objectives.training.checkpoints.state_files import initial_state
    from objectives.training.loop import train
    from objectives.training.replica import TrainingProcess

    task, length, batch, depth, width, dropout = case
    search = search_of(task, length, batch, dropout)
    made = make_task(search, prepare_for(search, DATA))
    path = made.timed_path(architecture_of(depth, width))
    settings = replace(path.optimizer_settings, precision=precision)
    path = replace(
        path,
        optimizer_settings=settings,
        memory=replace(
            path.memory, micro_batch_size=batch // parts, activation_checkpointing=False
        ),
    )
    device = torch.device("cpu")
    state = initial_state(path, device, None)
    with TrainingProcess(device).replica(path, state) as replica:
        train(
            replica,
            state.progress,
            to_step=STEPS,
            steps_at_once=STEPS,
            name="",
            checkpoint_seconds=lambda: 1e9,
            checkpoint=lambda _: None,
        )
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(line for line in status if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024


DATA = Path(tempfile.gettempdir()) / "tlc-training-memory"


def main() -> None:
    """Print a table of predicted and measured peaks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--micro-batches", type=int, default=1)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        print(train_here(json.loads(given.case), given.precision[0], given.micro_batches))
        return
    print(
        "task       length batch  model      parameters precision  predicted MB  measured MB  ratio"
    )
    for precision in given.precision:
        for case in CASES:
            task, length, batch, depth, width, dropout = case
            workload = search_of(task, length, batch, dropout).workload
            architecture = architecture_of(depth, width)
            predicted = training_memory(
                architecture,
                workload,
                batch_size=batch,
                precision=precision,
                micro_batches=given.micro_batches,
                dropout=dropout,
            ).total
            command = [sys.executable, __file__, "--case", json.dumps(case)]
            options = ["--precision", precision, "--micro-batches", str(given.micro_batches)]
            output = subprocess.run([*command, *options], check=True, stdout=subprocess.PIPE)
            measured = int(output.stdout.split()[-1])
            print(
                f"{task:10} {length:6} {batch:5}  {depth:2} × {width:<5} "
                f"{parameters(architecture, workload) / 1e6:9.1f} M {precision:9} "
                f"{predicted / 1e6:13,.0f} {measured / 1e6:12,.0f} {predicted / measured:6.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
