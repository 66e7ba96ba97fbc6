"""The option of verbs that run an engine: boxes for a detector that is given them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from graphdet.data.proposals import Proposals

proposals_option = click.option(
    "--proposals",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Boxes for a detector that is given them: COCO results, or the detections.json of `graphdet run`.",
)


def read_proposals(file: Path | None) -> Proposals | None:
    """The boxes of a file by image. Raises MissingFile, BadDataset."""
    from graphdet.data.proposals import Proposals

    return None if file is None else Proposals(file)
