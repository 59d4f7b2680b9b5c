"""Segment a CT: python -m lungseg_train.inference --model best_model.keras --input CASE --output_mask mask.nii.gz."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lungseg_train.command_line import parse
from lungseg_train.data.cases import CT_NAMES, find_file
from lungseg_train.data.volume import read_volume, write_on_file_grid
from lungseg_train.device import configure_device, import_backend_quietly
from lungseg_train.errors import InputError, command


@dataclass(frozen=True, kw_only=True)
class InferenceCommand:
    """Options of the command."""

    model: Path
    """A model file of a training, such as best_model.keras."""
    input: Path
    """A case folder with ct.nii.gz (or .nii), or a CT file."""
    output_mask: Path
    """Where the mask is written (.nii.gz or .nii), on the CT's own axes, affine and header."""
    output_prob: Path | None = None
    """Where the probabilities are written, on the same grid."""
    thr: float = 0.5
    """A voxel is lung from this probability on."""


@command
def main() -> None:
    options = parse(InferenceCommand, "python -m lungseg_train.inference", "Segment the lungs in a CT.")
    if not 0.0 < options.thr < 1.0:
        raise InputError(f"thr must lie between 0 and 1, got {options.thr}.")
    for output in (options.output_mask, options.output_prob):
        if output is not None and not output.name.endswith((".nii", ".nii.gz")):
            raise InputError(f"{output}: expected a file name that ends with .nii.gz or .nii.")
    ct = read_volume(find_file(options.input, CT_NAMES) if options.input.is_dir() else options.input)
    import_backend_quietly()
    from lungseg_train.evaluation.predict import Predictor

    predictor = Predictor(options.model)
    configure_device()
    probability = predictor.probability(ct.array)
    mask = probability >= options.thr
    if options.output_prob is not None:
        write_on_file_grid(options.output_prob, probability, ct, np.float32)
    write_on_file_grid(options.output_mask, mask, ct, np.uint8)
    lung_ml = float(mask.sum()) * float(np.prod(ct.spacing_mm)) / 1000
    print(f"lung volume {lung_ml:.0f} ml, mask: {options.output_mask}")


if __name__ == "__main__":
    main()
