"""The versions in the environment that runs this, as constraints: `python -m environments.installed`."""

import re
from collections.abc import Iterator
from importlib import metadata

from environments.requirements import extras, lines, named, normal

FREE = {"torch", "torchvision"}
"""Left to the machine, with what torch itself depends on: processors and drivers differ."""
_TOOLS = {"pip", "setuptools", "wheel"}


def needed_by_torch(ours: set[str]) -> set[str]:
    """The installed dependencies of torch, direct or not, that are not among `ours`."""
    found: set[tuple[str, str]] = set()
    left = [("torch", "")]
    while left:
        name, extra = left.pop()
        if (name, extra) in found or name in ours:
            continue
        found.add((name, extra))
        try:
            needs = metadata.requires(name) or ()
        except metadata.PackageNotFoundError:
            continue
        for need in needs:
            wanted = re.search(r"\bextra\s*==\s*['\"]([^'\"]+)", need)
            if (normal(wanted[1]) if wanted else "") == extra:
                left += [(named(need), ""), *((named(need), each) for each in extras(need))]
    return {name for name, _ in found}


def constraints() -> Iterator[str]:
    """`name==version` of each package; what the requirements name is held, even if torch needs it as well."""
    ours = {named(line) for line in lines()} - FREE
    held = {normal(each.metadata["Name"]): each.version for each in metadata.distributions()}
    for name in sorted(held.keys() - FREE - _TOOLS - needed_by_torch(ours)):
        yield f"{name}=={held[name]}"


if __name__ == "__main__":
    print("\n".join(constraints()))
