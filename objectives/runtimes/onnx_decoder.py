"""ONNX Runtime, decoding: a graph that takes and gives the keys and values of earlier tokens.

Inputs and outputs have the names that ONNX Runtime GenAI expects.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import DynamicCache

from objectives.data.batches import Batch
from objectives.models.build import build
from objectives.runtimes.onnx_graph import LOGITS, exported_graph
from objectives.runtimes.onnx_runtime import OnnxRuntime, open_session
from spaces.cost.architecture import Shape
from spaces.cost.families import layout
from spaces.cost.workload import Workload

PAST, PRESENT = "past_key_values", "present"
TRACED_PROMPT, TRACED_PAST = 3, 5
"""Tokens that are read and tokens before them while the graph is traced; both may be any number."""


class OnnxDecoder(OnnxRuntime):
    """As ``Runtime``, for causal language models; what it opens is a ``Greedy``."""

    marks = ("decoding",)

    def _exported(self, shape: Shape, workload: Workload, inputs: Batch) -> bytes:
        return decoding_graph(shape, workload)

    def open(self, folder: Path, *, threads: int) -> Any:
        """As ``Runtime``."""
        return Greedy(open_session(folder / self.file, threads))


class Greedy:
    """Writes tokens as the greedy ``generate`` of transformers does."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._outputs = [each.name for each in session.get_outputs()]
        self._past = [each for each in session.get_inputs() if each.name.startswith(PAST)]

    def generate(
        self,
        input_ids: torch.Tensor,
        *,
        max_new_tokens: int,
        stopping_criteria: Iterable[Callable[[torch.Tensor, Any], Any]] = (),
        **_: Any,
    ) -> torch.Tensor:
        """The prompts with so many tokens after them, ``(batch, sequence)``.

        Args:
            input_ids: Prompts without padding, ``(batch, prompt)``.
            stopping_criteria: Called after each token; none stops it.
        """
        prompt = input_ids.numpy()
        batch, length = prompt.shape
        written = np.zeros((batch, length + max_new_tokens), dtype=np.int64)
        written[:, :length] = prompt
        mask = np.ones_like(written)
        keys_and_values = {each.name: _empty(batch, each.shape) for each in self._past}
        start = 0
        for end in range(length, length + max_new_tokens):
            tokens = {"input_ids": written[:, start:end], "attention_mask": mask[:, :end]}
            # As arrays: a call with values of the runtime took longer.
            logits, *present = self._session.run(self._outputs, {**tokens, **keys_and_values})
            written[:, end] = logits[:, -1].argmax(-1)
            keys_and_values = dict(zip(keys_and_values, present, strict=True))
            start = end
            for criterion in stopping_criteria:
                criterion(torch.from_numpy(written[:, : end + 1]), None)
        return torch.from_numpy(written)


def _empty(batch: int, shape: list[Any]) -> Any:
    """Keys or values of no token, of ``(batch, heads, tokens, channels)``."""
    return np.zeros((batch, shape[1], 0, shape[3]), dtype=np.float32)


def decoding_graph(shape: Shape, workload: Workload) -> bytes:
    """The graph of a causal language model of a shape, with keys and values, without weights."""
    model = build(shape, workload).eval()
    step = _Step(model)
    names = [f"{layer}.{kind}" for layer in range(len(step.sizes)) for kind in ("key", "value")]
    tokens = torch.full((2, TRACED_PROMPT), 5)
    past = {
        f"{PAST}.{name}": torch.zeros(2, heads, TRACED_PAST, channels)
        for name, (heads, channels) in zip(names, np.repeat(step.sizes, 2, 0).tolist(), strict=True)
    }
    mask = torch.ones(2, TRACED_PROMPT + TRACED_PAST, dtype=torch.int64)
    return exported_graph(
        step,
        layout(shape, workload),
        {"input_ids": tokens, "attention_mask": mask, **past},
        axes=(
            {0: "batch", 1: "sequence"},
            {0: "batch", 1: "total"},
            tuple({0: "batch", 2: "past"} for _ in past),
        ),
        outputs=[LOGITS, *(f"{PRESENT}.{name}" for name in names)],
    )


class _Step(nn.Module):
    """A forward pass with a cache: logits of the last token, and the keys and values so far."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        takes_last = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._last: dict[str, Any] = {"logits_to_keep": 1} if takes_last else {}
        with torch.inference_mode():
            cache = model(input_ids=torch.tensor([[5]]), use_cache=True).past_key_values
        self.sizes = [(each.keys.shape[1], each.keys.shape[3]) for each in cache.layers]
        """Heads and channels of the keys of each layer."""

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, *past: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Logits ``(batch, 1, vocabulary)``, then the keys and the values of each layer."""
        cache = DynamicCache(config=self.model.config)
        for layer in range(len(self.sizes)):
            cache.update(past[2 * layer], past[2 * layer + 1], layer)
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=cache,
            use_cache=True,
            **self._last,
        )
        layers = outputs.past_key_values.layers
        present = [tensor for each in layers for tensor in (each.keys, each.values)]
        return outputs.logits[:, -1:], *present
