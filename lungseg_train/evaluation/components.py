"""Tidying of a predicted mask: the largest connected parts, and cavities filled."""

import numpy as np
from scipy import ndimage

CORNERS = ndimage.generate_binary_structure(3, 3)
"""26 neighbours for lung: parts that meet in an edge or a corner are one, so thin oblique lung is not torn off."""
FACES = ndimage.generate_binary_structure(3, 1)
"""6 neighbours for what is not lung. Foreground 26 and background 6 belong together (Kong and Rosenfeld 1989,
doi 10.1016/0734-189X(89)90147-3): with one kind for both, a wall could be closed and yet let its cavity out."""
MIN_SHARE = 0.1
"""A further part must have this share of the largest. Two lungs differ less; specks have thousandths."""

Box = tuple[slice, ...]


def largest_components(mask: np.ndarray, num: int = 2, min_share: float = MIN_SHARE) -> np.ndarray:
    """The `num` largest connected parts of a binary array (X, Y, Z), as bool; fewer where the rest are mere specks.

    Lungs that touch at the midline are one part: then the next largest is a speck and goes, whatever `num` is.
    """
    if num < 1:
        raise ValueError(f"num must be at least 1, got {num}")
    kept = np.zeros(mask.shape, bool)
    box = _bounding_box(mask)
    if box is None:
        return kept
    labels, _ = ndimage.label(mask[box] > 0, CORNERS)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    # Stable: of equal parts the first in the array stays, on every machine.
    largest = np.argsort(-sizes, kind="stable")[:num]
    is_kept = np.zeros(sizes.size, bool)
    is_kept[largest] = sizes[largest] >= max(1.0, min_share * sizes.max())
    kept[box] = is_kept[labels]
    return kept


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """A binary array (X, Y, Z) with its enclosed cavities filled, as bool; what reaches the array's edge is none.

    In lungs these are vessels and nodules. A tumour that the reference leaves out is filled as well.
    """
    filled = mask > 0
    box = _bounding_box(mask)
    if box is None:
        return filled
    # One voxel of margin joins all that lies outside into one part, which holds the corner.
    outside, _ = ndimage.label(np.pad(~filled[box], 1, constant_values=True), FACES)
    filled[box] = (outside != outside[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return filled


def _bounding_box(mask: np.ndarray) -> Box | None:
    """The smallest box around what is not 0: labelling the air around a chest takes most of the time otherwise."""
    box = []
    for axis in range(mask.ndim):
        places = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if not places.size:
            return None
        box.append(slice(int(places[0]), int(places[-1]) + 1))
    return tuple(box)
