"""Mixed bits: each matrix has as many as its effect on the predictions is worth.

The effect of a matrix at some bits is how far the predictions diverge when it alone is rounded, and
effects are taken to add up (ZeroQ: Cai et al. 2020, arXiv 2001.00281, section 3.2). The bits with
the least sum within the bytes are those of an integer program.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from objectives.compression.packing import MIN_CODES, packed_bytes
from objectives.compression.quantise import gptq
from objectives.compression.quantise.rtn import round_to_nearest
from objectives.compression.quantise.symmetric import linear_scales
from objectives.compression.quantise.weights import QuantisedWeight, dequantise
from objectives.data.batches import Batch, BatchShard, forward_arguments, logits
from objectives.data.encoding import PAD
from objectives.models.forward import layer_heartbeats
from objectives.store import heartbeat

BITS = (2, 3, 4, 5, 6, 8)
MEASURED = (2, 3, 4)
"""Bits at which a matrix is rounded to measure its effect; at more it is extrapolated."""
FALL = 0.25
"""Of the effect with each further bit: that of the squared error of rounding."""
MAX_PREDICTIONS = 1024
"""Predictions that are compared, of all batches; a language model makes one for each token."""
MAX_FLOPS = 5e13
"""Of all these predictions: some minutes on a core. Larger models than BERT's base make fewer."""

Floats = npt.NDArray[np.float64]
Round = Callable[..., QuantisedWeight]


def quantise(
    model: nn.Module,
    linears: list[str],
    embeddings: list[str],
    batches: list[Batch],
    *,
    counts: Mapping[str, int],
    bits: float,
    group_size: int,
) -> dict[str, QuantisedWeight]:
    """Quantise linear layers as GPTQ does, and embeddings to the nearest codes.

    Args:
        model: The model, in evaluation mode; it stays unchanged.
        linears: Keys of the weights of linear layers in its ``state_dict``.
        embeddings: Those of embeddings.
        batches: Calibration inputs of one shape, on its device.
        counts: Codes that are stored of each: pruned weights have none.
        bits: Mean bits of all codes, at most.
        group_size: Columns that share a scale.
    """
    nearest: dict[str, Round] = {
        **dict.fromkeys(linears, partial(round_to_nearest, scales_of=linear_scales)),
        **dict.fromkeys(embeddings, round_to_nearest),
    }
    effects = _effects(model, nearest, batches, group_size)
    chosen = allocated(effects, counts, bits)
    found: dict[str, QuantisedWeight] = dict(
        gptq.quantise(model, linears, batches, bits=chosen, group_size=group_size)
    )
    for name in embeddings:
        weight = model.get_parameter(name).detach()
        found[name] = round_to_nearest(weight, bits=chosen[name], group_size=group_size)
    return found


def allocated(
    effects: Mapping[str, Floats], counts: Mapping[str, int], bits: float
) -> dict[str, int]:
    """The bits of each matrix with the least sum of effects.

    Args:
        effects: Of each matrix at each of ``BITS``.
        counts: Its codes.
        bits: Mean bits of all codes, at most.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    names = list(effects)
    sizes = np.array([[packed_bytes(counts[name], each) for each in BITS] for name in names])
    one_each = np.kron(np.eye(len(names)), np.ones(len(BITS)))
    cost = np.concatenate([effects[name] for name in names])
    # As the solver's tolerances are absolute; of equal effects, more bits are better.
    cost = cost / max(cost.max(), 1e-30) - 1e-6 * sizes.ravel() / sizes.sum()
    allowed = [
        np.inf if counts[name] >= MIN_CODES or each == BITS[-1] else 0.0
        for name in names
        for each in BITS
    ]
    solved = milp(
        cost,
        integrality=np.ones(len(cost)),
        bounds=Bounds(0.0, np.minimum(allowed, 1.0)),
        constraints=[
            LinearConstraint(one_each, 1.0, 1.0),
            LinearConstraint(sizes.reshape(1, -1), -np.inf, sum(counts.values()) * bits / 8),
        ],
    )
    if solved.x is None:
        raise ValueError(f"no bits of {BITS} have a mean of {bits:g}: {solved.message}")
    indices = solved.x.reshape(len(names), -1).argmax(1)
    return {name: BITS[index] for name, index in zip(names, indices, strict=True)}


def _effects(
    model: nn.Module, nearest: Mapping[str, Round], batches: list[Batch], group_size: int
) -> dict[str, Floats]:
    """Divergence of the predictions with one matrix rounded, at each of ``BITS``."""
    working = copy.deepcopy(model).eval()
    passes = len(nearest) * len(MEASURED)
    flops = 2 * passes * sum(parameter.numel() for parameter in working.parameters())
    most = min(MAX_PREDICTIONS, int(MAX_FLOPS / flops)) // len(batches)
    compared = [_fewer(working, batch, max(1, most)) for batch in batches]
    expected = _predictions(working, compared)
    further = [FALL ** (bits - MEASURED[-1]) for bits in BITS if bits > MEASURED[-1]]
    effects = {}
    with torch.no_grad():
        for name, rounded in nearest.items():
            # A tied matrix is one parameter, which the embedding and the head share.
            weight = working.get_parameter(name)
            whole, measured = weight.clone(), []
            for bits in MEASURED:
                heartbeat.beat("compressing")
                weight.copy_(dequantise(rounded(whole, bits=bits, group_size=group_size)))
                measured.append(_divergence(expected, _predictions(working, compared)))
            weight.copy_(whole)
            effects[name] = np.array([*measured, *(measured[-1] * each for each in further)])
    return effects


def _fewer(model: nn.Module, batch: Batch, most: int) -> Batch:
    """The first rows of a batch, with about so many predictions at most."""
    rows = len(next(iter(forward_arguments(batch).values())))
    shards = min(rows, max(1, len(_predictions(model, [batch])) // most))
    return BatchShard(0, shards).of(batch)


def _predictions(model: nn.Module, batches: list[Batch]) -> torch.Tensor:
    """Logits of all predictions that batches ask for, ``(predictions, outputs)``."""
    with torch.inference_mode(), layer_heartbeats(model):
        return torch.cat(
            [_asked_for(logits(model, each).float().flatten(0, -2), each) for each in batches]
        )


def _asked_for(flat: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Of logits at all positions, those at which something is predicted."""
    if "positions" in batch:
        return flat[batch["positions"]]
    # Labels of classes are ignored below zero.
    for name, lowest in (("targets", PAD + 1), ("labels", 0)):
        if name in batch and batch[name].numel() == len(flat):
            return flat[batch[name].flatten() >= lowest]
    return flat


def _divergence(expected: torch.Tensor, found: torch.Tensor) -> float:
    """Mean Kullback-Leibler divergence of predictions; of one number, the squared difference."""
    if expected.shape[1] == 1:
        return float((found - expected).square().mean())
    before, after = (functional.log_softmax(each, dim=-1) for each in (expected, found))
    return float(functional.kl_div(after, before, reduction="batchmean", log_target=True))
