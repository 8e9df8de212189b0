"""Read back with TensorBoard's own plugin, as its HPARAMS tab does."""

import math
import pickle
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler

from lab.config.tracker_config import TensorBoardConfig
from lab.trackers.tensorboard import FOLDER, TensorBoardTracker
from lab.train.callbacks.hparams import HParams, shown
from tests.run_events import epoch_end, run_end, run_start

METRICS = ("val_loss", "seconds", "parameters", "val_never_logged")


def trial(folder: Path, values: dict[str, Any], group: str = "", **end: Any) -> None:
    """What a trial's process does: TensorBoard's tracker comes first, at the start and at the end."""
    folder.mkdir(parents=True)
    tracker = TensorBoardTracker(TensorBoardConfig(type="tensorboard"))
    callback = pickle.loads(pickle.dumps(HParams(values, METRICS, group or folder.name)))
    start, end_event = run_start(folder), run_end(**end)
    tracker.start(start)
    callback.on_run_start(start)
    for epoch in (1, 2):
        tracker.epoch(epoch_end(epoch))
        assert callback.on_epoch_end(epoch_end(epoch)) is None
    tracker.finish(end_event)
    callback.on_run_end(end_event)


def groups(study: Path) -> tuple[dict[str, str], dict[str, api_pb2.SessionGroup]]:
    """The columns by type, and the rows by name, of the tab that `tensorboard --logdir` shows."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(study)).Reload()
    provider = MultiplexerDataProvider(multiplexer, str(study))
    context = Context(TBContext(data_provider=provider))
    request = RequestContext()
    found = context.experiment_from_metadata(
        request,
        "",
        True,
        context.hparams_metadata(request, ""),
        context.hparams_from_data_provider(request, "", 100),
    )
    columns = {info.name: api_pb2.DataType.Name(info.type) for info in found.hparam_infos}
    asked = api_pb2.ListSessionGroupsRequest(
        experiment_name="",
        allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE, api_pb2.STATUS_UNKNOWN],
        col_params=[
            *(api_pb2.ColParams(hparam=name, include_in_result=True) for name in columns),
            *(api_pb2.ColParams(metric=info.name, include_in_result=True) for info in found.metric_infos),
        ],
        start_index=0,
        slice_size=100,
        aggregation_type=api_pb2.AGGREGATION_AVG,
    )
    answer = Handler(request, context, "", asked).run()
    return columns, {group.name: group for group in answer.session_groups}


def metrics(group: api_pb2.SessionGroup) -> dict[str, float]:
    return {value.name.tag: value.value for value in group.metric_values}


def test_the_tab_shows_parameters_best_values_and_curves(tmp_path: Path) -> None:
    adam: dict[str, Any] = {"optimizer.lr": 0.5, "ema": True, "optimizer": {"target": "torch.optim.Adam"}}
    sgd: dict[str, Any] = {"optimizer.lr": 0.25, "optimizer.momentum": 0.9, "data.token": "hunter2"}
    trial(tmp_path / "trial_00000", adam, best={"val_loss": 0.125, "val_dice": 0.5}, seconds=3.0)
    trial(tmp_path / "trial_00001", sgd, outcome="failed", best={"val_loss": math.nan})
    columns, rows = groups(tmp_path)
    assert columns == {
        "optimizer.lr": "DATA_TYPE_FLOAT64",
        "optimizer.momentum": "DATA_TYPE_FLOAT64",  # though the first trial has none
        "ema": "DATA_TYPE_BOOL",
        "optimizer": "DATA_TYPE_STRING",
        "data.token": "DATA_TYPE_STRING",
    }
    assert sorted(rows) == ["trial_00000", "trial_00001"]
    first, second = rows["trial_00000"], rows["trial_00001"]
    assert first.hparams["optimizer.lr"].number_value == 0.5
    assert first.hparams["ema"].bool_value is True
    assert first.hparams["optimizer"].string_value == "Adam"
    assert second.hparams["data.token"].string_value == "***"
    values = metrics(first)
    assert {name: values[name] for name in ("best/val_loss", "best/seconds", "best/parameters")} == {
        "best/val_loss": 0.125,
        "best/seconds": 3.0,
        "best/parameters": 11.0,
    }
    assert values["loss/val"] == 1.0  # the curve's last value, from the tracker's own file
    assert "best/val_never_logged" not in values and "best/val_dice" not in values
    assert first.sessions[0].status == api_pb2.STATUS_SUCCESS
    assert second.sessions[0].status == api_pb2.STATUS_FAILURE
    assert math.isnan(metrics(second)["best/val_loss"])


def test_the_seeds_of_a_trial_are_one_row(tmp_path: Path) -> None:
    for seed, loss in ((0, 0.25), (1, 0.75)):
        folder = tmp_path / "trial_00003" / f"seed_{seed}"
        trial(folder, {"lr": 0.5}, "trial_00003", best={"val_loss": loss})
    _, rows = groups(tmp_path)
    assert len(rows["trial_00003"].sessions) == 2
    assert metrics(rows["trial_00003"])["best/val_loss"] == 0.5


def test_a_run_that_was_interrupted_ends_another_time(tmp_path: Path) -> None:
    trial(tmp_path / "trial_00000", {"lr": 0.5}, outcome="interrupted")
    assert len(list((tmp_path / "trial_00000" / FOLDER).iterdir())) == 1  # the tracker's


def test_a_fault_is_not_the_runs(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("a file where the folder should be")
    callback = HParams({"lr": 0.5}, METRICS, "trial_00000")
    callback.on_run_end(run_end())  # it broke before it began
    callback.on_run_start(run_start(tmp_path))
    with pytest.warns(UserWarning, match="HPARAMS tab lacks this run: "):
        callback.on_run_end(run_end())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        (3, 3),
        (0.5, 0.5),
        ("relu", "relu"),
        (None, "null"),
        ([8, 16], "[8, 16]"),
        ({"target": "torch.optim.SGD"}, "SGD"),
        (
            {"target": "torch.optim.SGD", "momentum": 0.9, "nesterov": True},
            "SGD(momentum=0.9, nesterov=true)",
        ),
        ({"depth": 2}, '{"depth": 2}'),
    ],
)
def test_values_as_a_person_reads_them(value: Any, expected: Any) -> None:
    assert shown(value) == expected
    assert type(shown(value)) is type(expected)
