from pathlib import Path

import pytest

from lab.console.redacted_output import RedactingStream, redacted_output


def test_secrets_are_hidden_in_what_is_printed_and_in_the_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as left, redacted_output():
        print("password=abcdef12", 3)
        raise ValueError("token: 'abcdef1234'")
    assert left.value.code == 1
    shown = capsys.readouterr()
    assert shown.out == "password=*** 3\n"
    assert shown.err.startswith("Traceback") and shown.err.endswith("ValueError: token: '***'\n")


def test_the_redacting_stream_is_like_the_one_below(tmp_path: Path) -> None:
    with (tmp_path / "out.txt").open("w") as file:
        stream = RedactingStream(file)
        stream.writelines(["a\n", "secret='abc'\n"])
        stream.flush()
        assert not stream.isatty() and stream.fileno() == file.fileno() and stream.encoding == file.encoding
    assert (tmp_path / "out.txt").read_text() == "a\nsecret='***'\n"
