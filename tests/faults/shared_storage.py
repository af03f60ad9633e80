"""Two homes with shared storage, which simulate two machines."""

from __future__ import annotations

from typing import Any

from tests.faults.system import SystemUnderTest


def share(system: SystemUnderTest) -> dict[str, Any]:
    """Give a search storage outside its home; returns the environment of a second home."""
    system.document["storage"] = {
        "study": system.study_url,
        "store": str(system.store),
        "mlflow": system.tracking_uri,
    }
    return {"TLC_HOME": str(system.folder / "elsewhere")}
