"""See what augmentation does to a case: python -m lungseg_train.preview --input CASE --output augmented.png."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lungseg_train.command_line import given_path, parse
from lungseg_train.config import TrainConfig
from lungseg_train.errors import InputError, command

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lungseg_train.augmentation.augment import Augmentation
    from lungseg_train.data.cases import Case

NUM_VERSIONS = 12
AXES = "xyz"


@dataclass(frozen=True, kw_only=True)
class PreviewCommand:
    """Options of the command."""

    input: Path
    """A case folder with ct.nii.gz and lung.nii.gz (or .nii)."""
    output: Path = Path("augmented.png")
    """PNG picture of the case and of its first twelve augmented versions."""
    config: Path | None = None
    """A train_config.json or best_config.json to start from; options given beside it win."""
    training: TrainConfig = field(default_factory=TrainConfig)


@command
def main() -> None:
    options = parse(PreviewCommand, "python -m lungseg_train.preview", __doc__ or "", default=_defaults())
    if options.output.suffix.lower() != ".png":
        raise InputError(f"output must be a .png file, got {options.output}. Give a name that ends in .png.")
    if not options.input.is_dir():
        raise InputError(f"{options.input}: no such folder; expected a case folder with ct.nii.gz and lung.nii.gz.")
    from lungseg_train.data.cases import read_case

    picture = preview_picture(read_case(options.input), options.training)
    try:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        picture.savefig(options.output)
    except OSError as error:
        raise InputError(
            f"output {options.output} cannot be written: {error.strerror}. Name a file in a folder of yours."
        ) from None
    print(f"{NUM_VERSIONS} augmented versions of {options.input.resolve().name}: {options.output}")


def preview_picture(case: "Case", config: TrainConfig) -> "Figure":
    """The case and what a training of this configuration sees of it in its first epochs."""
    from lungseg_train.augmentation.augment import apply, case_rng, draw
    from lungseg_train.data.cases import load_case
    from lungseg_train.data.preprocess import preprocess
    from lungseg_train.evaluation.augmentation_picture import Version, augmentation_picture

    volume, mask = load_case(case)
    ct = preprocess(volume.array, config)
    versions = []
    for epoch in range(NUM_VERSIONS):
        rng = case_rng(config.seed, epoch, case.case_id)
        augmentation = draw(ct.shape, rng, config, case.spacing_mm)
        pair = apply(ct, mask, augmentation, rng, case.spacing_mm)
        versions.append(Version(*pair, title=f"epoch {epoch + 1}", caption=caption(augmentation)))
    original = Version(ct, mask, title="original", caption=("", ""))
    title = f"{case.case_id} as training sees it in {NUM_VERSIONS} epochs, seed {config.seed}"
    return augmentation_picture(original, versions, case.spacing_mm, title)


def caption(augmentation: "Augmentation") -> tuple[str, str]:
    """What was done to places and what to values, in a few words."""
    spatial, intensity = augmentation.spatial, augmentation.intensity
    mirrored = "".join(axis for axis, flipped in zip(AXES, spatial.flips, strict=True) if flipped)
    plane = "".join(AXES[axis] for axis in spatial.plane)
    places = {
        "elastic": spatial.control_voxels is not None,
        f"mirrored {mirrored}": mirrored,
        f"turned {90 * spatial.quarters}° {plane}": spatial.quarters,
        "rotated " + " ".join(f"{round(angle)}°" for angle in spatial.angles_degrees): any(spatial.angles_degrees),
        f"scaled {spatial.scale:.2f}": spatial.scale != 1,
        "shifted " + " ".join(str(offset) for offset in spatial.shift_voxels): any(spatial.shift_voxels),
    }
    values = {
        f"brightness {intensity.brightness:.2f}": intensity.brightness != 1,
        f"contrast {intensity.contrast:.2f}": intensity.contrast != 1,
        f"added {intensity.shift:+.1%}": intensity.shift,
        f"noise {intensity.jitter_sigma:.1%}": intensity.jitter_sigma,
    }
    return _listed(places), _listed(values)


def _listed(words: Mapping[str, object]) -> str:
    return ", ".join(word for word, happened in words.items() if happened)


def _defaults() -> PreviewCommand | None:
    """The options' defaults: those of the file behind --config, if there is one."""
    import tyro

    path = given_path("--config")
    if path is None:
        return None
    return PreviewCommand(input=tyro.MISSING, training=TrainConfig.read(path), config=path)


if __name__ == "__main__":
    main()
