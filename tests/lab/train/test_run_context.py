"""The options of a run, and those of its seeds."""

from collections.abc import Callable
from pathlib import Path

from lab.config import RunConfig
from lab.train.run_context import RunContext


def test_each_seed_has_a_folder_and_a_config(tmp_path: Path, config: Callable[..., RunConfig]) -> None:
    context = RunContext(tmp_path, resume=True, console="quiet", command=("a",))
    for _ in range(2):  # the folders may be there
        below = list(context.per_repeat(config(seeds=[4, 2])))
        assert [c.seeds for c, _ in below] == [(4,), (2,)]
        assert [s.folder for _, s in below] == [tmp_path / "seed_4", tmp_path / "seed_2"]
        assert all(s.group == tmp_path.name and s.resume and s.command == ("a",) for _, s in below)
        assert all(s.folder.is_dir() for _, s in below)
    assert below[0][0].with_values({"seeds": [4, 2]}) == config(seeds=[4, 2])
