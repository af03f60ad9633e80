"""Two homes with one study, which stand for two machines."""

from __future__ import annotations

from typing import Any

from tests.faults.arena import Arena


def share(arena: Arena) -> dict[str, Any]:
    """Give a search places that any home reaches; returns the environment of the second home."""
    arena.document["storage"] = {
        "study": arena.study_url,
        "store": str(arena.store),
        "mlflow": arena.tracking_uri,
    }
    return {"TLC_HOME": str(arena.folder / "elsewhere")}
