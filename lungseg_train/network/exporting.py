"""A model file -> ONNX or SavedModel, compared with the model before it is put in place."""

import contextlib
import json
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lungseg_train.errors import InputError
from lungseg_train.network.model_file import read_model_config, read_training_grid
from lungseg_train.network.self_contained import INPUT_NAME, OUTPUT_NAME, load_self_contained

METADATA_NAME = "lungseg.json"
MAX_DIFFERENCE = 1e-4
"""Between the probabilities of export and model: kernels sum in other orders."""


def export_onnx(model_path: Path, onnx_path: Path) -> float:
    """Write an ONNX file that takes HU; returns by how much its probabilities differ. Raises `InputError`."""
    model = load_self_contained(model_path)
    ct_hu, expected = _example(model)
    with _finished_or_gone(onnx_path) as unfinished:
        with _silence():
            import onnxruntime

            model.export(str(unfinished), format="onnx", verbose=False)
            _label(unfinished, describe(model_path))
            session = onnxruntime.InferenceSession(str(unfinished), providers=["CPUExecutionProvider"])
            exported = session.run([OUTPUT_NAME], {INPUT_NAME: ct_hu})[0]
        return _difference(expected, np.asarray(exported))


def export_saved_model(model_path: Path, folder: Path) -> float:
    """Write a SavedModel that takes HU; returns by how much its probabilities differ. Raises `InputError`."""
    import tensorflow as tf

    model = load_self_contained(model_path)
    ct_hu, expected = _example(model)
    with _finished_or_gone(folder) as unfinished:
        with _silence():
            model.export(str(unfinished), format="tf_saved_model", verbose=False)
            loaded = tf.saved_model.load(str(unfinished))
            exported = loaded.serve(ct_hu)
        (unfinished / METADATA_NAME).write_text(json.dumps(describe(model_path), indent=2) + "\n")
        return _difference(expected, np.asarray(exported))


def describe(model_path: Path) -> dict[str, Any]:
    """What other software has to know to use the export rightly."""
    return {
        "software": f"lungseg-search {version('lungseg-search')}",
        "input": "CT in HU, not preprocessed, float32 (batch, X, Y, Z, 1); axes to the patient's right, anterior and superior; "
        "on the training grid, centred on the body across and on the scan along, -1000 HU outside of the scan",
        "output": "probability of lung, float32, alike in shape; lung from 0.5 on",
        "training_grid": read_training_grid(model_path).as_dict(),
        "train_config": asdict(read_model_config(model_path)),
    }


def _label(onnx_path: Path, metadata: dict[str, Any]) -> None:
    """Give an ONNX file names that can be read, and the metadata."""
    import onnx

    proto = onnx.load(onnx_path)
    graph = proto.graph
    old_name = graph.output[0].name
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [OUTPUT_NAME if name == old_name else name for name in names]
    graph.output[0].name = OUTPUT_NAME
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
    onnx.helper.set_model_props(proto, texts)
    onnx.checker.check_model(proto)
    onnx.save(proto, onnx_path)


def _example(model: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """Two volumes of noise in HU and their probabilities. Keras exports a model only once it has been called."""
    values = np.random.default_rng(0).uniform(-1100.0, 500.0, (2, *model.input_shape[1:])).astype(np.float32)
    return values, np.asarray(model.predict_on_batch(values))


def _difference(expected: np.ndarray, exported: np.ndarray) -> float:
    difference = float(np.abs(expected - exported).max())
    # Written so that NaN is refused too.
    if not difference <= MAX_DIFFERENCE:
        raise InputError(
            f"the export's probabilities differ from the model's by {difference:.1g}, at most {MAX_DIFFERENCE:g} was expected; "
            "nothing is written. Export in the other format."
        )
    return difference


@contextmanager
def _finished_or_gone(output: Path) -> Iterator[Path]:
    """A place to write to, which becomes `output` once all is well."""
    folder = None
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
        # The suffix tells ONNX what to write.
        unfinished = folder / f"unfinished{output.suffix}"
        yield unfinished
        os.replace(unfinished, output)
    except OSError as error:
        raise InputError(
            f"{output}: cannot be written ({error.strerror}). Choose a folder with space and write access."
        ) from None
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _silence() -> Iterator[None]:
    """Without what the exporters write to the process's stdout and stderr; their errors come as exceptions."""
    for name in ("tensorflow", "tf2onnx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        devnull = os.open(os.devnull, os.O_WRONLY)
        stack.callback(os.close, devnull)
        for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
            stream.flush()
            terminal = os.dup(number)
            stack.callback(os.close, terminal)
            stack.callback(os.dup2, terminal, number)
            stack.callback(stream.flush)
            os.dup2(devnull, number)
        yield
