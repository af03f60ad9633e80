"""The design space of a recorded table."""

from __future__ import annotations

import numpy as np

from search.arrays import Floats, Integers
from search.replay.table import KINDS, PRETRAINED, Table
from search.samplers.frontier.compression_columns import compression_columns
from search.samplers.frontier.design_space import DesignSpace
from search.samplers.frontier.features import (
    USUAL_GROUP,
    category_features,
    compression_features,
    is_in_doublings,
    setting_feature,
    training_features,
)
from spaces.cost.compression import Compression, Pruning, Quantisation


def design_space_of(table: Table) -> DesignSpace:
    """The design space of a table: all that it says except accuracies and times."""
    _, first = np.unique(table.run, return_index=True)
    _, example = np.unique(table.compression, return_index=True)
    c = table.columns
    costs = np.full((len(first), len(example)), np.nan)
    costs[table.run, table.compression] = table.log_size
    # Multiplications of the encoder, and of the embeddings for the positions that are masked.
    encoder = 12.0 * c["depth"][first] * c["width"][first] ** 2
    width = c["width"][first]
    heads = c["heads"][first] if "heads" in c else width / c.get("head_width", c["width"])[first]
    ratio = c["feed_forward_ratio"][first] if "feed_forward_ratio" in c else 1.0
    feed_forward = c["feed_forward"][first] if "feed_forward" in c else ratio * width
    settings = [c[name][first] for name in table.settings]
    kinds, checkpoints = (_categories(table, name, first) for name in KINDS)
    compressions, methods = _compression_features(table, example)
    return DesignSpace(
        runs=training_features(
            depth=c["depth"][first],
            width=width,
            steps=c["budget_steps"][first],
            heads=heads,
            feed_forward=feed_forward,
            vocabulary=c["vocabulary"][first] if "vocabulary" in c else None,
            settings=list(map(setting_feature, settings)),
            categories=[*kinds, *checkpoints],
        ),
        architecture=table.architecture[first],
        stable_path=table.stable_path[first],
        settings=tuple(map(is_in_doublings, settings)),
        is_pretrained=bool(c[PRETRAINED].all()) if PRETRAINED in c else False,
        steps=c["budget_steps"][first],
        depth=c["depth"][first],
        step_flops=np.maximum(encoder, 0.15 * c["params"][first] + 0.85 * encoder),
        compressions=np.hstack([compressions, methods]),
        kinds=len(kinds),
        checkpoints=len(checkpoints),
        methods=methods.shape[1],
        log_costs=lambda runs: costs[runs],
        limits=(float(table.log_size.min()), float(table.log_size.max())),
    )


def _categories(table: Table, name: str, rows: Integers) -> list[Floats]:
    """Features that tell the names of a column apart, ``(len(rows),)`` each."""
    known = table.names.get(name, ())
    if len(known) < 2:
        return []
    texts = table.texts(name)
    return category_features([texts[row] for row in rows], known)


def _compression_features(table: Table, rows: Integers) -> tuple[Floats, Floats]:
    """Features of the compressions of some rows, and those that tell methods apart,
    ``(len(rows), …)`` each."""
    c = table.columns
    if "quantisation" not in table.names:
        # Features that a table has no column for are equal in all its rows.
        nothing = np.zeros(len(rows))
        common = compression_features(
            bits=c["bits"][rows],
            group_size=np.full(len(rows), float(USUAL_GROUP)),
            is_static=nothing,
            structured=c["sparsity"][rows],
            unstructured=nothing,
        )
        return common, np.zeros((len(rows), 0))
    quantisations, prunings = table.texts("quantisation"), table.texts("pruning")
    compressions = [
        Compression(
            Quantisation(quantisations[row]),
            int(c["group_size"][row]),
            Pruning(prunings[row]),
            float(c["sparsity"][row]),
        )
        for row in rows
    ]
    return compression_columns(compressions, list(c["recovery"][rows]))
