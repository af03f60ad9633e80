"""The layouts of the models that are trained from scratch.

``layouts/`` holds one model of each family, whose sizes have names; that of any other size follows
from it. ``objectives.models.family_layouts`` reads them from transformers' modules.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from spaces.cost.architecture import Architecture, Shape
from spaces.cost.checkpoint import checkpoint_of
from spaces.cost.layout import WIDTH, Layout, Reads, Role
from spaces.cost.own_model import own_model_of
from spaces.cost.workload import Family, Workload

UNTIED_HEADS = {Family.LLAMA: "lm_head", Family.MODERNBERT_MASKED_LM: "decoder"}
"""The layer that gives the logits where it is not tied to the token embedding. MBart would have
three embeddings, and RoBERTa a second bias."""


@lru_cache(maxsize=10_000)
def layout(shape: Shape, workload: Workload) -> Layout:
    """The layout of a model."""
    if workload.checkpoint:
        vocabulary = shape.vocabulary or workload.vocabulary_size
        return checkpoint_of(workload.checkpoint).layout_of(shape, vocabulary)
    sizes = {
        WIDTH: shape.width,
        "vocabulary": workload.vocabulary_size,
        "classes": workload.classes,
        "positions": workload.positions,
        "patch": workload.patch_size,
        "channels": workload.channels,
    }
    if workload.own:
        template = own_model_of(workload.own).layout
        # All other sizes are those of its fields.
        sizes = {WIDTH: shape.width}
    else:
        template = family_layout(workload.family, is_tied=shape.tied_embeddings)
    return template.resized(
        depths=(shape.depth, shape.decoder_depth),
        heads=shape.heads,
        head_width=shape.head_width,
        neurons=shape.feed_forward,
        **{name: size for name, size in sizes.items() if name in template.sizes},
    )


@cache
def family_layout(family: Family, *, is_tied: bool = True) -> Layout:
    """The stored layout of a family, of one small model.

    Args:
        is_tied: Whether the token embedding gives the logits, where the family has a choice.
    """
    file = resources.files("spaces.cost.layouts") / f"{family}.json"
    stored = Layout.from_json(file.read_bytes())
    if is_tied or family not in UNTIED_HEADS:
        return stored
    head = UNTIED_HEADS[family]
    shared = next(weight for weight in stored.ends if weight.role is Role.EMBEDDING)
    own = replace(shared, name=f"{head}.weight", role=Role.LINEAR)
    embedding = replace(shared, reads=Reads.NOTHING)
    ends = (*(embedding if each is shared else each for each in stored.ends), own)
    return replace(stored, ends=ends, logits_from=head)


def has_decoder(workload: Workload) -> bool:
    """Whether models have a decoder beside the encoder."""
    if workload.checkpoint:
        return checkpoint_of(workload.checkpoint).decoder_depth > 0
    if workload.own:
        return own_model_of(workload.own).has_decoder
    return workload.family.has_decoder


def training_key(architecture: Architecture, workload: Workload) -> dict[str, Any]:
    """What a training depends on of an architecture: equal for the same model, whether its family's
    activation is named or not."""
    if not workload.own and architecture.activation == workload.family.activation:
        architecture = replace(architecture, activation="")
    return architecture.to_dict()


@lru_cache(maxsize=10_000)
def parameters(architecture: Architecture, workload: Workload) -> int:
    """Parameters of an architecture before compression."""
    return layout(architecture.shape, workload).parameters
