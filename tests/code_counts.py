"""Counts of the code for docs/architecture.md: `python tests/code_counts.py [FOLDER]` prints them."""

import ast
import io
import re
import statistics
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
QUESTION = re.compile(r"\s*(What|Who|Whether|Where|How|Which)\b")


def sources(root: Path) -> list[Path]:
    """Return the files that are counted; a checkout of an earlier commit may lack some."""
    files = [root / name for name in ("main.py", "util.py", "model.py")]
    files += [*(root / "lab").rglob("*.py"), *(root / "selftest").rglob("*.py")]
    return sorted(path for path in files if path.is_file())


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and text of the docstring of each module, class and function."""
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node, clean=False)) is not None:
            yield node.body[0].lineno, text


def own_line_comments(text: str) -> set[int]:
    """Return the lines that hold a comment and nothing else."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {
        token.start[0]
        for token in tokens
        if token.type == tokenize.COMMENT and token.line.strip().startswith("#")
    }


def code_lines(text: str, tree: ast.AST) -> int:
    """Count lines that are neither blank nor a comment nor part of a docstring (of an attribute, too)."""
    excluded = own_line_comments(text)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            excluded |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return sum(bool(line.strip()) and n not in excluded for n, line in enumerate(text.split("\n"), 1))


def package_imports(root: Path) -> set[tuple[str, str]]:
    """Return the imports between entries of `lab/`, and between these and main, util, model and selftest."""
    modules = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sources(root)
    }

    def part(module: str) -> str:
        names = module.split(".")
        return ".".join(names[:2]) if names[0] == "lab" else names[0]

    found = set()
    for module, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                full = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = [name if name in modules else node.module for name in full]
            else:
                continue
            found |= {(part(module), part(name)) for name in targets if name in modules}
    return {(one, other) for one, other in found if one not in (other, "lab")}


def entries(root: Path) -> int:
    """Count the packages and modules at the top of `lab/`."""
    tops = {path.relative_to(root / "lab").parts[0] for path in (root / "lab").rglob("*.py")}
    return len(tops - {"__init__.py"})


def counts(root: Path) -> dict[str, str]:
    """Return all figures of a checkout, by name."""
    lengths, functions, comments, code, opening, documented, anything = [], [], 0, 0, 0, 0, 0
    for path in sources(root):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        lengths.append(text.count("\n"))
        code += code_lines(text, tree)
        comments += len(own_line_comments(text))
        texts = [text for _, text in docstrings(tree)]
        documented += len(texts)
        opening += sum(bool(QUESTION.match(text)) for text in texts)
        for node in ast.walk(tree):
            anything += isinstance(node, ast.Name) and node.id == "Any"
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                functions.append((node.end_lineno or node.lineno) - node.lineno + 1)
    return {
        "entries at the top of lab/": f"{entries(root)}",
        "imports between packages": f"{len(package_imports(root))}",
        "lines of code": f"{code:,}",
        "docstrings that open with What, Who, Whether, Where, How, Which": (
            f"{opening} of {documented:,} ({opening / documented:.1%})"
        ),
        "own-line comments per 1,000 lines of code": f"{1000 * comments / code:.1f}",
        "Any per 10,000 lines": f"{10_000 * anything / sum(lengths):.0f}",
        "lines of a file, 90th percentile": f"{statistics.quantiles(lengths, n=10)[-1]:.0f}",
        "lines of a function, 90th percentile": f"{statistics.quantiles(functions, n=10)[-1]:.0f}",
    }


if __name__ == "__main__":
    for name, value in counts(Path(sys.argv[1] if len(sys.argv) > 1 else ".")).items():
        print(f"{name:64} {value}")
