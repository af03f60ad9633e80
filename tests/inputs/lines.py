"""Files of lines: aligned sentences, running text, tagged words."""

from __future__ import annotations

import gzip

from tests.inputs.case import Case

ALIGNED = {"parallel": {"source": "aligned_files", "train": ["a.en", "a.fr"]}}
PAIRS = [("a cat", "un chat"), ("a dog", "un chien")]
TEXT = {"source": "files", "train": "a.txt"}
CONLL = {"tagged": {"source": "conll", "train": "a.conll"}}
ENDS = "a\u2028b\x0bc\x0cd\x85e\u2029f\x1cg"
"""Characters that Unicode, or Python's ``splitlines``, takes for ends of lines."""

CASES = [
    Case("aligned", {"a.en": "a cat\na dog\n", "a.fr": "un chat\nun chien"}, ALIGNED, PAIRS),
    Case("aligned, CRLF on one side",
         {"a.en": "a cat\r\na dog\r\n", "a.fr": "un chat\nun chien\n"}, ALIGNED, PAIRS),
    Case("aligned, CR", {"a.en": "a cat\ra dog\r", "a.fr": "un chat\run chien\r"}, ALIGNED, PAIRS),
    Case("aligned, a lone CR in both", {"a.en": "a\rcat\na dog\n", "a.fr": "un\rchat\nun chien\n"},
         ALIGNED, [("a\rcat", "un\rchat"), ("a dog", "un chien")]),
    Case("aligned, other ends of lines",
         {"a.en": f"{ENDS}\na dog\n", "a.fr": "un chat\nun chien\n"}, ALIGNED,
         [(ENDS, "un chat"), ("a dog", "un chien")]),
    Case("aligned, a mark", {"a.en": b"\xef\xbb\xbfa cat\na dog\n", "a.fr": "un chat\nun chien\n"},
         ALIGNED, PAIRS),
    Case("aligned, gz", {"a.en": gzip.compress(b"a cat\na dog\n"), "a.fr": "un chat\nun chien\n"},
         ALIGNED, PAIRS),
    Case("aligned, cp1252", {"a.en": "a café\na dog\n".encode("cp1252"), "a.fr": "un\nun\n"},
         ALIGNED,
         refused="data.parallel.encoding: line 1 of a.en is not UTF-8; it looks like cp1252, which "
         "reads 'a café': give it if that is right"),
    Case("aligned, a blank line on one side",
         {"a.en": "a cat\n\na dog\n", "a.fr": "un chat\nrien\nun chien\n"}, ALIGNED, PAIRS,
         says=["data.parallel.train: 1 pairs without a text on one side are left out"]),
    Case("aligned, one line missing", {"a.en": "a cat\na dog\n", "a.fr": "un chat\n"}, ALIGNED,
         refused="data.parallel.train: 2 texts to read and 1 to write; the files must match line "
         "by line"),
    Case("aligned, blank lines at the end",
         {"a.en": "a cat\na dog\n\n\n", "a.fr": "un chat\nun chien\n"}, ALIGNED, PAIRS),
    Case("aligned, empty", {"a.en": "", "a.fr": ""}, ALIGNED,
         refused="data.parallel.train: a.en is empty"),
    Case("pairs of a table",
         {"a.tsv": "text\ttarget\na cat\tun chat\na dog\tun chien\n"},
         {"parallel": {"source": "files", "train": "a.tsv"}}, PAIRS),
    Case("text", {"a.txt": "one\r\n\r\ntwo\r\n"}, {"unlabelled": TEXT}, ["one\n\ntwo\n"]),
    Case("text with other ends of lines", {"a.txt": f"{ENDS}\rh\ni\n"},
         {"unlabelled": {**TEXT, "document": "line"}}, [f"{ENDS}\rh", "i"]),
    Case("texts of several files", {"a-1.txt": "one\n", "a-2.txt": "two\n"},
         {"unlabelled": {**TEXT, "train": "a-*.txt"}}, ["one\n", "two\n"]),
    Case("text, blank", {"a.txt": " \n\n"}, {"unlabelled": TEXT},
         refused="data.unlabelled.train: a.txt is empty"),
    Case("text, UTF-16", {"a.txt": "one\n".encode("utf-16")}, {"unlabelled": TEXT}, ["one\n"]),
    Case("text with the names of columns", {"a.txt": "one\n"},
         {"unlabelled": {**TEXT, "columns": ["text"]}},
         refused="data.unlabelled.columns: is no field of files of plain text"),
    Case("running text of a table", {"a.csv": "text\none\n\"two\nthree\"\n"},
         {"unlabelled": {**TEXT, "train": "a.csv"}}, ["one", "two\nthree"]),
    Case("numbers as running text", {"a.jsonl": '{"text": 5}\n'},
         {"unlabelled": {**TEXT, "train": "a.jsonl"}},
         refused="data.unlabelled.text: line 1 of a.jsonl has a number, 5; a text is needed"),
    Case("CoNLL", {"a.conll": b"\xef\xbb\xbfto\tO\r\nRome\tB-LOC \r\n\r\nno\tO\r\n"}, CONLL,
         [(["to", "Rome"], ["O", "B-LOC"]), (["no"], ["O"])]),
    Case("CoNLL with other ends of lines", {"a.conll": "a\x85b\u2028c\tO\nRome\tB-LOC\n"}, CONLL,
         [(["a\x85b\u2028c", "Rome"], ["O", "B-LOC"])]),
    Case("CoNLL in cp1252", {"a.conll": "Orléans\tB-LOC\n".encode("cp1252")},
         {"tagged": {**CONLL["tagged"], "encoding": "cp1252"}}, [(["Orléans"], ["B-LOC"])]),
]  # fmt: skip
