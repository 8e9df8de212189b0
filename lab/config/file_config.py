"""A config that is read from a file of its own, and can be written back to one."""

from typing import Any

from lab.config.base import Frozen
from lab.config.yaml_writer import plain, to_text


class FileConfig(Frozen):
    """The base of what a whole YAML file describes: a run, or a study."""

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The defaults of the keys that a file may leave out, as plain data."""
        fields = {name: item for name, item in cls.model_fields.items() if not item.is_required()}
        partial = cls.model_construct(
            **{name: item.get_default(call_default_factory=True) for name, item in fields.items()}
        )
        data: dict[str, Any] = plain(partial.model_dump(include=set(fields)))
        return data

    def as_data(self) -> dict[str, Any]:
        """The resolved config as plain data, defaults included; `validate` reads it back."""
        data: dict[str, object] = plain(self.model_dump())
        return data

    def to_yaml(self, encoding: str | None = "utf-8") -> str:
        """The resolved config as YAML that `from_yaml` reads back to an equal config.

        Args:
            encoding: of the console that shows it; texts that it can't write are escaped.
        """
        return to_text(self.as_data(), encoding)
