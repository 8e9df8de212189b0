"""Facts that data states about itself, as arguments that are `auto` take them."""

from lab.config.dataset_info import DatasetInfo, Facts
from lab.config.problems import ConfigError, Problem

BACKGROUND = "background"


def arguments_of(facts: Facts | None) -> dict[str, object]:
    """The facts by the names of arguments; `background` is an index there, and in the data a name.

    Raises:
        ConfigError: the data declares a background that is none of its classes.
    """
    known = dict(facts or {})
    if not known:
        return known
    try:
        known[BACKGROUND] = DatasetInfo.from_facts(known).background_class
    except ValueError as error:
        raise ConfigError([Problem(("data",), str(error))]) from error
    return known
