"""Writes the layouts of the families that are trained from scratch: ``spaces/cost/layouts/``.

``python -m objectives.models.family_layouts`` writes them; a test reads them again and compares.
"""

from __future__ import annotations

import re
from pathlib import Path

from objectives.models.build import configuration_of
from objectives.models.layout import layout_of
from spaces.cost import layouts
from spaces.cost.architecture import Architecture
from spaces.cost.layout import Layout
from spaces.cost.workload import Family, Workload


def read_family_layout(family: Family) -> Layout:
    """The layout of a small model of a family, all of whose sizes differ, so that the shapes of its
    weights show which is which."""
    is_vit = family is Family.VIT
    workload = Workload(
        family,
        vocabulary_size=0 if is_vit else 211,
        sequence_length=26 if is_vit else 24,
        classes=13 if is_vit or family.is_classifier_of_text else 0,
        image_size=35 if is_vit else 0,
        patch_size=7 if is_vit else 0,
        channels=3 if is_vit else 0,
    )
    # Two layers at least, as the first may differ from the others.
    architecture = Architecture.of(
        2, 64, feed_forward=160, decoder_depth=2 if family.has_decoder else 0
    )
    sizes = {
        "classes": workload.classes,
        "positions": workload.positions,
        "patch": workload.patch_size,
        "channels": workload.channels,
    }
    return layout_of(
        *configuration_of(architecture.shape, workload),
        sizes={name: size for name, size in sizes.items() if size},
    )


def main() -> None:
    """Write the layout of every family."""
    folder = Path(layouts.__path__[0])
    for family in {*Family} - {Family.CHECKPOINT, Family.OWN}:
        text = Layout.to_json(read_family_layout(family))
        # A line for each weight.
        lines = re.sub(r'(\{"(?:name|prefix|inputs)")', r"\n\1", text)
        (folder / f"{family}.json").write_text(f"{lines}\n")


if __name__ == "__main__":
    main()
