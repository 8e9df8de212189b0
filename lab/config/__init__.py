"""The config: frozen data, checked before anything is built. Never imports torch."""

from lab.config.component_spec import Spec
from lab.config.optimize_config import OptimizeConfig, is_study
from lab.config.problems import ConfigError, Problem
from lab.config.run_config import RunConfig
from lab.config.search_space import Corner, Space
from lab.errors import Infeasible

__all__ = [
    "ConfigError",
    "Corner",
    "Infeasible",
    "OptimizeConfig",
    "Problem",
    "RunConfig",
    "Space",
    "Spec",
    "is_study",
]
