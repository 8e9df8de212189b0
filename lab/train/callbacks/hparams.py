"""The callback for TensorBoard's HPARAMS tab: `tensorboard --logdir studies/<study>`."""

import json
import time
import warnings
from collections.abc import Mapping, Sequence

from lab.events import Callback, Outcome, RunEnd, RunStart
from lab.store.redact import redact
from lab.trackers.tensorboard import FOLDER


class HParams(Callback):
    """Write the parameters, and the best epoch's values as `best/<metric>`, when a run ends.

    Not before: TensorBoard reads the files of a folder one after the other, and would leave the file in
    which the curves grow. There is no description of the whole experiment, of which TensorBoard would use the
    first it finds: without one it gathers the columns from all trials, whichever parameters each has.

    Args:
        values: dotted path -> parameter of the trial.
        metrics: names of logged values; also `seconds` and `parameters` of the run.
        group: the seeds of a trial share one, and one row of the table.
    """

    def __init__(self, values: Mapping[str, object], metrics: Sequence[str], group: str) -> None:
        self._values, self._metrics, self._group = redact(values), tuple(metrics), group
        self._start: RunStart | None = None
        self._began = time.time()

    def on_run_start(self, event: RunStart) -> None:
        """Remember the folder."""
        self._start, self._began = event, time.time()

    def on_run_end(self, event: RunEnd) -> None:
        """Write the trial; a run that was interrupted will be resumed, and end later."""
        if self._start is None or event.outcome is Outcome.INTERRUPTED:
            return
        try:
            self._write(self._start, event)
        except Exception as error:  # noqa: BLE001 - an error here must not fail the run
            warnings.warn(f"TensorBoard's HPARAMS tab lacks this run: {error}", stacklevel=2)

    def _write(self, start: RunStart, end: RunEnd) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from torch.utils.tensorboard import FileWriter
        from torch.utils.tensorboard.summary import scalar

        known = {"parameters": float(start.parameters), "seconds": end.seconds, **end.best}
        tried = {name: shown(value) for name, value in self._values.items()}
        status = api_pb2.STATUS_SUCCESS if end.outcome.is_success else api_pb2.STATUS_FAILURE
        info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
        data = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=info))
        over = Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=data, tensor=metadata.NULL_TENSOR)
        writer = FileWriter(str(start.run_dir / FOLDER))
        try:
            writer.add_summary(hparams_pb(tried, trial_id=self._group, start_time_secs=self._began))
            for name in self._metrics:
                if name in known:
                    writer.add_summary(scalar(f"best/{name}", known[name]), end.best_epoch)
            writer.add_summary(Summary(value=[over]))
        finally:
            writer.close()


def shown(value: object) -> bool | float | str:
    """Convert a value for TensorBoard: numbers, texts and booleans stay; a component becomes its name.

    `{target: torch.optim.SGD, momentum: 0.9}` reads `SGD(momentum=0.9)`.
    """
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping) and isinstance(value.get("target"), str):
        arguments = ", ".join(f"{key}={json.dumps(item)}" for key, item in value.items() if key != "target")
        name = value["target"].rpartition(".")[2]
        return f"{name}({arguments})" if arguments else name
    return json.dumps(value)
