"""Proposes configurations: an Optuna sampler behind Ray Tune's searcher interface."""

from collections.abc import Callable
from typing import Any

from lungseg_train.config import TrainConfig
from tune.config import METRIC, MODE, SearchConfig
from tune.search_space import distributions, parse_space, points_to_evaluate

SAMPLERS: dict[str, Callable[[int], Any]] = {
    "tpe": lambda seed: _samplers().TPESampler(seed=seed),
    "random": lambda seed: _samplers().RandomSampler(seed=seed),
}


def build_searcher(search: SearchConfig, base: TrainConfig) -> Any:
    """Optuna's sampler over the search space, the reference configurations first."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    dimensions = parse_space(search.space)
    return OptunaSearch(
        space=distributions(dimensions),
        metric=METRIC,
        mode=MODE,
        points_to_evaluate=points_to_evaluate(dimensions, base)[: search.num_trials],
        sampler=SAMPLERS[search.sampler](base.seed),
    )


def _samplers() -> Any:
    import optuna

    return optuna.samplers
