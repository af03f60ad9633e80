"""What one worker trains: the whole model beside the others' (DDP), or a shard of it (FSDP)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from objectives.data.batch_shards import BatchShard
from objectives.training.kernels import repeated_layers
from objectives.training.loop import make_optimizer, optimizer_tensors, restore_optimizer

if TYPE_CHECKING:
    from objectives.training.paths import TrainingPath, TrainingState


@dataclass(frozen=True)
class Replica:
    """What a process trains of a model.

    Args:
        model: The model, or this process's shard of it.
        optimizer: Its optimiser.
        loss_at: Loss on the batch of a step; its gradient is that of this process's shard.
        collect: Brings what was trained into the whole model and optimiser of the state.
    """

    model: nn.Module
    optimizer: torch.optim.AdamW
    loss_at: Callable[[nn.Module, int], torch.Tensor]
    collect: Callable[[], None]


class _ShardLoss(nn.Module):
    """The loss on a shard as a forward pass, which DDP and FSDP wait for and act upon."""

    def __init__(self, model: nn.Module, path: TrainingPath) -> None:
        super().__init__()
        self.model = model
        self._loss_at = path.loss_at
        self._shard = BatchShard(dist.get_rank(), dist.get_world_size())

    def forward(self, step: int) -> torch.Tensor:
        return self._loss_at(self.model, step, self._shard)


def distributed(
    path: TrainingPath, state: TrainingState | None, moments: list[str], device: torch.device
) -> Replica:
    """The whole model, with gradients that are averaged over the workers (Li et al. 2020, arXiv
    2006.15704).

    Args:
        path: What is trained.
        state: Where it is, on rank 0; its model and optimiser become the replica.
        moments: Names of the tensors that the state's optimiser has.
        device: Where this process computes.
    """
    if state is None:
        model = path.build().to(device)
        optimizer = make_optimizer(model, path.architecture.width, path.optimizer_settings)
    else:
        assert state.optimizer is not None
        model, optimizer = state.model, state.optimizer
    # It sends the weights of rank 0 to the others.
    parallel = DistributedDataParallel(_ShardLoss(model, path), broadcast_buffers=False)
    _spread_moments(optimizer, state, moments)
    return Replica(model, optimizer, _over_workers(parallel), lambda: None)


def sharded(
    path: TrainingPath, state: TrainingState | None, moments: list[str], device: torch.device
) -> Replica:
    """A shard of each layer, which is whole only while it computes (Zhao et al. 2023, arXiv
    2304.11277).

    bf16 comes from autocast as in one process, so that the losses are the same: it keeps copies of
    the weights of 2 bytes each for the backward pass, where the rest is 16 bytes over the workers.

    Args:
        path: What is trained.
        state: Where it is, on rank 0, with the whole model on the CPU.
        moments: Names of the tensors that the state's optimiser has.
        device: Where this process computes.
    """
    model = path.build()
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    loss = _ShardLoss(model, path)
    for layer in repeated_layers(model):
        fully_shard(layer, mesh=mesh)
    fully_shard(loss, mesh=mesh)
    optimizer = make_optimizer(model, path.architecture.width, path.optimizer_settings)
    whole = list(state.model.parameters()) if state else []
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            parameter.copy_(_spread(whole[index].data if whole else None, parameter))
    _spread_moments(optimizer, state, moments)

    def collect() -> None:
        with torch.no_grad():
            for index, parameter in enumerate(model.parameters()):
                full = _full(parameter)
                if whole:
                    whole[index].copy_(full)
        tensors = {name: _full(tensor) for name, tensor in optimizer_tensors(optimizer).items()}
        if state is not None and state.optimizer is not None:
            on_cpu = {name: tensor.cpu() for name, tensor in tensors.items()}
            restore_optimizer(state.optimizer, on_cpu)

    return Replica(model, optimizer, _over_workers(loss), collect)


def _over_workers(loss: nn.Module) -> Callable[[nn.Module, int], torch.Tensor]:
    """A loss with the value of the whole batch and the gradient of this process's shard."""

    def loss_at(_: nn.Module, step: int) -> torch.Tensor:
        own: torch.Tensor = loss(step)
        mean = own.detach().clone()
        dist.all_reduce(mean)
        return own + (mean / dist.get_world_size() - own.detach())

    return loss_at


def _spread_moments(
    optimizer: torch.optim.AdamW, state: TrainingState | None, moments: list[str]
) -> None:
    """Give an optimiser the state of rank 0's, or its shard of that."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    theirs = optimizer_tensors(state.optimizer) if state and state.optimizer else {}
    spread = {}
    for name in moments:
        index, _, problem = name.partition(".")
        parameter = parameters[int(index)]
        like = torch.zeros((), device=parameter.device) if problem == "step" else parameter.detach()
        spread[name] = _spread(theirs.get(name), like)
    restore_optimizer(optimizer, spread)


def _spread(whole: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
    """A tensor of rank 0, or this process's shard of it where ``like`` is one."""
    tensor = torch.empty(like.shape, device=like.device) if whole is None else whole
    tensor = tensor.to(like.device)
    if isinstance(like, DTensor):
        return distribute_tensor(tensor, like.device_mesh, like.placements)
    dist.broadcast(tensor, 0)
    return tensor


def _full(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
