"""The look of the pages, and the policy that keeps everything else out of them."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from markupsafe import Markup


@cache
def stylesheet() -> Markup:
    """The stylesheet of the pages, light and dark."""
    return Markup((files("search.analysis.report") / "page.css").read_text())


@cache
def script() -> Markup:
    """What shows the configuration of a point."""
    return Markup((files("search.analysis.report") / "hover.js").read_text())


def policy(*, style: str, script: str = "") -> str:
    """A content security policy: this style, this script, images in the page, and nothing else."""
    allowed = f"script-src '{_hash(script)}'; " if script else ""
    return f"default-src 'none'; {allowed}style-src '{_hash(style)}'; img-src data:"


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
