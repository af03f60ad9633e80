"""Features of architecture, budget and compression, which the Gaussian process takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from search.arrays import Floats
from spaces.cost.architecture import Architecture

DENSE_BITS = 16
"""At this many bits and more, nothing is lost."""
USUAL_GROUP = 32
ALWAYS = 4
"""Compression features that every space has; the others only where they vary."""
FAR_APART = 8.0
"""Ratio of the largest value to the smallest of a setting whose effect goes with its logarithm."""
USUAL_RECOVERY = 100.0
"""Steps of recovery that count as one doubling; each further doubling adds the same."""


def training_features(
    *,
    depth: Floats,
    width: Floats,
    steps: Floats,
    heads: Floats,
    feed_forward: Floats,
    vocabulary: Floats | None = None,
    settings: Sequence[Floats] = (),
    categories: Sequence[Floats] = (),
) -> Floats:
    """Doublings of depth, width, budget, head width and feed-forward ratio, ``(n, 5)``, each from
    the middle of its range.

    Where vocabularies vary there is a column more for them; then one for each setting of training
    (``setting_feature``); and one for each value of a category (``category_features``).
    """
    ratios = [depth, width, steps, width / heads, feed_forward / width]
    if vocabulary is not None and np.ptp(vocabulary) > 0.0:
        ratios.append(vocabulary)
    logarithms = np.log2(np.stack(ratios, 1))
    middle: Floats = (logarithms.min(0) + logarithms.max(0)) / 2
    return np.column_stack([logarithms - middle, *settings, *categories])


def category_features(values: Sequence[str], categories: Sequence[str]) -> list[Floats]:
    """A column for each category, ``(n,)``: 1 where the value is of it and 0 elsewhere."""
    return [np.array([float(value == each) for value in values]) for each in categories]


def kind_features(architectures: Sequence[Architecture]) -> list[Floats]:
    """What tells activations apart, and tied embeddings, where they vary; ``(n,)`` each."""
    activations = [each.activation for each in architectures]
    several = sorted({*activations}) if len({*activations}) > 1 else []
    tied = np.array([float(each.tied_embeddings) for each in architectures])
    return [*category_features(activations, several), *([tied] if np.ptp(tied) > 0.0 else [])]


def varying(settings: Sequence[Mapping[str, float]]) -> list[Floats]:
    """The settings of training that all runs have and that vary, in the order of their names;
    ``(n,)`` each."""
    common = set(settings[0]).intersection(*settings[1:])
    columns = (np.array([float(each[name]) for each in settings]) for name in sorted(common))
    return [column for column in columns if np.ptp(column) > 0.0]


def is_in_doublings(setting: Floats) -> bool:
    """Whether the effect of a setting of training goes with its logarithm: its values are positive
    and far apart, as those of a learning rate."""
    return bool(setting.min() > 0.0 and setting.max() >= FAR_APART * setting.min())


def setting_feature(setting: Floats) -> Floats:
    """A setting of training, ``(n,)``: its doublings from the middle of its range, or from -1 to 1
    over the range."""
    if is_in_doublings(setting):
        setting = np.log2(setting)
        doublings: Floats = setting - (setting.min() + setting.max()) / 2
        return doublings
    units: Floats = 2.0 * (setting - setting.min()) / np.ptp(setting) - 1.0
    return units


def compression_features(
    *,
    bits: Floats,
    group_size: Floats,
    is_static: Floats,
    structured: Floats,
    unstructured: Floats,
    layers: Floats | None = None,
    recovery: Floats | None = None,
) -> Floats:
    """Rounding error, quantised activations and two sparsities, ``(n, 4)``; zeros without
    compression.

    Where ``layers`` or ``recovery`` vary there are two columns more: the fraction of layers that
    is removed, and the logarithm of the steps of recovery.

    """
    columns = [rounding_error(bits, group_size), is_static, structured, unstructured]
    if layers is not None and recovery is not None and (layers.any() or recovery.any()):
        columns += [layers, np.log2(1.0 + recovery / USUAL_RECOVERY)]
    return np.stack(columns, 1)


def rounding_error(bits: Floats, group_size: Floats) -> Floats:
    """The error of rounding weights, ``(n,)``: 1 at two bits; it halves with each bit.

    It is relative to the largest weight of a group, which for normal weights grows with the group's
    size g as ``sqrt(2 ln g)``.
    """
    error = np.where(bits >= DENSE_BITS, 0.0, 2.0 ** (2.0 - np.maximum(bits, 1.0)))
    relative: Floats = error * np.sqrt(np.log(group_size) / np.log(USUAL_GROUP))
    return relative


def method_features(amounts: Sequence[tuple[Floats, Sequence[str]]]) -> Floats:
    """What tells methods apart that have a feature in common, ``(n, methods)``.

    Args:
        amounts: Features, ``(n,)`` each, with the method that each compression has of it. Where
            several methods have a feature, each of them gets a column with its own amounts.
    """
    columns = []
    for amount, names in amounts:
        methods = np.array(names)
        present = np.unique(methods[amount > 0.0])
        if len(present) > 1:
            columns += [np.where(methods == method, amount, 0.0) for method in present]
    return np.stack(columns, 1) if columns else np.zeros((len(amounts[0][0]), 0))
