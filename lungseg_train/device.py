"""What the training runs on: threads, memory growth, and what "auto" means for precision and XLA there."""

import functools
import os
import sys
from pathlib import Path

from lungseg_train.config import TrainConfig

AMX_FILTERS = 16
"""oneDNN feeds AMX tiles of 16 channels: below that bfloat16 is slower than float32 on a CPU, from there 2.5 times faster."""
MAX_DATA_THREADS = 4
"""Threads that make batches for a GPU, which trains several times faster than one of them augments."""


def import_backend_quietly() -> None:
    """Import the backend without its start-up chatter, which it writes past Python to the process's stderr."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    sys.stderr.flush()
    terminal, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, 2)
        import keras  # noqa: F401
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(devnull)


def configure_device(num_threads: int | None = None) -> None:
    """Use `num_threads` CPU threads (None: all) and take GPU memory only as it is needed; once, before the first operation."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    if num_threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(num_threads)
        tf.config.threading.set_inter_op_parallelism_threads(min(num_threads, 2))
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)


def resolve_precision(config: TrainConfig) -> str:
    """The Keras dtype policy: "auto" is what is fastest on this device."""
    if config.precision != "auto":
        return config.precision
    capability = gpu_compute_capability()
    if capability is not None:
        return "mixed_bfloat16" if capability >= (8, 0) else "mixed_float16" if capability >= (7, 0) else "float32"
    return "mixed_bfloat16" if _cpu_has_amx() and config.base_filters % AMX_FILTERS == 0 else "float32"


def resolve_xla(config: TrainConfig) -> bool:
    return gpu_compute_capability() is not None if config.xla == "auto" else config.xla == "on"


def num_data_threads() -> int:
    """Threads that make batches: one beside a training on the CPU, which needs the cores itself; a GPU leaves them idle."""
    if gpu_compute_capability() is None:
        return 1
    return min(MAX_DATA_THREADS, max(1, _num_cores() - 1))


def _num_cores() -> int:
    """Cores that this process may use: those it was configured with, where it was."""
    import keras

    configured = 0
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        configured = tf.config.threading.get_intra_op_parallelism_threads()
    return configured or len(os.sched_getaffinity(0))


@functools.cache
def gpu_compute_capability() -> tuple[int, int] | None:
    """Compute capability of the first GPU that the backend can use; (8, 0) where it does not tell; None without GPU."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return (8, 0) if jax.default_backend() == "gpu" else None
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (8, 0)) if gpus else None


@functools.cache
def _cpu_has_amx() -> bool:
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
