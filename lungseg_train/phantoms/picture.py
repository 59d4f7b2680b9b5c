"""A picture of many phantoms at a glance."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

LUNG_WINDOW_HU = (-1000, 300)
NUM_COLUMNS = 4


def phantom_picture(phantoms: Sequence[tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Pairs of CT and mask, (X, Y, Z) RAS+, four to a row: a coronal slice with an axial one below it."""
    num_rows = -(-len(phantoms) // NUM_COLUMNS)
    figure = Figure(figsize=(2.6 * NUM_COLUMNS, 5.2 * num_rows), dpi=110, facecolor="black")
    grid = figure.add_gridspec(2 * num_rows, NUM_COLUMNS, left=0, right=1, bottom=0, top=1, wspace=0.02, hspace=0.01)
    for place, (ct_hu, mask) in enumerate(phantoms):
        row, column = divmod(place, NUM_COLUMNS)
        across, up = _showing_lung(mask, axis=1), _showing_lung(mask, axis=2)
        _draw_slice(figure.add_subplot(grid[2 * row, column]), ct_hu[:, across], mask[:, across])
        _draw_slice(figure.add_subplot(grid[2 * row + 1, column]), ct_hu[:, :, up], mask[:, :, up])
    return figure


def _showing_lung(mask: np.ndarray, axis: int) -> int:
    """Index along the axis of the slice with the most lung."""
    others = tuple(other for other in range(3) if other != axis)
    return int(mask.sum(axis=others).argmax())


def _draw_slice(axes: Axes, ct_hu: np.ndarray, mask: np.ndarray) -> None:
    """One slice, (X, Y) or (X, Z), seen as radiologists do: the patient's Right on the left."""
    low_hu, high_hu = LUNG_WINDOW_HU
    axes.imshow(ct_hu[::-1].T, cmap="gray", vmin=low_hu, vmax=high_hu, origin="lower", interpolation="bilinear")
    if mask.any():
        axes.contour(mask[::-1].T, [0.5], colors="#ff8c42", linewidths=1)
    axes.set_axis_off()
