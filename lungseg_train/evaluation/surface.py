"""How far the surface of a prediction lies from that of the reference, in mm."""

from typing import Any

import numpy as np
import surface_distance

Spacing = tuple[float, float, float]

HAUSDORFF_PERCENT = 95.0
ROUNDING = 1e-5
"""Relative: a spacing read from a float32 header is known no better."""


def surface_metrics(mask: np.ndarray, prediction: np.ndarray, spacing_mm: Spacing) -> dict[str, float | None]:
    """`hd95_mm`, `asd_mm` and `surface_dice` of two binary arrays (X, Y, Z) on one grid; equal with both exchanged.

    Surfaces are the marching-cubes elements of surface-distance (Google DeepMind), each weighted by its area in mm²:
    counting voxels instead would favour the directions in which the grid is finer. Distances run between the voxel
    corners at which the elements lie: exact for faces along the grid, up to about half a voxel short for oblique
    ones. What the end of the scan cuts off is surface too, and agrees if both masks reach it.

    - `hd95_mm`: the distance within which 95 % of a surface lies from the other, the larger of the two directions.
    - `asd_mm`: mean distance over both surfaces pooled, the average symmetric surface distance of Heimann et al. 2009
      (doi 10.1109/TMI.2009.2013851), by area.
    - `surface_dice`: share of both surfaces within `tolerance_mm` of the other, from 0 to 1; the normalised surface
      distance (NSD) of Nikolov et al. (arXiv:1809.04430).

    To an empty mask there is no distance: `hd95_mm` and `asd_mm` are then None, never a made-up number of mm, which
    would depend on how much air the scan shows. `surface_dice` is, like Dice, 0 if one is empty and 1 if both are.
    """
    if mask.shape != prediction.shape:
        raise ValueError(f"mask {mask.shape} and prediction {prediction.shape} must have one shape")
    mask, prediction = mask > 0, prediction > 0
    # Before the library is called: with an empty mask 0.1 fails on np.Inf, which NumPy 2 no longer has.
    if not (mask.any() and prediction.any()):
        return {"hd95_mm": None, "asd_mm": None, "surface_dice": float(mask.any() == prediction.any())}
    surfaces = surface_distance.compute_surface_distances(mask, prediction, spacing_mm)
    # An edge of 0.9766 mm comes back from the distance map a rounding error longer.
    tolerance = tolerance_mm(spacing_mm) * (1.0 + ROUNDING)
    return {
        "hd95_mm": float(surface_distance.compute_robust_hausdorff(surfaces, HAUSDORFF_PERCENT)),
        "asd_mm": _average_mm(surfaces),
        "surface_dice": float(surface_distance.compute_surface_dice_at_tolerance(surfaces, tolerance)),
    }


def tolerance_mm(spacing_mm: Spacing) -> float:
    """One voxel, by its longest edge: the grid cannot show where between two slices a surface lies."""
    return max(spacing_mm)


def _average_mm(surfaces: dict[str, Any]) -> float:
    """Mean of both directions' distances (mm), each element weighted by its area (mm²)."""
    distances_mm = np.concatenate([surfaces["distances_gt_to_pred"], surfaces["distances_pred_to_gt"]])
    areas_mm2 = np.concatenate([surfaces["surfel_areas_gt"], surfaces["surfel_areas_pred"]])
    return float(np.average(distances_mm, weights=areas_mm2))
