"""Findings of a study, in words and numbers: verdict, outcomes, narrow bounds, time saved by pruning."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lab.events import Outcome
from lab.report.study_data import OUTCOMES, WRONG, Dimension, Objective, Study, amount

EDGE = 0.05  # fraction of a parameter's range, on its own scale
BEST_FEW = 5
_FAR = 4.0  # times the spread of the better four fifths: beyond it a value would squeeze all others


@dataclass(frozen=True)
class OutcomeCount:
    """The trials with one outcome: their number, cost and causes."""

    outcome: str
    count: int
    epochs: int
    seconds: float
    causes: tuple[tuple[str, int], ...]  # the most frequent first


@dataclass(frozen=True)
class EdgeWarning:
    """The best trials cluster at a bound: better ones may lie beyond it."""

    dimension: Dimension
    side: str  # "low" or "high"
    bound: float
    value: float  # of the best trial that is there
    winner: bool  # the winner is among them
    near: int
    of: int
    wider: float | None  # a bound to try; None where the scale may end here by nature

    @property
    def pressing(self) -> bool:
        """True where it is more than chance: of ten parameters, one has a single trial there by luck."""
        return self.near > 1 or self.of < 3


@dataclass(frozen=True)
class Savings:
    """Epochs and time saved by pruning."""

    pruned: int
    epochs_saved: int
    epochs_done: int  # by all trials
    seconds_saved: float | None  # from the mean time of an epoch; None where no time is known

    @property
    def share(self) -> float:
        """The fraction of all epochs that would have been run."""
        return self.epochs_saved / (self.epochs_saved + self.epochs_done)


def verdict(study: Study) -> str:
    """Summarize the study in one or two sentences."""
    winner, ranked = study.winner, study.ranked
    if winner is None:
        return _no_winner(study)
    first = study.objectives[0]
    reached = ", ".join(
        f"{each.metric} {amount(value)}" for each, value in zip(study.objectives, winner.values, strict=True)
    )
    if len(study.objectives) > 1:
        count, of = len(study.front), len(ranked)
        trials = "trial is" if count == 1 else "trials are"
        return (
            f"{count} of {of} finished {trials} on the Pareto front; the best by {first.metric} is trial "
            f"{winner.number}: {reached}."
        )
    sentence = f"Trial {winner.number} reached {reached}"
    if len(ranked) == 1:
        return f"{sentence}; it is the only trial with a result. {confirmed(study)}"
    median = statistics.median(trial.values[0] for trial in ranked)
    sentence += f", {_better(winner.values[0], median, first)} the median of {len(ranked)} finished trials"
    earliest = min(ranked, key=lambda trial: trial.number)
    if earliest is not winner:
        better = _better(winner.values[0], earliest.values[0], first)
        sentence += f" and {better} the first (trial {earliest.number})"
    return f"{sentence}. {confirmed(study)}"


def confirmed(study: Study) -> str:
    """Summarize whether fresh seeds confirm the winner."""
    about, winner = study.confirmation, study.winner
    best = about.best if about else None
    if about is not None and best is None and any(each.diverged for each in about.candidates):
        return f"On {about.seeds} fresh seeds each of the best trials diverged at least once."
    if about is None or best is None or winner is None:
        return "Not confirmed on fresh seeds."
    interval = f"{amount(best.mean)} (95\u00a0% interval {amount(best.low)} to {amount(best.high)})"
    if best.trial == winner.number:
        return f"On {about.seeds} fresh seeds it stays ahead: {about.metric} {interval}."
    return f"On {about.seeds} fresh seeds trial {best.trial} is ahead of it: {about.metric} {interval}."


def outcomes(study: Study) -> list[OutcomeCount]:
    """Return a row per outcome that occurs, in the order of `OUTCOMES`; forked trials don't count."""
    rows = []
    for outcome in OUTCOMES:
        trials = [trial for trial in study.own if trial.outcome == outcome]
        if trials:
            causes = Counter(trial.cause for trial in trials if trial.cause).most_common()
            epochs = sum(trial.epochs for trial in trials)
            seconds = math.fsum(trial.seconds or 0.0 for trial in trials)
            rows.append(OutcomeCount(outcome, len(trials), epochs, seconds, tuple(causes)))
    return rows


def edges(study: Study) -> list[EdgeWarning]:
    """Find parameters for which the winner, or most of the best few trials, lie within 5 % of a bound.

    The distance is taken on the parameter's own scale: logarithmic ones by factors, others by steps. A
    parameter of two values is always at a bound and is left out.
    """
    best = study.front[:BEST_FEW] if len(study.objectives) > 1 else study.ranked[:BEST_FEW]
    found = []
    for dimension in study.dimensions:
        if dimension.kind == "categorical" or not dimension.in_space or _values_of(dimension) <= 2:
            continue
        places = [(trial, dimension.position(trial.params.get(dimension.path))) for trial in best]
        known = [(trial, place) for trial, place in places if place is not None]
        # The winner alone suffices for a warning; without it, most of the best trials.
        for side in ("low", "high"):
            near = [t for t, place in known if (place if side == "low" else 1 - place) <= EDGE]
            if not near or not (near[0] is study.winner or 2 * len(near) > len(best) > 2):
                continue
            value = near[0].params[dimension.path]
            assert not isinstance(value, str), "a number has a position"
            bound = dimension.low if side == "low" else dimension.high
            wider, leads = _wider(dimension, side), near[0] is study.winner
            found.append(EdgeWarning(dimension, side, bound, value, leads, len(near), len(best), wider))
    return found


def savings(study: Study) -> Savings | None:
    """Compute the epochs and time saved by pruning; None where nothing was pruned."""
    pruned = [trial for trial in study.own if trial.outcome == Outcome.PRUNED and trial.epochs_planned]
    saved = sum(max(0, (trial.epochs_planned or 0) - trial.epochs) for trial in pruned)
    if not saved:
        return None
    timed = [trial for trial in study.own if trial.seconds and trial.epochs]
    epochs = sum(trial.epochs for trial in timed)
    each = math.fsum(trial.seconds or 0.0 for trial in timed) / epochs if epochs else None
    done = sum(trial.epochs for trial in study.own)
    return Savings(len(pruned), saved, done, None if each is None else saved * each)


def span(values: Sequence[float], maximize: bool) -> tuple[float, float]:
    """Return the range to plot: all finite values except for those so bad that they would squeeze the others.

    Raises:
        ValueError: there is no finite value.
    """
    costs = sorted(-value if maximize else value for value in values if math.isfinite(value))
    if not costs:
        raise ValueError("there is no finite value")
    good = costs[int(0.8 * (len(costs) - 1))]
    # Without the worst fifth, the spread shows what matters among good trials.
    spread = good - costs[0]
    if spread > 0 and len(costs) >= 5 and costs[-1] - costs[0] > _FAR * spread:
        costs = [cost for cost in costs if cost <= good + 1.5 * spread]
    return (-costs[-1], -costs[0]) if maximize else (costs[0], costs[-1])


def _no_winner(study: Study) -> str:
    rows = outcomes(study)
    if not rows:
        return "No trial has been started yet."
    counts = ", ".join(f"{row.count} {row.outcome.replace('_', ' ')}" for row in rows)
    total = sum(row.count for row in rows)
    yet = " yet" if study.unsettled else ""
    none = f"None of {total} trials has a" if total > 1 else "The one trial has no"
    wrong = Counter(trial.cause for trial in study.own if trial.outcome in WRONG and trial.cause)
    most = wrong.most_common(1)
    return f"{none} result{yet}: {counts}." + (f" The most frequent cause: {most[0][0]}" if most else "")


def _better(value: float, than: float, objective: Objective) -> str:
    """`0.0340 (3.9 %) better than`."""
    gain = objective.sign * (than - value)
    if gain <= 0:
        return "no better than"
    share = f" ({100 * gain / abs(than):.2g}\u00a0%)" if than and gain < abs(than) else ""
    return f"{amount(gain)}{share} better than"


def _values_of(dimension: Dimension) -> float:
    """Return how many values a number can take."""
    if dimension.high <= dimension.low:
        return 1
    return (dimension.high - dimension.low) / dimension.step + 1 if dimension.step else math.inf


def _wider(dimension: Dimension, side: str) -> float | None:
    """Ten times further on a logarithmic scale, half the range further on others; never across zero."""
    low, high = dimension.low, dimension.high
    if dimension.log:
        wider = float(f"{low / 10 if side == 'low' else high * 10:.6g}")
        if dimension.kind == "int":
            wider = float(max(1, round(wider)))
    else:
        more = (high - low) / 2
        more = math.ceil(more / dimension.step) * dimension.step if dimension.step else more
        wider = float(f"{low - more if side == 'low' else high + more:.6g}")
        if (low >= 0 > wider) or (high <= 0 < wider):
            wider = 0.0
    return None if wider == (low if side == "low" else high) else wider
