"""The score of classifiers of texts."""

from __future__ import annotations

import numpy as np

from objectives.data.batches import EVALUATION_BATCH_SIZE, labelled_text_batch
from objectives.data.prepared_data import LabelledTexts
from objectives.data.row_order import Rows, rows_by_length
from objectives.measurement.class_scores import score_classifier
from objectives.measurement.score import Predict, Score
from spaces.cost.metric import MetricName


def score_texts(predict: Predict, examples: LabelledTexts, rows: Rows, metric: MetricName) -> Score:
    """Score and cross-entropy on some examples."""
    order = [rows[each] for each in rows_by_length(examples.lengths[rows], EVALUATION_BATCH_SIZE)]
    batches = (labelled_text_batch(examples, each) for each in order)
    return score_classifier(predict, batches, examples.groups[np.concatenate(order)], metric)
