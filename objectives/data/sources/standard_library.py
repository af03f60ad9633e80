"""Built-in data: the source text of the Python standard library, which every interpreter has."""

from __future__ import annotations

import hashlib
import random
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

IDENTITY = f"{sys.implementation.name} {sys.version.split()[0]}"
"""What determines the text: the interpreter and its version."""
CLASSES = 10
HELD_OUT_FILES = 5
"""Least files of a class in validation and in test: snippets of one file resemble each other, so
that the interval of a score depends on the number of files."""
MIN_FILES = 2 * HELD_OUT_FILES + 3
"""Least files of a class."""
SNIPPET_CHARACTERS = 220
"""About 64 tokens of a 4,096-token vocabulary."""
SNIPPETS_PER_CLASS = {"train": 800, "validation": 100, "test": 100}
FRACTIONS = {"train": 0.7, "validation": 0.15, "test": 0.15}
"""Fractions of the text of a class."""
HELD_OUT_FRACTION = 0.1
"""Fraction of the files outside the classes in validation, and in test."""
SOURCE_BYTES = range(2 * SNIPPET_CHARACTERS, 200_000)
"""Shorter files hold no snippet; longer ones are tables of data, not code."""

_ROOT = Path(sysconfig.get_paths()["stdlib"])

# Test suites are missing from some distributions, and would make classes differ between machines.
# Encodings are generated tables that repeat each other from file to file.
_SKIPPED = {
    "test", "tests", "idle_test", "encodings", "__pycache__", "site-packages", "dist-packages",
}  # fmt: skip


class Snippets(NamedTuple):
    """Labelled snippets of a split."""

    texts: list[str]
    packages: list[str]
    """The package that each comes from, which is its class."""
    files: list[str]
    """The file that each comes from, below the library's folder."""


def unlabelled(split: str) -> Iterator[str]:
    """Source files of a split, whole.

    Files of the labelled validation and test snippets are in the same split here.
    """
    split_of = {
        path: name
        for files in packages().values()
        for name, each in _split_files(files).items()
        for path in each
    }
    for path in _files():
        if (split_of.get(path) or _split_by_hash(path)) == split:
            yield _read(path)


def labelled(split: str) -> Snippets:
    """Snippets of a split, balanced over the packages, and within each over its files.

    Each package's files are divided between the splits, so that no file has snippets in two of
    them. Lines that name the package are removed.
    """
    by_package = {
        package: {path: list(_snippets(package, path)) for path in _split_files(files)[split]}
        for package, files in packages().items()
    }
    available = (sum(map(len, files.values())) for files in by_package.values())
    count = min(SNIPPETS_PER_CLASS[split], *available)
    rng = random.Random(0)
    rows = [
        (text, package, path.relative_to(_ROOT).as_posix())
        for package, files in by_package.items()
        for text, path in _drawn_evenly(files, count, rng)
    ]
    rng.shuffle(rows)
    texts, labels, files = map(list, zip(*rows, strict=True))
    return Snippets(texts, labels, files)


def packages() -> dict[str, list[Path]]:
    """The ten packages with the most source text, and their files."""
    found: dict[str, list[Path]] = {}
    for path in _files():
        if path.parent != _ROOT:
            found.setdefault(path.relative_to(_ROOT).parts[0], []).append(path)
    sizes = {
        name: sum(path.stat().st_size for path in files)
        for name, files in found.items()
        if len(files) >= MIN_FILES and name.isidentifier()
    }
    largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:CLASSES]
    return {name: found[name] for name in sorted(largest)}


def _files() -> Iterator[Path]:
    for path in sorted(_ROOT.rglob("*.py")):
        parts = path.relative_to(_ROOT).parts
        if _SKIPPED.isdisjoint(parts) and path.stat().st_size in SOURCE_BYTES:
            yield path


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _hash_fraction(path: Path) -> float:
    """A number in [0, 1) that depends on the file's path in the library alone."""
    name = path.relative_to(_ROOT).as_posix()
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64


def _split_by_hash(path: Path) -> str:
    slot = int(_hash_fraction(path) / HELD_OUT_FRACTION)
    return ("validation", "test")[slot] if slot < 2 else "train"


def _split_files(files: list[Path]) -> dict[str, list[Path]]:
    """Divide a package's files so that each split gets close to its fraction of the text.

    From the largest file down, each goes to the split that lacks most of its fraction, and the last
    ones to the splits that would otherwise have too few files. A file that is a large part of a
    held-out split would decide its score alone, and goes to training.
    """
    sizes = {path: path.stat().st_size for path in files}
    lacking = {split: fraction * sum(sizes.values()) for split, fraction in FRACTIONS.items()}
    largest = lacking["test"] / 2
    splits: dict[str, list[Path]] = {split: [] for split in FRACTIONS}
    for path in _from_the_largest(sizes):
        left = len(sizes) - sum(map(len, splits.values()))
        short = {s: HELD_OUT_FILES - len(splits[s]) for s in ("validation", "test")}
        too_few = [split for split, missing in short.items() if missing > 0]
        if left <= sum(short[split] for split in too_few):
            allowed = too_few
        else:
            allowed = list(FRACTIONS) if sizes[path] <= largest else ["train"]
        split = max(allowed, key=lambda name: lacking[name])
        splits[split].append(path)
        lacking[split] -= sizes[path]
    return splits


def _from_the_largest(sizes: dict[Path, int]) -> list[Path]:
    return sorted(sizes, key=lambda path: (-sizes[path], _hash_fraction(path)))


def _drawn_evenly(
    files: dict[Path, list[str]], count: int, rng: random.Random
) -> Iterator[tuple[str, Path]]:
    """Draw snippets of the files in turn, so that a long file does not outnumber the others."""
    left = {path: rng.sample(each, len(each)) for path, each in files.items()}
    drawn = 0
    while drawn < count:
        for path, each in left.items():
            if each and drawn < count:
                drawn += 1
                yield each.pop(), path


def _snippets(package: str, path: Path) -> Iterator[str]:
    lines: list[str] = []
    for line in _read(path).splitlines():
        if line.strip() and package.lower() not in line.lower():
            lines.append(line)
        if sum(map(len, lines)) >= SNIPPET_CHARACTERS:
            yield "\n".join(lines)
            lines = []
