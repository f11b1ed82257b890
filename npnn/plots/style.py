"""The look that all pictures have: colours, titles, axes, legends."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn.errors import extra
from npnn.io import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The colours of Okabe and Ito, which people with any kind of colour blindness can tell apart.
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#8C6D1F",
    "#444444",
)
FIRST, SECOND = PALETTE[0], PALETTE[1]
MARKERS = "osD^vPX*"
INK, QUIET, RULE = "#222222", "#6B6B6B", "#E4E4E4"
DPI = 150
SHOWN = "\u200b"  # before a label that matplotlib would keep from the legend
# Fonts with the letters of East Asia, as systems bring them.
WIDE_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans JP",
    "Source Han Sans",
    "WenQuanYi Micro Hei",
    "Hiragino Sans",
    "PingFang SC",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Arial Unicode MS",
)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty picture of so many inches."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise extra("matplotlib", "plot") from None
    from npnn.plots.notebook import Picture

    return Picture(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")


def one_panel(width: float, height: float) -> tuple[Figure, Axes]:
    """Return an empty picture of so many inches, and the axes that fill it."""
    figure = new_figure(width, height)
    return figure, figure.add_subplot()


def finish(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    """Return the picture, written to `path` if there is one."""
    as_written(figure)
    if path is not None:
        with replacing(path) as file, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from")  # a box says it
            figure.savefig(file, format="png")
    return figure


def as_written(figure: Figure) -> None:
    """Take no text for a formula, as dollar signs make one, and find a font for its letters."""
    from matplotlib.font_manager import fontManager
    from matplotlib.text import Text

    fonts = {font.name for font in fontManager.ttflist}
    wide = [name for name in WIDE_FONTS if name in fonts]
    for text in figure.findobj(Text):
        text.set_parse_math(False)
        if wide and max(text.get_text(), default="") > "\u2e7f":
            text.set_fontfamily([*text.get_fontfamily(), *wide])


def hold_still(figure: Figure, places: list[Any]) -> None:
    """Put the axes where those of an earlier picture are, whose `places` these are.

    The first picture's are found and kept there.
    """
    if not places:
        figure.draw_without_rendering()
        places += [axes.get_position().frozen() for axes in figure.axes]
    if len(places) == len(figure.axes):
        figure.set_layout_engine("none")
        for axes, place in zip(figure.axes, places, strict=True):
            axes.set_position(place)


def plain(axes: Axes, x_label: str, y_label: str, *, grid: bool = True) -> None:
    """Name the axes, and take away what is not read."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#B5B5B5")
    axes.tick_params(which="both", colors=QUIET, labelsize=9, length=3)
    axes.set_xlabel(x_label, color=QUIET)
    axes.set_ylabel(y_label, color=QUIET)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis="y", color=RULE, linewidth=0.8)


def set_title(axes: Axes, text: str, pad: float = 12) -> None:
    """Write what is to be seen above the axes, from their left on."""
    axes.set_title(text, loc="left", fontsize=11, fontweight="bold", color=INK, pad=pad)


def legend_above(axes: Axes, width: float) -> int:
    """Put the legend between title and axes, in as many rows as `width` inches make needful."""
    labels = axes.get_legend_handles_labels()[1]
    columns = _legend_columns(labels, width)
    legend = axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=columns,
        frameon=False,
        fontsize=9,
        handlelength=1.4,
        handletextpad=0.4,
        columnspacing=1.2,
        labelcolor=INK,
    )
    for text in legend.get_texts():
        text.set_text(text.get_text().removeprefix(SHOWN))
    return legend_rows(labels, width)


def set_title_and_legend(axes: Axes, text: str, width: float) -> None:
    """Write the title, and below it the legend in rows of at most so many inches."""
    set_title(axes, text, pad=15 + 13.6 * legend_above(axes, width))


def in_legend(name: str) -> str:
    """Return a name as a label, which else would be none where an underscore begins it."""
    return SHOWN + name if name.startswith("_") else name


def legend_rows(labels: Sequence[str], width: float) -> int:
    """Return how many rows a legend of so many inches has."""
    return -(-len(labels) // _legend_columns(labels, width))


def _legend_columns(labels: Sequence[str], width: float) -> int:
    widths = [0.4 + 0.068 * len(label) for label in labels]
    for columns in range(len(labels), 1, -1):
        # Filled from above to below, the first ones with one more, as matplotlib does it.
        if sum(part.max() for part in np.array_split(widths, columns)) <= width:
            return columns
    return 1


def colours_of(num: int) -> list[str]:
    """Return as many different colours: the palette, or where it ends, hues in three shades."""
    from colorsys import hls_to_rgb

    if num <= len(PALETTE):
        return list(PALETTE[:num])
    found = []
    for i in range(num):
        parts = hls_to_rgb(i / num, (0.3, 0.45, 0.58)[i % 3], 0.75)
        found.append("#" + "".join(f"{round(255 * part):02X}" for part in parts))
    return found


def marker_of(number: int) -> str:
    """Return the marker of a class, of which no two with one colour of the palette are alike."""
    return MARKERS[(number + number // len(MARKERS)) % len(MARKERS)]


def rgb(colour: str) -> tuple[float, float, float]:
    """Return the parts of a colour, each from 0 to 1."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


def shortened(names: Sequence[str], most: int = 24) -> list[str]:
    """Return the names in a line of at most `most` characters each, different ones different.

    What is left out is the end, the middle or the beginning, whichever keeps them apart; where
    none does, their numbers, counted from 0, end them.
    """
    names = [" ".join(name.split()) if "\n" in name or "\r" in name else name for name in names]
    half = (most - 1) // 2
    ways: tuple[Callable[[str], str], ...] = (
        lambda name: f"{name[: most - 1]}…",
        lambda name: f"{name[: most - 1 - half]}…{name[-half:]}",
        lambda name: f"…{name[1 - most :]}",
    )
    for way in ways:
        found = [name if len(name) <= most else way(name) for name in names]
        if len(set(found)) == len(set(names)):
            return found
    digits = len(str(len(names) - 1))
    return [
        name if len(name) <= most else f"{name[: most - 2 - digits]}… {i}"
        for i, name in enumerate(names)
    ]
