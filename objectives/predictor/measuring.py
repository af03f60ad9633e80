"""What an exported model costs on this machine: bytes of its files and latency, by runtime."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from .errors import ModelError
from .loading import read_task
from .runtimes import RUNTIMES, Inputs, can_run, open_runtime

FORMAT = 1
"""Of the measurements; raised when their meaning changes."""
WARM_UP = 5


def measure(
    folder: Path,
    *,
    machine: str,
    runtimes: Sequence[str] = (),
    threads: int = 1,
    batch_size: int = 1,
    repeats: int = 100,
) -> dict[str, Any]:
    """Measure the model in a folder, as JSON that ``tlc import-measurements`` reads.

    Args:
        machine: Name of this machine.
        runtimes: By default those whose files and packages are there.
        threads: CPU threads.
        repeats: Timed forward passes on a batch of full length, after ``WARM_UP`` other ones.

    Raises:
        ModelError: A file is missing or damaged, or a runtime cannot be used.
    """
    task = read_task(folder)
    names = runtimes or [name for name in RUNTIMES if can_run(folder, name)]
    if not names:
        raise ModelError(f"{folder}: no runtime whose files and packages are there")
    inputs = full_inputs(task, batch_size)
    measured = []
    for name in names:
        model = open_runtime(folder, task, name, threads=threads)
        for _ in range(WARM_UP):
            model.logits(inputs)
        times = [_milliseconds(model, inputs) for _ in range(repeats)]
        file = RUNTIMES[name].file
        low, median = np.percentile(times, (10, 50)).tolist()
        measured.append(
            {
                "runtime": name,
                "version": version(RUNTIMES[name].packages[0]),
                "sha256": task["sha256"][file],
                "size_bytes": sum(each.stat().st_size for each in folder.glob(f"{file}*")),
                "min_ms": min(times),
                "p10_ms": low,
                "p50_ms": median,
            }
        )
    return {
        "format": FORMAT,
        "model": task["model"],
        "machine": machine,
        "processor": processor(),
        "threads": threads,
        "batch_size": batch_size,
        "sequence_length": task["sequence_length"],
        "repeats": repeats,
        "measured": measured,
    }


def full_inputs(task: dict[str, Any], batch_size: int) -> Inputs:
    """Inputs of full length without padding."""
    if task["image_size"]:
        size = task["image_size"]
        return {"pixel_values": np.zeros((batch_size, task["channels"], size, size), np.float32)}
    length = task["sequence_length"]
    ids = np.full((batch_size, length), task["tokens"]["end"])
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    if task["has_token_types"]:
        inputs["token_type_ids"] = np.zeros_like(ids)
    if task["name"] in ("translation", "summarisation"):
        shape = batch_size, task["target_length"] or length
        inputs["decoder_input_ids"] = np.full(shape, task["target_start"][0])
    return inputs


@cache
def processor() -> str:
    """Name of the CPU: machines of one instruction set differ in speed."""
    try:
        name = re.search(r"^model name\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        name = None
    return f"{name[1].strip() if name else platform.processor()} {platform.machine()}".strip()


def _milliseconds(model: Any, inputs: Inputs) -> float:
    started = time.perf_counter()
    model.logits(inputs)
    return (time.perf_counter() - started) * 1e3
