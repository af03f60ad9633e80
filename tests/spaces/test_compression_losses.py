"""The order of compressions: by measured loss, on every task."""

from __future__ import annotations

from itertools import pairwise, permutations

import pytest

from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.grid.compression_losses import AddedLoss, losses_from, losses_of, measured_losses

Q, P = Quantisation, Pruning
TASKS = ("classification", "masked-lm", "causal-lm", "translation", "image-classification")

NOISE = {"image-classification": 0.1, "translation": 0.05, "classification": 0.05}
"""Differences of validation losses, in nats, that few examples do not tell apart."""

MOST_WRONG = {"classification": 0.005, "token-classification": 0.01}
"""Fraction of the pairs that validation data may order otherwise than training data: a classifier
knows its few training examples by heart, and tokens of training texts are dropped. Of every other
task no pair may."""

MEASURED = {
    Compression(): AddedLoss(0.0, 0.0),
    Compression(Q.RTN_8): AddedLoss(-0.001, 0.002),
    Compression(Q.RTN_4): AddedLoss(0.02, 0.03),
    Compression(Q.RTN_4, 64): AddedLoss(0.04, 0.05),
    Compression(Q.RTN_3): AddedLoss(0.01, 0.06),
    Compression(Q.RTN_3, recovery=0.1): AddedLoss(-0.5, 0.03),
    Compression(pruning=P.UNSTRUCTURED, sparsity=0.5): AddedLoss(0.1, 0.1),
    Compression(pruning=P.UNSTRUCTURED, sparsity=0.8): AddedLoss(0.7, 0.6),
    Compression(pruning=P.UNSTRUCTURED, sparsity=0.8, recovery=0.1): AddedLoss(-0.2, 0.06),
    Compression(Q.RTN_4, 32, P.UNSTRUCTURED, 0.5): AddedLoss(9.0, 9.0),
}


def test_losses_of_quantisation_and_pruning_add_up() -> None:
    losses = losses_from(MEASURED)
    assert losses.added_by(Compression()) == 0.0
    assert losses.added_by(Compression(Q.RTN_8)) == 0.0
    assert losses.added_by(Compression(Q.RTN_4, 32, P.UNSTRUCTURED, 0.5)) == pytest.approx(0.12)


def test_between_measurements_losses_are_interpolated() -> None:
    losses = losses_from(MEASURED)
    at = {s: losses.added_by(Compression(pruning=P.UNSTRUCTURED, sparsity=s)) for s in (0.25, 0.6)}
    assert at == {0.25: pytest.approx(0.05), 0.6: pytest.approx(0.3)}
    assert losses.added_by(Compression(Q.RTN_4, 128)) == pytest.approx(0.06)
    assert losses.added_by(Compression(Q.RTN_4, 16)) == pytest.approx(0.0)
    assert losses.added_by(Compression(Q.RTN_8, 128)) == 0.0


def test_noise_makes_no_stronger_compression_milder() -> None:
    losses = losses_from(MEASURED)
    assert losses.added_by(Compression(Q.RTN_3)) == pytest.approx(0.02)


def test_recovery_leaves_the_measured_fraction() -> None:
    losses = losses_from(MEASURED)
    assert losses.added_by(Compression(Q.RTN_3, recovery=50.0)) == pytest.approx(0.5 * 0.02)
    pruned = Compression(pruning=P.UNSTRUCTURED, sparsity=0.5, recovery=50.0)
    assert losses.added_by(pruned) == pytest.approx(0.1 * 0.1)


def test_of_equal_losses_the_one_with_more_bits_comes_first() -> None:
    losses = losses_from(MEASURED)
    given = [Compression(Q.RTN_3), Compression(Q.RTN_8), Compression(), Compression(Q.RTN_4)]
    names = [compression.quantisation.value for compression in losses.mildest_first(given)]
    assert names == ["none", "rtn-8", "rtn-4", "rtn-3"]


@pytest.mark.parametrize("task", TASKS)
def test_every_compression_has_a_loss_that_grows_with_its_strength(task: str) -> None:
    losses = losses_of(task)
    for quantisation in Quantisation:
        for pruning in Pruning:
            added = [
                losses.added_by(Compression(quantisation, 32, pruning, tenths / 10))
                for tenths in range(10)
            ]
            assert all(milder <= stronger for milder, stronger in pairwise(added))
            assert added[0] < added[-1]
        sizes = [losses.added_by(Compression(quantisation, size)) for size in (16, 32, 64, 128)]
        assert sizes == sorted(sizes)
    for method in ("rtn", "gptq", "hqq", "mixed"):
        codes = sorted((q for q in Quantisation if q.method == method), key=lambda q: -q.bits)
        added = [losses.added_by(Compression(quantisation)) for quantisation in codes]
        assert added == sorted(added)
        assert added[0] < added[-1]


@pytest.mark.parametrize("task", measured_losses())
def test_the_order_agrees_with_the_measured_matrix(task: str) -> None:
    losses, noise = losses_of(task), NOISE.get(task, 0.02)
    measured = measured_losses()[task]
    if task == "classification":
        # Recovery trains a classifier further on the same few examples: its loss rises with its
        # confidence, while its accuracy does not fall.
        measured = {one: added for one, added in measured.items() if not one.recovery}
    pairs = [
        (a, b)
        for (a, of_a), (b, of_b) in permutations(measured.items(), 2)
        # Clearly apart on validation data.
        if of_b.validation > noise + 1.5 * max(of_a.validation, 0.0)
    ]
    wrong = [(str(a), str(b)) for a, b in pairs if losses.added_by(a) >= losses.added_by(b)]
    assert len(wrong) <= MOST_WRONG.get(task, 0.0) * len(pairs), wrong


def test_a_task_that_was_not_measured_is_ordered_by_all_others() -> None:
    losses = losses_of("another task")
    added = [losses.added_by(Compression(q)) for q in (Q.NONE, Q.RTN_4, Q.RTN_3, Q.RTN_2)]
    assert added == sorted(set(added))


@pytest.mark.parametrize("task", TASKS)
def test_four_bits_lose_less_than_a_quarter_of_the_heads_and_neurons(task: str) -> None:
    structured = Compression(pruning=P.STRUCTURED, sparsity=0.25)
    given = [structured, Compression(Q.RTN_4), Compression(Q.GPTQ_4), Compression(Q.HQQ_4)]
    assert losses_of(task).mildest_first(given)[-1] == structured
