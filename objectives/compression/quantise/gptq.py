"""GPTQ: weights not yet rounded compensate for each rounding error (arXiv 2210.17323).

neural-compressor solves a layer. Its function for a whole model handles one stack of layers only
(not BART's encoder), leaves heads dense, and downloads a checkpoint by name.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import torch
from torch import nn

from objectives.compression.quantise.symmetric import linear_scales, nearest_codes
from objectives.compression.quantise.weights import (
    QuantisedWeight,
    dequantise,
    import_neural_compressor,
    refuse_not_finite,
)
from objectives.data.batches import Batch, forward_arguments
from objectives.device import device_of
from objectives.models.forward import hook_inputs, layer_heartbeats, linear_layers
from objectives.store import heartbeat

DAMPING = 0.01
"""Fraction of the Hessian's mean diagonal that is added to it (Frantar et al., section 3.3)."""


def quantise(
    model: nn.Module,
    names: list[str],
    batches: list[Batch],
    *,
    bits: int | Mapping[str, int],
    group_size: int,
) -> dict[str, QuantisedWeight]:
    """Quantise linear layers so that their outputs on calibration batches change least.

    Zero is code 0, and weights of zero stay zero: other weights compensate for their part of the
    error, as in SparseGPT (Frantar & Alistarh 2023, arXiv 2301.00774, section 3.2). Each block of
    the model is solved on the outputs of the quantised blocks before it. A head that is tied to an
    embedding is not solved; it has the embedding's codes.

    Args:
        bits: Of every weight, or of each by its name.

    Raises:
        TrialFailure: A weight is not finite (``not_finite``).
    """
    import_neural_compressor()
    working = copy.deepcopy(model).eval()
    layers = linear_layers(working)
    quantised: dict[str, QuantisedWeight] = {}
    with torch.no_grad(), layer_heartbeats(working):
        for block in _blocks(working, batches[0]):
            solved = {name: layers[name] for name in block if f"{name}.weight" in names}
            # A block may have a tied head alone.
            solvers = _solvers(working, solved, batches) if solved else {}
            for name, solver in solvers.items():
                heartbeat.beat("compressing")
                own = bits if isinstance(bits, int) else bits[f"{name}.weight"]
                quantised[name] = _solve(solver, layers[name].weight, own, group_size)
                # A new parameter, not new values: an embedding may share the old one.
                layers[name].weight = nn.Parameter(dequantise(quantised[name]))
    return {name: quantised[name.removesuffix(".weight")] for name in names}


def _blocks(model: nn.Module, batch: Batch) -> list[list[str]]:
    """Names of linear layers in the order of the forward pass, those of a block together."""
    order: dict[str, None] = {}
    with hook_inputs(linear_layers(model), lambda name, _: order.setdefault(name)):
        model(**forward_arguments(batch))
    # ``encoder.layer.0`` of ``encoder.layer.0.output.dense``; empty outside of the stacks.
    blocks = groupby(order, lambda name: re.findall(r"^.*?\.\d+(?=\.)", name))
    return [list(names) for _, names in blocks]


def _solvers(
    model: nn.Module, layers: dict[str, nn.Linear], batches: list[Batch]
) -> dict[str, Any]:
    """neural-compressor's solver of each layer, with the layer's inputs added."""
    from neural_compressor.torch.algorithms.weight_only.gptq import GPTQ

    solvers = {name: GPTQ(layer, layer.weight, device_of(layer)) for name, layer in layers.items()}
    with hook_inputs(layers, lambda name, inputs: solvers[name].add_batch(inputs, None)):
        for batch in batches:
            model(**forward_arguments(batch))
    return solvers


def _solve(solver: Any, weight: torch.Tensor, bits: int, group_size: int) -> QuantisedWeight:
    refuse_not_finite(weight, "a weight before quantisation")
    group_size = min(group_size, weight.shape[1])
    diagonal = solver.H.diagonal()
    # fasterquant would zero the weights of a channel without a nonzero input.
    diagonal[diagonal == 0] = 1.0
    grid = _Grid(weight != 0, bits)
    solver.quantizer = grid
    # With blocks of one group, a group's scale takes account of all errors before it.
    scales, _, _, _ = solver.fasterquant(
        weight.clone(), blocksize=group_size, percdamp=DAMPING, groupsize=group_size
    )
    scales = scales.to(torch.float16)
    refuse_not_finite(scales, "a scale after quantisation")
    return QuantisedWeight(grid.codes, scales, bits, group_size)


class _Grid:
    """Scales and codes for neural-compressor's solver, in place of its ``Quantizer``.

    The original halves the range of a group without negative weights, uses scales that fp16 cannot
    hold, and moves errors of other weights into pruned ones. Those that are not pruned are
    ``kept``, ``(rows, columns)``.
    """

    def __init__(self, kept: torch.Tensor, bits: int) -> None:
        self.codes = torch.zeros(kept.shape, dtype=torch.int8, device=kept.device)
        self.scale = self.zero = kept.new_zeros(len(kept), 1, dtype=torch.float32)
        self.maxq = (1 << (bits - 1)) - 1  # The solver reads it.
        self._bits = bits
        self._kept = kept
        self._column = 0

    def ready(self) -> bool:
        return True  # The solver need not find scales of the whole matrix first.

    def find_params(self, group: torch.Tensor, *, weight: bool) -> None:
        """Set the scale for the next columns, ``(rows, group_size)``."""
        heartbeat.beat()
        kept = self._kept[:, self._column : self._column + group.shape[1]]
        self.scale = linear_scales(group * kept, self._bits)

    def quantize(
        self, column: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, maxq: int
    ) -> torch.Tensor:
        """Round the next column, ``(rows, 1)``."""
        codes = nearest_codes(column, scale, self._bits) * self._kept[:, self._column, None]
        self.codes[:, self._column] = codes[:, 0].to(torch.int8)
        self._column += 1
        return codes * scale
