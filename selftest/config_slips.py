"""Wrong YAML files: the project's own configs, each with one slip of the kind that people and disks make."""

import inspect
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path
from typing import Any

from lab.config import ConfigError, config_file
from lab.config.problems import Path as Keys
from lab.config.signature_stubs import look
from lab.config.study_file import is_study
from selftest.studies import described

WRONG = "wrong.yaml"
_TRIES = 100
_TEXTS = described(__file__)


@dataclass(frozen=True)
class Wrong:
    """A wrong file.

    Args:
        what: the slip.
        content: of the file, which is called `wrong.yaml`.
        study: whether it is one of a study.
        line: where it has to be reported, from 1; 0 where there is none to name.
        hint: what the message has in it.
        name: by which the command asks for it.
    """

    what: str
    content: bytes
    study: bool
    line: int
    hint: str = ""
    name: str = WRONG


class Original:
    """One of the project's configs, its lines, and where its values stand."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_text(encoding="utf-8")
        self.lines = self.text.splitlines()
        document = config_file.parse(self.text, "x")
        self.data: dict[str, Any] = document.data
        self.study = is_study(document)
        self.places = {keys: int(where.rpartition(":")[2]) for keys, where in document.origins.items()}
        self.own = [keys for keys in self.places if len(keys) == 1]  # keys of the config itself

    def wrong(self, what: str, line: int, hint: str = "", text: str | None = None) -> Wrong:
        """Return it as a wrong file, with its lines as they are now, or as another text."""
        content = "\n".join(self.lines) + "\n" if text is None else text
        return Wrong(what, content.encode(), self.study, line, hint)

    def replaced(self, keys: Keys, pattern: str, new: str) -> int:
        """Replace a pattern once in the line of a value; that line's number.

        Raises:
            LookupError: the pattern isn't in it.
        """
        line = self.places[keys]
        text, count = re.subn(pattern, lambda _: new, self.lines[line - 1], count=1)
        if not count:
            raise LookupError(pattern)
        self.lines[line - 1] = text
        return line

    def remove(self, name: str) -> None:
        """Remove a section: its line, and those below that are indented."""
        line = self.places[name,]
        self.lines[line - 1 :] = dropwhile(lambda each: not re.match(r"\S", each), self.lines[line:])

    def arguments(self, kind: Any = None) -> Iterator[tuple[Keys, str]]:
        """Arguments of components that name all theirs, with the import path; some annotations' alone."""
        for keys, target in self.components():
            made = look(target)
            if made is None:
                continue
            known = inspect.signature(made).parameters
            if any(each.kind is each.VAR_KEYWORD for each in known.values()):
                continue
            own: Any = vars(made)["__init__"] if isinstance(made, type) else made
            hints = own.__annotations__
            for name in known:
                if (*keys, name) in self.places and (kind is None or hints.get(name) in kind):
                    yield (*keys, name), target

    def components(self) -> Iterator[tuple[Keys, str]]:
        """The components that stand in the file itself, with their import paths."""
        for keys in self.places:
            value: Any = self.data
            for key in keys:
                value = value[key]
            target = value.get("target") if isinstance(value, Mapping) else None
            if isinstance(target, str) and (*keys, "target") in self.places and keys[0] != "search_space":
                yield keys, target


def misspelt(word: str, rng: random.Random) -> str:
    """A word with two letters changed about, one left out, or one doubled."""
    while True:
        index = rng.randrange(1, len(word) - 1)
        way = rng.randrange(3)
        if way == 0:
            found = word[:index] + word[index + 1] + word[index] + word[index + 2 :]
        else:
            found = word[:index] + ("" if way == 1 else word[index]) + word[index:][way == 1 :]
        if found != word and re.fullmatch(r"[A-Za-z]\w*", found):
            return found


Slip = Callable[[Original, random.Random], Wrong]


def _key(original: Original, rng: random.Random) -> Wrong:
    keys = rng.choice([keys for keys in original.own if len(str(keys[0])) > 4])
    name = str(keys[0])
    line = original.replaced(keys, rf"^{name}(?=:)", misspelt(name, rng))
    return original.wrong(f"{name} misspelt", line, f"did you mean '{name}'?")


def _argument(original: Original, rng: random.Random) -> Wrong:
    keys, _ = rng.choice([found for found in original.arguments() if len(str(found[0][-1])) > 4])
    name = str(keys[-1])
    line = original.replaced(keys, rf"\b{name}(?=:)", misspelt(name, rng))
    return original.wrong(f"{name} of a component misspelt", line, f"did you mean '{name}'?")


def _path(original: Original, rng: random.Random) -> Wrong:
    keys, target = rng.choice([found for found in original.components() if not found[1].startswith("albu")])
    parts = target.split(".")
    index = rng.choice([i for i, part in enumerate(parts) if len(part) > 3])
    wrong = misspelt(parts[index], rng)
    line = original.replaced((*keys, "target"), rf"\b{re.escape(target)}\b",
                             ".".join([*parts[:index], wrong, *parts[index + 1 :]]))  # fmt: skip
    return original.wrong(f"{target} misspelt", line, f"did you mean '{parts[index]}'?")


def _type_of_argument(original: Original, rng: random.Random) -> Wrong:
    keys, _ = rng.choice(list(original.arguments((int, float, bool))))
    line = original.replaced(keys, rf"\b{keys[-1]}: *[^,}}\s#]+", f"{keys[-1]}: very")
    return original.wrong(f"a text for {keys[-1]}", line, "found 'very' (text), expected")


def _value(what: str, values: Mapping[str, str], hint: str) -> Slip:
    """A key of a config with a wrong value; it is added at the end where the file has none."""

    def slip(original: Original, rng: random.Random) -> Wrong:
        name, value = rng.choice(sorted(values.items()))
        if original.study:
            name, value = {"folds": ("workers", "0")}.get(
                name, ("n_trials", value if what != "choice" else "fp23")
            )
        if (name,) in original.places:
            original.remove(name)
        original.lines.append(f"{name}: {value}")
        return original.wrong(f"{name}: {value}", len(original.lines), "expected" if original.study else hint)

    return slip


def _twice(original: Original, rng: random.Random) -> Wrong:
    keys = rng.choice(original.own)
    first = original.places[keys]
    original.lines.append(f"{keys[0]}: 3")
    return original.wrong(f"{keys[0]} twice", len(original.lines), f"first in line {first}")


def _without(original: Original, rng: random.Random) -> Wrong:
    name = rng.choice(["study_name", "search_space", "run"] if original.study else ["net", "data"])
    original.remove(name)
    return original.wrong(f"no {name}", -1, f"{name}: is required, and not given")


def _text(what: str, make: Callable[[str, random.Random], str], line: int, hint: str) -> Slip:
    """A whole other text, or the same with something before it."""
    return lambda original, rng: original.wrong(what, line, hint, make(original.text, rng))


def _inserted(what: str, text: str, hint: str) -> Slip:
    """A line more, before a key."""

    def slip(original: Original, rng: random.Random) -> Wrong:
        at = original.places[rng.choice(original.own)]
        original.lines.insert(at - 1, text)
        return original.wrong(what, at, hint)

    return slip


def _not_utf8(original: Original, rng: random.Random) -> Wrong:
    at = rng.randrange(1, len(original.lines))
    lines = [line.encode() for line in original.lines]
    lines[at - 1] += rng.choice([b" # caf\xe9", b" # \xff\xfe", b" # \xc3\x28"])
    return Wrong("not UTF-8", b"\n".join(lines), original.study, at, "is not UTF-8 text")


def _bomb(text: str, rng: random.Random) -> str:
    rows = [f"a{n}: &a{n} [{', '.join(['*a' + str(n - 1)] * 9)}]" for n in range(1, rng.randrange(9, 30))]
    return "\n".join(["a0: &a0 [x, x, x]", *rows, text])


def _cut(original: Original, rng: random.Random) -> Wrong:
    at = original.places[rng.choice(original.own)]
    del original.lines[at - 1 :]
    original.lines.append(rng.choice(["net: {target: model.MLP, width: [3", 'name: "half', "net: {target: "]))
    return original.wrong("cut off", -1, "is not valid YAML")


def _missing(original: Original, rng: random.Random) -> Wrong:
    name = f"{misspelt('wrong', rng)}.yaml"
    return Wrong("another name", original.text.encode(), original.study, 0, f"did you mean '{WRONG}'?", name)


def _run_missing(original: Original, rng: random.Random) -> Wrong:
    if not isinstance(original.data.get("run"), str):
        return _missing(original, rng)
    line = original.replaced(("run",), r"run: *\S+", "run: nowhere.yaml")
    return original.wrong("a run that isn't there", line, "nowhere.yaml: there is no such file")


def _searched(original: Original, rng: random.Random) -> Wrong:
    """A slip in what a study searches; of a run, one in what it monitors."""
    if not original.study:
        original.lines = [line for line in original.lines if not line.startswith("monitor:")]
        original.lines.append("monitor: {metric: val_lss, mode: min}")
        return original.wrong("a metric misspelt", len(original.lines), "did you mean 'val_loss'?")
    space, hint = rng.choice(_TEXTS["searched"])
    start = original.places["search_space",]
    original.lines = [*original.lines[:start], f"  {space}"]
    return original.wrong(f"search_space: {space}", start + 1, hint)


SLIPS: tuple[Slip, ...] = (
    _key,
    _argument,
    _path,
    _value("range", _TEXTS["ranges"], "expected"),
    _twice,
    _text("aliases that unfold without end", _bomb, -1, "unfolds to more than"),
    _text("10 MB", lambda text, rng: text + "# more\n" * 1_500_000, 0, "is larger than"),
    _not_utf8,
    _text("empty", lambda text, rng: rng.choice(["", "\n\n", "# nothing\n", "---\n"]), -1, "it is empty"),
    _missing,
    _type_of_argument,
    _searched,
    _value("type", _TEXTS["types"], "expected"),
    _without,
    _text("deep", lambda text, rng: "x: " + "[" * rng.randrange(51, 200_000), 1, "is nested more than"),
    _cut,
    _run_missing,
    _value("choice", {"precision": "fp23"}, "did you mean 'fp32'?"),
    _text("a list", lambda text, rng: "- a\n- b\n", 1, "a config is a mapping"),
    _text("a word", lambda text, rng: "epochs\n", 1, "a config is a mapping"),
    *(_inserted(*each) for each in _TEXTS["inserted"]),
)


def wrong_files(configs: Path, count: int) -> Iterator[tuple[int, str, Wrong]]:
    """Number, the original's name and the wrong file: the slips in turn, on configs by chance.

    A slip that a config has no place for is tried on another; it is left out where none seems to have one.
    """
    paths = sorted(configs.glob("*.yaml"))
    for number in range(count):
        # Seeded by the number, so that a failure can be repeated alone.
        rng = random.Random(number)
        for _ in range(_TRIES):
            path = rng.choice(paths)
            try:
                yield number, path.name, SLIPS[number % len(SLIPS)](Original(path), rng)
                break
            except (LookupError, ConfigError):
                continue
