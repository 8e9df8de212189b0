"""The exception of a component that can't be built from a combination of arguments."""


class Infeasible(Exception):
    """A combination of arguments makes no sense; in a study the trial is infeasible, and not failed.

    Raise it in a constructor, such as that of a network: `from lab import Infeasible`. The study's sampler
    learns to keep away. With `--run` it is an error in the config.
    """
