"""Proposes configurations: Optuna's TPE behind Ray Tune's searcher interface."""

from typing import Any

from lungseg_train.config import TrainConfig
from tune.config import METRIC, MODE, SearchConfig
from tune.search_space import distributions, parse_space, points_to_evaluate


def build_searcher(search: SearchConfig, base: TrainConfig) -> Any:
    """TPE over the search space, the reference configurations first."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    dimensions = parse_space(search.space)
    return OptunaSearch(
        space=distributions(dimensions),
        metric=METRIC,
        mode=MODE,
        points_to_evaluate=points_to_evaluate(dimensions, base)[: search.num_trials],
        sampler=optuna.samplers.TPESampler(seed=base.seed),
    )
