"""Faults inside a process, by name: each patches a module of tlc.

``TLC_FAULTS`` is a JSON object of their names and arguments. ``happens`` limits how often a fault
occurs in all processes together.
"""

from __future__ import annotations

import math
import os
import threading
import time
from dataclasses import replace
from types import ModuleType
from typing import Any

from sitecustomize import after, happens, log_event

MODULES = {
    "hang_in_step": "objectives.training.loop",
    "loss": "objectives.training.loop",
    "compressor": "objectives.compression.pipeline",
    "out_of_memory": "objectives.training.loop",
    "short_lease": "search.storage.lease",
    "timed_steps": "objectives.training.loop",
}
"""The module that each fault changes."""


def hang_in_step(module: ModuleType, *, step: int, times: int = 1) -> None:
    """An optimiser step never ends, while the process and its other threads run."""
    original = module._OptimizerStep.__call__

    def hanging(self: Any, at: int) -> Any:
        if at == step and happens("hang_in_step", times) is not None:
            threading.Event().wait()
        return original(self, at)

    module._OptimizerStep.__call__ = hanging


def loss(module: ModuleType, *, step: int, values: list[str]) -> None:
    """From a step on, the loss is ``nan``, ``inf`` or explodes (``1e6``); one kind per training."""
    original = module.train

    def train(*arguments: Any, **keywords: Any) -> None:
        replica, progress = arguments
        turn = None
        if progress.step < step < keywords["to_step"]:
            turn = happens("loss", len(values))

        def poisoned(model: Any, at: int, *part: Any) -> Any:
            found = replica.loss_at(model, at, *part)
            return found if turn is None or at < step else found + float(values[turn])

        original(replace(replica, loss_at=poisoned), progress, **keywords)

    module.train = train


def compressor(module: ModuleType, *, behaviours: list[str]) -> None:
    """A compressor ``raises``, gives ``nan``, is ``constant`` or ``not_smaller``, or ``hangs``."""
    import torch

    original = module._quantise
    fill = {"nan": math.nan, "constant": 0.0}

    def _quantise(*arguments: Any) -> Any:
        turn = happens("compressor", len(behaviours))
        if turn is None:
            return original(*arguments)
        behaviour = behaviours[turn]
        if behaviour == "raises":
            raise RuntimeError("the compressor broke")
        if behaviour == "hangs":
            threading.Event().wait()
        model, spec, _ = arguments
        layout = module.layout(spec.shape, spec.workload)
        state = model.state_dict()
        dense = {
            weight.name: torch.full_like(state[weight.name], fill[behaviour])
            if behaviour in fill
            else state[weight.name].clone()
            for weight in layout.weights()
        }
        return module.CompressedWeights(dense, {})

    module._quantise = _quantise


def out_of_memory(module: ModuleType, *, width: int, bytes: int) -> None:
    """Training of one width may map only a little more memory (``RLIMIT_AS``)."""
    import resource
    from pathlib import Path

    original = module.train

    def train(*arguments: Any, **keywords: Any) -> None:
        embedding = next(arguments[0].model.parameters())
        if embedding.shape[-1] != width:
            original(*arguments, **keywords)
            return
        happens("out_of_memory", 1000)
        before = resource.getrlimit(resource.RLIMIT_AS)
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + bytes, before[1]))
        try:
            original(*arguments, **keywords)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)

    module.train = train


def short_lease(module: ModuleType, *, lost: float, watch: float) -> None:
    """No fault: a lease expires sooner, so that a test is faster."""
    module.EXPIRY_SECONDS, module.OBSERVE_SECONDS = lost, watch


def timed_steps(module: ModuleType) -> None:
    """No fault: the event log gets the time of each step, as ``at <pid> <seconds>``."""
    after(module, "_log_step", lambda *_: log_event(f"at {os.getpid()} {time.monotonic()}"))
