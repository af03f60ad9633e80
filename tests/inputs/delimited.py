"""CSV and TSV: fields and names, quotes, delimiters, headers, comments, empty cells."""

from __future__ import annotations

from typing import Any

from tests.inputs.case import Case, labelled

ROWS = [("a cat", "pos"), ("a dog, old", "neg")]
CSV = 'text,label\na cat,pos\n"a dog, old",neg\n'
LABELS = {"columns": ["text", "label"]}
NO_NAMES = "; if its first line holds no names, give them as data.labelled.columns"


def csv(name: str, content: str | bytes, /, *sees: Any, refused: str | None = None,
        says: tuple[str, ...] = (), file: str = "train.csv", are_numbers: bool = False,
        **fields: Any) -> Case:  # fmt: skip
    """A case of one file with the columns ``text`` and ``label``."""
    return Case(name, {file: content}, labelled(file, **fields), sees, refused, says, are_numbers)


def tsv(name: str, content: str, /, *sees: Any, **fields: Any) -> Case:
    """The same of a TSV file."""
    return csv(name, content, *sees, file="train.tsv", **fields)


CASES = [
    csv("plain", CSV, *ROWS),
    csv("CRLF", CSV.replace("\n", "\r\n"), *ROWS),
    csv("CR, as on old Macs", CSV.replace("\n", "\r"), *ROWS),
    csv("byte order mark", b"\xef\xbb\xbf" + CSV.encode(), *ROWS),
    csv("no last line feed", CSV.rstrip(), *ROWS),
    csv("upper case", CSV, *ROWS, file="TRAIN.CSV"),
    csv("blank lines", CSV.replace("\n", "\n\n"), *ROWS),
    csv("other columns", "id,text,label,x\n1,a,pos,\n2,b,neg,y\n", ("a", "pos"), ("b", "neg")),
    csv("index of pandas", ",text,label\n0,a,pos\n1,b,neg\n", ("a", "pos"), ("b", "neg")),
    csv("spaces around names", "text , label\na,pos\nb, neg \n", ("a", "pos"), ("b", "neg")),
    csv("rows of delimiters", CSV + ",\n,\n", *ROWS,
        says=("data.labelled.train: 2 rows without any text in train.csv are skipped",)),
    csv("several files in one", CSV + "text,label\nb,pos\n", *ROWS, ("b", "pos"),
        says=("data.labelled.train: 1 rows that repeat the names in train.csv are skipped",)),
    csv("two carriage returns", CSV.replace("\n", "\r\r\n"), *ROWS),
    # Fields and names.
    csv("more fields than names", "a title,a cat,pos\n", **LABELS,
        refused="data.labelled.train: line 1 of train.csv has 3 fields, 'a title', 'a cat', 'pos', "
        "and there are 2 names, 'text', 'label'; a field that holds ',' needs double quotes"),
    csv("an unquoted comma", "text,label\na cat,pos\na dog, old,neg\n",
        refused="data.labelled.train: line 3 of train.csv has 3 fields, 'a dog', ' old', 'neg', "
        "and there are 2 names, 'text', 'label'; a field that holds ',' needs double quotes"),
    csv("a trailing comma", "text,label\na,pos,\nb,neg,\n",
        refused="data.labelled.train: line 2 of train.csv has 3 fields, 'a', 'pos', '', and there "
        "are 2 names, 'text', 'label'; a field that holds ',' needs double quotes"),
    csv("a trailing comma in every line", "text,label,\na,pos,\nb,neg,\n",
        ("a", "pos"), ("b", "neg")),
    csv("fewer fields than names", "text,label\na cat,pos\na dog\n",
        refused="data.labelled.train: line 3 of train.csv has 1 fields, 'a dog', and there are 2 "
        "names, 'text', 'label'; a field that holds ',' needs double quotes"),
    tsv("fewer fields than names, TSV", "text\tlabel\na cat\tpos\na dog\n",
        refused="data.labelled.train: line 3 of train.tsv has 1 fields, 'a dog', and there are 2 "
        "names, 'text', 'label'; a field with a delimiter or a line feed in it needs quotes"),
    csv("a footer", CSV + "(2 rows)\n",
        refused="data.labelled.train: line 4 of train.csv has 1 fields, '(2 rows)', and there are "
        "2 names, 'text', 'label'; a field that holds ',' needs double quotes"),
    csv("a column twice", "text,label,text\na,pos,b\n",
        refused="data.labelled.text: train.csv has 2 columns 'text'; give each its own name"),
    csv("another column twice", "text,label,x,x\na,pos,b,c\n", ("a", "pos")),
    csv("one column for texts and labels", CSV, text="label",
        refused="data.labelled.label: 'label' is the column of text too; name another one"),
    # Headers.
    csv("no header", "a cat,pos\na dog,neg\n",
        refused="data.labelled.text: no column 'text' in train.csv; it has: a cat, pos" + NO_NAMES),
    csv("names for a file without header", "a cat,pos\na dog,neg\n",
        ("a cat", "pos"), ("a dog", "neg"), **LABELS),
    csv("names for a file with a header", CSV, **LABELS,
        refused="data.labelled.columns: line 1 of train.csv names the columns, 'text', 'label'; "
        "leave the field out"),
    csv("a header alone", "text,label\n",
        refused="data.labelled.train: train.csv holds no rows"),
    csv("empty", "", refused="data.labelled.train: train.csv is empty"),
    csv("lines before the header", "Exported 2024\n\n" + CSV, *ROWS, skip_lines=2),
    csv("comments", "# from a crawl\n" + CSV + "# the end, truly\n", *ROWS, comment="#"),
    csv("comments that are not named", "# from a crawl\n" + CSV,
        refused="data.labelled.train: line 2 of train.csv has 2 fields, 'text', 'label', and there "
        "are 1 names, '# from a crawl'; if lines that begin with # are comments, give "
        "data.labelled.comment: '#'"),
    csv("a quoted line that begins like a comment", 'text,label\n"a\n# b",pos\n',
        ("a\n# b", "pos"), comment="#"),
    csv("a line of Excel", "sep=;\ntext;label\na;pos\n",
        refused="data.labelled.text: no column 'text' in train.csv; it has: sep=;; its first line "
        "is one for Excel: give data.labelled.skip_lines: 1 and data.labelled.delimiter: ';'"),
    # Quotes.
    csv("doubled quotes", 'text,label\n"she said ""no"", twice",neg\n',
        ('she said "no", twice', "neg")),
    csv("a line feed in quotes", 'text,label\n"one\ntwo",neg\n', ("one\ntwo", "neg")),
    csv("a lone carriage return", "text,label\none\rtwo,neg\nthree,pos\n",
        ("one\rtwo", "neg"), ("three", "pos")),
    csv("a lone carriage return in quotes", 'text,label\n"one\rtwo",neg\nthree,pos\n',
        ("one\rtwo", "neg"), ("three", "pos")),
    csv("other ends of lines of Unicode", "text,label\na\u2028b\x0bc\x0cd\x85e\u2029f\x1cg,neg\n",
        ("a\u2028b\x0bc\x0cd\x85e\u2029f\x1cg", "neg")),
    csv("quotes after a backslash", 'text,label\n"she said \\"no\\", twice",neg\na,pos\n',
        refused="data.labelled.train: more than a delimiter follows a closing quote in line 2 of "
        "train.csv; the file seems to need data.labelled.quoting: backslash"),
    csv("quotes after a backslash, named", 'text,label\n"she said \\"no\\", twice",neg\na,pos\n',
        ('she said "no", twice', "neg"), ("a", "pos"), quoting="backslash"),
    csv("a quote that is not closed", 'text,label\n"a cat,pos\na dog,neg\n',
        refused="data.labelled.train: a quote is not closed in the row that begins in line 2 of "
        "train.csv; the file seems to need data.labelled.quoting: none"),
    csv("a quote within a field", 'text,label\na 5" cat,pos\n', ('a 5" cat', "pos")),
    csv("quotes that mean nothing", 'text,label\n"a cat,pos\na "dog,neg\n',
        ('"a cat', "pos"), ('a "dog', "neg"), quoting="none"),
    csv("single quotes", "text,label\n'a, b',pos\n",
        refused="data.labelled.train: line 2 of train.csv has 3 fields, \"'a\", \" b'\", 'pos', "
        "and there are 2 names, 'text', 'label'; a field that holds ',' needs double quotes"),
    tsv("TSV with a lone quote", 'text\tlabel\na 5" cat\tpos\n"b\tneg\n',
        ('a 5" cat', "pos"), ('"b', "neg")),
    tsv("TSV in quotes", 'text\tlabel\n"a ""b"" c"\tpos\n"d"\tneg\n',
        refused="data.labelled.quoting: every field of 'text' in train.tsv is in quotes; give "
        "double if they enclose the field, or none if they belong to the text"),
    tsv("TSV in quotes, named", 'text\tlabel\n"a ""b"" c"\tpos\n"d\te"\tneg\n',
        ('a "b" c', "pos"), ("d\te", "neg"), quoting="double"),
    tsv("TSV with some quotes", 'text\tlabel\n"a\tb"\tpos\nd\tneg\n',
        refused="data.labelled.train: line 2 of train.tsv has 3 fields, '\"a', 'b\"', 'pos', and "
        "there are 2 names, 'text', 'label'; the file seems to need data.labelled.quoting: double"),
    tsv("TSV of Excel, with quotes where they are needed",
        'text\tlabel\n"she said ""no"""\tneg\nd\tpos\n',
        refused="data.labelled.quoting: line 2 of train.tsv has '\"she said \"\"no\"\"\"'; give "
        "double if quotes enclose fields, or none if they belong to the text"),
    csv("a space before quotes", 'text, label\n"a, b", "pos"\n',
        refused="data.labelled.skip_spaces: line 2 of train.csv has ' \"pos\"'; give true if the "
        "quotes enclose the field, or false if they belong to the text"),
    csv("a space before quotes with a comma", 'label, text\npos, "a, b"\n',
        refused="data.labelled.train: line 2 of train.csv has 3 fields, 'pos', ' \"a', ' b\"', and "
        "there are 2 names, 'label', 'text'; the file seems to need "
        "data.labelled.skip_spaces: true"),
    csv("a space before quotes, named", 'label, text\npos, "a, b"\n', ("a, b", "pos"),
        skip_spaces=True),
    # Delimiters.
    csv("semicolons", "text;label\na cat;pos\n",
        refused="data.labelled.text: no column 'text' in train.csv; it has: text;label; the file "
        "seems to need data.labelled.delimiter: ';'"),
    csv("semicolons, named", "text;label\na, cat;pos\n", ("a, cat", "pos"), delimiter=";"),
    csv("semicolons without a header", "a cat;pos\nb;neg\n", **LABELS,
        refused="data.labelled.train: line 1 of train.csv has 1 fields, 'a cat;pos', and there are "
        "2 names, 'text', 'label'; the file seems to need data.labelled.delimiter: ';'"),
    csv("tabs in a .csv", "text\tlabel\na, cat\tpos\n",
        refused="data.labelled.train: line 2 of train.csv has 2 fields, 'a', ' cat\\tpos', and "
        "there are 1 names, 'text\\tlabel'; the file seems to need data.labelled.delimiter: '\\t'"),
    csv("tabs in a .csv, named", "text\tlabel\na, cat\tpos\n", ("a, cat", "pos"), delimiter="\t"),
    csv("several characters", "text||label\na|cat||pos\n", ("a|cat", "pos"), delimiter="||"),
    csv("several characters in quotes", "text||label\n", delimiter="||", quoting="double",
        refused="data.labelled.delimiter: '||' has 2 characters; one of them separates fields in "
        "quotes"),
    csv("the end of a line", "text\n", delimiter="\n",
        refused="data.labelled.delimiter: '\\n' has a quote or the end of a line in it"),
    csv("lines of a .txt", "a cat\tpos\na dog\tneg\n", file="train.txt",
        refused="data.labelled.label: no column 'label' in train.txt; it has: text; if its lines "
        "hold several fields, give data.labelled.format: tsv"),
    csv("a .txt as TSV", "a cat\tpos\na dog\tneg\n", ("a cat", "pos"), ("a dog", "neg"),
        file="train.txt", format="tsv", **LABELS),
    csv("an ending without a format", CSV, file="train.data",
        refused="data.labelled.format: the ending of train.data names no known format; give one of "
        "arrow, csv, jsonl, parquet, text, tsv"),
    # Cells without a value.
    csv("words that pandas takes for null", "text,label\nNA,None\nnull,nan\n,None\n",
        ("NA", "None"), ("null", "nan"), ("", "None"),
        says=("data.labelled.train: 1 texts are empty",)),
    csv("a label without a value", "text,label\na,pos\nb,\n",
        refused="data.labelled.label: line 3 of train.csv has none; a labelled row has a text, "
        "which may be empty, and a label and a group, which may not (data.labelled.skip_missing "
        "leaves rows out)"),
    csv("rows to leave out", "text,label\na,pos\nb,\nNA,pos\n,neg\nc,NA\n", ("a", "pos"),
        null=["NA"], skip_missing=True,
        says=("data.labelled.train: 4 rows without a text or a label are left out",)),
]  # fmt: skip
