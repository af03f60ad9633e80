"""Compress a pruned model: quantise, save, load back, and check what came back."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from objectives.compression import model_file
from objectives.compression.model_file import CompressedWeights
from objectives.compression.quantise.gptq import gptq
from objectives.compression.quantise.hqq import hqq
from objectives.compression.quantise.rtn import QuantisedWeight, round_to_nearest
from objectives.compression.quantise.static_int8 import StaticWeight, calibrate
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
"""Share of inputs on which eight bits must answer like the model before quantisation."""
NEAR_TIE = 0.05
"""Share of the range of an input's logits within which two answers count as tied."""
CONSTANT_DEVIATION = 1e-6
MAX_COMPARED = 1024
"""Answers that are compared; a language model gives one for each token."""

_HALF_TYPES = {Quantisation.BF16: torch.bfloat16, Quantisation.FP16: torch.float16}


class CompressionFailure(TrialFailure):
    """A compressor that failed or returned rubbish; the trained model stays as it was.

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
        model: The model after pruning, on the CPU; it is left as it is.
        architecture: Its shape before pruning.
        workload: What it reads and answers.
        compression: What to do; its pruning is done.
        calibration: Training batches of one shape.
        folder: Where to write.

    Returns:
        The model as loaded from the folder.

    Raises:
        TrialFailure: With a named state, when a step failed or its result is not usable.
    """
    heartbeat.beat("compressing")
    write_compressed(model, architecture, workload, compression, calibration, folder)
    heartbeat.beat("checking the compressed model")
    loaded = model_file.load(folder)
    check(loaded, model, workload, compression, calibration)
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
    """Quantise a model into a folder, without judging what came of it; arguments as ``compress``.

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
        # A compressor may raise anything; it costs this trial and no other.
        raise CompressionFailure(
            "compression_error", f"{compression}: {type(error).__name__}: {error}"
        ) from error


def check(
    loaded: nn.Module,
    unquantised: nn.Module,
    workload: Workload,
    compression: Compression,
    calibration: list[Batch],
) -> None:
    """Refuse a compressed model that cannot be right.

    Args:
        loaded: The compressed model.
        unquantised: The model before quantisation (after pruning).
        workload: For the shape of the answers.
        compression: What was done.
        calibration: Inputs to try.

    Raises:
        CompressionFailure: ``malformed``, ``not_finite``, ``constant`` or ``disagrees``.
    """
    answers = _answers(loaded, calibration)
    if answers.shape[1] != workload.outputs:
        raise CompressionFailure(
            "malformed", f"{answers.shape[1]} logits an answer, not {workload.outputs}"
        )
    if not torch.isfinite(answers).all():
        raise CompressionFailure("not_finite", f"{compression} gave logits that are not finite")
    if float(answers.std(0).max()) < CONSTANT_DEVIATION:
        raise CompressionFailure("constant", f"{compression} gives all inputs the same logits")
    if 8 <= compression.quantisation.bits < 32:
        agreement = _agreement(_answers(unquantised, calibration), answers)
        if agreement < MIN_AGREEMENT:
            raise CompressionFailure(
                "disagrees", f"{compression} answers {agreement:.0%} of inputs as before"
            )


def _answers(model: nn.Module, batches: list[Batch]) -> torch.Tensor:
    """Logits of some answers, ``(answers, outputs)``, evenly taken from all batches."""
    taken = []
    with torch.inference_mode():
        for batch in batches:
            flat = logits(model, batch).flatten(0, -2)
            taken.append(flat[:: -(-len(flat) * len(batches) // MAX_COMPARED)])
    return torch.cat(taken)


def _agreement(before: torch.Tensor, after: torch.Tensor) -> float:
    """Share of rows whose new answer was the old one, or tied with it."""
    old_score_of_new = before.gather(1, after.argmax(-1, keepdim=True)).squeeze(1)
    best, worst = before.max(-1).values, before.min(-1).values
    return float((old_score_of_new >= best - NEAR_TIE * (best - worst)).float().mean())


def _check_size(
    folder: Path, architecture: Architecture, workload: Workload, compression: Compression
) -> None:
    size, dense = (
        model_file.bytes_on_disk(folder),
        max_compressed_bytes(architecture, workload, compression),
    )
    if size >= dense:
        raise CompressionFailure(
            "not_smaller", f"{compression} takes {size:,} bytes, dense fp32 weights {dense:,}"
        )


def _quantise(
    model: nn.Module,
    architecture: Architecture,
    workload: Workload,
    compression: Compression,
    calibration: list[Batch],
) -> CompressedWeights:
    weights = list(layout(compression.shape_of(architecture), workload).weights())
    state = model.state_dict()
    dense = {weight.name: state[weight.name].detach() for weight in weights}
    linears = [weight.name for weight in weights if weight.role is Role.LINEAR]
    embeddings = [weight.name for weight in weights if weight.role is Role.EMBEDDING]
    is_masked = compression.unstructured_sparsity > 0.0
    kept = {name: dense[name] != 0 for name in linears if is_masked}
    quantised: dict[str, QuantisedWeight] = {}
    static: dict[str, StaticWeight] = {}
    quantisation = compression.quantisation
    if quantisation.is_half:
        for name in (*linears, *embeddings):
            dense[name] = dense[name].to(_HALF_TYPES[quantisation])
    if quantisation.is_static:
        found = calibrate(model, calibration, smooth=quantisation is Quantisation.SMOOTH_8)
        # A head that is tied to the embedding has no weight of its own, and stays dense.
        static = {name: found[name.removesuffix(".weight")] for name in linears}
    elif quantisation.has_codes:
        quantised = _coded(model, linears, dense, compression, calibration)
    if quantisation.has_codes:
        for name in embeddings:
            quantised[name] = round_to_nearest(
                dense[name], bits=quantisation.bits, group_size=compression.group_size
            )
    for name in (*quantised, *static):
        del dense[name]
    return CompressedWeights(dense, quantised, static, kept)


def _coded(
    model: nn.Module,
    names: list[str],
    dense: dict[str, torch.Tensor],
    compression: Compression,
    calibration: list[Batch],
) -> dict[str, QuantisedWeight]:
    """Weight-only codes of linear layers, by the method of the compression."""
    method = compression.quantisation.method
    bits, group_size = compression.quantisation.bits, compression.group_size
    if method == "gptq":
        found = gptq(model, calibration, bits=bits, group_size=group_size)
        return {name: found[name.removesuffix(".weight")] for name in names}
    quantise = hqq if method == "hqq" else round_to_nearest
    return {name: quantise(dense[name], bits=bits, group_size=group_size) for name in names}
