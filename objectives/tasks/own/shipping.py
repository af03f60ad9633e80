"""Bringing the code of a user's own task to the processes that train.

Ray's ``runtime_env`` takes local folders only where a job starts (``ray.init``), which a user may
have done long before. So the source goes with what each worker makes its objective from.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from objectives.tasks.own.code import TaskCode
from objectives.tasks.own.errors import NAME, OwnTaskError
from objectives.tasks.own.importing import import_task
from spaces.file.own_task import OwnTask

MAX_BYTES = 20_000_000
"""Of the files of a task's packages: Ray keeps a copy for each trial."""
LEFT_OUT = ("__pycache__",)
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time stamp in archives, so that equal files give equal ones."""


def archive_of(task: OwnTask) -> bytes:
    """The modules and packages of a task as a ZIP archive; empty where an installed package has it,
    which each node must have.

    Raises:
        OwnTaskError: The task cannot be imported, or its packages are too large.
    """
    code = import_task(task.path).code
    if code is None or code.is_installed:
        return b""
    files = list(shipped_files(code))
    total = sum(file.stat().st_size for file in files)
    if total > MAX_BYTES:
        raise OwnTaskError(
            f"{NAME}: {task.name}: the packages {', '.join(code.names)} in {code.root} have "
            f"{total:,} bytes; at most {MAX_BYTES:,} are sent to workers: keep data elsewhere, or "
            "install the package on each node"
        )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            name = zipfile.ZipInfo(file.relative_to(code.root).as_posix(), _EPOCH)
            archive.writestr(name, file.read_bytes(), zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def shipped_files(code: TaskCode) -> Iterator[Path]:
    """The source of a task, and what else is in its packages, ascending."""
    for name in code.names:
        if (code.root / f"{name}.py").is_file():
            yield code.root / f"{name}.py"
        for file in sorted((code.root / name).rglob("*")):
            if file.is_file() and not {*file.parts} & {*LEFT_OUT}:
                yield file


def install(archive: bytes) -> None:
    """Make the modules of an archive those that this process imports.

    A worker of Ray may have trained another version of them before: it imports them again.
    """
    if not archive:
        return
    folder = _unpacked(archive)
    if sys.path[0] == str(folder):
        return
    if str(folder) in sys.path:
        sys.path.remove(str(folder))
    tops = {path.name.removesuffix(".py") for path in folder.iterdir()}
    for name in [each for each in sys.modules if each.partition(".")[0] in tops]:
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()


def _unpacked(archive: bytes) -> Path:
    """The folder of an archive on this machine, which its processes share."""
    digest = hashlib.sha256(archive).hexdigest()[:16]
    root = Path(tempfile.gettempdir()) / f"tlc-tasks-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    if root.stat().st_uid != os.getuid() or root.is_symlink():
        raise OwnTaskError(f"{NAME}: {root} belongs to another user; remove it")
    folder = root / digest
    if not folder.is_dir():
        new = Path(tempfile.mkdtemp(dir=root))
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            opened.extractall(new)
        try:
            new.rename(folder)
        except OSError:
            # Another process was first.
            if not folder.is_dir():
                raise
    return folder
