"""One case and what augmentation makes of it, side by side."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec, SubplotSpec

from lungseg_train.evaluation.overlay import REFERENCE_COLOR, Plane, PlaneName, overlay_planes

NUM_COLUMNS = 3
TILE_INCHES, CAPTION_INCHES, TITLE_INCHES = 1.9, 0.58, 0.55
"""Edge of a slice; the words below it; the line on top."""
CAPTION_CHARACTERS = 58
"""A line of a caption holds so many."""
DPI = 120
PLANES: tuple[PlaneName, ...] = ("coronal", "axial")
TEXT_COLOR, DIM_COLOR = "white", "#a8a8a8"


@dataclass(frozen=True)
class Version:
    """A CT with its mask and what was done to them."""

    ct: np.ndarray
    """(X, Y, Z) float32, preprocessed, RAS+."""
    mask: np.ndarray
    """(X, Y, Z) 0/1."""
    title: str
    caption: tuple[str, str]
    """What was done to places, what to values."""


def augmentation_picture(
    original: Version, versions: Sequence[Version], spacing_mm: tuple[float, float, float], title: str
) -> Figure:
    """The original at the left, large; beside it the versions, three to a row, a coronal and an axial slice of each.

    All in the grey scale of the original, so that a change of brightness shows.
    """
    num_rows = -(-len(versions) // NUM_COLUMNS)
    row_inches = TILE_INCHES + CAPTION_INCHES
    height = TITLE_INCHES + num_rows * row_inches
    # Two square slices and a caption, one above the other, as high as all rows together.
    large = (num_rows * row_inches - CAPTION_INCHES) / 2
    widths = [large, *[2 * TILE_INCHES] * NUM_COLUMNS]
    figure = Figure(figsize=(sum(widths) + 0.25 * len(widths), height), dpi=DPI, facecolor="black")
    top = 1 - TITLE_INCHES / height
    grid = figure.add_gridspec(
        num_rows, len(widths), width_ratios=widths, left=0.005, right=0.995, bottom=0.0, top=top, wspace=0.03, hspace=0.0
    )
    grey = float(original.ct.min()), float(original.ct.max())
    _draw_version(figure, grid[:, 0], original, spacing_mm, grey, (3, 1), large)
    for place, version in enumerate(versions):
        row, column = divmod(place, NUM_COLUMNS)
        _draw_version(figure, grid[row, 1 + column], version, spacing_mm, grey, (2, 2), TILE_INCHES)
    figure.text(0.008, 1 - 0.55 * TITLE_INCHES / height, title, color=TEXT_COLOR, fontsize=13, fontweight="bold", va="center")
    figure.text(
        0.992, 1 - 0.55 * TITLE_INCHES / height, "lung mask", color=REFERENCE_COLOR, fontsize=11, fontweight="bold",
        ha="right", va="center",
    )  # fmt: skip
    return figure


def _draw_version(
    figure: Figure,
    cell: SubplotSpec,
    version: Version,
    spacing_mm: tuple[float, float, float],
    grey: tuple[float, float],
    layout: tuple[int, int],
    slice_inches: float,
) -> None:
    """Slices and, in the layout's last row, the words."""
    rows, columns = layout
    heights = [slice_inches] * (rows - 1) + [CAPTION_INCHES]
    inner = GridSpecFromSubplotSpec(rows, columns, cell, height_ratios=heights, wspace=0.01, hspace=0.01)
    # The one outline to be drawn goes where a prediction without reference does.
    planes = {plane.name: plane for plane in overlay_planes(version.ct, None, version.mask, spacing_mm)}
    for place, name in enumerate(PLANES):
        _draw_slice(figure.add_subplot(inner[divmod(place, columns)]), planes[name], grey)
    _draw_caption(figure.add_subplot(inner[rows - 1, :]), version)


def _draw_slice(axes: Axes, plane: Plane, grey: tuple[float, float]) -> None:
    low, high = grey
    aspect = plane.pixel_mm[0] / plane.pixel_mm[1]
    axes.imshow(plane.ct_hu, cmap="gray", vmin=low, vmax=high, interpolation="bilinear", aspect=aspect)
    if plane.prediction.any() and not plane.prediction.all():
        axes.contour(plane.prediction, [0.5], colors=REFERENCE_COLOR, linewidths=1.2)
    axes.set_axis_off()


def _draw_caption(axes: Axes, version: Version) -> None:
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    lines = [line for words in version.caption for line in textwrap.wrap(words, CAPTION_CHARACTERS)]
    axes.text(0.01, 0.92, version.title, color=TEXT_COLOR, fontsize=8.5, fontweight="bold", va="top")
    axes.text(0.2, 0.92, "\n".join(lines), color=DIM_COLOR, fontsize=7, va="top", linespacing=1.3)
