"""The contract of a store, as a test case for pytest: any place that fsspec reaches.

::

    class TestBucket(StoreTestCase):
        @pytest.fixture
        def url(self):
            return f"s3://my-bucket/tlc-{uuid4()}"
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest

from objectives.store.manifest import CHECKPOINTS, MANIFEST, MODELS, Entry
from objectives.store.store import Store

ADDRESS = f"{MODELS}/contract"
FILE, CONTENT = "data.bin", b"x" * 1000
WRITERS, FILES = 4, 8


class StoreTestCase:
    """What a store has to do: keep each entry whole, once, and as it was written."""

    @pytest.fixture
    def url(self) -> str:
        """A new and empty place; a subclass overrides it."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, url: str) -> Store:
        """The store there."""
        return Store(url)

    def test_an_entry_is_read_as_it_was_written(self, store: Store) -> None:
        """Its bytes, its listing, and nothing at other addresses."""
        store.check_writable()
        for step in (10, 5):
            _write(store, f"{CHECKPOINTS}/a/{step:08d}")
        assert store.checkpoint_steps("a") == [5, 10], "the listing is not that of the entries"
        assert store.checkpoint_steps("b") == [], "another path has the entries of this one"
        assert _read(store, f"{CHECKPOINTS}/a/00000010") == {FILE: CONTENT}, "other bytes are read"
        assert _read(store, f"{CHECKPOINTS}/b/00000010") is None, "an entry is read elsewhere"

    def test_an_entry_is_written_once(self, store: Store) -> None:
        """An intact entry stays as it is."""
        _write(store, ADDRESS, b"first")
        _write(store, ADDRESS, b"second")
        assert _read(store, ADDRESS) == {FILE: b"first"}, "an intact entry was written again"

    def test_a_failed_write_leaves_nothing(self, store: Store) -> None:
        """Writing is atomic: an entry is there with all of its files, or not at all."""

        def fail(folder: Path) -> None:
            (folder / FILE).write_bytes(CONTENT)
            raise InterruptedError

        with pytest.raises(InterruptedError):
            store.write(ADDRESS, fail, is_final=True)
        assert store.addresses(MODELS) == set(), "a failed write left an entry: not atomic"
        assert _read(store, ADDRESS) is None, "a failed write left files: not atomic"

    def test_a_reader_never_sees_a_part_of_an_entry(self, url: str, store: Store) -> None:
        """While an entry of several files is written, readers see all of them or none."""
        files = {f"{index}.bin": CONTENT for index in range(FILES)}
        seen: list[Any] = []
        is_reading, is_written = threading.Event(), threading.Event()

        def read() -> None:
            own = Store(url)
            while not is_written.is_set():
                # Nothing is removed here: a damaged entry would be, and hide the fault.
                if own.addresses(MODELS):
                    seen.append(_files(own, ADDRESS))
                is_reading.set()

        def fill(folder: Path) -> None:
            for name, content in files.items():
                (folder / name).write_bytes(content)

        reader = threading.Thread(target=read)
        reader.start()
        is_reading.wait()
        try:
            store.write(ADDRESS, fill, is_final=True)
        finally:
            is_written.set()
            reader.join()
        assert all(each == files for each in seen), "a reader saw a part of an entry: not atomic"
        assert _read(store, ADDRESS) == files, "files of the entry are missing"

    def test_concurrent_writers_leave_one_entry(self, url: str) -> None:
        """Processes that train the same write the same content to the same address."""
        barrier = threading.Barrier(WRITERS)

        def write(_: int) -> None:
            own = Store(url)
            barrier.wait()
            _write(own, ADDRESS)

        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(write, range(WRITERS)))
        store = Store(url)
        assert store.addresses(MODELS) == {ADDRESS}, "concurrent writers left several entries"
        assert _read(store, ADDRESS) == {FILE: CONTENT}, "concurrent writers damaged the entry"

    @pytest.mark.parametrize(
        "damage",
        [
            lambda manifest: (manifest, b"y" * len(CONTENT)),
            lambda manifest: (manifest, CONTENT[:-1]),
            lambda manifest: (manifest[: len(manifest) // 2], CONTENT),
            lambda manifest: (b"", CONTENT),
            lambda manifest: (manifest.replace(ADDRESS.encode(), b"models/another1"), CONTENT),
        ],
        ids=["flipped bytes", "cut file", "cut manifest", "empty manifest", "another's manifest"],
    )
    def test_a_damaged_entry_is_removed_and_written_anew(
        self, damage: Callable[[bytes], tuple[bytes, bytes]], store: Store
    ) -> None:
        """No damage is read, and what is damaged can be trained again."""
        _write(store, ADDRESS)
        place = f"{store.location(ADDRESS)}"
        filesystem, root = fsspec.core.url_to_fs(place)
        manifest, content = damage(filesystem.cat_file(f"{root}/{MANIFEST}"))
        filesystem.pipe_file(f"{root}/{MANIFEST}", manifest)
        filesystem.pipe_file(f"{root}/{FILE}", content)
        assert _read(store, ADDRESS) is None, "a damaged entry was read"
        assert store.addresses(MODELS) == set(), "a damaged entry was kept"
        _write(store, ADDRESS, b"again")
        assert _read(store, ADDRESS) == {FILE: b"again"}, "a damaged entry was not replaced"

    def test_what_is_pinned_is_the_last_to_be_removed(self, url: str) -> None:
        """Beyond the quota the least useful entries go: those that no search pins."""
        store = Store(url, max_bytes=2.5 * len(CONTENT))
        names = ["pinned", "old", "new", "newest"]
        for name in names:
            _write(store, f"{MODELS}/{name}")
            store.pins.write([f"{MODELS}/pinned"], "a search")
        left = {address.rpartition("/")[2] for address in store.addresses(MODELS)}
        assert left == {"pinned", "newest"}, f"the quota left {', '.join(sorted(left))}"

    def test_a_removed_entry_is_gone(self, store: Store) -> None:
        """Others stay."""
        for name in ("one", "other"):
            _write(store, f"{MODELS}/{name}")
        store.remove(f"{MODELS}/one")
        store.remove(f"{MODELS}/none")
        assert store.addresses(MODELS) == {f"{MODELS}/other"}, "it removed another entry, or none"
        entries = store.entries(MODELS)
        assert [entry.address for entry in entries] == [f"{MODELS}/other"]
        assert all(isinstance(entry, Entry) for entry in entries)


def _write(store: Store, address: str, content: bytes = CONTENT) -> None:
    def fill(folder: Path) -> None:
        (folder / FILE).write_bytes(content)

    store.write(address, fill, is_final=True)


def _read(store: Store, address: str) -> dict[str, bytes] | None:
    """The verified files of an entry; None where there is none."""
    with store.open(address) as folder:
        return None if folder is None else _contents(folder)


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST}


def _files(store: Store, address: str) -> dict[str, bytes]:
    """The files of an entry that its manifest names, without any removal."""
    (entry,) = store.entries(MODELS)
    filesystem, root = fsspec.core.url_to_fs(store.location(address))
    return {name: filesystem.cat_file(f"{root}/{name}") for name in entry.files}
