"""The families of models: a module for each, whose ``layout`` lists the weights of a model."""

from __future__ import annotations

from functools import lru_cache

from spaces.cost.architecture import Architecture
from spaces.cost.families import bart, llama, roberta, vit
from spaces.cost.layout import Layout
from spaces.cost.shape import Shape
from spaces.cost.workload import Family, Workload

_LAYOUTS = {
    Family.ROBERTA_CLASSIFIER: roberta.layout,
    Family.ROBERTA_MASKED_LM: roberta.layout,
    Family.LLAMA: llama.layout,
    Family.BART: bart.layout,
    Family.VIT: vit.layout,
}


@lru_cache(maxsize=10_000)
def layout(shape: Shape, workload: Workload) -> Layout:
    """The layout of a model."""
    return _LAYOUTS[workload.family](shape, workload)


def parameters(architecture: Architecture, workload: Workload) -> int:
    """Parameters of an architecture before compression."""
    return layout(architecture.shape, workload).parameters
