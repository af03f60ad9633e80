"""Cutting a checkpoint down to the model that training starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn

from objectives.compression.parts import (
    Effect,
    Loss,
    block_influences,
    importances,
    keep_parts,
    most_important,
)
from objectives.data.batches import Batch
from objectives.data.encoding import Tokens
from objectives.data.pretrained_tokenizer import PretrainedTokenizer
from objectives.models.build import build
from objectives.models.checkpoint.building import evenly_spaced
from objectives.models.checkpoint.errors import CheckpointError
from objectives.models.checkpoint.opening import OpenCheckpoint, open_checkpoint
from spaces.cost.architecture import Architecture, Shape
from spaces.cost.checkpoint import checkpoint_of
from spaces.cost.families import layout
from spaces.cost.layout import VOCABULARY
from spaces.cost.workload import Workload
from spaces.file.model import Model


@dataclass(frozen=True)
class CheckpointStart:
    """The checkpoint that the models of a search start from; it is opened when it is needed.

    Args:
        model: As the search file has it.
        task: Name of the task.
    """

    model: Model
    task: str

    @cached_property
    def opened(self) -> OpenCheckpoint:
        """The checkpoint.

        Raises:
            CheckpointError: It cannot be opened, or is not the one that the search started with.
        """
        opened = open_checkpoint(self.model, self.task)
        known = self.model.checkpoint
        if known is not None and opened.digest != known.digest:
            raise CheckpointError(
                self.model.name,
                "its files have changed since the search started; restore them, or start a search "
                "of another name",
            )
        return opened

    @property
    def tokenizer(self) -> PretrainedTokenizer:
        """Its tokenizer."""
        return self.opened.tokenizer

    @property
    def identity(self) -> dict[str, Any]:
        """What the weights depend on beside the checkpoint and what is kept of it.

        Evenly spaced layers follow from their number.
        """
        return {} if self.model.layers == "evenly-spaced" else {"layers": self.model.layers}

    def cut_into(
        self,
        model: nn.Module,
        architecture: Architecture,
        workload: Workload,
        tokens: Tokens | None,
        batches: Sequence[Batch],
        loss: Loss,
    ) -> None:
        """Give a model the weights that are kept of the checkpoint, in place.

        An encoder and a decoder keep layers of their own (``model.layers``). Then each layer loses
        the heads and neurons whose outputs are smallest on the batches.

        Args:
            model: A model of ``architecture``.
            tokens: The number in the checkpoint of each token of its vocabulary, or -1; None
                without a vocabulary.
            loss: Its forward pass.
        """
        whole = checkpoint_of(workload.checkpoint)
        shallow = whole.architecture(
            architecture.depth,
            whole.attention,
            decoder_depth=architecture.decoder_depth,
            vocabulary=architecture.vocabulary,
        ).shape
        layers = self._kept_layers(shallow, workload, tokens, batches, loss)
        kept = self._with_all_heads(shallow, workload, tokens, layers)
        if shallow != architecture.shape:
            stacks = layout(shallow, workload).stacks
            scores = [
                importances(kept, stack, list(batches), loss, Effect.ON_OUTPUT) for stack in stacks
            ]
            shapes = (shallow, architecture.shape)
            kept = keep_parts(
                kept, shapes, workload, [range(stack.depth) for stack in stacks], scores
            )
        model.load_state_dict(kept.state_dict())

    def _kept_layers(
        self,
        shape: Shape,
        workload: Workload,
        tokens: Tokens | None,
        batches: Sequence[Batch],
        loss: Loss,
    ) -> list[list[int]]:
        """Layers that a model of some depths keeps of each stack."""
        stacks = checkpoint_of(workload.checkpoint).layout.stacks
        depths = (shape.depth, shape.decoder_depth)[: len(stacks)]
        spaced = [
            evenly_spaced(depth, stack.depth) for stack, depth in zip(stacks, depths, strict=True)
        ]
        every = [list(range(stack.depth)) for stack in stacks]
        if self.model.layers == "evenly-spaced" or spaced == every:
            return spaced
        depth, decoder_depth = (*map(len, every), 0)[:2]
        whole = replace(shape, depth=depth, decoder_depth=decoder_depth)
        deep = self._with_all_heads(whole, workload, tokens, every)
        return [
            most_important(block_influences(deep, stack, list(batches), loss), depth).tolist()
            for stack, depth in zip(stacks, depths, strict=True)
        ]

    def _with_all_heads(
        self,
        shape: Shape,
        workload: Workload,
        tokens: Tokens | None,
        layers: Sequence[Sequence[int]],
    ) -> nn.Module:
        """The model that keeps some layers of each stack, and pieces."""
        whole = checkpoint_of(workload.checkpoint)
        trained = self.opened.load(workload.classes).state_dict()
        state = {}
        for weight in whole.layout.ends:
            tensor = trained[weight.name]
            if tokens is not None and VOCABULARY in weight.axes[:1]:
                tensor = _rows(tensor, tokens)
            state[weight.name] = tensor
        for stack, indices in zip(whole.layout.stacks, layers, strict=True):
            for index, layer in enumerate(indices):
                for weight in stack.weights:
                    name = f"{stack.prefix}.{layer}.{weight.name}"
                    if name in trained:  # A first layer may lack a norm.
                        state[f"{stack.prefix}.{index}.{weight.name}"] = trained[name]
        kept = build(shape, workload)
        _, unexpected = kept.load_state_dict(state, strict=False)
        assert not unexpected
        return kept.eval()


def _rows(tensor: torch.Tensor, tokens: Tokens) -> torch.Tensor:
    """The rows of tokens; that of a token which the checkpoint lacks is the mean of all."""
    numbers = torch.from_numpy(tokens.astype("int64"))
    rows = tensor[numbers.clamp(min=0)]
    rows[numbers < 0] = tensor.mean(0)
    return rows
