"""Encodings of text, and files that hold none."""

from __future__ import annotations

from tests.inputs.case import Case, labelled
from tests.inputs.delimited import csv

WESTERN = "text,label\nLe café était très bon,pos\n“No” – said he,neg\n"
WESTERN_ROWS = [("Le café était très bon", "pos"), ("“No” – said he", "neg")]
RUSSIAN = "text,label\nФильм был очень хорошим и интересным,pos\n"
CHINESE = "text,label\n这部电影非常好看，我很喜欢,pos\n"


def not_utf8(looks: str, reads: str) -> str:
    return (
        f"data.labelled.encoding: line 2 of train.csv is not UTF-8; it looks like {looks}, which "
        f"reads {reads!r}: give it if that is right"
    )


CASES = [
    csv("cp1252", WESTERN.encode("cp1252"),
        refused=not_utf8("cp1252", "Le café était très bon,pos")),
    csv("cp1252, named", WESTERN.encode("cp1252"), *WESTERN_ROWS, encoding="cp1252"),
    csv("UTF-8 but for one byte", WESTERN.encode() + b"caf\xe9,pos\n",
        refused="data.labelled.encoding: line 4 of train.csv is not UTF-8, as the other lines are; "
        "correct it"),
    csv("UTF-8 that is named cp1252", WESTERN, encoding="cp1252",
        refused="data.labelled.encoding: train.csv is UTF-8, and not cp1252; leave the field out"),
    csv("cp1251", RUSSIAN.encode("cp1251"),
        refused=not_utf8("cp1251", "Фильм был очень хорошим и интересным,pos")),
    csv("gb18030", CHINESE.encode("gb18030"),
        refused=not_utf8("gb18030", "这部电影非常好看，我很喜欢,pos")),
    csv("another encoding than the named one", WESTERN.encode("cp1252"), encoding="utf-16",
        refused="data.labelled.encoding: line 3 of train.csv is not UTF-16"),
    csv("UTF-16 with a mark", WESTERN.encode("utf-16"), *WESTERN_ROWS),
    csv("UTF-16, big end first, with a mark", b"\xfe\xff" + WESTERN.encode("utf-16-be"),
        *WESTERN_ROWS),
    csv("UTF-32 with a mark", WESTERN.encode("utf-32"), *WESTERN_ROWS),
    csv("UTF-16 without a mark", WESTERN.encode("utf-16-le"),
        refused="data.labelled.encoding: train.csv looks like utf-16-le; give it"),
    csv("UTF-16, big end first, without a mark", WESTERN.encode("utf-16-be"),
        refused="data.labelled.encoding: train.csv looks like utf-16-be; give it"),
    csv("UTF-16 without a mark, named", WESTERN.encode("utf-16-le"), *WESTERN_ROWS,
        encoding="utf-16-le"),
    csv("UTF-16 with a mark, named", WESTERN.encode("utf-16"), *WESTERN_ROWS,
        encoding="utf-16-le"),
    csv("a zero byte", "text,label\na\0b,pos\n",
        refused="data.labelled.train: line 2 of train.csv has a zero byte; a text is needed"),
    csv("a web page", "\n<!DOCTYPE html>\n<html><body>Not found</body></html>",
        refused="data.labelled.train: train.csv is a web page (HTML) or XML; was its download "
        "refused?"),
    csv("a pointer of Git LFS", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
        refused="data.labelled.train: train.csv is a pointer of Git LFS, for which `git lfs pull` "
        "gets the content; a text is needed"),
    csv("a PNG", b"\x89PNG\r\n\x1a\n\0\0\0\r",
        refused="data.labelled.train: train.csv is a PNG image; a text is needed"),
    csv("a workbook", b"PK\x03\x04\x14\0", file="train.xlsx", format="csv",
        refused="data.labelled.train: train.xlsx is a ZIP archive, or a file of Excel or Word; a "
        "text is needed"),
    csv("random bytes", bytes(range(1, 256)) * 4,
        refused="data.labelled.encoding: line 2 of train.csv is not UTF-8"),
    Case("a mark in plain text", {"a.txt": b"\xef\xbb\xbfa cat\n"},
         {"unlabelled": {"source": "files", "train": "a.txt"}}, ["a cat\n"]),
    Case("no such file", {}, labelled("missing.csv"),
         refused="data.labelled.train: no such file: missing.csv"),
    Case("no file of a pattern", {}, labelled("train-*.csv"),
         refused="data.labelled.train: no such file: train-*.csv"),
]  # fmt: skip
