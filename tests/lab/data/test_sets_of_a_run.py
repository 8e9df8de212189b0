"""The values that a config's data target may return."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lab.config import ConfigError, RunConfig
from lab.data.loaders import create_loaders

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("body", "path", "message"),
    [
        ("return [1, 2]", "data.target", "must return datasets, found int as train"),
        ("return (1,)", "data.target", r"must return \(train, val\) or .*, found tuple of 1"),
        ("return {}", "data.target", "found dict"),
        (
            "return torch.ones(3, 2), torch.ones(3)",
            "data.target",
            "Tensor as train: return .*TensorDataset",
        ),
        ("return 3 * [DataLoader(TensorDataset(torch.ones(2)))]", "data.target", "found DataLoader as train"),
        (
            "return 4 * [TensorDataset(torch.ones(2))]",
            "data.target",
            "then facts, which are a mapping",
        ),
        ("return TensorDataset(torch.ones(0)), TensorDataset(torch.ones(1))", "data", "the dataset is empty"),
        ("raise ValueError('no images')", "data", "no images"),
    ],
)
def test_data_that_is_none(
    config: Callable[..., RunConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    path: str,
    message: str,
) -> None:
    module = f"data_{abs(hash(body))}"
    source = f"import torch\nfrom torch.utils.data import *\ndef sets():\n    {body}\n"
    (tmp_path / f"{module}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message) as caught:
        create_loaders(config(data={"target": f"{module}.sets"}), None, None, CPU)
    (problem,) = caught.value.problems
    assert ".".join(map(str, problem.path)) == path


def test_the_list_that_random_split_returns(
    config: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cut.py").write_text(
        "import torch\nfrom torch.utils.data import *\n"
        "def sets(*parts):\n"
        "    x = torch.arange(20.0)[:, None]\n"
        "    drawn = torch.Generator().manual_seed(0)\n"
        "    return random_split(TensorDataset(x, x), parts or [12, 5, 3], drawn)\n"
        "def two():\n    return sets(12, 8)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0)).tolist()
    for name, ends in [("cut.sets", (12, 17, 20)), ("cut.two", (12, 20))]:
        data = create_loaders(config(data={"target": name}, batch_size=5), None, None, CPU)
        assert data.train_samples == 12 and data.val_samples == ends[1] - 12
        assert sorted(int(x) for batch, _ in data.train for x in batch) == sorted(order[:12])
        assert [int(x) for batch, _ in data.val for x in batch] == order[12 : ends[1]]
        assert (data.test_set is None) == (len(ends) == 2)
