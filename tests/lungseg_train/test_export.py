"""What other software gets: the outputs agree with ours, preprocessing included."""

import json
from pathlib import Path

import numpy as np
import pytest

from lungseg_train.errors import InputError
from lungseg_train.evaluation.predict import Predictor
from lungseg_train.network import exporting
from lungseg_train.training_grid import TrainingGrid
from tests.conftest import Run
from tests.lungseg_train.models import save_random_model

GRID = TrainingGrid((8, 8, 12), (40.0, 40.0, 30.0))
MODELS = {
    "instance": {},
    "batch, minmax, transposed": {"normalization": "batch", "intensity": "minmax", "use_transpose": True},
    "group, smoothed, attention": {"normalization": "group", "smoothing_sigma_voxels": 0.8, "attention": True},
    "none": {"normalization": "none"},
}


@pytest.fixture(scope="module")
def ct_hu() -> np.ndarray:
    """Two CTs, (2, X, Y, Z, 1)."""
    return np.random.default_rng(1).normal(-500.0, 500.0, (2, *GRID.shape, 1)).astype(np.float32)


@pytest.mark.parametrize("kind", MODELS)
def test_onnx_and_saved_model_give_our_probabilities_from_hu(kind: str, tmp_path: Path, ct_hu: np.ndarray) -> None:
    import onnxruntime
    import tensorflow as tf

    path = save_random_model(tmp_path / "best_model.keras", GRID, depth=1, base_filters=2, **MODELS[kind])
    predictor = Predictor(path)
    expected = np.stack([predictor.probability(volume[..., 0]) for volume in ct_hu])
    assert np.ptp(expected) > 0.05
    exporting.export_onnx(path, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (onnx_probability,) = session.run(["lung_probability"], {"ct_hu": ct_hu})
    np.testing.assert_allclose(onnx_probability[..., 0], expected, atol=2e-5)
    exporting.export_saved_model(path, tmp_path / "saved")
    saved = tf.saved_model.load(tmp_path / "saved")
    np.testing.assert_allclose(np.asarray(saved.serve(ct_hu))[..., 0], expected, atol=2e-5)
    described = json.loads((tmp_path / "saved" / "lungseg.json").read_text())
    assert described["training_grid"]["shape"] == list(GRID.shape)


def test_the_command_writes_what_others_need_to_know_and_says_nothing_else(tmp_path: Path, run_python: Run) -> None:
    import onnx

    path = save_random_model(tmp_path / "best_model.keras", GRID, depth=1, base_filters=2, normalization="none")
    output = tmp_path / "new" / "model.onnx"
    done = run_python("-m", "lungseg_train.export", "--model", path, "--output", output)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.startswith(f"exported: {output}, ") and done.stdout.count("\n") == 1
    assert [entry.name for entry in output.parent.iterdir()] == ["model.onnx"]
    proto = onnx.load(output)
    texts = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(texts["training_grid"]) == {"shape": [8, 8, 12], "spacing_mm": [40.0, 40.0, 30.0]}
    assert json.loads(texts["train_config"])["hu_window"] == [-1000.0, 400.0]
    assert "HU" in texts["input"]
    assert [value.name for value in (*proto.graph.input, *proto.graph.output)] == ["ct_hu", "lung_probability"]
    assert [dim.dim_param or dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim] == ["batch", 8, 8, 12, 1]


def test_an_export_that_disagrees_is_not_written(tmp_path: Path) -> None:
    expected = np.zeros((1, 2, 2, 2, 1))

    def write_half(exported: np.ndarray) -> None:
        with exporting._finished_or_gone(tmp_path / "m.onnx") as unfinished:
            unfinished.write_text("half")
            exporting._difference(expected, exported)

    for exported in (expected + 1e-3, expected + np.nan):
        with pytest.raises(InputError, match="nothing is written"):
            write_half(exported)
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_named_with_the_command_that_brings_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lungseg_train import export

    monkeypatch.setattr(export, "find_spec", lambda name: None)
    monkeypatch.setattr("sys.argv", ["export", "--model", str(tmp_path / "none.keras"), "--output", str(tmp_path / "m.onnx")])
    with pytest.raises(SystemExit) as stop:
        export.main()
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert "tf2onnx" in message and "pip install 'lungseg-search[export]'" in message and message.count("\n") == 1
