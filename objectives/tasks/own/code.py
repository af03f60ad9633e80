"""The code of a user's own task: which files it is, and a hash that stands for it."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

SITE = ("site-packages", "dist-packages")
SUFFIX = ".py"


@dataclass(frozen=True)
class TaskCode:
    """The modules that a task consists of: the one of its class, with its whole package, and all
    that these import from the same folder.

    Args:
        root: The folder that they are imported from.
        names: Top-level modules and packages, ascending.
    """

    root: Path
    names: tuple[str, ...]

    @property
    def is_installed(self) -> bool:
        """Whether it is an installed package, which each node of a cluster has to have."""
        return any(part in SITE for part in self.root.parts)

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """Its source files, ascending."""
        return tuple(sorted(file for name in self.names for file in _files(self.root, name)))

    @cached_property
    def digest(self) -> str:
        """Hash of its source."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{file.relative_to(self.root).as_posix()}\0".encode())
            digest.update(file.read_bytes())
        return digest.hexdigest()[:16]


def code_of(module: ModuleType) -> TaskCode | None:
    """The code of a module; None where it has no file, such as that of a notebook."""
    file = getattr(module, "__file__", None)
    if file is None or not file.endswith(SUFFIX):
        return None
    top, *inner = module.__name__.split(".")
    path = Path(file).resolve()
    is_package = path.name == "__init__.py"
    root = path.parents[len(inner) + is_package]
    names = _reached(root, top)
    return TaskCode(root, tuple(sorted(names)))


def _reached(root: Path, top: str) -> set[str]:
    """A top-level name, and those that it imports from the same folder, directly or not."""
    reached, waiting = set[str](), [top]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        if any(part in SITE for part in root.parts):
            # Installed packages import others by their own requirements.
            break
        waiting += [
            other
            for file in _files(root, name)
            for other in _imported(file)
            if other not in reached and _is_here(root, other)
        ]
    return reached


def _files(root: Path, name: str) -> Iterator[Path]:
    if (root / f"{name}{SUFFIX}").is_file():
        yield root / f"{name}{SUFFIX}"
    if (root / name).is_dir():
        yield from (root / name).rglob(f"*{SUFFIX}")


def _is_here(root: Path, name: str) -> bool:
    return (root / f"{name}{SUFFIX}").is_file() or (root / name / "__init__.py").is_file()


def _imported(file: Path) -> Iterator[str]:
    """Top-level names of the absolute imports of a file."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
