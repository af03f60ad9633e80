"""The Vision Transformer (Dosovitskiy et al. 2021, arXiv 2010.11929) as transformers has it."""

from __future__ import annotations

from spaces.cost.layout import Attention, FeedForward, Layout, Role, Weight, linear, norm, stack
from spaces.cost.shape import Shape
from spaces.cost.workload import Workload

ATTENTION = Attention(
    "attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.o_proj"
)
FEED_FORWARD = FeedForward(("mlp.fc1",), "mlp.fc2")


def layout(shape: Shape, workload: Workload) -> Layout:
    """``ViTForImageClassification``."""
    width, patch, channels = shape.width, workload.patch_size, workload.channels
    patches = "vit.embeddings.patch_embeddings.projection"
    positions = (1, workload.sequence_length, width)
    return Layout(
        ends=(
            Weight("vit.embeddings.cls_token", (1, 1, width), Role.DENSE),
            Weight("vit.embeddings.position_embeddings", positions, Role.DENSE),
            Weight(f"{patches}.weight", (width, channels, patch, patch), Role.DENSE),
            Weight(f"{patches}.bias", (width,), Role.DENSE),
            *norm("vit.layernorm", width),
            *linear("classifier", workload.classes, width),
        ),
        stacks=(
            stack(
                "vit.layers",
                shape.depth,
                shape,
                attentions=(ATTENTION,),
                feed_forward=FEED_FORWARD,
                norms=("layernorm_before", "layernorm_after"),
            ),
        ),
        head=width * workload.classes,
        outputs=1,
        trained_outputs=1,
        input_products=(workload.sequence_length - 1) * channels * patch * patch * width,
    )
