"""Full disks and killed writers: nothing is lost, and nothing piles up."""

from __future__ import annotations

import errno
import logging
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


def test_a_write_waits_for_room_and_is_whole_then(
    disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
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
        assert not store.exists("models/large")
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
    assert messages[1:] == ["there is room again: models/large is written"]


def test_a_full_disk_is_known_whoever_says_so(disk: Path) -> None:
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


def test_a_quota_that_shows_in_no_free_space_is_tried_again(
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


def test_pinning_does_not_end_a_search_on_a_full_disk(disk: Path) -> None:
    store = Store(str(disk / "store"))
    store.check_writable()
    store.pin(["models/a"], by="one")
    ballast = fill(disk)
    store.pin([f"models/{number}" for number in range(1000)], by="one")
    assert store._pinned() == {"models/a"}
    ballast.unlink()
    store.pin(["models/b"], by="one")
    assert store._pinned() == {"models/b"}


def test_what_a_killed_writer_left_goes_and_a_living_one_keeps_its_own(tmp_path: Path) -> None:
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
