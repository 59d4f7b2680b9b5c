import json
import zipfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from lungseg_train.config import TrainConfig
from lungseg_train.errors import InputError
from lungseg_train.network.adjustable import AdjustableDropout
from lungseg_train.network.compiled import compiled_model, stock_model
from lungseg_train.network.losses import DeepSupervisionLoss, DiceBCELoss, supervision_weights
from lungseg_train.network.model_file import load_weights, read_model_config, save_model
from lungseg_train.network.unet3d import build_training_unet, build_unet
from lungseg_train.training_grid import TrainingGrid

SMALL = TrainConfig(base_filters=4, depth=2, precision="float32")
SHAPE = (16, 16, 16)
BOTH = {"attention": True, "deep_supervision": True}


def _batch(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    ct = np.random.default_rng(seed).normal(size=(2, *SHAPE, 1)).astype("float32")
    return ct, (ct > 0).astype("float32")


@pytest.mark.parametrize("side", [8, 16, 24, 40])
def test_the_network_works_on_any_cube_divisible_by_two_to_the_depth(side: int) -> None:
    model = build_unet(SMALL, (side, side, side))
    probability = np.asarray(model.predict_on_batch(np.zeros((1, side, side, side, 1), "float32")))
    assert probability.shape == (1, side, side, side, 1)
    assert probability.min() >= 0 and probability.max() <= 1


def test_a_cube_that_does_not_fit_says_which_does() -> None:
    with pytest.raises(InputError, match=r"divisible by 2\^2 = 4"):
        build_unet(SMALL, (18, 18, 18))


@pytest.mark.parametrize("normalization", ["instance", "batch", "group", "none"])
@pytest.mark.parametrize("use_transpose", [False, True])
def test_every_normalisation_and_upsampling_learns(normalization: str, use_transpose: bool) -> None:
    config = replace(SMALL, normalization=normalization, use_transpose=use_transpose, depth=1)  # type: ignore[arg-type]
    model = compiled_model(config, SHAPE).model
    losses = [float(model.train_on_batch(*_batch())) for _ in range(8)]
    assert losses[-1] < losses[0]
    kinds = {type(layer) for layer in model.layers}
    assert (keras.layers.Conv3DTranspose in kinds) == use_transpose
    assert (keras.layers.UpSampling3D in kinds) != use_transpose


def test_every_convolution_bears_the_l2_penalty() -> None:
    convolutions = keras.layers.Conv3D | keras.layers.Conv3DTranspose
    for use_transpose in (False, True):
        model = build_unet(replace(SMALL, reg_l2=0.1, use_transpose=use_transpose, attention=True), SHAPE)
        kernels = [layer for layer in model.layers if isinstance(layer, convolutions)]
        assert kernels and all(layer.kernel_regularizer is not None for layer in kernels)
        squares = sum(float((np.asarray(layer.kernel) ** 2).sum()) for layer in kernels)
        assert sum(float(loss) for loss in model.losses) == pytest.approx(0.1 * squares, rel=1e-4)


def test_the_adjustable_penalty_and_rates_follow_the_configuration() -> None:
    config = replace(SMALL, reg_l2=0.01, dropout_enc=0.1, dropout_dec=0.2, dropout_bot=0.5)
    compiled = compiled_model(config, SHAPE)
    rates = {layer.name: float(layer.rate) for layer in compiled.model.layers if isinstance(layer, AdjustableDropout)}
    assert rates == pytest.approx(
        {"enc0_dropout": 0.1, "enc1_dropout": 0.1, "bot_dropout": 0.5, "dec1_dropout": 0.2, "dec0_dropout": 0.2}
    )
    stock = build_unet(config, SHAPE)
    for weight in stock.weights:
        weight.assign(compiled.weights()[weight.path])
    assert sum(map(float, compiled.model.losses)) == pytest.approx(sum(map(float, stock.losses)), rel=1e-5)


@pytest.mark.parametrize("options", [{"attention": True}, {"deep_supervision": True}, BOTH], ids=lambda names: "-".join(names))
def test_attention_and_deep_supervision_learn(options: dict[str, bool]) -> None:
    model = compiled_model(replace(SMALL, **options), SHAPE).model  # type: ignore[arg-type]
    losses = [float(model.train_on_batch(*_batch())) for _ in range(8)]
    assert losses[-1] < losses[0]


def test_a_gate_weighs_each_block_of_the_skip_from_its_pooled_features_and_the_coarser_level() -> None:
    model = build_unet(replace(SMALL, attention=True, depth=1), SHAPE)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(scale=0.5, size=weight.shape))
    names = ("enc0_relu2", "bot_relu2", "att0_skip")
    outputs = keras.Model(model.inputs, [model.get_layer(name).output for name in names]).predict_on_batch(_batch()[0])
    skip, gating, gated = map(np.asarray, outputs)
    pooled = skip.reshape(2, 8, 2, 8, 2, 8, 2, 4).max(axis=(2, 4, 6))
    theta, phi, psi = (model.get_layer(f"att0_{name}").get_weights() for name in ("theta", "phi", "psi"))
    hidden = np.maximum(pooled @ theta[0][0, 0, 0] + gating @ phi[0][0, 0, 0] + phi[1], 0)
    weight = 1 / (1 + np.exp(-(hidden @ psi[0][0, 0, 0] + psi[1])))
    assert np.ptp(weight) > 0.1
    np.testing.assert_allclose(gated, skip * weight.repeat(2, axis=1).repeat(2, axis=2).repeat(2, axis=3), atol=1e-5)


def test_the_heads_see_the_coarser_levels_and_the_saved_network_has_none() -> None:
    config = replace(SMALL, depth=3, deep_supervision=True)
    training, _ = build_training_unet(config, SHAPE)
    prediction = np.asarray(training.predict_on_batch(_batch()[0]))
    assert prediction.shape == (2, *SHAPE, 3) and prediction.dtype == np.float32
    for channel, block in ((1, 2), (2, 4)):
        first = prediction[:, ::block, ::block, ::block, channel]
        np.testing.assert_array_equal(prediction[..., channel], first.repeat(block, 1).repeat(block, 2).repeat(block, 3))
        assert first.std() > 0
    weights = compiled_model(config, SHAPE).weights()
    assert set(weights) == {weight.path for weight in build_unet(config, SHAPE).weights}


def test_deep_supervision_weighs_one_loss_per_level_and_its_weights_sum_to_one() -> None:
    assert supervision_weights(1) == [1.0]
    assert supervision_weights(3) == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    rng = np.random.default_rng(0)
    mask = (rng.random((2, 4, 4, 4, 1)) > 0.5).astype("float32")
    prediction = rng.random((2, 4, 4, 4, 3)).astype("float32")
    alone = [float(DiceBCELoss(0.3)(mask, prediction[..., i : i + 1])) for i in range(3)]
    expected = (4 * alone[0] + 2 * alone[1] + alone[2]) / 7
    assert float(DeepSupervisionLoss(0.3)(mask, prediction)) == pytest.approx(expected, rel=1e-5)
    assert len(set(alone)) == 3


def test_a_coarse_prediction_is_judged_by_the_share_of_lung_in_its_voxels() -> None:
    rng = np.random.default_rng(0)
    mask = (rng.random((1, 8, 8, 8, 1)) > 0.7).astype("float32")
    coarse = rng.uniform(0.1, 0.9, (1, 4, 4, 4, 1)).astype("float32")
    repeated = coarse.repeat(2, axis=1).repeat(2, axis=2).repeat(2, axis=3)
    share = mask.reshape(1, 4, 2, 4, 2, 4, 2, 1).mean(axis=(2, 4, 6))
    dice = (2 * 8 * (share * coarse).sum() + 1) / (8 * coarse.sum() + 8 * share.sum() + 1)
    cross_entropy = -(share * np.log(coarse) + (1 - share) * np.log(1 - coarse)).mean()
    loss = float(DiceBCELoss(0.5)(mask, repeated))
    assert loss == pytest.approx(0.5 * (1 - dice) + 0.5 * cross_entropy, rel=1e-4)


def test_the_probabilities_keep_their_32_bits_in_mixed_precision() -> None:
    config = replace(SMALL, precision="mixed_bfloat16", **BOTH)  # type: ignore[arg-type]
    prediction = np.asarray(compiled_model(config, SHAPE).model.predict_on_batch(_batch()[0]))
    assert prediction.dtype == np.float32
    # A bfloat16 that became a float32 again would end in 16 zero bits.
    for channel in range(prediction.shape[-1]):
        assert (np.ascontiguousarray(prediction[..., channel]).view(np.uint32) & 0xFFFF).any()


def test_dropout_drops_whole_channels_at_its_rate_and_keeps_the_mean() -> None:
    layer = AdjustableDropout(0.25)
    ones = np.ones((64, 2, 2, 2, 64), "float32")
    dropped = np.asarray(layer(ones, training=True))
    assert set(np.unique(dropped.round(4))) == {0.0, np.float32(1.3333)}
    assert (dropped == dropped[:, :1, :1, :1, :]).all()
    assert dropped.mean() == pytest.approx(1.0, abs=0.03)
    np.testing.assert_array_equal(np.asarray(layer(ones, training=False)), ones)


def test_the_fused_normalisation_equals_the_stock_layer_forwards_and_backwards() -> None:
    training, _ = build_training_unet(SMALL, SHAPE)
    stock = build_unet(SMALL, SHAPE)
    for weight in stock.weights:
        weight.assign(next(w for w in training.weights if w.path == weight.path))
    ct, mask = _batch()
    np.testing.assert_allclose(training.predict_on_batch(ct), stock.predict_on_batch(ct), atol=2e-4)
    losses = []
    for model in (training, stock):
        model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse", jit_compile=False)
        losses.append([float(model.train_on_batch(ct, mask)) for _ in range(4)])
    assert losses[0][-1] < losses[0][0]
    # Dropout draws differ; without it the two descend alike.
    plain = replace(SMALL, dropout=0.0)
    assert _descent(build_training_unet(plain, SHAPE)[0]) == pytest.approx(_descent(build_unet(plain, SHAPE)), rel=2e-3)


def _descent(model: keras.Model) -> list[float]:
    for number, weight in enumerate(sorted((w for w in model.trainable_weights), key=lambda w: w.path)):
        if weight.name == "kernel":
            weight.assign(keras.initializers.HeNormal(seed=number)(weight.shape))
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse", jit_compile=False)
    return [float(model.train_on_batch(*_batch())) for _ in range(4)]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first = compiled_model(SMALL, SHAPE).weights()
    other = compiled_model(replace(SMALL, seed=1), SHAPE).weights()
    again = compiled_model(replace(SMALL, learning_rate=0.1), SHAPE).weights()
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
    assert any(not np.array_equal(first[name], other[name]) for name in first)


def test_float16_keeps_its_loss_scale_over_a_reset() -> None:
    config = replace(SMALL, precision="mixed_float16", depth=1)
    compiled = compiled_model(config, SHAPE)
    before = float(compiled.model.optimizer.dynamic_scale)
    compiled.model.optimizer.dynamic_scale.assign(4.0)
    compiled.reset(config)
    assert float(compiled.model.optimizer.dynamic_scale) == before > 4


@pytest.mark.parametrize("options", [{}, BOTH], ids=["plain", "attention and deep supervision"])
def test_a_model_file_alone_is_enough_here_and_in_plain_keras(tmp_path: Path, options: dict[str, bool]) -> None:
    config = replace(SMALL, **options)  # type: ignore[arg-type]
    weights = compiled_model(config, SHAPE).weights()
    path = tmp_path / "best_model.keras"
    save_model(path, config, TrainingGrid(SHAPE, (5.0, 5.0, 5.0)), weights)
    assert read_model_config(path) == config
    ct, _ = _batch()
    expected = stock_model(config, SHAPE, weights).predict_on_batch(ct)
    np.testing.assert_allclose(load_weights(path, config, SHAPE).predict_on_batch(ct), expected, atol=1e-6)
    plain = keras.models.load_model(path, compile=False)
    np.testing.assert_allclose(plain.predict_on_batch(ct), expected, atol=1e-6)
    assert all(type(layer).__module__.startswith("keras.") for layer in plain.layers)
    assert [entry.name for entry in tmp_path.iterdir()] == ["best_model.keras"]


def test_a_file_that_is_no_model_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    for content in (b"", b"nonsense" * 100):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a model of this project"):
            read_model_config(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train_config.json", json.dumps({"depth": "deep"}))
    with pytest.raises(InputError, match="depth must be a whole number"):
        read_model_config(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train_config.json", SMALL.to_json())
    with pytest.raises(InputError, match="weights cannot be read"):
        load_weights(path, SMALL, SHAPE)
    with pytest.raises(InputError, match="no such file"):
        read_model_config(tmp_path / "missing.keras")
