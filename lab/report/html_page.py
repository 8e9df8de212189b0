"""Rendering of reports as one HTML file that needs no network and runs a single known script."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path


def render(template: str, filters: Mapping[str, Callable[..., object]], **values: object) -> str:
    """Render a page as HTML; the template also gets `script`, which sorts tables, and its `script_digest`."""
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


def embedded(image: bytes, kind: str = "png") -> str:
    """Return an encoded image as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
