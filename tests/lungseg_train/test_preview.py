import json
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.image import imread

from lungseg_train.augmentation.augment import Augmentation
from lungseg_train.augmentation.intensity import Intensity
from lungseg_train.augmentation.spatial import Spatial
from lungseg_train.config import TrainConfig
from lungseg_train.data.cases import read_case
from lungseg_train.preview import caption, preview_picture
from tests.conftest import Run

PREVIEW = ("-m", "lungseg_train.preview")


def test_a_picture_of_twelve_versions_is_one_command_away(phantom_cases: Path, tmp_path: Path, run_python: Run) -> None:
    config = tmp_path / "config.json"
    config.write_text(TrainConfig(p_rotate=1.0, seed=7).to_json())
    out = tmp_path / "new" / "augmented.png"
    flags = ("--config", config, "--p_elastic", "1", "--output", out)
    done = run_python(*PREVIEW, "--input", phantom_cases / "phantom-0000", *flags)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout == f"12 augmented versions of phantom-0000: {out}\n"
    height, width, _ = imread(out).shape
    assert height > 600 and width > height


def test_every_version_is_drawn_with_what_was_done_to_it(phantom_cases: Path) -> None:
    config = replace(TrainConfig(), p_rotate=1.0, p_jitter=0.0)
    figure = preview_picture(read_case(phantom_cases / "phantom-0001"), config)
    pictures = [axes for axes in figure.axes if axes.images]
    words = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert len(pictures) == 2 * 13
    assert {f"epoch {number}" for number in range(1, 13)} <= set(words)
    assert sum("rotated" in word for word in words) == 12
    assert not any("noise" in word for word in words)


def test_a_caption_names_what_happened_and_nothing_else() -> None:
    nothing = Augmentation(Spatial(), Intensity())
    assert caption(nothing) == ("", "")
    spatial = Spatial(flips=(True, False, True), plane=(0, 2), quarters=3, scale=0.95, shift_voxels=(0, -2, 1))
    intensity = Intensity(contrast=1.1, shift=-0.02)
    places, values = caption(Augmentation(spatial, intensity))
    assert places == "mirrored xz, turned 270° xz, scaled 0.95, shifted 0 -2 1"
    assert values == "contrast 1.10, added -2.0%"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--output OUT/a.png", "--input"),
        ("--input NONE --output OUT/a.png", "no such folder"),
        ("--input CASES --output OUT/a.png", "has no ct.nii.gz"),
        ("--input CASES/phantom-0000 --output OUT/a.jpg", "must be a .png file"),
        ("--input CASES/phantom-0000 --output OUT/a.png --p_elastic 2", "p_elastic"),
        ("--input CASES/phantom-0000 --output OUT/a.png --config NONE", "NONE"),
        ("--input CASES/phantom-0000 --output OUT/a.png --config", "--config"),
        ("--input CASES/phantom-0000 --output CONFIG/a.png", "cannot be written"),
    ],
)
def test_wrong_input_is_one_line(arguments: str, words: str, phantom_cases: Path, tmp_path: Path, run_python: Run) -> None:
    (tmp_path / "config.json").write_text(json.dumps({}))
    places = {"CASES": phantom_cases, "OUT": tmp_path / "out", "NONE": tmp_path / "NONE", "CONFIG": tmp_path / "config.json"}
    for word, path in places.items():
        arguments = arguments.replace(word, str(path))
    done = run_python(*PREVIEW, *arguments.split())
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert words in done.stderr
    assert not (tmp_path / "out").exists()
