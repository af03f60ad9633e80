"""The function trainable of the plain search: a small language model, trained and compressed.

Written as the documentation shows it: https://docs.ray.io/en/latest/tune/tutorials/
tune-trial-checkpoints.html (``tune.get_checkpoint``, ``Checkpoint.from_directory``) and
https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html (``torch.save`` of the
state of model and optimiser). The lines that write to the witness, and the calls of ``injected``,
are all that a user's own trainable would not have.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from ray import tune
from torch import Tensor, nn

from plain import injected

STEPS = 400
EVERY = 50
"""Steps from one checkpoint to the next."""

VOCABULARY = 64
CONTEXT = 8
BATCH = 256


class Model(nn.Module):
    """Two layers over the embeddings of the last tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 16)
        self.hidden = nn.Linear(16 * CONTEXT, width)
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(torch.relu(self.hidden(self.embedding(tokens).flatten(1))))


def path_of(config: dict[str, Any]) -> str:
    """The name of a configuration's training in the witness."""
    return f"{config['width']}-{config['lr']:.17g}"


def witness(line: str) -> None:
    """Append a line that outlives this process."""
    descriptor = os.open(os.environ["PLAIN_WITNESS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def train(config: dict[str, Any]) -> None:
    """Train a model, compress it, and report perplexity and size at every checkpoint."""
    torch.set_num_threads(1)
    path, pid = path_of(config), os.getpid()
    tokens = torch.load(config["data"])
    training, validation = tokens[:-4096], tokens[-4096:]
    torch.manual_seed(0)
    model = Model(config["width"])
    optimizer = torch.optim.Adam(model.parameters(), lr=config["lr"])
    first = 1
    checkpoint = tune.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder:
            state = torch.load(Path(folder) / "checkpoint.pt")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"] + 1
        witness(f"resumed {path} {state['step']}")
    for step in range(first, STEPS + 1):
        generator = torch.Generator().manual_seed(step)
        rows = training[torch.randint(len(training), (BATCH,), generator=generator)]
        loss = nn.functional.cross_entropy(model(rows[:, :-1]), rows[:, -1])
        loss = injected.loss(loss, model, step, config["width"], path)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        witness(f"{path} {step} {pid}")
        if step % EVERY == 0 or step == STEPS:
            compressed = injected.compressed(compress(model), config["width"], path)
            metrics = {
                "perplexity": perplexity(compressed, validation),
                "size": size(compressed),
                "step": step,
            }
            with tempfile.TemporaryDirectory() as folder:
                state = {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step,
                }
                injected.saving(step, path)
                torch.save(state, Path(folder) / "checkpoint.pt")
                tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))
            witness(f"saved checkpoints/{path}/{step}")
            if step == STEPS:
                told = {"trial": tune.get_context().get_trial_id(), "path": path, **metrics}
                witness(f"told {json.dumps(told)}")


def compress(model: Model) -> dict[str, Tensor]:
    """Round the weights to 8 bits, each tensor with one scale."""
    packed = {}
    for name, weight in model.state_dict().items():
        scale = weight.abs().max().clamp_min(1e-12) / 127
        packed[name] = torch.quantize_per_tensor(weight, scale.item(), 0, torch.qint8)
    return packed


def size(compressed: dict[str, Tensor]) -> int:
    """Bytes of the weights."""
    return sum(weight.numel() * weight.element_size() for weight in compressed.values())


@torch.no_grad()
def perplexity(compressed: dict[str, Tensor], rows: Tensor) -> float:
    """Of the compressed model on held-out rows."""
    model = Model(compressed["hidden.bias"].numel())
    model.load_state_dict(
        {name: w.dequantize() if w.is_quantized else w for name, w in compressed.items()}
    )
    loss = nn.functional.cross_entropy(model(rows[:, :-1]), rows[:, -1])
    return loss.exp().item()
