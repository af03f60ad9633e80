"""Compress a pruned model: quantise, save, load back, and check what was loaded."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from objectives.compression import model_file
from objectives.compression.model_file import CompressedWeights, ModelSpec
from objectives.compression.quantise import mixed
from objectives.compression.quantise.methods import METHODS, ROUND_EMBEDDINGS
from objectives.compression.quantise.weights import StoredWeight
from objectives.data.batches import Batch, logits, on_device
from objectives.device import device_of
from objectives.failures import TrialFailure, is_out_of_memory, short_traceback
from objectives.models.build import build
from objectives.models.forward import layer_heartbeats
from objectives.store import heartbeat
from objectives.store.disk_space import is_disk_full
from spaces.cost.compression import Quantisation
from spaces.cost.families import layout
from spaces.cost.layout import Role
from spaces.cost.size import max_compressed_bytes

COMPRESSION_VERSION = 3
"""Raised when the same model would be compressed to other weights."""
MIN_AGREEMENT = 0.95
"""Fraction of predictions that eight bits or more must keep."""
NEAR_TIE = 0.05
"""Two predictions are tied where their logits differ by at most this fraction of the range."""
CONSTANT_DEVIATION = 1e-6
MAX_COMPARED = 1024
"""Predictions that are compared; a language model makes one for each token."""


def compress(
    model: nn.Module, spec: ModelSpec, calibration: list[Batch], folder: Path
) -> nn.Module:
    """Quantise a model into a folder, and return it as loaded from there.

    Args:
        model: The model after pruning; it stays unchanged. The one that is returned is on its
            device.
        spec: Its architecture before pruning, its workload and how to quantise it.
        calibration: Training batches of one shape.

    Raises:
        TrialFailure: A step failed (``compression_error``), or its result cannot be used
            (``malformed``, ``not_finite``, ``constant``, ``disagrees``, ``not_smaller``).
    """
    heartbeat.beat("compressing")
    calibration = [*on_device(calibration, model)]
    write_compressed(model, spec, calibration, folder)
    heartbeat.beat("checking the compressed model")
    loaded = model_file.load(folder, device_of(model))
    _check_outputs(loaded, model, spec, calibration)
    size = model_file.bytes_on_disk(folder)
    dense = max_compressed_bytes(spec.architecture, spec.workload, spec.compression)
    if size >= dense:
        raise TrialFailure(
            "not_smaller", f"{spec.compression} takes {size:,} bytes, dense fp32 weights {dense:,}"
        )
    return loaded


def write_untrained(spec: ModelSpec, calibration: list[Batch], folder: Path) -> None:
    """Write an untrained model of a fixed seed, quantised: its costs are those of a trained one."""
    torch.manual_seed(0)
    write_compressed(build(spec.shape, spec.workload).eval(), spec, calibration, folder)


def write_compressed(
    model: nn.Module, spec: ModelSpec, calibration: list[Batch], folder: Path
) -> None:
    """Quantise a model into a folder as ``compress`` does, without checking the result."""
    try:
        model_file.save(folder, _quantise(model, spec, calibration), spec)
    except TrialFailure:
        raise
    except Exception as error:
        if is_out_of_memory(error) or is_disk_full(error):
            raise
        # A compressor may raise anything; only this trial fails.
        raise TrialFailure(
            "compression_error",
            f"{spec.compression}: {type(error).__name__}: {error}",
            short_traceback(error),
        ) from error


def _quantise(model: nn.Module, spec: ModelSpec, calibration: list[Batch]) -> CompressedWeights:
    compression = spec.compression.effective(spec.architecture)
    quantisation = compression.quantisation
    weights = list(layout(spec.shape, spec.workload).weights())
    linears = [weight.name for weight in weights if weight.role is Role.LINEAR]
    embeddings = [weight.name for weight in weights if weight.role is Role.EMBEDDING]
    state = model.state_dict()
    stored: dict[str, StoredWeight] = {w.name: state[w.name].detach() for w in weights}
    is_masked = compression.unstructured_sparsity > 0.0
    kept = {name: state[name] != 0 for name in linears if is_masked}
    if quantisation.is_mixed:
        stored |= mixed.quantise(
            model,
            linears,
            embeddings,
            calibration,
            counts={
                name: int(kept[name].sum()) if name in kept else state[name].numel()
                for name in (*linears, *embeddings)
            },
            bits=quantisation.bits,
            group_size=compression.group_size,
        )
    elif quantisation is not Quantisation.NONE:
        of_linears = METHODS[quantisation.method]
        of_embeddings = of_linears if quantisation.is_half else ROUND_EMBEDDINGS
        for names, quantise in ((linears, of_linears), (embeddings, of_embeddings)):
            stored |= quantise(
                model,
                names,
                calibration,
                bits=int(quantisation.bits),
                group_size=compression.group_size,
            )
    return CompressedWeights(stored, kept)


def _check_outputs(
    loaded: nn.Module, unquantised: nn.Module, spec: ModelSpec, calibration: list[Batch]
) -> None:
    """Refuse a compressed model whose logits cannot be right."""
    compression = spec.compression
    expected = spec.workload.classes or spec.shape.vocabulary or spec.workload.outputs
    outputs = _outputs(loaded, calibration)
    if outputs.shape[1] != expected:
        raise TrialFailure("malformed", f"{outputs.shape[1]} logits a prediction, not {expected}")
    if not torch.isfinite(outputs).all():
        raise TrialFailure("not_finite", f"{compression} gave logits that are not finite")
    if float(outputs.std(0).max()) < CONSTANT_DEVIATION:
        raise TrialFailure("constant", f"{compression} gives all inputs the same logits")
    if 8 <= compression.quantisation.bits < 32:
        agreement = _agreement(_outputs(unquantised, calibration), outputs)
        if agreement < MIN_AGREEMENT:
            raise TrialFailure(
                "disagrees", f"{compression} keeps only {agreement:.0%} of the predictions"
            )


def _outputs(model: nn.Module, batches: list[Batch]) -> torch.Tensor:
    """Logits of some predictions, ``(predictions, outputs)``, evenly taken from all batches."""
    taken = []
    with torch.inference_mode(), layer_heartbeats(model):
        for batch in batches:
            heartbeat.beat("checking the compressed model")
            flat = logits(model, batch).flatten(0, -2)
            taken.append(flat[:: -(-len(flat) * len(batches) // MAX_COMPARED)])
    return torch.cat(taken)


def _agreement(before: torch.Tensor, after: torch.Tensor) -> float:
    """Fraction of rows whose new prediction was the old one, or tied with it."""
    old_score_of_new = before.gather(1, after.argmax(-1, keepdim=True)).squeeze(1)
    best, worst = before.max(-1).values, before.min(-1).values
    return float((old_score_of_new >= best - NEAR_TIE * (best - worst)).float().mean())
