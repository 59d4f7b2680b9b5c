"""The grid that a network was trained on: what a scan has to be resampled to before it is segmented."""

from collections.abc import Sequence
from dataclasses import dataclass

from lungseg_train.errors import InputError

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]

CHEST_EXTENT_MM = (180.0, 800.0)
"""A field of view beyond these limits is no chest's: the volumes were resized without their affine."""
SPACING_TOLERANCE = 0.02
"""Spacings that differ by less than this share are one."""


@dataclass(frozen=True)
class TrainingGrid:
    """Voxels (X, Y, Z) in RAS+; the spacing is None where the volumes had none in common, or none that can be true."""

    shape: Shape
    spacing_mm: Spacing | None

    def fits(self, shape: Shape, spacing_mm: Spacing) -> bool:
        """Whether a volume lies on this grid already."""
        return shape == self.shape and (self.spacing_mm is None or alike(spacing_mm, self.spacing_mm))

    def as_dict(self) -> dict[str, list[float] | list[int] | None]:
        return {"shape": list(self.shape), "spacing_mm": None if self.spacing_mm is None else list(self.spacing_mm)}


def common_grid(shape: Shape, spacings_mm: Sequence[Spacing]) -> TrainingGrid:
    """The grid of volumes of one shape."""
    first = spacings_mm[0] if spacings_mm else None
    if first is None or not all(alike(spacing, first) for spacing in spacings_mm) or not is_chest(shape, first):
        return TrainingGrid(shape, None)
    return TrainingGrid(shape, first)


def is_chest(shape: Shape, spacing_mm: Spacing) -> bool:
    """Whether a chest fits into the field of view."""
    return all(CHEST_EXTENT_MM[0] <= size * mm <= CHEST_EXTENT_MM[1] for size, mm in zip(shape, spacing_mm, strict=True))


def alike(one: Spacing, other: Spacing) -> bool:
    return all(abs(a - b) <= SPACING_TOLERANCE * b for a, b in zip(one, other, strict=True))


def read_grid(values: object, source: str) -> TrainingGrid:
    """A grid from its JSON object. Raises `InputError`."""
    try:
        shape, spacing = values["shape"], values["spacing_mm"]  # type: ignore[index]
        x_size, y_size, z_size = (int(size) for size in shape)
        if spacing is None:
            return TrainingGrid((x_size, y_size, z_size), None)
        x_mm, y_mm, z_mm = (float(mm) for mm in spacing)
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{source}: its training grid is damaged. Train the model again.") from None
    return TrainingGrid((x_size, y_size, z_size), (x_mm, y_mm, z_mm))
