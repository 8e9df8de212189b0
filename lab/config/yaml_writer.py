"""Plain data as YAML that every reader understands alike."""

from collections.abc import Mapping
from typing import Any

import yaml

from lab.config.yaml_reader import plain_scalar
from lab.store.ascii_fallback import can_write

_BREAKS = "\x85\u2028\u2029"  # a line break to YAML 1.1, which only an escape brings through


def plain(value: Any) -> Any:
    """A copy of nested data with lists for tuples, as YAML has it."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def to_text(data: object, encoding: str | None = "utf-8") -> str:
    """YAML that `lab.config.yaml_reader` reads back to equal data; what the encoding lacks is escaped."""
    text = _dumped(data, escaped=False)
    return text if can_write(text, encoding) else _dumped(data, escaped=True)


def _dumped(data: object, *, escaped: bool) -> str:
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=not escaped, width=110))


class _Dumper(yaml.SafeDumper):
    """Writes numbers and texts so that YAML 1.1 and 1.2 readers agree on them."""

    def ignore_aliases(self, data: object) -> bool:
        """Write a value in full wherever it stands."""
        return True


def _represent_float(dumper: yaml.SafeDumper, value: float) -> yaml.Node:
    text = repr(value)
    if text.endswith(("inf", "nan")):
        text = text.replace("inf", ".inf").replace("nan", ".nan")
    elif "e" in text and "." not in text:  # 1e-05 is text to YAML 1.1
        text = text.replace("e", ".0e")
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


def _represent_list(dumper: yaml.SafeDumper, value: list[object]) -> yaml.Node:
    plain = all(not isinstance(item, (dict, list)) for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=plain)


def _represent_text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    # In quotes where the bare text would be read as a number, a boolean or null.
    style = None if plain_scalar(value) == value else "'"
    if any(mark in value for mark in _BREAKS):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(float, _represent_float)
_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(str, _represent_text)
