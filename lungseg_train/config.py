"""TrainConfig: everything that decides one training. Standard library only, so every command can import it at once."""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from lungseg_train.config_limits import CHOICES, OPTIONAL, RANGES, SWITCHES
from lungseg_train.errors import InputError

Loss = Literal["dice_bce", "dice"]
Normalization = Literal["instance", "batch", "group", "none"]
Intensity = Literal["zscore", "minmax"]
Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
Xla = Literal["auto", "on", "off"]

DICE_SMOOTH = 1.0
"""Added to both sides of the soft Dice: an empty mask predicted empty then costs nothing (V-Net, arXiv:1606.04797)."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training: network, loss, optimiser, preprocessing and augmentation. Checked at birth."""

    # Optimisation
    learning_rate: float = 1e-3
    """Initial learning rate of Adam (0.9, 0.999); ReduceLROnPlateau lowers it."""
    epochs: int = 100
    """Full budget: passes over the training volumes."""
    batch_size: int = 2
    """Volumes in one step."""
    loss: Loss = "dice_bce"
    """Dice + binary cross-entropy, or Dice alone."""
    bce_weight: float = 0.5
    """Share of the cross-entropy in dice_bce; the Dice loss has the rest."""
    plateau_patience: int | None = None
    """Epochs without a lower loss before the learning rate is reduced; by default a tenth of all epochs, but at least 4."""
    plateau_factor: float = 0.5
    """What the learning rate is multiplied by on a plateau."""
    min_learning_rate: float = 1e-6
    """The learning rate is never reduced below this."""
    early_stopping_patience: int | None = None
    """Epochs without a better validation Dice before the training ends; by default a fifth of all epochs, but at least 5."""

    # Network
    base_filters: int = 16
    """Filters of the first level; each deeper level doubles them."""
    depth: int = 3
    """Number of halvings; every side of a volume must be divisible by 2^depth."""
    reg_l2: float = 1e-5
    """Strength of the L2 penalty on every convolution kernel."""
    dropout: float = 0.1
    """Spatial dropout rate in encoder, decoder and bottleneck, where the next three do not say otherwise."""
    dropout_enc: float | None = None
    """Dropout rate of the encoder."""
    dropout_dec: float | None = None
    """Dropout rate of the decoder."""
    dropout_bot: float | None = None
    """Dropout rate of the bottleneck."""
    normalization: Normalization = "instance"
    """Normalisation after each convolution. Batch statistics need hundreds of steps to be of use."""
    use_transpose: bool = False
    """Upsample by Conv3DTranspose instead of UpSampling3D and a 1x1 convolution."""
    attention: bool = False
    """Attention gates on the skip connections."""
    deep_supervision: bool = False
    """The loss also judges coarser predictions from the deeper levels of the decoder."""
    precision: Precision = "auto"
    """Number format of the computation; auto takes what is fastest on the device."""
    xla: Xla = "auto"
    """Compile with XLA; auto does so on a GPU and not on a CPU, where it is ten times slower."""

    # Preprocessing
    hu_window: tuple[float, float] = (-1000.0, 400.0)
    """CT values are clipped to this range (HU)."""
    smoothing_sigma_voxels: float = 0.0
    """Standard deviation of a Gaussian smoothing of the CT, in voxels; 0 leaves it as it is."""
    intensity: Intensity = "zscore"
    """zscore: mean 0 and standard deviation 1 in each volume; minmax: the HU window becomes [0, 1]."""

    # Training volumes
    num_phantoms: int = 48
    """Synthetic cases mixed into the training share, never into validation or test."""
    p_flip: float = 0.5
    """Probability of a flip along each axis."""
    p_rot90: float = 0.5
    """Probability of a rotation by 90, 180 or 270 degrees in one of the three planes."""
    p_shift: float = 0.5
    """Probability of a shift along each axis."""
    max_shift_voxels: int = 4
    """Largest shift along an axis."""
    p_rotate: float = 0.2
    """Probability of a free rotation about all three axes."""
    max_rotate_degrees: float = 10.0
    """Largest angle of that rotation about an axis."""
    p_scale: float = 0.2
    """Probability of a scaling, alike along all axes."""
    max_scale: float = 0.1
    """Largest scaling: 0.1 draws factors from 0.9 to 1.1."""
    p_elastic: float = 0.2
    """Probability of an elastic deformation."""
    elastic_spacing_voxels: int = 16
    """Distance of the control points between which the elastic deformation is smooth."""
    max_elastic_voxels: float = 3.0
    """Largest displacement of a control point along an axis."""
    p_brightness: float = 0.15
    """Probability of a change of brightness: the CT, counted from its darkest voxel, times a factor."""
    max_brightness: float = 0.1
    """Largest change of brightness: 0.1 draws factors from 0.9 to 1.1."""
    p_contrast: float = 0.15
    """Probability of a change of contrast: the distance of every voxel from the mean, times a factor."""
    max_contrast: float = 0.1
    """Largest change of contrast: 0.1 draws factors from 0.9 to 1.1."""
    p_intensity_shift: float = 0.15
    """Probability that one value is added to the whole CT."""
    max_intensity_shift: float = 0.05
    """Largest such value, as a share of the HU window."""
    p_jitter: float = 0.2
    """Probability of Gaussian noise on the CT."""
    jitter_sigma: float = 0.03
    """Standard deviation of that noise, as a share of the HU window."""

    seed: int = 42
    """Seed of the split, the initial weights, dropout, augmentation and the order of the volumes."""

    def __post_init__(self) -> None:
        _check_numbers(self)
        for name in SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be true or false, got {getattr(self, name)!r}.")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}.")
        object.__setattr__(self, "hu_window", _hu_window(self.hu_window))

    @property
    def dropout_rates(self) -> tuple[float, float, float]:
        """Dropout rates of encoder, decoder and bottleneck."""
        rates = (self.dropout_enc, self.dropout_dec, self.dropout_bot)
        encoder, decoder, bottleneck = (self.dropout if rate is None else rate for rate in rates)
        return encoder, decoder, bottleneck

    @property
    def patiences(self) -> tuple[int, int]:
        """Epochs of patience of ReduceLROnPlateau and of EarlyStopping."""
        plateau = max(4, self.epochs // 10) if self.plateau_patience is None else self.plateau_patience
        stopping = max(5, self.epochs // 5) if self.early_stopping_patience is None else self.early_stopping_patience
        return plateau, stopping

    @property
    def loss_weight_bce(self) -> float:
        """Share of the cross-entropy in the loss: 0 for the Dice loss alone."""
        return self.bce_weight if self.loss == "dice_bce" else 0.0

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str = "configuration") -> Self:
        """A configuration from its JSON object; missing fields take their default. Raises `InputError`."""
        unknown = sorted(set(values) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise InputError(f"{source}: unknown fields {', '.join(unknown)}; remove or correct them.")
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise InputError(f"{source}: {error}") from None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a `train_config.json` or `best_config.json`. Raises `InputError`."""
        try:
            values = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: expected the JSON of a training configuration ({error}).") from None
        if not isinstance(values, dict):
            raise InputError(f"{path}: expected a JSON object of training options, got {type(values).__name__}.")
        return cls.from_dict(values, str(path))


def check_shape(shape: tuple[int, int, int], depth: int) -> None:
    """Raise `InputError` unless every side of a volume can be halved `depth` times."""
    if any(side % 2**depth or side < 2**depth for side in shape):
        raise InputError(
            f"volumes of {'x'.join(map(str, shape))} voxels do not fit depth {depth}: every side must be divisible by "
            f"2^{depth} = {2**depth}. Choose a smaller --depth or resample the cases."
        )


def _hu_window(window: Any) -> tuple[float, float]:
    try:
        low, high = (float(edge) for edge in window)
    except (TypeError, ValueError):
        low = high = math.nan
    if not low < high or not math.isfinite(high - low):
        raise InputError(f"hu_window must be two finite HU values, the lower first, got {window}.")
    return low, high


def _check_numbers(config: TrainConfig) -> None:
    for name, (kind, lowest, highest) in RANGES.items():
        value = getattr(config, name)
        if value is None and name in OPTIONAL:
            continue
        accepted = (int,) if kind is int else (int, float)
        # A bool is an int to Python, but never a count or a rate to a user.
        if isinstance(value, bool) or not isinstance(value, accepted) or not lowest <= value <= highest:
            noun = "a whole number" if kind is int else "a number"
            raise InputError(f"{name} must be {noun} from {lowest:g} to {highest:g}, got {value!r}.")
