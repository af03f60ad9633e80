"""The parametrisation: initial weights and optimiser settings that suit every width and depth.

CompleteP (Dey et al. 2025, arXiv 2505.01618, table 1 with alpha = 1), which adds the depth to muP
(Yang et al. 2022, arXiv 2203.03466, table 8). A search file gives the settings for a model of the
base width and depth; this module gives the factors for any other. With ``m_N`` the width (for a
matrix: its inputs) and ``m_L`` the depth of its stack, both divided by those of the base:

| weight | initial standard deviation | learning rate | weight decay | AdamW's epsilon |
|---|---|---|---|---|
| matrix of a layer | sqrt(1 / inputs) | 1 / m_N | m_N | 1 / (m_N m_L) |
| bias or norm of a layer | | 1 | none | 1 / (m_N m_L) |
| embedding | constant | 1 | none | 1 / m_N |
| matrix of a head | sqrt(1 / inputs) | 1 / m_N | m_N | 1 / m_N |
| last matrix of a classifier | 1 / inputs | 1 / m_N | m_N | 1 / m_N |

Besides, there are three multipliers. The outputs of each block of a layer are multiplied by
``1 / m_L`` before they are added to the residual stream; the inputs of a head that is tied to the
embedding by ``1 / m_N``; and embeddings by ``STREAM`` where no normalisation follows them. They are
folded into the weights before them (see ``WeightScale.folded``), so that models are plain ones of
transformers.

>>> from spaces.cost.architecture import Architecture
>>> from spaces.cost.workload import Family
>>> workload = Workload(Family.LLAMA, vocabulary_size=300, sequence_length=16)
>>> scales = weight_scales(Architecture.of(4, 256).shape, workload)
>>> scales["model.layers.0.self_attn.q_proj.weight"]
WeightScale(initial=0.707..., learning_rate=0.5, weight_decay=2.0, epsilon=0.25)
>>> scales["model.layers.0.self_attn.o_proj.weight"]
WeightScale(initial=0.353..., learning_rate=0.25, weight_decay=4.0, epsilon=0.5)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import nn

from spaces.cost.architecture import Architecture, Shape
from spaces.cost.families import has_decoder, layout
from spaces.cost.layout import Role, Weight
from spaces.cost.own_model import own_model_of
from spaces.cost.workload import Workload

BASE_WIDTH, BASE_DEPTH = 128, 2
"""The model for which a search file gives the learning rates and the weight decay."""

BASE_STD = 0.02 * math.sqrt(768 / BASE_WIDTH)
"""Standard deviation of the initial weights of matrices with as many inputs as the base width, and
of all embeddings: RoBERTa's 0.02 at its width of 768, whose variance goes with 1 / inputs."""

STREAM = 10.0
"""Multiplier of embeddings that no normalisation follows, as in Cerebras-GPT (Dey et al. 2023,
arXiv 2304.03208): the residual stream starts with a standard deviation of 0.5, and what the first
layers add does not hide the tokens. Measured on Llama after 100 steps: 0.3 nats less."""


@dataclass(frozen=True, slots=True)
class WeightScale:
    """What a weight's settings are multiplied by.

    Args:
        initial: For the initial weight: of matrices and embeddings drawn with ``BASE_STD``, of all
            others as transformers sets it.
        weight_decay: 0 where there is none. The product with the learning rate is constant.
        epsilon: For the term in the denominator of AdamW, which goes with the gradient.
    """

    initial: float = 1.0
    learning_rate: float = 1.0
    weight_decay: float = 0.0
    epsilon: float = 1.0

    def folded(self, multiplier: float) -> WeightScale:
        """The same for a weight into which a multiplier of its output is folded.

        The weight is as many times larger and its gradient as many times smaller. AdamW's update
        does not depend on the gradient's scale, so that the learning rate has to follow.
        """
        return WeightScale(
            self.initial * multiplier,
            self.learning_rate * multiplier,
            self.weight_decay / multiplier,
            self.epsilon / multiplier,
        )


def is_parametrised(workload: Workload) -> bool:
    """Whether initial weights and learning rates follow from the sizes of a model."""
    if workload.own:
        return own_model_of(workload.own).is_parametrised
    return not workload.checkpoint


@lru_cache(maxsize=1_000)
def weight_scales(shape: Shape, workload: Workload) -> Mapping[str, WeightScale]:
    """The scale of every weight of a model, by its name.

    Args:
        shape: Layers before pruning: what pruning leaves is trained as the whole was.
    """
    if not is_parametrised(workload):
        # Pre-trained weights are trained at one rate; their scale is what pre-training gave them.
        return {
            weight.name: WeightScale(weight_decay=float(weight.role is Role.LINEAR))
            for weight in layout(shape, workload).weights()
        }
    decoder_depth = BASE_DEPTH if has_decoder(workload) else 0
    base_shape = Architecture.of(
        BASE_DEPTH,
        BASE_WIDTH,
        decoder_depth=decoder_depth,
        tied_embeddings=shape.tied_embeddings,
    ).shape
    own, base = layout(shape, workload), layout(base_shape, workload)
    width = shape.width / BASE_WIDTH
    scales: dict[str, WeightScale] = {}
    for weight, at_base in zip(own.ends, base.ends, strict=True):
        scale = _scale(weight, at_base, epsilon=1.0 / width)
        if weight.name in own.stream_from:
            scale = scale.folded(STREAM)
        if _layer(weight) == own.logits_from:
            if own.is_tied:
                # The tied matrix has the multiplier of the stream too, which has to be undone here.
                scale = scale.folded(1.0 / (width * (STREAM if own.stream_from else 1.0)))
            elif weight.role is Role.LINEAR:
                scale = replace(scale, initial=1.0 / width)
        scales[weight.name] = scale
    for stack, base_stack in zip(own.stacks, base.stacks, strict=True):
        depth = stack.depth / BASE_DEPTH
        outputs = {attention.output for attention in stack.attentions}
        outputs.add(stack.feed_forward.output)
        for weight, at_base in zip(stack.weights, base_stack.weights, strict=True):
            scale = _scale(weight, at_base, epsilon=1.0 / (width * depth))
            if _layer(weight) in outputs:
                scale = scale.folded(1.0 / depth)
            # A first layer may lack a normalisation.
            first = 1 if weight.name in stack.first_lacks else 0
            for index in range(first, stack.depth):
                scales[f"{stack.prefix}.{index}.{weight.name}"] = scale
    return scales


def _scale(weight: Weight, at_base: Weight, *, epsilon: float) -> WeightScale:
    if weight.role is not Role.LINEAR:
        return WeightScale(epsilon=epsilon)
    inputs, base_inputs = weight.shape[1], at_base.shape[1]
    return WeightScale(
        initial=math.sqrt(BASE_WIDTH / inputs),
        learning_rate=base_inputs / inputs,
        weight_decay=inputs / base_inputs,
        epsilon=epsilon,
    )


def _layer(weight: Weight) -> str:
    return weight.name.rpartition(".")[0]


def initialise(model: nn.Module, shape: Shape, workload: Workload) -> None:
    """Draw the matrices and embeddings of a new model, and scale its other weights, in place.

    transformers draws them too, but ModernBERT's by a rule of its own.
    """
    scales = weight_scales(shape, workload)
    with torch.no_grad():
        for weight in layout(shape, workload).weights():
            parameter = model.get_parameter(weight.name)
            if weight.role is Role.DENSE:
                parameter.mul_(scales[weight.name].initial)
            else:
                parameter.normal_(0.0, BASE_STD * scales[weight.name].initial)
