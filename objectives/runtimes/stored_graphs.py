"""ONNX graphs without weights in a store: the exporter takes seconds for each shape."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from pathlib import Path

from objectives.store.store import Store

GRAPHS = "graphs"
FILE = "graph.onnx"


class StoredGraphs(MutableMapping[str, bytes]):
    """Graphs by their hash, as ``OnnxRuntime`` uses them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getitem__(self, key: str) -> bytes:
        with self._store.open(f"{GRAPHS}/{key}") as folder:
            if folder is None:
                raise KeyError(key)
            return (folder / FILE).read_bytes()

    def __setitem__(self, key: str, graph: bytes) -> None:
        def fill(folder: Path) -> None:
            (folder / FILE).write_bytes(graph)

        self._store.write(f"{GRAPHS}/{key}", fill, is_final=True)

    def __delitem__(self, key: str) -> None:
        self._store.remove(f"{GRAPHS}/{key}")

    def __iter__(self) -> Iterator[str]:
        return iter(entry.address.rpartition("/")[2] for entry in self._store.entries(GRAPHS))

    def __len__(self) -> int:
        return len(self._store.entries(GRAPHS))
