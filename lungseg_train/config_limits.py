"""What the fields of `TrainConfig` may hold."""

CHOICES: dict[str, tuple[str, ...]] = {
    "loss": ("dice_bce", "dice"),
    "normalization": ("instance", "batch", "group", "none"),
    "intensity": ("zscore", "minmax"),
    "precision": ("auto", "float32", "mixed_bfloat16", "mixed_float16"),
    "xla": ("auto", "on", "off"),
}

# Fields that may be None.
OPTIONAL = {"dropout_enc", "dropout_dec", "dropout_bot", "plateau_patience", "early_stopping_patience"}

# Field: (type, lowest, highest). The limits are those of sense, not of taste.
RANGES: dict[str, tuple[type, float, float]] = {
    "learning_rate": (float, 1e-9, 10.0),
    "epochs": (int, 1, 1_000_000),
    "batch_size": (int, 1, 1024),
    "bce_weight": (float, 0.0, 1.0),
    "plateau_patience": (int, 1, 1_000_000),
    "plateau_factor": (float, 0.01, 0.99),
    "min_learning_rate": (float, 0.0, 10.0),
    "early_stopping_patience": (int, 1, 1_000_000),
    "base_filters": (int, 1, 512),
    "depth": (int, 1, 7),
    "reg_l2": (float, 0.0, 1.0),
    "dropout": (float, 0.0, 0.9),
    "dropout_enc": (float, 0.0, 0.9),
    "dropout_dec": (float, 0.0, 0.9),
    "dropout_bot": (float, 0.0, 0.9),
    "smoothing_sigma_voxels": (float, 0.0, 10.0),
    "num_phantoms": (int, 0, 100_000),
    "p_flip": (float, 0.0, 1.0),
    "p_rot90": (float, 0.0, 1.0),
    "p_shift": (float, 0.0, 1.0),
    "max_shift_voxels": (int, 0, 1024),
    "p_rotate": (float, 0.0, 1.0),
    "max_rotate_degrees": (float, 0.0, 45.0),
    "p_scale": (float, 0.0, 1.0),
    "max_scale": (float, 0.0, 0.5),
    "p_elastic": (float, 0.0, 1.0),
    "elastic_spacing_voxels": (int, 4, 256),
    "max_elastic_voxels": (float, 0.0, 64.0),
    "p_brightness": (float, 0.0, 1.0),
    "max_brightness": (float, 0.0, 0.9),
    "p_contrast": (float, 0.0, 1.0),
    "max_contrast": (float, 0.0, 0.9),
    "p_intensity_shift": (float, 0.0, 1.0),
    "max_intensity_shift": (float, 0.0, 1.0),
    "p_jitter": (float, 0.0, 1.0),
    "jitter_sigma": (float, 0.0, 1.0),
    "seed": (int, 0, 2**32 - 1),
}

# Fields that are true or false.
SWITCHES = ("use_transpose", "attention", "deep_supervision")
