"""Outlines of lung masks drawn over slices of a CT, as a radiologist is used to seeing them."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

PlaneName = Literal["coronal", "axial", "sagittal"]

LUNG_WINDOW_HU = (-1250.0, 250.0)
"""A usual lung window: level -500, width 1500."""
REFERENCE_COLOR, PREDICTION_COLOR = "#56B4E9", "#E69F00"
"""Sky blue and orange of Okabe and Ito: told apart with every kind of colour vision, and on grey."""
SLICE_AXIS: dict[PlaneName, int] = {"coronal": 1, "axial": 2, "sagittal": 0}
EDGES: dict[PlaneName, tuple[str, str, str, str]] = {
    "coronal": ("R", "L", "S", "I"),
    "axial": ("R", "L", "A", "P"),
    "sagittal": ("A", "P", "S", "I"),
}
"""Directions of the patient at the left, right, top and bottom edge of the picture."""
DASHES = (0.0, (2.2, 2.2))
"""Offset and lengths of dash and gap, in line widths."""
WIDTH_INCHES, DPI = 3.6, 140
"""Width of a plane; of planes side by side, their mean width."""
STRIP_INCHES = 0.3
"""Below the picture: name of the plane and legend."""


@dataclass(frozen=True)
class Plane:
    """One slice, turned as it is displayed."""

    name: PlaneName
    ct_hu: np.ndarray
    """(rows, columns), the first row at the top."""
    mask: np.ndarray | None
    """Reference, (rows, columns) bool; None where there is none."""
    prediction: np.ndarray
    """(rows, columns) bool."""
    pixel_mm: tuple[float, float]
    """Height and width of a pixel."""
    slice_number: int
    """Counted from 1 along the array's axis."""
    num_slices: int

    @property
    def height_mm(self) -> float:
        return self.ct_hu.shape[0] * self.pixel_mm[0]

    @property
    def width_mm(self) -> float:
        return self.ct_hu.shape[1] * self.pixel_mm[1]


def overlay_planes(
    ct_hu: np.ndarray, mask: np.ndarray | None, prediction: np.ndarray, spacing_mm: tuple[float, float, float]
) -> list[Plane]:
    """The coronal, axial and sagittal slice with the most lung, by the reference mask if there is one; (X, Y, Z) in RAS+."""
    reference = None if mask is None else mask > 0
    return [_plane(name, ct_hu, reference, prediction > 0, spacing_mm) for name in SLICE_AXIS]


def plane_png(plane: Plane) -> bytes:
    """The slice in a lung window with its outlines, orientation letters and legend, as a PNG file."""
    return planes_png([plane])


def planes_png(planes: Sequence[Plane]) -> bytes:
    """Slices side by side, all on one scale, as a PNG file."""
    inches_per_mm = WIDTH_INCHES * len(planes) / sum(plane.width_mm for plane in planes)
    width = WIDTH_INCHES * len(planes)
    height = max(plane.height_mm for plane in planes) * inches_per_mm
    figure = Figure(figsize=(width, height + STRIP_INCHES), dpi=DPI, facecolor="black")
    strip, left = STRIP_INCHES / (height + STRIP_INCHES), 0.0
    for plane in planes:
        share = plane.width_mm * inches_per_mm / width
        picture = plane.height_mm * inches_per_mm / (height + STRIP_INCHES)
        _draw_slice(figure.add_axes((left, strip + (1.0 - strip - picture) / 2, share, picture)), plane)
        _draw_legend(figure.add_axes((left, 0.0, share, strip)), plane)
        left += share
    stream = io.BytesIO()
    figure.savefig(stream, format="png", facecolor="black", metadata={"Software": None})
    return stream.getvalue()


def _plane(
    name: PlaneName,
    ct_hu: np.ndarray,
    mask: np.ndarray | None,
    prediction: np.ndarray,
    spacing_mm: tuple[float, float, float],
) -> Plane:
    axis = SLICE_AXIS[name]
    across, up = (other for other in range(3) if other != axis)
    lung = (prediction if mask is None else mask).sum(axis=(across, up))
    index = int(lung.argmax()) if lung.any() else len(lung) // 2
    return Plane(
        name=name,
        ct_hu=_as_displayed(ct_hu.take(index, axis)),
        mask=None if mask is None else _as_displayed(mask.take(index, axis)),
        prediction=_as_displayed(prediction.take(index, axis)),
        pixel_mm=(spacing_mm[up], spacing_mm[across]),
        slice_number=index + 1,
        num_slices=ct_hu.shape[axis],
    )


def _as_displayed(plane: np.ndarray) -> np.ndarray:
    """(across, up) in RAS+ -> (rows, columns): Right or Anterior on the left, Superior or Anterior on top."""
    return plane[::-1, ::-1].T


def _draw_slice(axes: Axes, plane: Plane) -> None:
    aspect = plane.pixel_mm[0] / plane.pixel_mm[1]
    low_hu, high_hu = LUNG_WINDOW_HU
    axes.imshow(plane.ct_hu, cmap="gray", vmin=low_hu, vmax=high_hu, interpolation="bilinear", aspect=aspect)
    # The prediction is dashed and on top: where both agree, either colour shows by turns and no third one arises.
    for outline, color, dashes in (
        (plane.mask, REFERENCE_COLOR, "solid"),
        (plane.prediction, PREDICTION_COLOR, "solid" if plane.mask is None else DASHES),
    ):
        if outline is not None and outline.any() and not outline.all():
            axes.contour(outline, [0.5], colors=color, linewidths=2.0, linestyles=[dashes])
    style: dict[str, Any] = {"color": "white", "fontsize": 10, "fontweight": "bold", "transform": axes.transAxes}
    # The letters lie on air here and on bone there: a dark rim keeps them legible on both.
    style["path_effects"] = [withStroke(linewidth=2.5, foreground="black")]
    left, right, top, bottom = EDGES[plane.name]
    axes.text(0.02, 0.5, left, ha="left", va="center", **style)
    axes.text(0.98, 0.5, right, ha="right", va="center", **style)
    axes.text(0.5, 0.98, top, ha="center", va="top", **style)
    axes.text(0.5, 0.02, bottom, ha="center", va="bottom", **style)
    axes.set_axis_off()


def _draw_legend(axes: Axes, plane: Plane) -> None:
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    slice_name = f"{plane.name} {plane.slice_number}/{plane.num_slices}"
    axes.text(0.02, 0.5, slice_name, color="#bbbbbb", fontsize=8, ha="left", va="center")
    words = [(0.98, "prediction", PREDICTION_COLOR)]
    if plane.mask is not None:
        words.append((0.74, "reference", REFERENCE_COLOR))
    for right, text, color in words:
        axes.text(right, 0.5, text, color=color, fontsize=8, fontweight="bold", ha="right", va="center")
