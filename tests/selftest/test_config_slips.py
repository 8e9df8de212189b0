"""Wrong files are wrong in the way that they say, and each slip finds a config that has a place for it."""

import random
from pathlib import Path

import pytest

from lab.config import ConfigError, OptimizeConfig, RunConfig, config_file
from selftest import wrong_configs
from selftest.bench import Done
from selftest.config_slips import SLIPS, Wrong, misspelt, wrong_files
from tests.conftest import ROOT


def test_every_slip_is_told_at_its_line(tmp_path: Path) -> None:
    """As far as this process tells it, which has torch: the rest is the command's."""
    for path in (ROOT / "configs").glob("*.yaml"):
        (tmp_path / path.name).write_text(path.read_text())
    seen = set()
    for number, original, wrong in wrong_files(ROOT / "configs", len(SLIPS)):
        seen.add(number)
        (tmp_path / "wrong.yaml").write_bytes(wrong.content or b"")
        with pytest.raises(ConfigError) as caught:
            _check(tmp_path / wrong.name, OptimizeConfig if wrong.study else RunConfig)
        said = str(caught.value).replace(f"{tmp_path}/", "")
        assert list(wrong_configs.judge(wrong, Done(2, "", said))) == [], (number, original, wrong.what)
    assert seen == set(range(len(SLIPS)))


def _check(path: Path, kind: type[RunConfig] | type[OptimizeConfig]) -> None:
    if kind is OptimizeConfig:
        OptimizeConfig.from_yaml(path).check()
    document = config_file.read(path)
    config = RunConfig.from_document(document)
    try:
        config.check()
    except ConfigError as error:
        raise document.located(error) from error


def test_the_same_number_is_the_same_file() -> None:
    assert list(wrong_files(ROOT / "configs", 6)) == list(wrong_files(ROOT / "configs", 6))


def test_misspelt_words_differ() -> None:
    rng = random.Random(0)
    for word in ("epochs", "optimizer", "data", "T_max") * 20:
        found = misspelt(word, rng)
        assert found != word and abs(len(found) - len(word)) <= 1


WRONG = Wrong("epochs misspelt", b"", False, 3, "did you mean 'epochs'?")
GOOD = "1 problem with the config:\n  wrong.yaml:3: epchs: unknown key 'epchs'; did you mean 'epochs'?"


@pytest.mark.parametrize(
    ("wrong", "done", "said"),
    [
        (WRONG, Done(2, "", GOOD), []),
        (WRONG, Done(1, "", GOOD), ["exit code 2 expected, found 1"]),
        (WRONG, Done(2, "", GOOD + "\nTraceback\nboom"), ["no traceback expected, found boom"]),
        (WRONG, Done(2, "", GOOD.replace(":3:", ":13:")), [r"'wrong\.yaml:3: ' expected, found 1 problem"]),
        (WRONG, Done(2, "", GOOD.partition(";")[0]), ["'did you mean 'epochs'?' expected, found wrong.yaml"]),
        (Wrong("empty", b"", False, -1), Done(2, "", "wrong.yaml:1: it is empty"), []),
        (Wrong("10 MB", b"", False, 0), Done(2, "", "wrong.yaml: is larger"), []),
    ],
)  # fmt: skip
def test_judging(wrong: Wrong, done: Done, said: list[str]) -> None:
    found = list(wrong_configs.judge(wrong, done))
    assert len(found) == len(said)
    assert all(line.startswith(start) for line, start in zip(found, said, strict=True))
