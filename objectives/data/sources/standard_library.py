"""Built-in data: the source text of the Python standard library, which every interpreter has."""

from __future__ import annotations

import hashlib
import random
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

IDENTITY = f"{sys.implementation.name} {sys.version.split()[0]}"
"""What determines the text: the interpreter and its version."""
CLASSES = 10
MIN_FILES = 8
SNIPPET_CHARACTERS = 220
"""About 64 tokens of a 4,096-token vocabulary."""
SNIPPETS_PER_CLASS = {"train": 800, "validation": 100, "test": 100}
FRACTIONS = {"train": 0.7, "validation": 0.15, "test": 0.15}
MAX_SOURCE_BYTES = 200_000
"""Longer files are tables of data, not code."""

_ROOT = Path(sysconfig.get_paths()["stdlib"])

# Test suites are missing from some distributions, and would make classes differ between machines.
# Encodings are generated tables that repeat each other from file to file.
_SKIPPED = {
    "test", "tests", "idle_test", "encodings", "__pycache__", "site-packages", "dist-packages",
}  # fmt: skip


def unlabelled(split: str) -> Iterator[str]:
    """Source files of a split, whole.

    Files of the labelled validation and test snippets are in ``test``, which no pre-training reads.
    """
    classes = packages()
    in_training = {path for files in classes.values() for path in _split_files(files)["train"]}
    for path in _files():
        if path.relative_to(_ROOT).parts[0] in classes:
            path_split = "train" if path in in_training else "test"
        else:
            is_validation = _hash_fraction(path) < FRACTIONS["validation"]
            path_split = "validation" if is_validation else "train"
        if path_split == split:
            yield _read(path)


def labelled(split: str) -> tuple[list[str], list[str]]:
    """Snippets of a split and the package that each comes from, balanced over the packages.

    Each package's files are divided between the splits, so that no file has snippets in two of
    them. Lines that name the package are removed.

    Returns:
        Texts and labels of equal length, shuffled.
    """
    by_package = {
        package: list(_snippets(package, _split_files(files)[split]))
        for package, files in packages().items()
    }
    count = min(SNIPPETS_PER_CLASS[split], *map(len, by_package.values()))
    rng = random.Random(0)
    rows = [(text, name) for name, each in by_package.items() for text in rng.sample(each, count)]
    rng.shuffle(rows)
    return [text for text, _ in rows], [package for _, package in rows]


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
        if _SKIPPED.isdisjoint(parts) and path.stat().st_size <= MAX_SOURCE_BYTES:
            yield path


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _hash_fraction(path: Path) -> float:
    """A number in [0, 1) that depends on the file's path in the library alone."""
    name = path.relative_to(_ROOT).as_posix()
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64


def _split_files(files: list[Path]) -> dict[str, list[Path]]:
    """Divide a package's files so that each split gets close to its fraction of the text.

    From the largest file down, each goes to the split that lacks most of its fraction: packages
    with few files of unequal size would otherwise leave a split empty.
    """
    sizes = {path: path.stat().st_size for path in files}
    lacking = {split: fraction * sum(sizes.values()) for split, fraction in FRACTIONS.items()}
    splits: dict[str, list[Path]] = {split: [] for split in FRACTIONS}
    for path in sorted(files, key=lambda path: (-sizes[path], _hash_fraction(path))):
        split = max(lacking, key=lambda name: lacking[name])
        splits[split].append(path)
        lacking[split] -= sizes[path]
    return splits


def _snippets(package: str, files: list[Path]) -> Iterator[str]:
    for path in files:
        lines: list[str] = []
        for line in _read(path).splitlines():
            if line.strip() and package.lower() not in line.lower():
                lines.append(line)
            if sum(map(len, lines)) >= SNIPPET_CHARACTERS:
                yield "\n".join(lines)
                lines = []
