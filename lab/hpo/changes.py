"""What may change in a study's file while the study goes on, and what needs a study of its own."""

from collections.abc import Mapping
from typing import Any


def refuse(stored: Mapping[str, Any], wanted: Mapping[str, Any], study_name: str) -> None:
    """Raise where old and new trials can't be compared."""
