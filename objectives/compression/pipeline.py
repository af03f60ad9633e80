"""Compress a pruned model: quantise, save, load back, and check what was loaded."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from objectives.compression import model_file
from objectives.compression.model_file import CompressedWeights
from objectives.compression.quantise.methods import METHODS
from objectives.compression.quantise.weights import StoredWeight
from objectives.data.batches import Batch, logits
from objectives.failures import TrialFailure, is_out_of_memory
from objectives.store import heartbeat
from objectives.store.disk_space import is_disk_full
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Quantisation
from spaces.cost.families import layout
from spaces.cost.layout import Role
from spaces.cost.size import max_compressed_bytes
from spaces.cost.workload import Workload

MIN_AGREEMENT = 0.95
"""Fraction of predictions that eight bits or more must keep."""
NEAR_TIE = 0.05
"""Two predictions are tied where their logits differ by at most this fraction of the range."""
CONSTANT_DEVIATION = 1e-6
MAX_COMPARED = 1024
"""Predictions that are compared; a language model makes one for each token."""


class CompressionFailure(TrialFailure):
    """A compressor failed or its model cannot be used; the trained model is not affected.

    States: ``compression_error``, ``not_finite``, ``constant``, ``malformed``, ``not_smaller``,
    ``disagrees``.
    """


def compress(
    model: nn.Module,
    architecture: Architecture,
    workload: Workload,
    compression: Compression,
    calibration: list[Batch],
    folder: Path,
) -> nn.Module:
    """Quantise a model into a folder and load it back.

    Args:
        model: The model after pruning, on the CPU; it stays unchanged.
        architecture: Its shape before pruning.
        workload: Its inputs and outputs.
        compression: How to quantise; pruning has been done.
        calibration: Training batches of one shape.
        folder: Where to write.

    Returns:
        The model as loaded from the folder.

    Raises:
        TrialFailure: With a named state, when a step failed or its result cannot be used.
    """
    heartbeat.beat("compressing")
    write_compressed(model, architecture, workload, compression, calibration, folder)
    heartbeat.beat("checking the compressed model")
    loaded = model_file.load(folder)
    _check_outputs(loaded, model, workload, compression, calibration)
    _check_size(folder, architecture, workload, compression)
    return loaded


def write_compressed(
    model: nn.Module,
    architecture: Architecture,
    workload: Workload,
    compression: Compression,
    calibration: list[Batch],
    folder: Path,
) -> None:
    """Quantise a model into a folder without checking it; arguments as ``compress``.

    Raises:
        TrialFailure: ``compression_error``, when a step failed.
    """
    try:
        weights = _quantise(model, architecture, workload, compression, calibration)
        model_file.save(folder, weights, architecture, workload, compression)
    except TrialFailure:
        raise
    except Exception as error:
        if is_out_of_memory(error) or is_disk_full(error):
            raise
        # A compressor may raise anything; only this trial fails.
        raise CompressionFailure(
            "compression_error", f"{compression}: {type(error).__name__}: {error}"
        ) from error


def _quantise(
    model: nn.Module,
    architecture: Architecture,
    workload: Workload,
    compression: Compression,
    calibration: list[Batch],
) -> CompressedWeights:
    weights = list(layout(compression.shape_of(architecture), workload).weights())
    linears = [weight.name for weight in weights if weight.role is Role.LINEAR]
    embeddings = [weight.name for weight in weights if weight.role is Role.EMBEDDING]
    state = model.state_dict()
    stored: dict[str, StoredWeight] = {w.name: state[w.name].detach() for w in weights}
    is_masked = compression.unstructured_sparsity > 0.0
    kept = {name: state[name] != 0 for name in linears if is_masked}
    quantisation, group_size = compression.quantisation, compression.group_size
    if quantisation is not Quantisation.NONE:
        method = quantisation.method
        of_embeddings = method if quantisation.is_half else "rtn"
        for names, quantise in (
            (linears, METHODS[method]),
            (embeddings, METHODS[of_embeddings]),
        ):
            stored |= quantise(
                model, names, calibration, bits=quantisation.bits, group_size=group_size
            )
    return CompressedWeights(stored, kept)


def _check_outputs(
    loaded: nn.Module,
    unquantised: nn.Module,
    workload: Workload,
    compression: Compression,
    calibration: list[Batch],
) -> None:
    """Refuse a compressed model whose logits cannot be right.

    Raises:
        CompressionFailure: ``malformed``, ``not_finite``, ``constant`` or ``disagrees``.
    """
    outputs = _outputs(loaded, calibration)
    if outputs.shape[1] != workload.outputs:
        raise CompressionFailure(
            "malformed", f"{outputs.shape[1]} logits a prediction, not {workload.outputs}"
        )
    if not torch.isfinite(outputs).all():
        raise CompressionFailure("not_finite", f"{compression} gave logits that are not finite")
    if float(outputs.std(0).max()) < CONSTANT_DEVIATION:
        raise CompressionFailure("constant", f"{compression} gives all inputs the same logits")
    if 8 <= compression.quantisation.bits < 32:
        agreement = _agreement(_outputs(unquantised, calibration), outputs)
        if agreement < MIN_AGREEMENT:
            raise CompressionFailure(
                "disagrees", f"{compression} keeps only {agreement:.0%} of the predictions"
            )


def _outputs(model: nn.Module, batches: list[Batch]) -> torch.Tensor:
    """Logits of some predictions, ``(predictions, outputs)``, evenly taken from all batches."""
    taken = []
    with torch.inference_mode():
        for batch in batches:
            flat = logits(model, batch).flatten(0, -2)
            taken.append(flat[:: -(-len(flat) * len(batches) // MAX_COMPARED)])
    return torch.cat(taken)


def _agreement(before: torch.Tensor, after: torch.Tensor) -> float:
    """Fraction of rows whose new prediction was the old one, or tied with it."""
    old_score_of_new = before.gather(1, after.argmax(-1, keepdim=True)).squeeze(1)
    best, worst = before.max(-1).values, before.min(-1).values
    return float((old_score_of_new >= best - NEAR_TIE * (best - worst)).float().mean())


def _check_size(
    folder: Path, architecture: Architecture, workload: Workload, compression: Compression
) -> None:
    size = model_file.bytes_on_disk(folder)
    dense = max_compressed_bytes(architecture, workload, compression)
    if size >= dense:
        raise CompressionFailure(
            "not_smaller", f"{compression} takes {size:,} bytes, dense fp32 weights {dense:,}"
        )
