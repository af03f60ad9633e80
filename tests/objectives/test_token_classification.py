"""Token classification: tags of words from their sources to their scores."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

from objectives.data.encoding import IGNORED, load_tokenizer
from objectives.data.errors import DataError
from objectives.data.prepare import prepare
from objectives.data.sources.tagged import read_tagged
from objectives.measurement.score import Score
from objectives.measurement.scores.tags import score_tags
from objectives.objective import Objective
from objectives.predictor.words import span_counts, spans, tag_score
from objectives.tasks import make_task
from objectives.testing.pytest_tasks import TaskTestCase
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace
from spaces.loading import SearchLike
from tests.checkpoint_searches import search_from

MakeTaskSearch = Callable[..., SearchFile]
NAMES = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")


class TestFromCheckpoint(TaskTestCase):
    @pytest.fixture(scope="class")
    def search(
        self,
        task_documents: dict[str, dict[str, Any]],
        bert_folder: Path,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> SearchLike:
        store = tmp_path_factory.mktemp("store")
        return search_from(bert_folder, store, task_documents["token-classification"])


def test_the_first_piece_of_each_word_carries_its_tag(
    make_task_search: MakeTaskSearch, tmp_path: Path
) -> None:
    search = make_task_search("token-classification", data__sequence_length=40)
    data = prepare(search.data, search.task, tmp_path)
    tokenizer = load_tokenizer(data.tokenizer_file)
    assert search.data.tagged is not None
    rows = read_tagged(search.data.tagged, tmp_path)["train"]
    texts = data.labelled_texts("train")
    pieces = 0
    for row, (words, tags) in enumerate(zip(rows.words, rows.tags, strict=True)):
        starts = np.flatnonzero(texts.labels[row] != IGNORED)
        ends = [*starts[1:], texts.lengths[row] - 1]
        tokens = [texts.tokens[row, a:b] for a, b in zip(starts, ends, strict=True)]
        assert [tokenizer.decode(each).strip() for each in tokens] == words
        assert [data.label_names[label] for label in texts.labels[row, starts]] == tags
        pieces += sum(map(len, tokens))
    # Some words are several pieces.
    assert pieces > sum(map(len, rows.words))


@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_a_model_learns_what_a_table_of_tags_cannot(make_task_search: MakeTaskSearch) -> None:
    settings = {"epochs": 24, "patience": 24, "token_dropout": 0.0, "r_drop": 0.0, "dropout": 0.1}
    search = make_task_search(
        "token-classification",
        training__fine_tuning={**settings, "learning_rate": 3e-3},
        objectives=["f1", "accuracy", "size_mb"],
        space__width=64,
    )
    objective = Objective(search)
    space = SearchSpace(search)
    result = objective.evaluate(space.configuration((0,) * len(space.dimensions)))
    (table,) = objective.references(["validation"])
    assert table["name"] == "most frequent tag"
    assert table["scores"]["validation"]["loss"] is None
    # The article or adjective before a noun belongs to its span; elsewhere it has no tag.
    assert 0.3 < table["scores"]["validation"]["score"] < 0.95
    assert result.score_low > table["scores"]["validation"]["score"]
    assert result.score < result.further_scores["accuracy"]["value"] <= 1.0


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        # The example of conlleval's documentation, and each of its rules.
        ("O O B-MISC I-MISC I-MISC O", [("MISC", 2, 5)]),
        ("B-PER B-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("B-PER I-LOC", [("LOC", 1, 2), ("PER", 0, 1)]),
        ("I-PER I-PER O I-PER", [("PER", 0, 2), ("PER", 3, 4)]),
        ("I-PER B-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("B-PER I-PER E-PER S-PER", [("PER", 0, 3), ("PER", 3, 4)]),
        ("B-PER E-PER I-PER", [("PER", 0, 2), ("PER", 2, 3)]),
        ("O O", []),
        ("B-first-name I-first-name", [("first-name", 0, 2)]),
    ],
)
def test_spans_are_those_of_conlleval(tags: str, expected: list[tuple[str, int, int]]) -> None:
    assert sorted(spans(tags.split())) == expected


def scored(
    predicted: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]], groups: Any, metric: str
) -> Score:
    """The score of sentences, of which every second token has no tag."""
    batches, outputs = [], []
    for one, other in zip(predicted, wanted, strict=True):
        labels = torch.full((1, 2 * len(other)), IGNORED)
        labels[0, ::2] = torch.tensor([NAMES.index(tag) for tag in other])
        chosen = torch.zeros_like(labels)
        chosen[0, ::2] = torch.tensor([NAMES.index(tag) for tag in one])
        batches.append({"labels": labels})
        outputs.append(10.0 * torch.nn.functional.one_hot(chosen, len(NAMES)).float())
    found = iter(outputs)
    return score_tags(lambda _: next(found), batches, np.asarray(groups), metric, NAMES)


@pytest.mark.parametrize("metric", ["f1", "accuracy", "macro-f1"])
def test_scores_of_words_and_spans_have_intervals_of_sentences(metric: str) -> None:
    rng = random.Random(0)
    wanted = [[rng.choice(NAMES) for _ in range(rng.randint(1, 9))] for _ in range(60)]
    predicted = [[tag if rng.random() < 0.8 else rng.choice(NAMES) for tag in s] for s in wanted]
    right, found, known = np.sum(list(map(span_counts, predicted, wanted)), axis=0)
    flat = [[tag for each in side for tag in each] for side in (wanted, predicted)]
    expected = {
        "f1": 2 * right / (found + known),
        "accuracy": accuracy_score(*flat),
        "macro-f1": f1_score(*flat, average="macro"),
    }[metric]
    alone = scored(predicted, wanted, range(60), metric)
    assert alone.value == pytest.approx(expected)
    assert alone.value == pytest.approx(tag_score(predicted, wanted, metric, NAMES))
    assert alone.low < alone.value < alone.high
    assert alone.examples == len(flat[0])
    # The interval is about that of a bootstrap of sentences.
    draws = [rng.choices(range(60), k=60) for _ in range(100 if metric == "macro-f1" else 300)]
    samples = [
        tag_score([predicted[i] for i in each], [wanted[i] for i in each], metric, NAMES)
        for each in draws
    ]
    low, high = np.quantile(samples, (0.025, 0.975))
    assert alone.high - alone.low == pytest.approx(high - low, rel=0.3)
    grouped = scored(predicted, wanted, [row // 10 for row in range(60)], metric)
    assert grouped.value == alone.value
    assert (grouped.low, grouped.high) != (alone.low, alone.high)


def test_no_span_at_all_has_a_score_of_zero_and_words_that_are_cut_off_none() -> None:
    empty = scored([["O", "O"], ["O"]], [["O", "O"], ["B-PER"]], [0, 1], "f1")
    assert (empty.value, empty.low, empty.high) == (0.0, 0.0, 0.0)
    assert tag_score([["O", None]], [["O", "B-PER"]], "accuracy", NAMES) == 1.0


def table(folder: Path, rows: list[dict[str, Any]], name: str = "train") -> str:
    file = folder / f"{name}.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(file)


def rows_of(count: int, tag: str = "B-X") -> list[dict[str, Any]]:
    return [{"tokens": ["a", f"w{i}"], "ner_tags": ["O", tag], "doc": i // 3} for i in range(count)]


def test_numbers_have_the_names_that_a_data_set_gives_them(tmp_path: Path) -> None:
    names = ["O", "B-PER", "I-PER"]
    features = datasets.Features({
        "words": datasets.List(datasets.Value("string")),
        "tags": datasets.List(datasets.ClassLabel(names=names)),
        "doc": datasets.Value("int64"),
    })  # fmt: skip
    rows = [{"words": [f"w{i}", "x", "y"], "tags": [i % 2, 2, 0], "doc": i // 5} for i in range(60)]
    file = str(tmp_path / "rows.parquet")
    datasets.Dataset.from_list([*rows, {"words": [], "tags": [], "doc": 0}], features).to_parquet(
        file
    )
    source = {"source": "files", "train": file, "words": "words", "tags": "tags", "group": "doc"}
    found = read(source, tmp_path)
    assert sum(len(split.words) for split in found.values()) == 60
    for split in found.values():
        for words, tags in zip(split.words, split.tags, strict=True):
            assert tags == [names[int(words[0][1:]) % 2], "I-PER", "O"]
    groups = [set(split.groups) for split in found.values()]
    assert not groups[0] & groups[1]


def read(source: dict[str, Any], cache: Path) -> Any:
    from spaces.file.sources import Data

    tagged = Data.model_validate({"tagged": source}).tagged
    assert tagged is not None
    return read_tagged(tagged, cache)


def test_conll_files_are_read(tmp_path: Path) -> None:
    lines = ["-DOCSTART- -X- O", "", "EU NNP B-ORG", "rejects VBZ O", "", "", "-DOCSTART- -X- O"]
    lines += ["New\u00a0York\tNNP\tB-LOC", "-\t:\tO"]
    with gzip.open(tmp_path / "train.conll.gz", "wt", encoding="utf-8") as file:
        file.write("\ufeff" + "\n".join(lines) + "".join(f"\n\nw{i} NN O" for i in range(30)))
    for split, word in (("validation", "v"), ("test", "t")):
        (tmp_path / split).write_text("".join(f"{word}{i} NN O\r\n\r\n" for i in range(3)))
    source = {
        "source": "conll", "train": str(tmp_path / "train.conll.gz"), "tag": 2,
        "validation": str(tmp_path / "validation"), "test": str(tmp_path / "test"),
    }  # fmt: skip
    found = read(source, tmp_path)
    assert found["train"].words[:2] == [["EU", "rejects"], ["New\u00a0York", "-"]]
    assert found["train"].tags[:2] == [["B-ORG", "O"], ["B-LOC", "O"]]
    assert [len(found[split].words) for split in found] == [32, 3, 3]
    assert read({**source, "tag": -2}, tmp_path)["train"].tags[0] == ["NNP", "VBZ"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": ["a", "b"], "ner_tags": ["O"]}, "tags: line 3 of FILE has 2 words and 1 tags"),
        ({"tokens": None, "ner_tags": ["O"]}, "words: line 3 of FILE has None; allowed is a list"),
        ({"tokens": [" "], "ner_tags": ["O"]}, "words: line 3 of FILE has ' ' among its words"),
        ({"tokens": ["a"], "ner_tags": [None]}, "tags: line 3 of FILE has None among its tags"),
        ({"tokens": ["a"], "ner_tags": ["O"]}, "group: line 3 of FILE has none"),
    ],
)
def test_rows_that_are_no_tagged_sentences_are_refused(
    row: dict[str, Any], message: str, tmp_path: Path
) -> None:
    file = table(tmp_path, [*rows_of(2), row, *rows_of(40)])
    with pytest.raises(DataError) as refused:
        read({"source": "files", "train": file, "group": "doc"}, tmp_path)
    assert str(refused.value).startswith(f"data.tagged.{message.replace('FILE', file)}")


@pytest.mark.parametrize(
    ("lines", "fields", "message"),
    [
        (["a O", "b X O"], {}, "train: line 2 of FILE has 3 columns, the lines before it 2"),
        (["a O"], {"tag": 2}, "tag: line 1 of FILE has 2 columns; 2 is none of them"),
        (["a", "b"], {}, "train: line 1 of FILE has 1 columns; a word and its tag need two"),
        (["a\t", "b\tO"], {}, "tag: line 1 of FILE has none in column -1"),
        (["", ""], {}, "train: FILE is empty"),
    ],
)
def test_conll_files_of_another_form_are_refused(
    lines: list[str], fields: dict[str, int], message: str, tmp_path: Path
) -> None:
    (tmp_path / "train").write_text("\n".join(lines))
    file = str(tmp_path / "train")
    with pytest.raises(DataError) as refused:
        read({"source": "conll", "train": file, **fields}, tmp_path)
    assert str(refused.value) == f"data.tagged.{message.replace('FILE', file)}"


def test_columns_and_tags_that_are_missing_are_refused(
    make_task_search: MakeTaskSearch, tmp_path: Path
) -> None:
    file = table(tmp_path, rows_of(60))
    text = {"source": "files", "train": str(tmp_path / "text.csv")}
    Path(text["train"]).write_text("tokens,ner_tags\n" + "a b,O O\n" * 9)
    other = table(tmp_path, rows_of(9, tag="B-Y"), "validation")
    cases = [
        ({"train": file, "tags": "pos_tags"}, "tags: no column 'pos_tags' in FILE; it has: tokens"),
        (text, "words: line 2 of .*text.csv has 'a b'; allowed is a list"),
        ({"train": file, "validation": other}, "validation: tag 'B-Y' does not occur in the train"),
    ]
    for source, message in cases:
        tagged = {"source": "files", **source}
        search = make_task_search("token-classification", data__tagged=tagged, task__classes=2)
        with pytest.raises(DataError, match=rf"data\.tagged\.{message.replace('FILE', file)}"):
            prepare(search.data, search.task, tmp_path / "data")


@pytest.mark.parametrize("objectives", [["f1", "size_mb"], ["accuracy", "f1", "size_mb"]])
def test_spans_of_other_tags_are_refused(
    objectives: list[str], make_task_search: MakeTaskSearch, tmp_path: Path
) -> None:
    fields: dict[str, Any] = {
        "data__tagged": {"source": "files", "train": table(tmp_path, rows_of(300, tag="NOUN"))},
        "task__classes": 2,
    }
    search = make_task_search("token-classification", objectives=objectives, **fields)
    data = prepare(search.data, search.task, tmp_path / "data")
    with pytest.raises(DataError, match=r"objectives: f1 .* 'NOUN'; score by accuracy or macro"):
        make_task(search, data)
    words = make_task_search("token-classification", objectives=["accuracy", "size_mb"], **fields)
    assert make_task(words, data).metric_name == "accuracy"
