"""Building the untrained models that are cut from a checkpoint."""

from __future__ import annotations

import json
from typing import Any

from torch import nn

from objectives.data.encoding import END, PAD, START
from spaces.cost.architecture import Shape
from spaces.cost.checkpoint import checkpoint_of
from spaces.cost.workload import Workload

NEURONS = ("intermediate_size", "hidden_dim", "encoder_ffn_dim", "decoder_ffn_dim")
"""Names that configurations of transformers have for the neurons of a feed-forward block."""


def evenly_spaced(depth: int, whole: int) -> list[int]:
    """Layers that are kept of ``whole``, the first and the last among them; of one, the first.

    DistilBERT takes every second one (Sanh et al. 2019, arXiv 1910.01108, section 3).

    >>> evenly_spaced(3, 6)
    [0, 2, 5]
    """
    if depth == 1:
        return [0]
    return [round(index * (whole - 1) / (depth - 1)) for index in range(depth)]


def build_checkpoint(shape: Shape, workload: Workload) -> nn.Module:
    """A model with as many layers, neurons and pieces as are kept of a checkpoint, with random
    weights and all heads."""
    import transformers

    checkpoint = checkpoint_of(workload.checkpoint)
    config = config_of(checkpoint.config, shape.depth, shape.decoder_depth)
    if workload.vocabulary_size:
        config.vocab_size = shape.vocabulary or workload.vocabulary_size
    for name in NEURONS:
        if getattr(config, name, None) == checkpoint.stack.neurons:
            setattr(config, name, shape.feed_forward)
    config.num_labels = workload.classes or config.num_labels
    # As the tokens are renumbered.
    for name, number in (("pad", PAD), ("bos", START), ("cls", START), ("eos", END), ("sep", END)):
        if hasattr(config, f"{name}_token_id"):
            setattr(config, f"{name}_token_id", number)
    # Decoding names the tokens that it begins with, whose numbers depend on the pieces kept.
    for name in ("decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id"):
        if hasattr(config, name):
            setattr(config, name, None)
    auto_class = getattr(transformers, checkpoint.auto_class)
    model: nn.Module = auto_class.from_config(
        config, trust_remote_code=False, attn_implementation="sdpa"
    )
    return model


def config_of(description: str, depth: int, decoder_depth: int = 0) -> Any:
    """The configuration of a checkpoint of which evenly spaced layers are kept.

    Args:
        description: The configuration as JSON.
        decoder_depth: Layers of the decoder beside an encoder; 0 without one.
    """
    from transformers import AutoConfig

    fields = json.loads(description)
    if isinstance(kinds := fields.get("layer_types"), list):
        fields["layer_types"] = [kinds[layer] for layer in evenly_spaced(depth, len(kinds))]
    depths = {"num_hidden_layers": depth}
    if decoder_depth:
        depths = {"encoder_layers": depth, "decoder_layers": decoder_depth}
    return AutoConfig.for_model(**{**fields, **depths})
