"""All that is wrong with a set of files, told at once: nobody wants to start a run once per mistake."""

from collections.abc import Sequence

MOST_SHOWN = 20  # a folder full of the same mistake should not fill the screen


def raise_all(problems: Sequence[str], what: str, advice: str = "") -> None:
    """Raise one ValueError for all problems with `what`, or do nothing where there are none."""
    if not problems:
        return
    lines = [f"  {problem}" for problem in problems[:MOST_SHOWN]]
    if len(problems) > MOST_SHOWN:
        lines.append(f"  … and {len(problems) - MOST_SHOWN} more")
    head = f"{len(problems)} problem{'s' if len(problems) > 1 else ''} with {what}"
    raise ValueError("\n".join([f"{head}{': ' + advice if advice else ''}", *lines]))
