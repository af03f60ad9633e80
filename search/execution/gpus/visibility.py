"""Which GPUs a worker sees, and how much of their memory it takes."""

from __future__ import annotations

import os


def assigned_gpus() -> float | None:
    """GPUs that Ray assigned to this worker; None in a process that is no worker of Ray."""
    import ray

    if not ray.is_initialized():
        return None
    return float(ray.get_runtime_context().get_assigned_resources().get("GPU", 0.0))


def hide_unassigned_gpus() -> None:
    """Hide all GPUs from a worker that has none; called before anything asks for a device.

    Ray shows a worker the GPUs that it has, and all of them where it has none (ray#54868). Its own
    switch, ``RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO``, is read in the environment of ``ray start``.
    What a task hides stays visible to trials, for Ray runs no actor in a process that ran tasks.
    """
    if assigned_gpus() == 0.0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def keep_to_assigned_memory() -> None:
    """Limit the memory that torch takes of a GPU to the fraction that this worker has of it: what
    does not fit fails here, and not in the trial beside it."""
    import torch

    fraction = assigned_gpus()
    if fraction is not None and 0.0 < fraction < 1.0 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(fraction)
