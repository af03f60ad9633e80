"""Checkpoints: the state of training as files of a folder."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import nn

from objectives.store import heartbeat
from objectives.training.early_stopping import HeldOutHistory
from objectives.training.path import TrainingPath, TrainingProgress, TrainingState

MODEL = "model.safetensors"
BEST = "best.safetensors"
OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"


def initial_state(
    path: TrainingPath, device: torch.device, parent: TrainingState | None
) -> TrainingState:
    """Where a path starts: from the end of its parent, where it has one."""
    history = []
    if parent is not None and path.parent is not None:
        history = [*parent.history, parent.facts(path.parent)]
        if path.transfer_weights is None:
            return TrainingState(parent.model, parent.optimizer, TrainingProgress(), history)
    model = _build(path, device)
    if parent is not None and path.transfer_weights is not None:
        path.transfer_weights(parent.model, model)
    if parent is None and path.initialise is not None:
        path.initialise(model)
    return TrainingState(model, path.make_optimizer(model), TrainingProgress(), history)


@dataclass(frozen=True)
class Snapshot:
    """A state on a path, as files of a folder hold it.

    Args:
        model: Weights by name; those of tied matrices are one tensor.
        optimizer: Its moments by number and name; empty where training does not continue.
        best: Weights of the best epoch, where there is early stopping.
        entry: All else, as JSON.
    """

    model: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    best: dict[str, torch.Tensor]
    entry: str

    @classmethod
    def of(cls, path: TrainingPath, state: TrainingState, *, with_optimizer: bool) -> Snapshot:
        """The snapshot of a state, whose tensors change with further training."""
        entry = {
            "history": state.history,
            "resume_points": state.resume_points,
            "validated_by": path.validated_by,
            "has_ended": state.has_ended,
            **state.facts(path),
        }
        moments = state.optimizer.state_dict()["state"] if with_optimizer else {}
        return cls(
            model=state.model.state_dict(),
            optimizer={
                f"{index}.{name}": tensor
                for index, of_weight in moments.items()
                for name, tensor in of_weight.items()
            },
            best=state.held_out.best_weights,
            entry=json.dumps(entry, allow_nan=False),
        )

    @property
    def size_bytes(self) -> int:
        """Bytes of its tensors."""
        tensors = (*_once(self.model).values(), *self.optimizer.values(), *self.best.values())
        return sum(tensor.nbytes for tensor in tensors)

    def copied(self) -> Snapshot:
        """The same in memory of its own, on the CPU, which further training does not change."""
        copies = {key: each.to("cpu", copy=True) for key, each in _once(self.model).items()}
        return replace(
            self,
            model={name: copies[_storage(each)] for name, each in self.model.items()},
            optimizer={name: each.to("cpu", copy=True) for name, each in self.optimizer.items()},
        )

    def write(self, folder: Path, *, with_optimizer: bool = True) -> None:
        """Write its files into a folder."""
        with heartbeat.transferring(self.size_bytes):
            # Of tied matrices it writes one.
            save_model(cast(nn.Module, _Weights(self.model)), str(folder / MODEL))
            if with_optimizer:
                save_file(self.optimizer, str(folder / OPTIMIZER))
            if self.best:
                save_file(self.best, str(folder / BEST))
        (folder / STATE).write_text(self.entry)


class _Weights(dict[str, torch.Tensor]):
    """Weights as ``save_model`` takes them."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        return dict(self)


def _storage(tensor: torch.Tensor) -> tuple[int, torch.Size]:
    return tensor.data_ptr(), tensor.shape


def _once(tensors: Mapping[str, torch.Tensor]) -> dict[tuple[int, torch.Size], torch.Tensor]:
    """Tensors without those that share the memory of another."""
    return {_storage(tensor): tensor for tensor in tensors.values()}


def load_state(folder: Path, path: TrainingPath, device: torch.device) -> TrainingState:
    """Read a state on a path.

    Its validation is left out where another search measured it in another way.
    """
    entry = json.loads((folder / STATE).read_text())
    model = _build(path, device)
    with heartbeat.transferring((folder / MODEL).stat().st_size):
        load_model(model, str(folder / MODEL), device=str(device))
    optimizer = path.make_optimizer(model)
    best = _load_tensors(folder / BEST, "cpu") if (folder / BEST).exists() else {}
    is_end = entry["has_ended"] or entry["steps"] == path.length
    if path.can_continue or not is_end:
        moments: dict[int, dict[str, Any]] = defaultdict(dict)
        for key, tensor in _load_tensors(folder / OPTIMIZER, str(device)).items():
            index, _, name = key.partition(".")
            moments[int(index)][name] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    curve = [(int(step), float(loss)) for step, loss in entry["curve"]]
    return TrainingState(
        model=model,
        optimizer=optimizer,
        progress=TrainingProgress(entry["steps"], entry["seconds"], curve),
        history=entry["history"],
        validation=entry["validation"] if entry["validated_by"] == path.validated_by else {},
        # What an earlier search stopped at may be where a budget of this one ends.
        resume_points=[step for step in entry["resume_points"] if step not in path.milestones],
        held_out=HeldOutHistory(entry["held_out"], best),
        has_ended=entry["has_ended"],
    )


def _load_tensors(file: Path, device: str) -> dict[str, torch.Tensor]:
    with heartbeat.transferring(file.stat().st_size):
        tensors: dict[str, torch.Tensor] = load_file(str(file), device=device)
    return tensors


def _build(path: TrainingPath, device: torch.device) -> nn.Module:
    torch.manual_seed(path.seed)
    return path.build().to(device)
