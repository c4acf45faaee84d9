"""The size of the first picture that a command line is to upscale: an engine may have to be built again for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .errors import DefianError
from .images import read_image
from .video_encoder import import_av
from .video_source import ffmpegs_faults, first_look

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .jobs import Job

LOGGER = logging.getLogger(__name__)


def first_size(jobs: Sequence[Job]) -> tuple[int, int] | None:
    """Height and width of the first job's picture or frame, turned as it is shown; None if it cannot be read.

    Why it cannot be read is said when its turn comes.
    """
    if not jobs:
        return None
    source = jobs[0].source
    try:
        if jobs[0].is_video:
            av = import_av()
            with ffmpegs_faults(av, source):
                return first_look(av, source).size
        height, width, _ = read_image(source).shape
    except (DefianError, OSError) as error:
        LOGGER.info("%s: its size is not known: %s", source, error)
        return None
    return height, width
