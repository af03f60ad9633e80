"""Looking at data: formats, columns, tasks and splits are read from what people have."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from objectives.data.errors import DataError
from objectives.data.inspection.discovery import find, is_data, is_data_set
from objectives.data.inspection.finding import Finding

WORDS = ["the", "film", "was", "good", "and", "long", "it", "had", "no", "end", "but", "we", "left"]


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(5, 12)))


def lines(make: Callable[[int, random.Random], str], count: int = 60) -> str:
    rng = random.Random(0)
    return "".join(f"{make(n, rng)}\n" for n in range(count))


def found(folder: Path, name: str, text: str | bytes) -> Finding:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return find([str(path)], folder / "cache")


TABLES: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "csv with a header": (
        "reviews.csv", "id,text,label\n" + lines(lambda n, r: f"{n},{sentence(r)},{n % 2}"),
        "classification", {"text": "text", "label": "label"},
    ),
    "semicolons, and the title beside the text": (
        "reviews.csv",
        "title;review;sentiment\n"
        + lines(lambda n, r: f"{r.choice(WORDS)} film {n};{sentence(r)}, {n};{'yn'[n % 2]}"),
        "classification", {"text": "review", "label": "sentiment", "delimiter": ";"},
    ),
    "tabs in a file without a header": (
        "data.tsv", lines(lambda n, r: f"{sentence(r)}\t{n % 2}"),
        "classification", {"columns": ["text", "label"], "text": "text", "label": "label"},
    ),
    "a number to predict": (
        "prices.csv", "text,price\n" + lines(lambda n, r: f"{sentence(r)},{r.random():.4f}"),
        "regression", {"text": "text", "label": "price"},
    ),
    "grades are classes": (
        "stars.csv", "text,stars\n" + lines(lambda n, r: f"{sentence(r)},{n % 5 + 1}"),
        "classification", {"label": "stars"},
    ),
    "pairs of sentences": (
        "nli.csv",
        "premise,hypothesis,label\n"
        + lines(lambda n, r: f"{sentence(r)},{sentence(r)},{'abc'[n % 3]}"),
        "classification", {"text": "premise", "text_pair": "hypothesis", "label": "label"},
    ),
    "groups": (
        "users.csv",
        "text,label,user_id\n" + lines(lambda n, r: f"{sentence(r)},{n % 2},u{n // 4}"),
        "classification", {"text": "text", "group": "user_id"},
    ),
    "documents and summaries": (
        "news.jsonl",
        lines(lambda n, r: json.dumps(
            {"article": f"{sentence(r)} {sentence(r)} {sentence(r)} {n}", "summary": sentence(r)}
        )),
        "summarisation", {"text": "article", "target": "summary"},
    ),
    "records of translations": (
        "pairs.jsonl",
        lines(lambda n, r: json.dumps({"translation": {"en": sentence(r), "fr": sentence(r)}})),
        "translation", {"text": "translation.en", "target": "translation.fr"},
    ),
    "lists of words and tags": (
        "ner.jsonl",
        lines(lambda n, r: json.dumps(
            {"tokens": (w := sentence(r).split()), "ner_tags": [0] * len(w)}
        )),
        "token-classification", {"words": "tokens", "tags": "ner_tags"},
    ),
    "text alone": (
        "texts.csv", "text\n" + lines(lambda n, r: f'"{sentence(r)}, {n}"'), "causal-lm", {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLES)
def test_the_task_and_the_columns_of_a_table_are_found(case: str, tmp_path: Path) -> None:
    name, text, task, fields = TABLES[case]
    finding = found(tmp_path, name, text)
    assert finding.task == {"name": task}
    source = list(finding.data.values())[-1]
    assert {key: source.get(key) for key in fields} == fields


def test_cp1252_and_utf_16_are_recognised(tmp_path: Path) -> None:
    text = "text,label\n" + lines(lambda n, r: f"café {sentence(r)},{n % 2}")
    for encoding, expected in (("cp1252", "cp1252"), ("utf-16", "utf-16"), ("utf-8", None)):
        finding = found(tmp_path, "table.csv", text.encode(encoding))
        assert finding.data["labelled"].get("encoding") == expected


def test_classes_of_a_parquet_are_found_by_their_names(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    rng = random.Random(0)
    rows = {"sentence": [sentence(rng) for _ in range(40)], "label": [n % 2 for n in range(40)]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "reviews.parquet")
    finding = find([str(tmp_path / "reviews.parquet")], tmp_path)
    assert finding.task == {"name": "classification"}
    assert finding.data["labelled"]["text"] == "sentence"


def test_the_other_splits_of_a_file_are_found_by_their_names(tmp_path: Path) -> None:
    rows = lines(lambda n, r: f"{sentence(r)}\t{n % 2}")
    for name in ("en-train.tsv", "en-dev.tsv", "fr-test.tsv", "en-test.csv", "notes.txt"):
        (tmp_path / name).write_text(rows)
    # A test split without labels has -1 for each.
    (tmp_path / "en-test.tsv").write_text(lines(lambda n, r: f"{sentence(r)}\t-1"))
    source = find([str(tmp_path / "en-train.tsv")], tmp_path).data["labelled"]
    assert source["validation"] == str(tmp_path / "en-dev.tsv")
    assert "test" not in source
    # What is not named as a split to train on stands alone.
    assert "validation" not in find([str(tmp_path / "en-dev.tsv")], tmp_path).data["labelled"]


def test_two_files_are_pairs_if_they_match_line_by_line(tmp_path: Path) -> None:
    for name in ("train.en", "train.fr", "val.en", "val.fr"):
        (tmp_path / name).write_text(lines(lambda n, r: sentence(r), 20))
    names = [str(tmp_path / name) for name in ("train.en", "train.fr")]
    finding = find(names, tmp_path)
    assert finding.task == {"name": "translation"}
    assert finding.data["parallel"]["validation"] == [
        str(tmp_path / name) for name in ("val.en", "val.fr")
    ]
    (tmp_path / "train.fr").write_text("one line\n")
    with pytest.raises(DataError, match=r"has 20 lines and .*train.fr 1"):
        find(names, tmp_path)


def test_plain_text_is_running_text_and_words_with_tags_are_not(tmp_path: Path) -> None:
    article = "\n".join(f" = Film {n} = \n{sentence(random.Random(n))}\n" for n in range(9))
    finding = found(tmp_path, "wiki.txt", article)
    assert finding.task == {"name": "causal-lm"}
    assert finding.data["unlabelled"]["heading"] == "^ = [^=].*[^=] = $"
    tagged = lines(lambda n, r: "" if n % 7 == 0 else f"{r.choice(WORDS)} {'BO'[n % 2]}", 70)
    finding = found(tmp_path, "words.txt", tagged)
    assert finding.task == {"name": "token-classification"}
    assert finding.data["tagged"]["source"] == "conll"


def test_a_folder_of_images_has_its_classes_size_and_channels(tmp_path: Path) -> None:
    from PIL import Image

    for split, count in {"train": 6, "test": 3}.items():
        for name in ("cats", "dogs"):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for n in range(count):
                Image.new("RGB", (30 + n, 40), (200, 10 * n, 0)).save(folder / f"{n}.png")
    finding = find([str(tmp_path / "photos")], tmp_path)
    assert finding.task == {"name": "image-classification"}
    assert finding.data["images"]["test"] == str(tmp_path / "photos" / "test")
    assert [finding.data[key] for key in ("image_size", "patch_size", "channels")] == [32, 4, 3]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", b"", "is empty"),
        ("table.parquet", b"no parquet", "cannot be read"),
        ("table.csv", b"a,b\n1,2\n3,4\n", "no column holds texts; it has: a, b"),
        ("rows.jsonl", b'{"text": "a"}\n{text: b}\n', "line 2 of .* is no JSON"),
        ("torn.csv", b"text,label\na,b,c\nd\ne,f,g,h\ni,j\n", "different numbers of cells"),
        ("noise.csv", bytes(range(256)) * 40, "holds binary data"),
    ],
)
def test_what_is_no_data_is_refused(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        found(tmp_path, name, content)


def test_a_search_file_is_no_data(tmp_path: Path) -> None:
    (tmp_path / "search.yaml").touch()
    assert not is_data(str(tmp_path / "search.yaml"))
    assert is_data(str(tmp_path))
    assert is_data_set("stanfordnlp/sst2")
    assert not is_data_set(str(tmp_path / "missing.csv"))
    assert not is_data_set("searches/missing.yaml")
