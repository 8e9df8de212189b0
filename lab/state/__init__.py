"""The state of objects that outlives a step, as plain data that a checkpoint can keep."""

from lab.state.attributes import Held, kept_apart
from lab.state.plain_values import Unkeepable, packed, unpacked

__all__ = ["Held", "Unkeepable", "kept_apart", "packed", "unpacked"]
