"""Files as people have them: each is accepted, and what models see is known, or it is refused.

A module for each kind of input holds its cases; a new kind is a line in ``KINDS``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from objectives.data.errors import DataError
from objectives.data.sources.documents import read_documents
from objectives.data.sources.sentence_pairs import read_sentence_pairs
from objectives.data.sources.tagged import read_tagged
from objectives.data.sources.text import read_labelled
from spaces.file.sources import Data
from tests.inputs import columnar, delimited, encodings, labels, lines, records
from tests.inputs.case import Case

KINDS = {
    "delimited": delimited.CASES,
    "encodings": encodings.CASES,
    "records": records.CASES,
    "labels": labels.CASES,
    "columnar": columnar.CASES,
    "lines": lines.CASES,
}

TRAIN = ("train",)


def seen_by_models(case: Case, notice: Callable[[str], None]) -> Sequence[Any]:
    """The training examples that a case gives."""
    data, cache = Data.model_validate(case.data), Path("cache")
    if faults := data.faults():
        raise DataError(faults[0])
    if data.unlabelled is not None:
        return read_documents(data.unlabelled, "data.unlabelled", cache, TRAIN, notice=notice)[
            "train"
        ].texts
    if data.parallel is not None:
        pairs = read_sentence_pairs(data.parallel, cache, TRAIN, notice=notice)["train"]
        return list(zip(pairs.sources, pairs.targets, strict=True))
    if data.tagged is not None:
        tagged = read_tagged(data.tagged, cache, TRAIN, notice=notice)["train"]
        return list(zip(tagged.words, tagged.tags, strict=True))
    assert data.labelled is not None
    texts = read_labelled(
        data.labelled,
        "data.labelled",
        cache,
        TRAIN,
        are_numbers=case.are_numbers,
        notice=notice,
    )["train"]
    columns = [texts.texts, *([texts.pairs] * bool(texts.pairs)), texts.labels]
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize(
    "case",
    [pytest.param(each, id=f"{kind}: {each.name}") for kind in KINDS for each in KINDS[kind]],
)
def test_every_input_is_read_as_it_is_meant_or_refused(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    notices: list[str] = []
    seen: Sequence[Any] = ()
    refused = None
    try:
        seen = seen_by_models(case, notices.append)
    except DataError as error:
        refused = str(error)
    assert refused == case.refused
    assert list(seen) == list(case.sees)
    assert notices == list(case.says)
