import itertools
import math
from dataclasses import replace

import keras
import pytest
from keras import layers

from lungseg_train.config import TrainConfig
from lungseg_train.errors import InputError
from lungseg_train.network.cost import network_cost
from lungseg_train.network.unet3d import build_training_unet, build_unet

SMALL = TrainConfig(base_filters=4, depth=2, precision="float32")
SHAPE = (16, 8, 24)
GRID = [
    replace(SMALL, normalization=normalization, use_transpose=transpose, attention=attention, deep_supervision=deep)
    for normalization, transpose, attention, deep in itertools.product(
        ("instance", "group", "batch", "none"), (False, True), (False, True), (False, True)
    )
] + [replace(SMALL, base_filters=1, depth=3, attention=True, deep_supervision=True, batch_size=3), replace(SMALL, depth=1)]


def _convolution_flops(model: keras.Model) -> int:
    """2 FLOPs for every weight of a kernel and every place it is laid on, read off the built layers."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, layers.Conv3D | layers.Conv3DTranspose):
            grid = layer.input if isinstance(layer, layers.Conv3DTranspose) else layer.output
            total += 2 * math.prod(layer.kernel.shape) * math.prod(grid.shape[1:4])
    return total


def _output_bytes(model: keras.Model) -> int:
    """Bytes of all layers' outputs for one volume."""
    outputs = [layer.output for layer in model.layers if not isinstance(layer, layers.InputLayer)]
    return sum(math.prod(output.shape[1:]) * (4 if output.dtype == "float32" else 2) for output in outputs)


def _title(config: TrainConfig) -> str:
    words = [name for name in ("use_transpose", "attention", "deep_supervision") if getattr(config, name)]
    return "-".join([config.normalization, str(config.base_filters), str(config.depth), *words])


@pytest.mark.parametrize("config", GRID, ids=_title)
def test_the_count_equals_the_network_that_keras_builds(config: TrainConfig) -> None:
    cost = network_cost(config, SHAPE)
    saved, (training, _) = build_unet(config, SHAPE), build_training_unet(config, SHAPE)
    assert cost.num_parameters == saved.count_params()
    assert cost.forward_flops == _convolution_flops(saved)
    assert cost.training_flops == 3 * _convolution_flops(training)
    assert cost.activation_bytes == _output_bytes(training)
    assert cost.step_activation_bytes == config.batch_size * cost.activation_bytes


def test_sixteen_bits_halve_the_activations_but_for_the_probability() -> None:
    config = replace(SMALL, deep_supervision=True, attention=True, precision="mixed_bfloat16")
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        training, _ = build_training_unet(config, SHAPE)
    finally:
        keras.config.set_dtype_policy("float32")
    assert network_cost(config, SHAPE).activation_bytes == _output_bytes(training)


def test_a_network_counted_by_hand() -> None:
    # One filter, one halving, no normalisation, a volume of 8^3: 512 voxels, then 64.
    cost = network_cost(TrainConfig(base_filters=1, depth=1, normalization="none", batch_size=2), (8, 8, 8))
    encoder, bottleneck, decoder = 2 * (27 + 1), (27 * 2 + 2) + (27 * 4 + 2) + (2 + 2), 2 * (27 + 1)
    up, logit = 2 + 1, 1 + 1
    assert cost.num_parameters == encoder + bottleneck + up + decoder + logit == 287
    full, half = 512, 64
    multiply_adds = full * 2 * 27 + half * (27 * 2 + 27 * 4 + 2) + half * 2 + full * 2 * 27 + full
    assert cost.forward_flops == 2 * multiply_adds == 132_864
    assert cost.training_flops == 3 * 132_864
    # enc: 7 outputs (conv, relu, dropout, conv, add, relu, and the pooled eighth); bot: 6 and a shortcut of 2 channels;
    # dec: a convolution on the coarse grid, its repetition, the sum, 6 of the block; logit and probability.
    outputs = (6 * full + half) + 7 * 2 * half + (half + full + full + 6 * full) + 2 * full
    assert cost.activation_bytes == 4 * outputs
    assert cost.state_bytes == 4 * 4 * 287
    assert cost.step_bytes == 2 * 4 * outputs + 4 * 4 * 287


def test_the_count_agrees_with_the_profiler_of_tensorflow() -> None:
    import tensorflow as tf

    shape = (32, 32, 32)
    for config in (replace(SMALL, base_filters=8, depth=3), replace(SMALL, base_filters=8, depth=3, attention=True)):
        model = build_unet(config, shape)
        function = tf.function(lambda ct, model=model: model(ct, training=False))
        graph = function.get_concrete_function(tf.TensorSpec((1, *shape, 1))).graph
        options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation() | {"output": "none"}
        profiled = tf.compat.v1.profiler.profile(graph, options=options).total_float_ops
        # The profiler also counts additions, means and the like.
        assert network_cost(config, shape).forward_flops == pytest.approx(profiled, rel=0.04)


@pytest.mark.parametrize(("filters", "training_gflops"), [(8, 16.25), (16, 64.27), (32, 255.6)])
def test_the_default_network_at_64_cubed(filters: int, training_gflops: float) -> None:
    cost = network_cost(TrainConfig(base_filters=filters), (64, 64, 64))
    assert cost.training_flops / 1e9 == pytest.approx(training_gflops, rel=1e-3)


def test_a_shape_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match=r"divisible by 2\^2 = 4"):
        network_cost(SMALL, (18, 16, 16))
