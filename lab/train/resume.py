"""Resume a run: load the newest intact checkpoint, and refuse one that belongs to another network."""

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from lab import checkpoint
from lab.checkpoint import StateDict, Stateful
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
from lab.train.changed_settings import Change, ConfigData, refused, resets
from lab.train.dropped_state import Parts, drop_state, new_since, part_of_epoch, reset_notes

Changed: TypeAlias = Mapping[str, tuple[object, object]]
"""Name -> value at the checkpoint, value now."""

_HINT = "start a new run for it, or restore the former value"
# Parts that a checkpoint of an earlier version, or with other settings, may lack: they start from scratch.
_OPTIONAL = ("scaler", "early_stopping", "midway", "modes", "criterion", "components")


@contextmanager
def split_as_before(run: Path, resume: bool) -> Iterator[None]:
    """Split the data of a resumed run by the rule of its checkpoint, within a context.

    Seeds and folds that have no checkpoint yet use the same rule: folds by several rules would overlap.

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
    """Return a checkpoint's record of its run: config without secrets, data, definitions, split rule."""
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
    parts: Parts,
    described: Mapping[str, Definition] = {},
) -> list[Note]:
    """Load the newest checkpoint in `folder` into the parts.

    Args:
        about: `record_of` the run as it is now. Its `definitions` become those of the run's oldest values.
        described: the definition of each logged metric and loss, as this program has them.

    Returns:
        Notes for the user: a damaged checkpoint that was skipped, settings that changed.

    Raises:
        ConfigError: the checkpoint belongs to another network, optimizer, scheduler or seed, or a value that
            the run depends on has had another definition.
        CheckpointError: there are checkpoints, and none can be read.
    """
    if not _has_checkpoint(folder):
        return [Note("there is no checkpoint yet; starting at the first epoch")]
    config, facts = about["config"], about["data"]
    content, path, faults = checkpoint.load_latest(folder)
    # A setting that is newer than the checkpoint has a default with the former behaviour.
    before = {**RunConfig.defaults(), **redact(content["config"])}
    changed = differences(before, config)
    moved = _moved(file_io.as_json_values(content.get("data", {})), file_io.as_json_values(facts))
    was = recorded(content.get("definitions"))
    # Refuse before anything is loaded: a refused resume leaves no trace.
    problems = [*_of_another_run(changed, moved, config, path), *_redefined(was, described, config, path)]
    if problems:
        raise ConfigError(problems)
    _require_no_leak(content.get("data", {}), facts)
    _require_groups(content.get("optimizer") or {}, parts.get("optimizer"), path)
    other = list(_drop_redefined(content, was, described))
    # Drop what belongs to settings that have changed, then load the rest.
    reset = resets(changed, before, config)
    other += drop_state(reset, content, parts, config)
    # A run whose epochs have several definitions of a value has the oldest: readers compare by it.
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
    done = content["course"]["epoch"]
    nothing = f"nothing to do: all {done} epochs are complete; pass --set epochs=N to train longer"
    return [
        *([Note(nothing)] if done >= config["epochs"] else []),
        *(Note(f"skipped a damaged checkpoint: {fault}", "warning") for fault in faults),
        *_about_data(moved, content, facts),
        *other,
        *reset_notes(reset, parts),
        *(Note(f"changed since the checkpoint: {name}: {old!r} -> {new!r}") for name, old, new in changed),
    ]


def _about_data(moved: Changed, content: StateDict, facts: Facts) -> Iterator[Note]:
    """Warn of data that has changed since the checkpoint."""
    for name in MEASURED:
        if name in moved:
            yield Note("the data has changed: its {} was {}, is {}".format(name, *moved[name]), "warning")
    was, now = (
        DatasetInfo.from_facts(file_io.as_json_values(each)) for each in (content.get("data", {}), facts)
    )
    for change in changes(was, now):
        yield Note(f"the files of the data have changed since the checkpoint: {change}", "warning")


def _moved(was: Facts, now: Facts) -> Changed:
    """Return the facts of the data that have changed since the checkpoint, with their old and new values."""
    return {name: (old, now.get(name)) for name, old in was.items() if old != now.get(name)}


def _of_another_run(
    changed: Sequence[Change], moved: Changed, config: ConfigData, path: Path
) -> Iterator[Problem]:
    """Yield a problem for a checkpoint of another network, another fold, or other classes or sequences."""
    for name, old, new in refused(changed, config):
        message = f"the checkpoint in {path.parent} has {old!r}, the config has {new!r}; {_HINT}"
        yield Problem(tuple(name.split(".")), message)
    for name in DECISIVE:
        if name in moved:
            message = "its {} were {!r} at the checkpoint and are {!r}; {}".format(name, *moved[name], _HINT)
            yield Problem(("data",), message)


def _require_groups(state: StateDict, optimizer: Stateful | None, path: Path) -> None:
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
        reason = "the code of the network or of the loss has changed: restore it"
    message = f"the optimizer of the checkpoint in {path.parent} has groups of {was} parameters, here {now}"
    raise ConfigError([Problem(("criterion",), f"{message}; {reason}, or start a new run")])


def _redefined(
    was: Numbers, described: Mapping[str, Definition], config: ConfigData, path: Path
) -> Iterator[Problem]:
    """Yield the values that the run depends on and whose definition is not that of the earlier epochs."""
    now = numbers(described)
    for name in watched(config):
        old, new = of_value(name, was), of_value(name, now)
        if old != new:
            own = described.get(logged(name)) or described.get(LOSS)
            reason = f": {own.reason}" if own and own.reason else ""
            message = (
                f"the checkpoint in {path.parent} has {name} by definition {old}, and this program computes "
                f"definition {new}{reason}. The two can't be compared: start a new run"
            )
            yield Problem(("monitor", "metric"), message)


def _drop_redefined(content: StateDict, was: Numbers, described: Mapping[str, Definition]) -> Iterator[Note]:
    """Remove what metrics of another definition have gathered from a checkpoint within an epoch."""
    gathered = ((content.get("midway") or {}).get("tally") or {}).get("metrics") or {}
    for name, new in described.items():
        if of_value(name, was) == new.number:
            continue
        reason = f": {new.reason}" if new.reason else ""
        yield Note(f"{name} has another definition than before the checkpoint{reason}", "warning")
        if gathered.pop(name, None) is not None:
            yield part_of_epoch(name)


def _require_no_leak(was: Facts, now: Facts) -> None:
    """Refuse a split that would evaluate the network on images that it was trained on.

    Raises:
        ConfigError: there are some.
    """
    trained = set((was.get("split") or {}).get("train") or ())
    evaluating = {name for part in ("val", "test") for name in (now.get("split") or {}).get(part) or ()}
    if leaked := sorted(trained & evaluating):
        message = f"data leakage: {len(leaked)} training images are now in the validation or test split"
        raise ConfigError([Problem(("data",), f"{message}, e.g. {leaked[0]}; {_HINT}")])


def _restore_stretched(parts: Mapping[str, Any], content: StateDict) -> None:
    """Load the parts of a run that now has more epochs than its checkpoint, schedule included.

    The state of a scheduler holds the old length. The new one walks from its beginning to the position of
    the training; what it has set on the way (learning rate, and momentum with some) goes into the optimizer.
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
