"""The study files that ship: sound, read back equal, and known to editors."""

from pathlib import Path

import pytest

from lab.config import OptimizeConfig, config_file
from tests.lab.config.test_optimize_config import fits
from tests.test_configs import FILES, RUNS, name

STUDIES = [path for path in FILES if path not in RUNS]


def given(path: Path) -> list[str]:
    """What a user has to say on the command line."""
    root = OptimizeConfig.read(path).data["run"]["data"].get("root", ...)
    return ["set.data.root=somewhere"] if root is None else []


@pytest.mark.parametrize("path", STUDIES, ids=name)
def test_it_passes_its_check(path: Path) -> None:
    OptimizeConfig.from_yaml(path, given(path)).check()


@pytest.mark.parametrize("path", STUDIES, ids=name)
def test_it_is_read_back_equal(path: Path, tmp_path: Path) -> None:
    config = OptimizeConfig.from_yaml(path)
    file = tmp_path / "resolved.yaml"
    file.write_text(config.to_yaml(), encoding="utf-8")
    assert OptimizeConfig.from_yaml(file) == config


@pytest.mark.parametrize("path", STUDIES, ids=name)
def test_editors_find_it_valid(path: Path) -> None:
    data = config_file.read(path).data
    assert fits(data) and fits(OptimizeConfig.from_yaml(path).as_data())
    assert not fits({**data, "n_trails": 3})
    assert path.read_text(encoding="utf-8").startswith(
        "# yaml-language-server: $schema=schema/optimize.schema.json"
    )
