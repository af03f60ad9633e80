"""The Vision Transformer (Dosovitskiy et al. 2021, arXiv 2010.11929) as transformers has it."""

from __future__ import annotations

from spaces.cost.layout import Attention, FeedForward, Layout, Role, Stack, Weight, linear, norm
from spaces.cost.shape import Shape
from spaces.cost.workload import Workload


def layout(shape: Shape, workload: Workload) -> Layout:
    """``ViTForImageClassification``."""
    width, patch = shape.width, workload.patch_size
    patches = "vit.embeddings.patch_embeddings.projection"
    pixels = workload.channels * patch * patch
    ends = (
        Weight("vit.embeddings.cls_token", (1, 1, width), Role.DENSE),
        Weight(
            "vit.embeddings.position_embeddings", (1, workload.sequence_length, width), Role.DENSE
        ),
        Weight(f"{patches}.weight", (width, workload.channels, patch, patch), Role.DENSE),
        Weight(f"{patches}.bias", (width,), Role.DENSE),
        *norm("vit.layernorm", width),
        *linear("classifier", workload.classes, width),
    )
    return Layout(
        ends=ends,
        stacks=(_stack(shape),),
        head=width * workload.classes,
        outputs=1,
        trained_outputs=1,
        input_products=(workload.sequence_length - 1) * pixels * width,
    )


def _stack(shape: Shape) -> Stack:
    width, attention, feed_forward = shape.width, shape.attention, shape.feed_forward
    weights = (
        *linear("attention.q_proj", attention, width),
        *linear("attention.k_proj", attention, width),
        *linear("attention.v_proj", attention, width),
        *linear("attention.o_proj", width, attention),
        *norm("layernorm_before", width),
        *norm("layernorm_after", width),
        *linear("mlp.fc1", feed_forward, width),
        *linear("mlp.fc2", width, feed_forward),
    )
    return Stack(
        prefix="vit.layers",
        depth=shape.depth,
        weights=weights,
        attentions=(
            Attention(
                "attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.o_proj"
            ),
        ),
        feed_forward=FeedForward(("mlp.fc1",), "mlp.fc2"),
    )
