"""Processes whose clock is wrong."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

HOUR = 3600


def has_compiler() -> bool:
    """Whether there is a C compiler, which builds the library that shifts a clock."""
    return shutil.which("cc") is not None


def build_clock(folder: Path) -> str:
    """Build the library that shifts the clock of a process; returns its path."""
    library = folder / "clock.so"
    source = Path(__file__).parent / "clock.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return str(library)


def wrong(clock: str, seconds: int, only: str) -> dict[str, str]:
    """Environment in which the clock is wrong for processes whose command line has some words."""
    return {"LD_PRELOAD": clock, "CLOCK_OFFSET": str(seconds), "CLOCK_ONLY": only}
