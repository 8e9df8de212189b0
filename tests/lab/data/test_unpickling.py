import builtins
import copy
import datetime
import io
import os
import pickle
import re
import struct
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lab.data.unpickling import load_plain

PROTOCOLS = range(6)
KINDS = st.sampled_from(["?", "i1", "<i4", ">i4", "<i8", "u2", "f2", "<f4", ">f8", "f8", "U3", "S2"])
ARRAYS = hnp.arrays(KINDS, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
        | st.sets(st.integers() | st.text(), max_size=3)
        | st.frozensets(st.binary(), max_size=3)
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pickles") / "some.pkl"


def equal(one: Any, other: Any) -> bool:
    if isinstance(other, (np.ndarray, np.generic)):
        return bool(
            isinstance(one, np.ndarray) == isinstance(other, np.ndarray)
            and (one.dtype, one.shape) == (other.dtype, other.shape)
            and one.tobytes() == other.tobytes()
        )
    if type(one) is not type(other):
        return False
    if isinstance(other, dict):
        return list(one) == list(other) and all(equal(one[key], other[key]) for key in other)
    if isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


@settings(max_examples=200)
@given(value=PLAIN, protocol=st.sampled_from(PROTOCOLS))
def test_plain_data_is_read_as_pickle_reads_it(file: Path, value: Any, protocol: int) -> None:
    file.write_bytes(pickle.dumps(value, protocol))
    assert equal(load_plain(file), pickle.loads(file.read_bytes()))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_of_all_layouts(file: Path, protocol: int) -> None:
    table = np.arange(12, dtype=np.float32).reshape(3, 4)
    values = [
        table,
        table.T,
        np.asfortranarray(table),
        table[::2, 1::2],
        table[:0],
        np.float32(2.5),
        np.bool_(True),
    ]
    file.write_bytes(pickle.dumps([*values, values[0]], protocol))
    found = load_plain(file)
    for one, other in zip(found, [*values, values[0]], strict=True):
        assert np.array_equal(one, other) and one.dtype == other.dtype and one.shape == other.shape
    assert found[0] is found[-1], "what is there twice in the file is one object"
    found[0][0, 0] = 7.0  # as pickle's, it can be written to


def test_the_names_of_numpy_1_and_2_and_of_python_2(file: Path) -> None:
    for protocol in PROTOCOLS:
        data = pickle.dumps(np.arange(3), protocol)
        for old in (b"numpy._core", b"numpy.core"):
            if protocol < 4:  # later ones tell the length of a name
                file.write_bytes(data.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", old))
                assert load_plain(file).tolist() == [0, 1, 2]
    # What Python 2 wrote of np.arange(2, dtype='u1'): bytes as a string without an encoding.
    file.write_bytes(
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85"
        b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"U\x02\x00\x01tb."
    )
    assert load_plain(file).tolist() == [0, 1]


class Hostile:
    """Reduces to a call of whatever it is told."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


EXECUTED: list[str] = []


def execute(text: str) -> None:
    EXECUTED.append(text)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Hostile(execute, "x"), f"{execute.__module__}.execute"),
        (Hostile(os.system, "true"), f"{os.system.__module__}.system"),
        (Hostile(eval, "execute('x')"), "eval"),
        (Hostile(builtins.__import__, "os"), "__import__"),
        (Hostile(getattr, [], "append"), "getattr"),
        (Hostile(bytes, 10**15), "builtins.bytes with arguments"),
        (Hostile(bytearray, 10**15), "bytearray"),
        (Hostile(np.frombuffer, b"x"), "frombuffer"),
        (Hostile(np.dtype, "O"), "numpy.dtype of 'O'"),
        (Hostile(np.dtype, "f4,O"), "numpy.dtype of 'f4,O'"),
        (np.array([Hostile(execute, "x")], object), "numpy.dtype of 'O8'"),
        (np.zeros(2, [("a", "f4")]), "numpy.dtype of 'V4'"),
        (np.datetime64("2020-01-01"), "numpy.dtype of 'M8'"),
        (np.ma.masked_array([1, 2], [True, False]), "numpy.ma"),
        (OrderedDict(a=1), "collections.OrderedDict"),
        (datetime.date(2020, 1, 1), "datetime.date"),
        (Path("x"), "pathlib.PosixPath" if os.name == "posix" else "pathlib.WindowsPath"),
        (1j, "complex"),
        (print, "print"),
        (Hostile, "Hostile"),
    ],
)
def test_anything_else_is_refused_by_name(file: Path, value: Any, named: str, protocol: int) -> None:
    file.write_bytes(pickle.dumps({"a": [1, value]}, protocol))
    with pytest.raises(ValueError) as error:
        load_plain(file)
    assert str(error.value).startswith(f"{file}: holds ") and named in str(error.value), error.value
    assert "only containers, numbers, strings and numpy arrays are read" in str(error.value)
    assert not EXECUTED


def test_references_outside_are_refused(file: Path) -> None:
    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return "far away" if value == 5 else None

    stream = io.BytesIO()
    Pickler(stream).dump([5])
    file.write_bytes(stream.getvalue())
    with pytest.raises(ValueError, match="a reference to something outside of it"):
        load_plain(file)


def short(text: str) -> bytes:
    return b"\x8c" + struct.pack("<B", len(text)) + text.encode()


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'true'\no.",  # OBJ
        b"\x80\x02cbuiltins\nset\n)\x81cos\nsystem\nb.",  # NEWOBJ, then a state
        b"\x80\x04" + short("os") + short("system") + b"\x93" + short("true") + b"\x85R.",  # STACK_GLOBAL
        b"\x80\x04" + short("numpy") + short("ndarray.__class__") + b"\x93.",
        b"\x80\x04" + short("builtins") + short("set.__init__.__class__") + b"\x93.",
        b"\x80\x04" + short("lab.data.unpickling") + short("pickle.os.system") + b"\x93.",
        b"\x80\x02\x82\x01.",  # EXT1
        # An array that says it is large and has no bytes; of objects, whose addresses the bytes would be.
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(L999999999999L\nt"
        b"cnumpy\ndtype\n(S'u1'\nI0\nI1\ntRI00\nS''\ntb.",
        b"cnumpy\ndtype\n(S'i8'\nI0\nI1\ntR(I3\nS'|'\nN(S'a'\nt(S'a'\ntI8\nI1\nI63\ntb.",
        b"cnumpy\nndarray\n((L999999999999L\ntS'O'\ntR.",
        b"cnumpy\nndarray\n)\x81.",
        b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'O8'\nI0\nI1\ntRS'aaaaaaaa'\ntR.",
        b"c_codecs\nencode\n(S'aa'\nS'bz2'\ntR.",
        # States for the stand-ins themselves: what a file does must not outlast it.
        b"c_codecs\nencode\n(N}S'__code__'\nI1\nstb.",
        b"cnumpy\ndtype\n(N}S'__func__'\nI1\nstb.",
        b"cbuiltins\nset\n(N}S'add'\nI1\nstb.",
    ],
)
def test_hand_made_programs(file: Path, program: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    monkeypatch.setattr(os, "system", called.append)
    file.write_bytes(program)
    with pytest.raises(ValueError) as error:
        load_plain(file)
    assert str(error.value).startswith(f"{file}: ")
    assert not called and not EXECUTED
    file.write_bytes(pickle.dumps([np.arange(2), b"ab"], 2))
    assert [part.tolist() if isinstance(part, np.ndarray) else part for part in load_plain(file)] == [
        [0, 1],
        b"ab",
    ]


MADE = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"


def letters(code: str, order: str, *points: int) -> bytes:
    """The program of an array of strings of one letter, by their code points."""
    raw = struct.pack(f"{order}{len(points)}I", *points).decode("latin1")
    kind = f"cnumpy\ndtype\n(S'{code}'\nI0\nI1\ntR(I3\nS'{order}'\nNNNI-1\nI-1\nI0\ntb"
    return MADE + f"(I1\n(I{len(points)}\nt{kind}I00\nS{raw!a}\ntb.".encode()


STAND_INS = [
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.core.numeric._frombuffer",
    "_codecs.encode",
    "builtins.bytes",
    "builtins.set",
    "builtins.frozenset",
]


@pytest.mark.parametrize("state", [b"}S'evil'\nI1\ns", b"(N}S'evil'\nI1\nst"])
@pytest.mark.parametrize("name", STAND_INS)
def test_a_file_leaves_nothing_behind(file: Path, name: str, state: bytes) -> None:
    named = "c{}\n{}\n".format(*name.rsplit(".", 1)).encode()
    file.write_bytes(named + state + b"b0I5\n.")  # the object itself is thrown away
    with pytest.raises(ValueError, match=r"some\.pkl: not a readable pickle"):
        load_plain(file)


@pytest.mark.parametrize("name", STAND_INS)
def test_stand_ins_are_no_data(file: Path, name: str) -> None:
    named = "c{}\n{}\n".format(*name.rsplit(".", 1)).encode()
    shown = name if "set" not in name else f"the type {name.removeprefix('builtins.')}"
    file.write_bytes(b"}S'a'\n(I0\n" + named + b"ts.")
    with pytest.raises(ValueError) as error:
        load_plain(file)
    assert str(error.value).startswith(f"{file}: holds {shown} at ['a'][1], and only containers")


@pytest.mark.parametrize(
    ("program", "shown"),
    [
        (b"\x80\x05\x96" + struct.pack("<Q", 3) + b"abc\x98.", "memoryview"),
        (b"cnumpy\ndtype\n(S'f8'\ntR.", "numpy.dtype"),
        (b"cbuiltins\nset\n.", "the type set"),
        (b"(lp0\ng0\nacnumpy\ndtype\na.", "numpy.dtype at [1]"),  # a list that holds itself
        (b"}cnumpy\ndtype\nI1\ns.", "numpy.dtype at […]"),  # as a key
        (b"}(I1\ncnumpy\ndtype\ntI1\ns.", "numpy.dtype at […][1]"),  # in one
        (b"\x80\x04\x8f(cnumpy\ndtype\n\x90.", "numpy.dtype at […]"),  # in a set
        (
            b"(lI1\na" + b"(l" * 50_000 + b"cnumpy\ndtype\na" + b"a" * 50_000 + b".",
            "numpy.dtype at [1]" + "[0]" * 7,
        ),
        (b"}S'" + b"k" * 1000 + b"'\ncnumpy\ndtype\ns.", f"numpy.dtype at ['{'k' * 40}']"),
    ],
)
def test_what_is_returned_is_plain(file: Path, program: bytes, shown: str) -> None:
    file.write_bytes(program)
    with pytest.raises(ValueError) as error:
        load_plain(file)
    more = "…" if len(program) > 50_000 else ""
    assert str(error.value).startswith(f"{file}: holds {shown}{more}, and only containers")


def test_what_holds_itself_or_is_deep_or_there_twice(file: Path) -> None:
    file.write_bytes(b"(lp0\ng0\na.")
    found = load_plain(file)
    assert type(found) is list and found[0] is found and len(found) == 1
    file.write_bytes(b"(l" * 100_000 + b"I7\n" + b"a" * 100_000 + b".")
    deep, depth = load_plain(file), 0
    while isinstance(deep, list):
        deep, depth = deep[0], depth + 1
    assert (deep, depth) == (7, 100_000)
    twice: list[Any] = [1]
    for _ in range(60):  # 2**60 ways lead to the innermost
        twice = [twice, twice]
    file.write_bytes(pickle.dumps(twice))
    found = load_plain(file)
    for _ in range(60):
        assert found[0] is found[1]
        found = found[0]
    assert found == [1]


def test_letters_that_unicode_does_not_have(file: Path) -> None:
    for order in "<>":
        file.write_bytes(letters("U1", order, 0x61, 0x10FFFF))
        assert load_plain(file).tolist() == ["a", "\U0010ffff"]
        for bad in (0x110000, 0xFFFFFFFF):
            file.write_bytes(letters("U1", order, 0x61, bad))
            with pytest.raises(ValueError, match=r"some\.pkl: .* a letter that Unicode doesn't have"):
                load_plain(file)
    file.write_bytes(
        b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'<U1'\ntRS'\\xff\\xff\\xff\\xff'\ntR."
    )
    with pytest.raises(ValueError, match=r"a letter that Unicode doesn't have"):
        load_plain(file)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_go_on_as_usual_ones(file: Path, protocol: int) -> None:
    file.write_bytes(pickle.dumps(np.arange(3), 2))
    for again in (pickle.loads(pickle.dumps(load_plain(file), protocol)), copy.deepcopy(load_plain(file))):
        assert again.tolist() == [0, 1, 2] and again.dtype == np.arange(3).dtype
    assert type(pickle.loads(pickle.dumps(load_plain(file), protocol))) is np.ndarray


@settings(max_examples=300)
@given(value=PLAIN, protocol=st.sampled_from(PROTOCOLS), data=st.data())
def test_a_damaged_file_is_an_error_of_its_own(
    file: Path, value: Any, protocol: int, data: st.DataObject
) -> None:
    content = bytearray(pickle.dumps(value, protocol))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    # An object's number in the memo may be made so large that the memo alone fills the memory.
    memo = [int.from_bytes(match[1], "little") for match in re.finditer(rb"(?s)r(?=(.{4}))", content)]
    assume(max(memo, default=0) < 2**20 and not re.search(rb"p\d{7}", content))
    file.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    before = set(sys.modules)
    try:
        load_plain(file)
    except ValueError as error:
        assert str(error).startswith(f"{file}: ")
    assert set(sys.modules) == before, "a name in a file imports nothing"


def test_files_that_cannot_be_read(file: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.pkl: can't be read: No such file"):
        load_plain(file.with_name("absent.pkl"))
    file.write_bytes(b"")
    with pytest.raises(ValueError, match=r"some\.pkl: not a readable pickle"):
        load_plain(file)
    file.write_bytes(pickle.dumps(list(range(1000))))
    with pytest.raises(ValueError, match=r"some\.pkl: \d+ bytes, more than the 100 that are read"):
        load_plain(file, largest=100)
    assert load_plain(file, largest=10**4) == list(range(1000))
