"""The store: atomic writes, verified reads, and the quota."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from objectives.store.manifest import CHECKPOINTS, MODELS, Entry
from objectives.store.retention import removal_order
from objectives.store.store import Store, StoreError
from objectives.testing.pytest_stores import StoreTestCase


def put(store: Store, address: str, size: int = 10, *, is_final: bool = False) -> None:
    def fill(folder: Path) -> None:
        (folder / "data.bin").write_bytes(b"x" * size)

    store.write(address, fill, is_final=is_final)


def exists(store: Store, address: str) -> bool:
    return any(entry.address == address for entry in store.entries(address.partition("/")[0]))


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store") if request.param == "local" else f"memory://{tmp_path}")


class TestLocalStore(StoreTestCase):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return str(tmp_path / "store")


class TestMemoryStore(StoreTestCase):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"memory://{tmp_path}"


def test_swapped_entries_are_not_opened(store: Store, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    addresses = [f"{CHECKPOINTS}/a/00000010", f"{CHECKPOINTS}/a/00000020"]
    for address in addresses:
        put(store, address)
    first, second = (tmp_path / address for address in addresses)
    first.rename(tmp_path / "aside")
    second.rename(first)
    (tmp_path / "aside").rename(second)
    for address in addresses:
        with store.open(address) as folder:
            assert folder is None
    assert store.entries(CHECKPOINTS) == []


def damaged_manifests() -> Iterator[bytes]:
    good = json.loads(Entry("models/m", 10, 1.0, True, {"data.bin": "0" * 64}).to_json())
    for key in good:
        yield json.dumps({k: v for k, v in good.items() if k != key}).encode()
        for value in (None, [], "x", -1, {"a": 1}):
            yield json.dumps({**good, key: value}).encode()
    yield from (b"", b"{", b"{}", b"[]", b"null", b'"text"', b"17", b"\0" * 300, b"\xff\xfe{}")
    yield b'{"files": 1}'
    yield from (b"[" * 100_000, json.dumps({**good, "size_bytes": float("nan")}).encode())
    yield json.dumps({**good, "more": 1}).encode()


def test_an_entry_with_a_damaged_manifest_is_removed(store: Store, tmp_path: Path) -> None:
    for damage in damaged_manifests():
        put(store, "models/m")
        location = f"{store._root}/models/m/manifest.json"
        store._fs.pipe_file(location, damage)
        assert not exists(store, "models/m"), damage
        assert store.entries(MODELS) == []
        with store.open("models/m") as folder:
            assert folder is None
        assert store.addresses(MODELS) == set(), "it is removed"


def test_other_folders_are_not_taken_for_checkpoints(tmp_path: Path) -> None:
    store = Store(str(tmp_path), max_bytes=25)
    for step in ("7", "latest", "-0000001", "0000000x", "00000010/deeper"):
        stray = tmp_path / CHECKPOINTS / "a" / step
        stray.mkdir(parents=True)
        (stray / "manifest.json").write_text("{}")
    put(store, f"{CHECKPOINTS}/a/backup")
    put(store, f"{CHECKPOINTS}/a/00000020")
    (tmp_path / CHECKPOINTS / "a" / "00000030").write_text("a file")
    assert store.checkpoint_steps("a") == [20]
    assert store.checkpoint_steps("b") == []
    put(store, f"{CHECKPOINTS}/a/00000030")
    assert store.checkpoint_steps("a") == [20, 30], (
        "the quota removes strays, and the entry replaces a file"
    )
    assert not exists(store, f"{CHECKPOINTS}/a/backup")


def test_a_damaged_entry_is_replaced_by_a_new_one(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    put(store, "models/m", 10)
    (tmp_path / "models/m/data.bin").unlink()
    put(store, "models/m", 20)
    with store.open("models/m") as folder:
        assert folder is not None
        assert (folder / "data.bin").stat().st_size == 20


def test_a_half_written_entry_does_not_exist(tmp_path: Path) -> None:
    folder = tmp_path / "models/m"
    folder.mkdir(parents=True)
    (folder / "data.bin").write_bytes(b"x")
    assert not exists(Store(str(tmp_path)), "models/m")
    (folder / "manifest.json").write_text('{"files": {"data')
    assert not exists(Store(str(tmp_path)), "models/m")


def test_the_quota_removes_the_least_useful_first(tmp_path: Path) -> None:
    store = Store(str(tmp_path), max_bytes=35)
    store.check_writable()
    put(store, f"{CHECKPOINTS}/a/00000001")
    put(store, f"{CHECKPOINTS}/a/00000002")
    put(store, f"{MODELS}/winner", is_final=True)
    store.pins.write([f"{MODELS}/winner"], "a search")
    put(store, f"{MODELS}/other", is_final=True)
    assert not exists(store, f"{CHECKPOINTS}/a/00000001")
    put(store, f"{MODELS}/last", is_final=True)
    assert not exists(store, f"{MODELS}/other")
    assert exists(store, f"{MODELS}/winner")
    assert exists(store, f"{CHECKPOINTS}/a/00000002")


@pytest.mark.parametrize("url", ["{}", "memory://{}/pins"])
def test_the_quota_keeps_what_another_study_pinned(url: str, tmp_path: Path) -> None:
    store = Store(url.format(tmp_path), max_bytes=35)
    names = ["first", "old", "second"]
    for name in names:
        put(store, f"{MODELS}/{name}", is_final=True)
    store.pins.write(["models/first"], "one")
    store.pins.write(["models/old"], "two")
    store.pins.write(["models/second"], "two")
    for number in range(3):
        put(store, f"{MODELS}/{number}", is_final=True)
    assert [n for n in names if exists(store, f"{MODELS}/{n}")] == ["first", "second"]


def test_removal_order() -> None:
    def entry(address: str, *, is_final: bool = False) -> Entry:
        return Entry(address, 1, 0.0, is_final)

    passed, resume = entry("checkpoints/a/00000001"), entry("checkpoints/a/00000002")
    model, pinned = entry("models/m", is_final=True), entry("models/p", is_final=True)
    order = removal_order([pinned, resume, model, passed], {"models/p"})
    assert order == [passed, model, resume, pinned]


def test_a_store_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match=r"storage\.store: .* cannot be written"):
        Store(str(tmp_path / "file")).check_writable()
    with pytest.raises(StoreError, match="not a usable folder or URL"):
        Store("nonsense://x")


def test_an_entry_with_a_link_is_removed_and_its_target_kept(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    put(store, "models/m")
    outside = tmp_path / "outside.bin"
    (tmp_path / "store/models/m/data.bin").rename(outside)
    (tmp_path / "store/models/m/data.bin").symlink_to(outside)
    with store.open("models/m") as folder:
        assert folder is None
    assert not exists(store, "models/m")
    assert outside.read_bytes() == b"x" * 10


@pytest.mark.parametrize("name", ["../../stolen", "/stolen", "..", "a/../../b"])
def test_a_manifest_cannot_name_a_file_outside_its_folder(name: str, store: Store) -> None:
    put(store, "models/m")
    manifest = f"{store._root}/models/m/manifest.json"
    with store._fs.open(manifest, "r") as file:
        written = json.load(file)
    with store._fs.open(manifest, "w") as file:
        json.dump({**written, "files": {name: written["files"]["data.bin"]}}, file)
    with store.open("models/m") as folder:
        assert folder is None
