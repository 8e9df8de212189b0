"""`provenance.json`: what each part of a run was trained with, for the owner's eyes alone.

A run that is resumed has several parts. The newest stands at the top as well, where it stood when there was
no other. Differences and modules are kept as texts, each once, under the keys by which the parts name them.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.config import module_locations
from lab.config.config_diff import flatten
from lab.events import Note
from lab.provenance.code_record import KEY, key_of
from lab.store import file_io

MAX_PARTS = 100
MAX_ALL = 5_000_000  # characters of texts
DAMAGED = "provenance.damaged.json"
_PARTS, _TEXTS = "parts", "texts"
_PARTS_LEFT_OUT, _TEXTS_LEFT_OUT = "parts_left_out", "texts_left_out"
_GIT = "git"  # at the top, and in old parts: the repository that the tool lies in
# What a part holds beside the code; it stands at the top, too.
_PLAIN = (
    "time", "command", "folder", "seed", "device", "python", "platform", "host", "processor", "cpus", "gpu",
    "packages", "environment",
)  # fmt: skip
_CODE = ("code", "yaml", "repositories", _GIT)  # of a part, with keys of texts


@dataclass
class History:
    """The parts of a run, the oldest first, and their texts."""

    parts: list[dict[str, Any]] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    left_out: int = 0

    @classmethod
    def of(cls, path: Path, begun: bool) -> "tuple[History, list[Note]]":
        """Read what is there; a file that can't be read is kept under another name.

        Args:
            begun: whether there were earlier parts for certain.

        Returns:
            An empty one where nothing is there, and what the user should know.
        """
        try:
            return cls._parsed(json.loads(path.read_bytes())), []
        except FileNotFoundError:
            text = f"{path}: is not there; what the earlier parts were trained with is not known"
            return cls(), [Note(text, "warning")] if begun else []
        except (OSError, ValueError, RecursionError):
            with suppress(OSError):
                path.replace(path.with_name(DAMAGED))
            text = f"{path}: can't be read and is now {DAMAGED}"
            return cls(), [Note(f"{text}; what the earlier parts were trained with is not known", "warning")]

    def write(self, path: Path) -> None:
        """Write it, readable by the owner alone."""
        newest = self.parts[-1]
        top = {name: newest[name] for name in _PLAIN}
        tools = (each for each in newest["repositories"] if each["folder"] == newest["tool"]["repository"])
        opened = module_locations.below()
        texts = dict(self._kept_texts())
        wanted = [key for part in self.parts for key in _keys(part)]
        data = {
            **top,
            _GIT: next(tools, None),
            **({module_locations.KEY: opened} if opened else {}),
            _PARTS_LEFT_OUT: self.left_out,
            _PARTS: self.parts,
            _TEXTS_LEFT_OUT: sorted({key for key in wanted if key not in texts}),
            _TEXTS: texts,
        }
        content = file_io.to_json(data, indent=2) + "\n"
        # A path that is no UTF-8 stands there as an escape.
        file_io.atomic_write(path, content.encode(errors="backslashreplace"), private=True)

    def add(self, part: dict[str, Any], texts: Mapping[str, str]) -> None:
        """Add the part that begins; of very many the first and the newest are kept."""
        self.parts.append(part)
        self.texts |= texts
        if (many := len(self.parts) - MAX_PARTS) > 0:
            del self.parts[1 : 1 + many]
            self.left_out += many

    def changed_versions(self) -> list[Note]:
        """A note where Python or a package has another version than in the part before."""
        if len(self.parts) < 2:
            return []
        old, new = map(_versions, self.parts[-2:])
        changed = [
            f"{name} {old[name]} -> {new[name]}" for name in new if old.get(name, new[name]) != new[name]
        ]
        text = f"versions differ from those of the epochs before: {', '.join(changed)}"
        return [Note(text, "warning")] if changed else []

    def renew(self, part: dict[str, object], texts: Mapping[str, str]) -> None:
        """Put more of the newest part in its place."""
        self.parts[-1] = part
        self.texts |= texts

    @classmethod
    def _parsed(cls, data: object) -> "History":
        """Understand a file's content, an older one's, too.

        Raises:
            ValueError: it is none of ours.
        """
        if not isinstance(data, dict):
            raise ValueError("no record")
        parts, texts, left_out = data.get(_PARTS), data.get(_TEXTS, {}), data.get(_PARTS_LEFT_OUT, 0)
        if parts is None:  # of before there were parts
            texts, parts = {}, [{name: data[name] for name in (*_PLAIN, _GIT) if name in data}]
            git = parts[0].get(_GIT)
            if isinstance(git, dict) and isinstance(diff := git.get("diff"), str) and diff:
                texts = {key_of(diff): diff}
                parts[0][_GIT] = {**git, "diff": key_of(diff)}
        listed = isinstance(parts, list) and all(isinstance(part, dict) for part in parts)
        if not parts or not listed or not isinstance(left_out, int):
            raise ValueError("no parts")
        if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
            raise ValueError("no texts")
        return cls(parts, texts, left_out)

    def _kept_texts(self) -> Iterator[tuple[str, str]]:
        """Yield the texts that there is room for: of the newest part, the first, and back from the newest."""
        room, seen = MAX_ALL, set()
        for part in (self.parts[-1], self.parts[0], *reversed(self.parts)):
            for key in _keys(part):
                text = self.texts.get(key)
                if text is None or key in seen or len(text) > room:
                    continue
                seen.add(key)
                room -= len(text)
                yield key, text


def _versions(part: Mapping[str, object]) -> dict[str, object]:
    packages = part.get("packages")
    return {"Python": part.get("python"), **(packages if isinstance(packages, dict) else {})}


def _keys(part: Mapping[str, object]) -> Iterator[str]:
    """Yield the keys of texts that a part names."""
    values = flatten({name: part.get(name) for name in _CODE}).values()
    return (value for value in values if isinstance(value, str) and value.startswith(KEY))
