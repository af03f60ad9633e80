"""Faults that are done from inside a trial: ``PLAIN_FAULTS`` names them, as a JSON object.

Each is done to the trials of a width or of any, a limited number of times over all processes.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

FAULTS: dict[str, Any] = json.loads(os.environ.get("PLAIN_FAULTS", "{}"))


def happens(fault: str, times: int) -> bool:
    """Whether this process is one of the first ``times`` to come here; notes it for the witness."""
    for count in range(times):
        try:
            (Path(os.environ["PLAIN_WITNESS"]).parent / f"did-{fault}-{count}").touch(
                exist_ok=False
            )
        except FileExistsError:
            continue
        _note(f"did {fault} {os.getpid()}")
        return True
    return False


def breaks(path: str) -> None:
    """Note that what comes of a configuration does not belong on a front."""
    _note(f"broken {path} -")


def _note(line: str) -> None:
    with open(os.environ["PLAIN_WITNESS"], "a") as witness:
        witness.write(f"{line}\n")


def loss(value: Tensor, model: nn.Module, step: int, width: int, path: str) -> Tensor:
    """A step's loss, with what the faults do to it or instead of it."""
    broken = FAULTS.get("loss", {}).get(str(width))
    if broken and step >= broken["step"]:
        if happens(f"loss-{broken['kind']}", 1):
            breaks(path)
        if broken["kind"] == "explodes":
            # As with far too high a rate: the weights are huge from now on, and finite.
            for weight in model.parameters():
                weight.data.mul_(10.0).clamp_(-1e3, 1e3)
        else:
            value = value * float(broken["kind"])
    hang = FAULTS.get("hang")
    if hang and step == hang["step"] and happens("hang", 1):
        threading.Event().wait()
    hungry = FAULTS.get("memory")
    if hungry and width == hungry["width"] and step == hungry["step"]:
        happens("memory", 10)
        hoard(hungry["bytes"])
    return value


def hoard(limit: int) -> None:
    """Take memory as a model would that is too large, where a process may have so much more."""
    import resource

    import psutil
    import torch

    before = resource.getrlimit(resource.RLIMIT_AS)
    most = psutil.Process().memory_info().vms + limit
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        hoarded = []
        while True:
            hoarded.append(torch.ones(1 << 22))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def compressed(weights: dict[str, Tensor], width: int, path: str) -> dict[str, Tensor]:
    """A compressed model, or what a broken compressor makes of it."""
    import torch

    behaviour = FAULTS.get("compressor", {}).get(str(width))
    if behaviour is None:
        return weights
    # What is no smaller than asked is reported with its true size: no result of it is false.
    if happens(f"compressor-{behaviour}", 1) and behaviour != "not_smaller":
        breaks(path)
    if behaviour == "raises":
        raise RuntimeError("the compressor broke")
    if behaviour == "hangs":
        threading.Event().wait()
    if behaviour == "not_smaller":
        return {name: weight.dequantize() for name, weight in weights.items()}
    value = {"nan": math.nan, "constant": 0.0}[behaviour]
    return {
        name: torch.full_like(weight.dequantize(), value).to(torch.float16)
        for name, weight in weights.items()
    }


def saving(step: int, path: str) -> None:
    """Die while a checkpoint is written, so many times in each training."""
    fault = FAULTS.get("saving")
    if fault and step in fault["steps"] and happens(f"saving-{path}-{step}", 1):
        # The kill comes from another thread, at a moment that falls into the write.
        delay = random.Random(f"{path}-{step}").uniform(0.0, fault["within_seconds"])
        threading.Thread(target=_die, args=(delay,), daemon=True).start()


def _die(delay: float) -> None:
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGKILL)
