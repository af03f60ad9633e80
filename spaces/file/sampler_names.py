"""Names of the samplers, in a module that is cheap to import."""

from __future__ import annotations

from typing import Literal, get_args

SamplerName = Literal["frontier", "tpe", "gp", "nsgaii", "random", "grid"]
SAMPLERS: tuple[SamplerName, ...] = get_args(SamplerName)
