"""Where models are computed, and how they are trained there: device, precision, compilation."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from spaces.cost.units import Precision

CPU = torch.device("cpu")
MIN_COMPILED_STEPS = 5_000
"""Steps from which compilation pays on a GPU: an estimate, 20 s at 4 ms saved a step."""


def usual_device() -> torch.device:
    """Where this process trains, scores and compresses: a GPU that it may use, or the CPU.

    Models whose latency, memory or file of a runtime is measured are on the CPU.
    """
    return torch.device("cuda") if torch.cuda.is_available() else CPU


def process_group_backend(device: torch.device) -> str:
    """What ``torch.distributed`` connects processes with that compute on a device."""
    return "gloo" if device == CPU else "cpu:gloo,cuda:nccl"


def fastest_precision() -> Precision:
    """The precision in which models train fastest on this machine.

    bf16 wherever there are instructions for it. Measured on a CPU with ``training_kernels``, at
    widths 32, 64, 128 and 256: 1.1, 1.5, 2.0 and 2.9 times the speed of fp32, the same losses.
    """
    if usual_device() != CPU:
        has_bf16 = torch.cuda.is_bf16_supported()
    else:
        has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if has_bf16 else "fp32"


def compiles(device: torch.device, steps: int) -> bool:
    """Whether the layers of a model are compiled for a training of so many steps.

    On a CPU it does not pay: it takes 8 to 24 s, as much as it saves in a minute of pre-training,
    and more than fine-tuning ever saves.
    """
    return device.type == "cuda" and steps >= MIN_COMPILED_STEPS


def device_of(model: nn.Module) -> torch.device:
    """Where a model is."""
    return next(model.parameters()).device


def seed(device: torch.device, number: int) -> None:
    """Seed the random numbers of a device."""
    # torch.manual_seed looks for every kind of accelerator, which takes 0.3 ms.
    if device.type == "cuda":
        torch.cuda.manual_seed(number)
    else:
        torch.default_generator.manual_seed(number)


def available_bytes(device: torch.device, memory_gb: float | None) -> float:
    """Bytes that training may take: the same whatever else runs, so that a resumed run divides its
    steps as before.

    Args:
        device: Where it computes; of a GPU, it is the part that this process may allocate.
        memory_gb: What the search reserves for a worker on a CPU. Without it, a worker has the part
            of the memory that its threads are of the cores.
    """
    if device.type == "cuda":
        part = torch.cuda.get_per_process_memory_fraction(device)
        return part * torch.cuda.get_device_properties(device).total_memory
    if memory_gb is not None:
        return 1e9 * memory_gb
    part = min(1.0, torch.get_num_threads() / (os.cpu_count() or 1))
    return part * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def wait_for(device: torch.device) -> None:
    """Wait until a device has done what it was asked to: a call to a GPU returns before."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def name_of_gpu(device: torch.device) -> str | None:
    """The name of a GPU; None of a CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def free_bytes() -> float:
    """Memory of this machine that no process uses; 0 where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0.0
    named = dict(line.split(":", 1) for line in lines)
    return 1024.0 * int(named.get("MemAvailable", "0 kB").split()[0])
