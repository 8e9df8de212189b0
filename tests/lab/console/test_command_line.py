"""The command line knows its options by each of their names."""

from lab.console.command_line import parsed


def test_options_with_two_names() -> None:
    assert parsed(["--dry-run", "x.yaml"]) == parsed(["--check", "x.yaml"])
    given = ["--predict", "x", "--input", "a", "--output", "b"]
    assert parsed([*given, "--tta"]).flips
    assert not parsed(given).flips
