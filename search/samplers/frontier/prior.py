"""The prior: what the frontier sampler assumes about training, quantisation and pruning.

It holds for Transformers in general and no data set in particular: each doubling of depth, width or
budget helps a little (Kaplan et al. 2020, arXiv 2001.08361, find power laws), eight bits cost next
to nothing and two bits much, pruning hurts more the more is pruned, and larger models lose less
(Li et al. 2020, arXiv 2002.11794, section 4). It is wide enough for a few trials to overrule it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from search.samplers.frontier.design_space import DesignSpace
from search.samplers.frontier.features import ALWAYS
from search.samplers.gp.kernel import CompressionTrend, Prior

WIDTH = 1
PRETRAINED_SLOPES = ((0.3, 0.15), (0.1, 0.1), (0.25, 0.15))
"""Of doublings of depth, width and budget of what is cut from a checkpoint: the fewer layers are
kept, the less of what it has learnt is left, and the first steps teach it to do without the others
(in ``benchmarks/tables/checkpoint.csv.gz`` one layer is no better than guessing for 215 steps)."""
PRETRAINED_DEVIATIONS = (0.2, 0.25, 0.05)
"""As ``Prior.deviations``: weights that are given make training smooth, and seeds alike."""
VOCABULARY_SLOPE, VOCABULARY_SCALE = (0.05, 0.1), 3.0
"""Of doublings of the pieces that are kept of a vocabulary."""
IN_DOUBLINGS, IN_RANGE = ((0.0, 0.15), (-0.03, 0.06), 2.0), ((0.0, 0.3), (-0.05, 0.2), 0.8)
"""Slope, curvature and length scale of a setting of training in doublings, and from -1 to 1: its
best value is expected inside, and may be at an end."""
KIND_SLOPE = (0.0, 0.1)
"""Of the column of an activation, or of tied embeddings: none is better beforehand."""
CHECKPOINT_SLOPE = (0.0, 0.5)
"""Of the column of a checkpoint: how much better or worse than the others it is."""
CATEGORY_SCALE = 1.5
"""Of two checkpoints or activations two columns differ, each by 1."""
METHOD, METHOD_SCALE = 0.2, 0.7
"""Standard deviation of the effect of a method at an amount of 1, as two bits have."""
QUANTISATION, STATIC, STRUCTURED, UNSTRUCTURED, LAYERS, RECOVERY = range(6)


def _trend(feature: int, power: float, mean: float, deviation: float) -> CompressionTrend:
    return CompressionTrend(
        feature,
        power,
        mean,
        deviation,
        interacts_with=WIDTH,
        interaction_mean=-0.1 * mean,
        interaction_deviation=0.2 * deviation,
    )


PRIOR = Prior(
    level=(0.5, 1.0),
    slopes=((0.05, 0.2), (0.25, 0.3), (0.15, 0.25), (0.0, 0.05), (0.05, 0.1)),
    compression_trends=(
        # Quantisation noise has the power of the error's square.
        _trend(QUANTISATION, 2.0, -1.0, 0.8),
        _trend(STATIC, 1.0, -0.02, 0.05),
        _trend(STRUCTURED, 1.0, -0.1, 0.2),
        _trend(STRUCTURED, 3.0, -1.0, 0.9),
        _trend(UNSTRUCTURED, 1.0, -0.1, 0.2),
        _trend(UNSTRUCTURED, 3.0, -1.0, 0.9),
    ),
    training_scales=(2.5, 2.5, 3.0, 3.0, 3.0),
    compression_scales=(0.7, 1.0, 0.6, 0.6),
)


def prior_for(space: DesignSpace) -> Prior:
    """The prior of a design space, with those of its features that not every space has."""
    prior, settings = PRIOR, space.settings
    if space.is_pretrained:
        slopes = (*PRETRAINED_SLOPES, *prior.slopes[len(PRETRAINED_SLOPES) :])
        prior = replace(prior, slopes=slopes, deviations=PRETRAINED_DEVIATIONS)
    others = len(settings) + space.kinds + space.checkpoints
    if space.runs.shape[1] - others > len(PRIOR.training_scales):
        prior = _with_training(prior, [VOCABULARY_SLOPE], [VOCABULARY_SCALE])
    prior = _with_settings(prior, settings)
    for slope, count in (
        (KIND_SLOPE, space.kinds),
        (CHECKPOINT_SLOPE, space.checkpoints),
    ):
        prior = _with_training(prior, [slope] * count, [CATEGORY_SCALE] * count)
    common = space.compressions.shape[1] - space.methods
    if common > ALWAYS:
        # Removing layers hurts more than their fraction of the weights; recovery restores some.
        trends = [
            _trend(LAYERS, 1.0, -0.2, 0.3),
            _trend(LAYERS, 3.0, -1.0, 0.9),
            _trend(RECOVERY, 1.0, 0.05, 0.1),
        ]
        prior = _with_compression(prior, trends, [0.6, 1.5])
    # A method deviates from what its kind has in common, and no method is better beforehand.
    own = [_trend(common + method, 1.0, 0.0, METHOD) for method in range(space.methods)]
    return _with_compression(prior, own, [METHOD_SCALE] * space.methods)


def prior_of_settings(settings: Sequence[bool], categories: int) -> Prior:
    """The prior of a space that has settings and categories alone, and no compressions.

    Args:
        settings: As ``DesignSpace.settings``.
        categories: How many features after them tell categories apart.
    """
    nothing = replace(
        PRIOR, slopes=(), training_scales=(), compression_trends=(), compression_scales=(1.0,)
    )
    prior = _with_settings(nothing, settings)
    return _with_training(prior, [CHECKPOINT_SLOPE] * categories, [CATEGORY_SCALE] * categories)


def _with_settings(prior: Prior, settings: Sequence[bool]) -> Prior:
    for feature, in_doublings in enumerate(settings, len(prior.slopes)):
        slope, curvature, scale = IN_DOUBLINGS if in_doublings else IN_RANGE
        prior = _with_training(prior, [slope], [scale])
        prior = replace(prior, curvatures=(*prior.curvatures, (feature, *curvature)))
    return prior


def _with_training(prior: Prior, slopes: list[tuple[float, float]], scales: list[float]) -> Prior:
    return replace(
        prior,
        slopes=(*prior.slopes, *slopes),
        training_scales=(*prior.training_scales, *scales),
    )


def _with_compression(prior: Prior, trends: list[CompressionTrend], scales: list[float]) -> Prior:
    return replace(
        prior,
        compression_trends=(*prior.compression_trends, *trends),
        compression_scales=(*prior.compression_scales, *scales),
    )
