"""Data-parallel replicas: the whole model on each rank (DDP), or a shard of it (FSDP)."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from objectives.data.batches import WHOLE_BATCH, BatchShard
from objectives.training.kernels import repeated_layers
from objectives.training.path import StepLoss, TrainingPath, TrainingState
from objectives.training.replica import Replica
from spaces.cost.memory.division import Division

# Not strict: parameters without a gradient have no state in an optimiser.
PLAIN = StateDictOptions(strict=False)
FROM_RANK_0 = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=False)
TO_RANK_0 = StateDictOptions(full_state_dict=True, cpu_offload=True)


class _ShardLoss(nn.Module):
    """The loss of a shard of the batch as a forward pass, which DDP and FSDP hook into.

    A teacher is a part of it, so that they distribute its weights too.
    """

    def __init__(self, model: nn.Module, path: TrainingPath, teacher: nn.Module | None) -> None:
        super().__init__()
        self.model = model
        self.teacher = teacher
        self._loss_at = path.step_loss(teacher)

    def forward(self, step: int, part: BatchShard) -> torch.Tensor:
        index = dist.get_rank() * part.count + part.index
        shard = BatchShard(index, dist.get_world_size() * part.count)
        return self._loss_at(self.model, step, shard)


def ddp_replica(
    path: TrainingPath,
    state: TrainingState | None,
    teacher: nn.Module | None,
    *,
    has_moments: bool,
    device: torch.device,
    division: Division,
) -> Replica:
    """The whole model, with gradients that are averaged over the ranks (Li et al. 2020, arXiv
    2006.15704).

    Args:
        path: The path.
        state: Where it starts, on rank 0; its model and optimiser become the replica.
        teacher: What it learns from; of the other ranks, with any weights.
        has_moments: Whether the optimiser of rank 0 has done a step.
        device: Where this process computes.
        division: How each rank divides its part of a batch.
    """
    if state is None:
        model = path.build().to(device)
        optimizer = path.make_optimizer(model)
    else:
        model, optimizer = state.model, state.optimizer
    # DDP sends the weights of rank 0 to the others.
    loss = DistributedDataParallel(
        _ShardLoss(model, path, teacher).to(device), broadcast_buffers=False
    )
    if has_moments:
        moments = get_optimizer_state_dict(model, optimizer) if state else {}
        set_optimizer_state_dict(model, optimizer, moments, options=FROM_RANK_0)
    loss_at = _mean_over_ranks(loss)
    return Replica(model, optimizer, loss_at, path.optimizer_settings, path.seed, division)


def fsdp_replica(
    path: TrainingPath,
    state: TrainingState | None,
    teacher: nn.Module | None,
    *,
    has_moments: bool,
    device: torch.device,
    division: Division,
) -> Replica:
    """A shard of each layer, which is whole only while it computes (Zhao et al. 2023, arXiv
    2304.11277).

    bf16 comes from autocast as in one process, so that the losses are the same: it keeps copies of
    the weights of 2 bytes each for the backward pass, where the rest is 16 bytes over the ranks.

    The arguments are those of ``ddp_replica``; the whole model of rank 0 is on the CPU.
    """
    model = path.build()
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    taught_by = {} if teacher is None or state is None else teacher.state_dict()
    loss = _ShardLoss(model, path, teacher)
    for layer in repeated_layers(loss):
        fully_shard(layer, mesh=mesh)
    fully_shard(loss, mesh=mesh)
    optimizer = path.make_optimizer(model)
    set_model_state_dict(model, state.model.state_dict() if state else {}, options=FROM_RANK_0)
    if teacher is not None:
        set_model_state_dict(teacher, taught_by, options=FROM_RANK_0)
    if has_moments:
        moments = get_optimizer_state_dict(state.model, state.optimizer) if state else {}
        set_optimizer_state_dict(model, optimizer, moments, options=FROM_RANK_0)

    def collect() -> None:
        weights = get_model_state_dict(model, options=TO_RANK_0)
        moments = get_optimizer_state_dict(model, optimizer, options=TO_RANK_0)
        if state is not None:
            state.model.load_state_dict(weights)
            set_optimizer_state_dict(state.model, state.optimizer, moments, options=PLAIN)

    loss_at = _mean_over_ranks(loss)
    settings = path.optimizer_settings
    return Replica(model, optimizer, loss_at, settings, path.seed, division, collect)


def _mean_over_ranks(loss: nn.Module) -> StepLoss:
    """A loss with the value of the whole batch and the gradient of this rank's shard."""

    def loss_at(_: nn.Module, step: int, part: BatchShard = WHOLE_BATCH) -> torch.Tensor:
        is_last = part.index == part.count - 1
        # DDP averages the sum of the gradients of all micro-batches once. FSDP, which would keep
        # whole gradients until then, averages those of each.
        if isinstance(loss, DistributedDataParallel) and not is_last:
            with loss.no_sync():
                own: torch.Tensor = loss(step, part)
        else:
            own = loss(step, part)
        mean = own.detach().clone()
        dist.all_reduce(mean)
        return own + (mean / dist.get_world_size() - own.detach())

    return loss_at
