"""The config: frozen data, checked before anything is built. Never imports torch."""

from lab.config.optimize import OptimizeConfig, is_study
from lab.config.problems import ConfigError, Problem
from lab.config.run import RunConfig
from lab.config.space import Corner, Space
from lab.config.spec import Spec

__all__ = ["ConfigError", "Corner", "OptimizeConfig", "Problem", "RunConfig", "Space", "Spec", "is_study"]
