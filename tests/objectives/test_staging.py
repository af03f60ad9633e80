"""Full disks and killed writers: nothing is lost, and no unfinished folders are left."""

from __future__ import annotations

import errno
import logging
import math
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from objectives.store import disk_space, heartbeat
from objectives.store.disk_space import is_disk_full
from objectives.store.store import Store
from tests.disks import fill, small_disk

WRITER = """
import sys, time
from objectives.store.store import Store

def fill(folder):
    (folder / "data.bin").write_bytes(bytes(1000))
    print("writing", flush=True)
    time.sleep(600)

Store(sys.argv[1]).write("models/m", fill, is_final=True)
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", size_bytes=1 << 20) as folder:
        yield folder


def staged(store: Path) -> list[Path]:
    return [path for path in (store / "staging").glob("*/*") if path.is_dir()]


def test_a_write_waits_for_disk_space_and_is_repeated(
    disk: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_space, "RETRY_SECONDS", math.inf)
    reasons: list[str] = []
    is_waiting = threading.Event()

    def listen(what: str, is_paused: bool) -> None:
        if is_paused:
            reasons.append(what)
            is_waiting.set()

    store = Store(str(disk / "store"))
    store.write("models/before", lambda to: (to / "a").write_bytes(b"before"), is_final=True)
    ballast = fill(disk, leave=64 << 10)
    calls = []

    def large(folder: Path) -> int:
        calls.append(folder)
        save_file({"a": torch.ones(100_000)}, str(folder / "model.safetensors"))
        return 17

    given: list[int] = []
    with caplog.at_level(logging.WARNING), heartbeat.listening(listen):
        writer = threading.Thread(
            target=lambda: given.append(store.write("models/large", large, is_final=True))
        )
        writer.start()
        assert is_waiting.wait(20)
        assert store.addresses("models") == {"models/before"}
        assert staged(disk / "store") == []
        with store.open("models/before") as folder:
            assert folder is not None
        ballast.unlink()
        writer.join(20)
    assert given == [17]
    assert len(calls) == 2
    with store.open("models/large") as folder:
        assert folder is not None
    assert "models/large" in reasons[0]
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0] == reasons[0]
    assert len(messages) == 2
    assert "models/large" in messages[1]


def test_a_full_disk_is_recognised_in_errors_of_any_library(disk: Path) -> None:
    fill(disk)
    with pytest.raises(Exception, match="space") as caught:
        save_file({"a": torch.ones(100_000)}, str(disk / "model.safetensors"))
    assert is_disk_full(caught.value)
    with pytest.raises(OSError, match="space") as unwritten:
        (disk / "state.json").write_text("x" * 10_000)
    assert is_disk_full(unwritten.value)
    assert is_disk_full(OSError(errno.EDQUOT, "quota"))
    assert not is_disk_full(OSError(errno.EIO, "broken"))
    assert not is_disk_full(ValueError("full"))


@pytest.mark.parametrize("grown", [(11, 4), (9, 6)], ids=["blocks", "inodes"])
def test_a_write_is_tried_again_as_soon_as_free_space_grows_and_not_before(
    grown: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([(10, 5), (10, 5), (9, 4), grown])
    monkeypatch.setattr(disk_space, "_free", lambda _: next(looks))
    monkeypatch.setattr(disk_space, "RETRY_SECONDS", math.inf)
    monkeypatch.setattr(disk_space, "POLL_SECONDS", 0.0)
    results = [OSError(errno.ENOSPC, "full"), "written"]

    def write() -> str:
        result = results.pop(0)
        if isinstance(result, OSError):
            raise result
        return result

    assert disk_space.retry_when_full(write, disk=tmp_path, what="it") == "written"
    assert list(looks) == [], "the disk was looked at until its free space had grown"


def test_a_write_beyond_a_quota_is_tried_again_without_more_free_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_space, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(disk_space, "POLL_SECONDS", 0.1)
    errors = [OSError(errno.EDQUOT, "quota"), OSError(errno.EDQUOT, "quota")]

    def write() -> str:
        if errors:
            raise errors.pop()
        return "written"

    place = tmp_path / "not" / "there" / "yet"
    assert disk_space.retry_when_full(write, disk=place, what="it") == "written"
    with pytest.raises(OSError, match="broken"):
        disk_space.retry_when_full(
            lambda: (_ for _ in ()).throw(OSError(errno.EIO, "broken")), disk=place, what="it"
        )


def test_pinning_on_a_full_disk_keeps_the_former_pins(disk: Path) -> None:
    store = Store(str(disk / "store"))
    store.check_writable()
    store.pins.write(["models/a"], "one")
    ballast = fill(disk)
    store.pins.write([f"models/{number}" for number in range(1000)], "one")
    assert store.pins.read() == {"models/a"}
    ballast.unlink()
    store.pins.write(["models/b"], "one")
    assert store.pins.read() == {"models/b"}


def test_folders_of_killed_writers_are_removed_and_of_living_ones_kept(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", WRITER, str(tmp_path)]
    first, second = (subprocess.Popen(arguments, stdout=subprocess.PIPE) for _ in range(2))
    try:
        for writer in (first, second):
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"writing\n"
        store = Store(str(tmp_path))
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert len(staged(tmp_path)) == 2
        store.remove_unfinished()
        (living,) = staged(tmp_path)
        assert (living / "entry" / "data.bin").stat().st_size == 1000
        second.send_signal(signal.SIGKILL)
        second.wait()
        store.remove_unfinished()
        assert staged(tmp_path) == []
    finally:
        for writer in (first, second):
            writer.kill()
            writer.communicate()


def test_writers_do_not_wait_for_each_other(tmp_path: Path) -> None:
    store = Store(str(tmp_path))

    def outer(folder: Path) -> None:
        (folder / "a").write_text("outer")
        store.write("models/inner", lambda to: (to / "a").write_text("inner"), is_final=True)

    store.write("models/outer", outer, is_final=True)
    assert store.addresses("models") == {"models/inner", "models/outer"}
