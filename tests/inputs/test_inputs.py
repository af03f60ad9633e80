"""Files as people have them: each is accepted, and what models see is known, or it is refused.

A module for each kind of input holds its cases; a new kind is a line in ``KINDS``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fsspec
import pytest

from objectives.data.errors import DataError, Place
from objectives.data.files.finding import versions_of
from objectives.data.prepare import prepare
from objectives.data.sources.documents import read_documents
from objectives.data.sources.sentence_pairs import read_sentence_pairs
from objectives.data.sources.tagged import read_tagged
from objectives.data.sources.text import read_labelled
from spaces.file.search_file import SearchFile
from spaces.file.sources import Data, Files
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


def test_a_list_of_files_and_a_url_are_read(tmp_path: Path) -> None:
    rows = [f"a text {number},{'xy'[number % 2]}\n" for number in range(20)]
    files = [tmp_path / f"{name}.csv" for name in ("b", "a", "other")]
    for file, some in zip(files, (rows[:10], rows[10:], ["last,x\n", "of all,y\n"]), strict=True):
        file.write_text(f"text,label\n{''.join(some)}")
    system = fsspec.filesystem("memory")
    system.put(list(map(str, files[:2])), ["/corpus/b.csv", "/corpus/a.csv"])

    def read(train: str | list[str]) -> list[str]:
        source = Files(source="files", train=train, validation=str(files[2]))
        cache = tmp_path / "cache"
        return list(read_labelled(source, "data", cache, ("train", "validation"))["train"].texts)

    expected = [row.partition(",")[0] for row in rows]
    assert read(list(map(str, files[:2]))) == expected
    # A pattern gives files in the order of their names.
    assert read("memory://corpus/*.csv") == expected[10:] + expected[:10]
    assert read([str(files[0]), f"file://{files[1]}"]) == expected
    before = versions_of("memory://corpus/a.csv", Place("data", "train"))
    system.pipe("/corpus/a.csv", b"text,label\nchanged,x\nalso,y\n")
    assert versions_of("memory://corpus/a.csv", Place("data", "train")) != before
    assert read("memory://corpus/a.csv") == ["changed", "also"]
    for url, said in {
        "memory://corpus/none.csv": "data.train: no such file: memory://corpus/none.csv",
        "nothing://a.csv": "data.train: nothing://a.csv cannot be read: Protocol not known",
    }.items():
        with pytest.raises(DataError, match=said):
            read(url)


def test_a_file_that_is_given_twice_is_refused(
    make_task_search: Callable[..., SearchFile], tmp_path: Path
) -> None:
    file = tmp_path / "a.txt"
    file.write_text("words\n" * 2000)
    train = [str(file), f"{tmp_path}/*.txt"]
    search = make_task_search("causal-lm", data__unlabelled={"source": "files", "train": train})
    with pytest.raises(DataError, match=r"data.unlabelled.train: .*a.txt is given twice"):
        prepare(search.data, search.task, tmp_path / "data")
