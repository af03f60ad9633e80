"""A case of the corpus of inputs: files as people have them, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Content = str | bytes | Callable[[Path], object]
"""Of a file: its text in UTF-8, its bytes, or what writes it to a path."""


@dataclass(frozen=True)
class Case:
    """Files, the section ``data`` that names them, and either what a model sees or the refusal.

    Args:
        name: Of the case, for the table.
        files: Their content, by their path in the folder of the case, in which it is run.
        data: The section ``data`` of the search file.
        sees: The training examples as models get them: texts, (text, label), (text, second text,
            label), (text to read, text to write), or (words, tags).
        refused: The exact refusal; None where the input is accepted.
        says: The notices, exactly.
        are_numbers: Whether labels are numbers to predict.
    """

    name: str
    files: Mapping[str, Content]
    data: Mapping[str, Any]
    sees: Sequence[Any] = ()
    refused: str | None = None
    says: Sequence[str] = ()
    are_numbers: bool = False

    def write(self, folder: Path) -> None:
        """Write the files into a folder."""
        for path, content in self.files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                file.write_bytes(content.encode())
            elif isinstance(content, bytes):
                file.write_bytes(content)
            else:
                content(file)


def labelled(train: str = "train.csv", **fields: Any) -> dict[str, Any]:
    """The section ``data`` of a labelled file."""
    return {"labelled": {"source": "files", "train": train, **fields}}
