"""Faults that are done from inside a trial: ``PLAIN_FAULTS`` names them, as a JSON object.

Each is done to the trials of a width or of any, a limited number of times over all processes.
"""

from __future__ import annotations

import json
import math
import os
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
        with open(os.environ["PLAIN_WITNESS"], "a") as witness:
            witness.write(f"did {fault} {os.getpid()}\n")
        return True
    return False


def loss(value: Tensor, model: nn.Module, step: int, config: dict[str, Any]) -> Tensor:
    """A step's loss, with what the faults do to it or instead of it."""
    import torch

    broken = FAULTS.get("loss", {}).get(str(config["width"]))
    if broken and step == broken["step"] and happens(f"loss-{broken['kind']}", 1):
        if broken["kind"] == "explodes":
            with torch.no_grad():
                for weight in model.parameters():
                    weight.mul_(1e4)
        else:
            value = value * float(broken["kind"])
    hang = FAULTS.get("hang")
    if hang and step == hang["step"] and happens("hang", 1):
        threading.Event().wait()
    hungry = FAULTS.get("memory")
    if hungry and config["width"] == hungry["width"] and step == hungry["step"]:
        happens("memory", 10)
        hoard(hungry["bytes"])
    return value


def hoard(limit: int) -> None:
    """Take memory as a model would that is too large, until there is no more, or the limit."""
    import resource

    import torch

    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    try:
        hoarded = []
        while True:
            hoarded.append(torch.ones(1 << 24))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def compressed(weights: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    """A compressed model, or what a broken compressor makes of it."""
    import torch

    behaviour = FAULTS.get("compressor", {}).get(str(config["width"]))
    if behaviour is None:
        return weights
    happens(f"compressor-{behaviour}", 1)
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


def saving(step: int) -> None:
    """Die while a checkpoint is written, as often as asked."""
    fault = FAULTS.get("saving")
    if fault and step >= fault["step"] and happens("saving", fault["times"]):
        # The kill comes from another thread, at a moment that falls into the write.
        delay = fault["delays_ms"][len(did("saving")) - 1] / 1000
        threading.Thread(target=_die, args=(delay,), daemon=True).start()


def did(fault: str) -> list[Path]:
    """The marks of a fault that was done."""
    return list(Path(os.environ["PLAIN_WITNESS"]).parent.glob(f"did-{fault}-*"))


def _die(delay: float) -> None:
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGKILL)
