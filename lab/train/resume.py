"""Going on with a run: load the newest good checkpoint, and refuse one that belongs to another network."""

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab import checkpoint
from lab.config import ConfigError, Problem, RunConfig, group_split_rule
from lab.config.config_diff import differences, flatten
from lab.config.dataset_info import DECISIVE, MEASURED, DatasetInfo, Facts
from lab.config.sections import AUTO
from lab.data.file_inventory import changes
from lab.events import Note
from lab.state.plain_values import plainly
from lab.store import file_io, run_folder
from lab.store.definitions import LOSS, Definition, Numbers, logged, numbers, of_value, recorded, watched
from lab.store.redact import redact
from lab.train.changed_settings import refused, resets
from lab.train.dropped_state import forget, new_since, reset_notes

_HINT = "start a new run for it, or leave it as it was"
# These may be new since: what has no state in the checkpoint begins afresh.
_OPTIONAL = ("scaler", "early_stopping", "midway", "modes", "criterion", "components")


@contextmanager
def cut_as_before(run: Path, resume: bool) -> Iterator[None]:
    """Cut the data of a run that is continued by the rule of its checkpoint.

    Seeds and folds that have none yet are cut as the others: folds by several rules would overlap.

    Raises:
        CheckpointError: there are checkpoints, and none can be read.
    """
    rule = group_split_rule.current()
    for part in (run, *run_folder.repeats(run)) if resume else ():
        if _has_checkpoint(checkpoints := part / run_folder.CHECKPOINTS):
            rule = group_split_rule.recorded(checkpoint.load_latest(checkpoints)[0])
            break
    with group_split_rule.applied(rule):
        yield


def record_of(config: RunConfig, facts: Facts, described: Mapping[str, Definition]) -> dict[str, Any]:
    """A checkpoint's record of its run, beside the parts: config without secrets, data, definitions, cut."""
    return {
        "config": redact(config.as_data()),
        "data": plainly(dict(facts), "facts", []),
        "definitions": numbers(described),
        **group_split_rule.as_record(group_split_rule.current()),
    }


def _has_checkpoint(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("last.pt", "prev.pt"))


def resume_from(
    folder: Path,
    about: dict[str, Any],
    parts: Mapping[str, checkpoint.Stateful | None],
    described: Mapping[str, Definition] = {},
) -> list[Note]:
    """Load the newest checkpoint in `folder` into the parts.

    Args:
        about: `record_of` the run as it is now. Its `definitions` become the oldest that a value of the run
            has.
        described: the definition of each logged metric and loss, as this program has them.

    Returns:
        What the user should know: a damaged checkpoint that was passed over, settings that changed.

    Raises:
        ConfigError: the checkpoint belongs to another network, optimizer, scheduler or seed, or a value that
            decides something in the run has had another definition.
        CheckpointError: there are checkpoints, and none can be read.
    """
    if not _has_checkpoint(folder):
        return [Note("there is no checkpoint yet; beginning at the first epoch")]
    config, facts = about["config"], about["data"]
    content, path, faults = checkpoint.load_latest(folder)
    # A setting that is newer than the checkpoint has a default that is as it was before.
    before = {**RunConfig.defaults(), **redact(content["config"])}
    changed = differences(before, config)
    moved = _moved(file_io.as_json_values(content.get("data", {})), file_io.as_json_values(facts))
    was = recorded(content.get("definitions"))
    _require_same(changed, moved, config, path, _redefined(was, described, config, path))
    _require_no_leak(content.get("data", {}), facts)
    _require_groups(content.get("optimizer") or {}, parts.get("optimizer"), path)
    other = _forget_redefined(content, was, described)
    reset = resets(changed, before, config)
    other += forget(reset, content, parts, config)
    about["definitions"] = {name: min(new.number, of_value(name, was)) for name, new in described.items()}
    if faults:  # or the next save would keep the damaged one as the previous one
        file_io.link(path, folder / "last.pt")
    known = {name: part for name, part in parts.items() if name not in _OPTIONAL or content.get(name)}
    other += new_since(known, parts)
    automatic = AUTO in flatten(config.get("scheduler") or {}).values()
    if automatic and config["epochs"] > content["config"]["epochs"]:
        _restore_stretched(known, content)
    else:
        checkpoint.restore(known, content)
    other += reset_notes(reset, parts)
    done = content["course"]["epoch"]
    nothing = f"nothing is left to do: {done} epochs are done; --set epochs=N with a larger N extends the run"
    return [
        *([Note(nothing)] if done >= config["epochs"] else []),
        *(Note(f"passed over a damaged checkpoint: {fault}", "warning") for fault in faults),
        *_about_data(moved, content, facts),
        *other,
        *(Note(f"changed since the checkpoint: {name}: {old!r} -> {new!r}") for name, old, new in changed),
    ]


def _about_data(moved: Mapping[str, tuple[Any, Any]], content: Mapping[str, Any], facts: Facts) -> list[Note]:
    """Warnings of data that isn't what it was at the checkpoint."""
    found = [
        "the data has changed: its {} was {}, is {}".format(name, *moved[name])
        for name in MEASURED
        if name in moved
    ]
    was, now = (
        DatasetInfo.from_facts(file_io.as_json_values(each)) for each in (content.get("data", {}), facts)
    )
    files = changes(was, now)
    found += [f"the files of the data have changed since the checkpoint: {change}" for change in files]
    return [Note(each, "warning") for each in found]


def _moved(was: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What the data said of itself at the checkpoint and says otherwise now."""
    return {name: (old, now.get(name)) for name, old in was.items() if old != now.get(name)}


def _require_same(
    changed: Sequence[tuple[str, Any, Any]],
    moved: Mapping[str, tuple[Any, Any]],
    config: Mapping[str, Any],
    path: Path,
    redefined: Sequence[Problem] = (),
) -> None:
    """Refuse a checkpoint of another network, of another fold, or of data with other classes or sequences.

    Raises:
        ConfigError: it is one.
    """
    problems = [
        Problem(
            tuple(name.split(".")),
            f"the checkpoint in {path.parent} has {old!r}, the config has {new!r}; {_HINT}",
        )
        for name, old, new in refused(changed, config)
    ]
    problems += [
        Problem(
            ("data",), "its {} were {!r} at the checkpoint and are {!r}; {}".format(name, *moved[name], _HINT)
        )
        for name in DECISIVE
        if name in moved
    ]
    problems += redefined
    if problems:
        raise ConfigError(problems)


def _require_groups(state: Mapping[str, Any], optimizer: Any, path: Path) -> None:
    """Refuse an optimizer that has other parameters than at the checkpoint, such as those of the loss.

    Raises:
        ConfigError: it has.
    """
    was, now = (
        [len(group["params"]) for group in groups]
        for groups in (state.get("param_groups", []), getattr(optimizer, "param_groups", []))
    )
    if was == now or not (was and now):
        return
    if was == now[: len(was)]:
        reason = "the loss's own parameters were not trained then, and would be now: freeze them"
    elif now == was[: len(now)]:
        reason = "the loss's own parameters were trained then, and there are none now: train them"
    else:
        reason = "the code of the network or of the loss has changed: leave it as it was"
    message = f"the optimizer of the checkpoint in {path.parent} has groups of {was} parameters, here {now}"
    raise ConfigError([Problem(("criterion",), f"{message}; {reason}, or start a new run")])


def _redefined(
    was: Numbers, described: Mapping[str, Definition], config: Mapping[str, Any], path: Path
) -> list[Problem]:
    """The values that decide something in the run and have another definition than their earlier epochs."""
    now, problems = numbers(described), []
    for name in watched(config):
        old, new = of_value(name, was), of_value(name, now)
        if old != new:
            own = described.get(logged(name)) or described.get(LOSS)
            reason = f": {own.reason}" if own and own.reason else ""
            message = (
                f"the epochs of the checkpoint in {path.parent} have {name} by definition {old}, and this "
                f"program computes definition {new}{reason}. The two can't be compared: train anew"
            )
            problems.append(Problem(("monitor", "metric"), message))
    return problems


def _forget_redefined(
    content: Mapping[str, Any], was: Numbers, described: Mapping[str, Definition]
) -> list[Note]:
    """Leave out of a checkpoint within an epoch what metrics of another definition have gathered."""
    gathered = ((content.get("midway") or {}).get("tally") or {}).get("metrics") or {}
    notes = []
    for name, new in described.items():
        if of_value(name, was) == new.number:
            continue
        reason = f": {new.reason}" if new.reason else ""
        text = f"{name} has another definition than before the checkpoint{reason}"
        notes.append(Note(text, "warning"))
        if gathered.pop(name, None) is not None:
            text = f"train_{name} of this epoch is of the batches after the checkpoint only"
            notes.append(Note(text, "warning"))
    return notes


def _require_no_leak(was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse a split by which images that the network has learnt from would judge it.

    Raises:
        ConfigError: there are some.
    """
    learnt = set((was.get("split") or {}).get("train") or ())
    judging = {name for part in ("val", "test") for name in (now.get("split") or {}).get(part) or ()}
    if leaked := sorted(learnt & judging):
        message = (
            f"{len(leaked)} images that the network has learnt from would judge it now, such as {leaked[0]}"
        )
        raise ConfigError([Problem(("data",), f"{message}; {_HINT}")])


def _restore_stretched(parts: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Load the parts of a run that is to last longer than its checkpoint says, schedule included.

    The state of a scheduler holds the old length. The new one walks from its beginning to where the training
    stands; what it has set on the way (learning rate, and momentum with some) goes into the optimizer.
    """
    optimizer, scheduler = parts["optimizer"], parts["scheduler"]
    beginning = copy.deepcopy(scheduler.state_dict())
    groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    checkpoint.restore(parts, content)
    position = scheduler.last_epoch
    scheduler.load_state_dict(beginning)
    for group, values in zip(optimizer.param_groups, groups, strict=True):
        group.update(values)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step\\(\\)`")
        for _ in range(position):
            scheduler.step()
