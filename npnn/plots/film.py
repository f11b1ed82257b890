"""Films: pictures one after the other in a GIF or an MP4."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from npnn.errors import MissingError, extra
from npnn.io import replacing

STILL = 2.0
"""Seconds for which the last picture stands."""


def check_writer(path: str) -> type:
    """Return matplotlib's writer for such a file, or say what it lacks and how to get it."""
    try:
        from matplotlib import animation
    except ImportError:
        raise extra("matplotlib", "plot") from None
    if path.lower().endswith(".gif"):
        return animation.PillowWriter
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError:
        own = None
    else:
        own = get_ffmpeg_exe()

    class _Ffmpeg(animation.FFMpegWriter):
        """The one on the machine, or the one that imageio-ffmpeg brings."""

        @classmethod
        def bin_path(cls) -> str:
            found = str(super().bin_path())
            return found if own is None or shutil.which(found) else str(own)

    if not _Ffmpeg.isAvailable():
        raise MissingError(
            "ffmpeg is needed for an MP4 and is not there: pip install imageio-ffmpeg, or install "
            "ffmpeg (apt install ffmpeg, brew install ffmpeg, winget install ffmpeg); a path that "
            "ends in .gif needs none"
        )
    return _Ffmpeg


def write(path: str, pictures: Sequence[bytes], seconds: float) -> None:
    """Write PNG pictures of one size as a film of so many seconds, which then stands still."""
    from matplotlib.figure import Figure
    from matplotlib.image import imread

    kind = check_writer(path)
    frames = [imread(io.BytesIO(png)) for png in pictures]
    # Neither too slow to be a film nor faster than GIFs can be shown.
    rate = min(max(len(frames) / seconds, 4.0), 25.0)
    height, width = frames[0].shape[:2]
    # Films of the usual kind have an even number of rows and columns.
    height, width = height - height % 2, width - width % 2
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    image = figure.figimage(frames[0][:height, :width])
    writer: Any = kind(fps=rate)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"film{Path(path).suffix.lower()}"
        with writer.saving(figure, str(file), 100):
            for frame in (*frames, *[frames[-1]] * round(STILL * rate)):
                image.set_data(np.ascontiguousarray(frame[:height, :width]))
                writer.grab_frame()
        with replacing(path) as target, open(file, "rb") as source:
            shutil.copyfileobj(source, target)
