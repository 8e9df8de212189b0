"""What the pages of all reports share: one HTML file that needs no network, and runs one script of ours."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def render(template: str, filters: Mapping[str, Callable[..., Any]], **values: Any) -> str:
    """A page's HTML; the template also gets `script`, which sorts tables, and its `script_digest`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    script = environment.get_template("study_sort.js").render().strip()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(template).render(script=script, script_digest=digest, **values)


def embedded(png: bytes) -> str:
    """A PNG as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def counted(count: int, split: str, parts: list[str], what: str = "image") -> str:
    """What was judged: `12 test images`, `60 held-out images of 5 folds`, `1,080 test images of 3 seeds`.

    Args:
        parts: the folds or seeds, empty where the run is a single one.
        what: one of them.
    """
    kind = "test" if split == "test" else "validation"
    if parts and parts[0].startswith("fold") and split == "val":
        kind = "held-out"
    text = f"{count:,} {kind} {what}{'' if count == 1 else 's'}"
    return f"{text} of {len(parts)} {parts[0].partition('_')[0]}s" if parts else text
