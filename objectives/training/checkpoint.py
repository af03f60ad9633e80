"""Checkpoints: the state of training as files of a folder."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


def save_state(
    folder: Path, path: TrainingPath, state: TrainingState, *, with_optimizer: bool
) -> None:
    """Write a state on a path into a folder."""
    with heartbeat.transferring(size_bytes(state.model.state_dict())):
        save_model(state.model, str(folder / MODEL))
    if with_optimizer:
        tensors = {
            f"{index}.{name}": tensor
            for index, moments in state.optimizer.state_dict()["state"].items()
            for name, tensor in moments.items()
        }
        _save_tensors(tensors, folder / OPTIMIZER)
    if state.held_out.best_weights:
        _save_tensors(state.held_out.best_weights, folder / BEST)
    entry = {
        "history": state.history,
        "resume_points": state.resume_points,
        "validated_by": path.validated_by,
        "has_ended": state.has_ended,
        **state.facts(path),
    }
    (folder / STATE).write_text(json.dumps(entry, allow_nan=False))


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


def size_bytes(tensors: Mapping[str, torch.Tensor]) -> int:
    """Bytes of some tensors."""
    return sum(tensor.nbytes for tensor in tensors.values())


def _save_tensors(tensors: dict[str, torch.Tensor], file: Path) -> None:
    with heartbeat.transferring(size_bytes(tensors)):
        save_file(tensors, str(file))


def _load_tensors(file: Path, device: str) -> dict[str, torch.Tensor]:
    with heartbeat.transferring(file.stat().st_size):
        tensors: dict[str, torch.Tensor] = load_file(str(file), device=device)
    return tensors


def _build(path: TrainingPath, device: torch.device) -> nn.Module:
    torch.manual_seed(path.seed)
    return path.build().to(device)
