"""Export a model for other software: python -m lungseg_train.export --model best_model.keras --output model.onnx."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from lungseg_train.command_line import parse
from lungseg_train.device import configure_device, import_backend_quietly
from lungseg_train.errors import InputError, command

ONNX_SUFFIX = ".onnx"
OTHER_FORMATS = (".h5", ".keras", ".pb", ".pt", ".tflite", ".zip")
ONNX_PACKAGES = ("onnx", "onnxruntime", "tf2onnx")


@dataclass(frozen=True, kw_only=True)
class ExportCommand:
    """Options of the command."""

    model: Path
    """A model file of a training, such as best_model.keras."""
    output: Path
    """A file that ends with .onnx, or else a new folder for a TensorFlow SavedModel. Either takes a CT in HU: windowing and
    normalisation are inside. Grid, orientation and configuration are written with it."""
    format: Literal["auto", "onnx", "saved_model"] = "auto"
    """By default what the name of the output says."""


@command
def main() -> None:
    options = parse(ExportCommand, "python -m lungseg_train.export", "Export a model as ONNX or TensorFlow SavedModel.")
    is_onnx = options.output.suffix == ONNX_SUFFIX
    _check(options, is_onnx)
    import_backend_quietly()
    from lungseg_train.network.exporting import export_onnx, export_saved_model

    configure_device()
    difference = (export_onnx if is_onnx else export_saved_model)(options.model, options.output)
    print(f"exported: {options.output}, its probabilities differ from the model's by at most {difference:.0e}")


def _check(options: ExportCommand, is_onnx: bool) -> None:
    """Raise `InputError` for what can be known before the backend is imported."""
    if options.format != "auto" and is_onnx != (options.format == "onnx"):
        raise InputError(f"{options.output}: a name that ends with {ONNX_SUFFIX} is for --format onnx, and for it alone.")
    missing = [name for name in ONNX_PACKAGES if is_onnx and find_spec(name) is None]
    if missing:
        raise InputError(f"ONNX needs {', '.join(missing)}, not installed here. Run: pip install 'lungseg-search[export]'.")
    if not options.model.is_file():
        raise InputError(f"{options.model}: no such file; expected a model such as best_model.keras.")
    if options.output.suffix in OTHER_FORMATS:
        raise InputError(f"{options.output}: expected a name that ends with {ONNX_SUFFIX}, or a folder's for a SavedModel.")
    if options.output.exists():
        raise InputError(f"{options.output}: exists already. Choose another name or remove it.")


if __name__ == "__main__":
    main()
