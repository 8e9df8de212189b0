"""Signs of other alphabets on consoles that have only ASCII."""

import os

import pytest

from lab.store.ascii_fallback import can_write, writable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1/4 done · best", "1/4 done - best"),
        ("2 × 3 ≥ 5 ± 1 → 10² m", "2 x 3 >= 5 +- 1 -> 10^2 m"),
        ("10⁶ or x₁; ½ … “quoted” ‘text’", "10^6 or x1; 1/2 ... \"quoted\" 'text'"),
        ("−1 – 2 ─── µm ✗", "-1 - 2 --- um x"),
        ("a\u00a0b\u2009c", "a b c"),
        ("José 图 Ω", "Jos\\xe9 \\u56fe \\u03a9"),
        ("Jose\u0301", "Jose\\u0301"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
        ("plain", "plain"),
    ],
)
def test_ascii(text: str, expected: str) -> None:
    assert writable(text, "ascii") == expected


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252", "utf-16", "cp437", "shift_jis"])
def test_each_encoding_keeps_what_it_has(encoding: str) -> None:
    shown = writable("é · 3 ≥ 2 \ud83d", encoding)
    assert can_write(shown, encoding)
    assert shown == shown.encode(encoding).decode(encoding) and "3" in shown and "2" in shown
    assert ("≥" in shown) == can_write("≥", encoding) and ("é" in shown) == can_write("é", encoding)


def test_which_encodings_have_a_sign() -> None:
    assert can_write("é", "latin-1") and not can_write("≥", "latin-1") and not can_write("é", None)
    assert can_write("a", None) and not can_write("a", "no-such-encoding")


def test_every_sign_of_ascii_stands_for_itself_and_all_others_for_something_readable() -> None:
    signs = "".join(map(chr, range(0x110000)))
    assert writable(signs, "ascii")[:128] == signs[:128]
    assert writable(signs, "ascii").isascii()
