"""The `state_dict` of an object of the user's, as a part of a checkpoint."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lab.state.attributes import has_own_state
from lab.state.plain_values import Plain, Unkeepable, packed, unpacked


class OwnState:
    """The state that an object's own `state_dict` returns, as far as it is plain data.

    Args:
        part: a module, or an object with `state_dict` and `load_state_dict`.
    """

    def __init__(self, part: Any) -> None:
        self._part = part

    @classmethod
    def of(cls, part: object) -> "OwnState | None":
        """The state of this object; None where it has none."""
        if has_own_state(part) or (isinstance(part, nn.Module) and part.state_dict()):
            return cls(part)
        return None

    def parameters(self) -> list[Tensor]:
        """Return the parameters of a module."""
        return list(self._part.parameters()) if isinstance(self._part, nn.Module) else []

    def unkeepable(self) -> list[str]:
        """The entries that a checkpoint can't hold."""
        return self._entries()[1]

    def state_dict(self) -> dict[str, Plain]:
        """The entries that a checkpoint can hold; the tensors of a module as they are."""
        return self._entries()[0]

    def load_state_dict(self, state: Mapping[str, Plain]) -> None:
        """Restore the entries.

        Raises:
            RuntimeError, ...: whatever the object raises where they don't fit.
        """
        values = {
            name: value if isinstance(value, Tensor) else unpacked(value) for name, value in state.items()
        }
        if isinstance(self._part, nn.Module):
            # Entries that the checkpoint could not hold are missing, so strict loading would fail.
            _make_room(self._part, values)
            missing = self._entries()[1]
            self._part.load_state_dict(values, strict=not missing)
        else:
            self._part.load_state_dict(values)

    def _entries(self) -> tuple[dict[str, Plain], list[str]]:
        found: dict[str, Any] = {}
        wrong = []
        for name, value in dict(self._part.state_dict()).items():
            try:
                found[name] = value if isinstance(value, Tensor) else packed(value, f"state_dict()[{name!r}]")
            except Unkeepable as error:
                wrong.append(str(error))
        return found, wrong


def _make_room(module: nn.Module, values: Mapping[str, Plain]) -> None:
    """Give buffers that grow, such as a memory bank, the shape that they have in the checkpoint."""
    modules = dict(module.named_modules())
    for path, value in values.items():
        below, _, name = path.rpartition(".")
        buffer = modules[below]._buffers.get(name) if below in modules else None
        if isinstance(buffer, Tensor) and isinstance(value, Tensor) and buffer.shape != value.shape:
            modules[below]._buffers[name] = buffer.new_empty(value.shape)
