"""The reference model, which stands beside measured ones."""

from __future__ import annotations

from pathlib import Path

import torch

from objectives.compression import model_file
from objectives.compression.model_file import CompressedWeights, ModelSpec
from objectives.models.build import build
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.families import has_decoder, layout
from spaces.cost.workload import Workload

REFERENCE_DEPTH, REFERENCE_WIDTH = 2, 128
"""Layers of each stack, and width, of the reference model."""


def store_reference(workload: Workload, folder: Path) -> None:
    """Write the dense reference model, as any other model is stored."""
    torch.manual_seed(0)
    decoder_depth = REFERENCE_DEPTH if has_decoder(workload) else 0
    reference = Architecture.of(REFERENCE_DEPTH, REFERENCE_WIDTH, decoder_depth=decoder_depth)
    state = build(reference.shape, workload).state_dict()
    weights = layout(reference.shape, workload).weights()
    dense = CompressedWeights({weight.name: state[weight.name] for weight in weights}, {})
    model_file.save(folder, dense, ModelSpec(reference, workload, Compression()))
