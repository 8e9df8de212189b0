"""Report of a scene graph evaluation: JSON, CSV tables, plots, an HTML page, and a text."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from lab.evaluate.scene_graph import PREDICTORS, Example, SceneGraphEvaluation
from lab.figures import scene_graph as figures
from lab.metrics.image_scores import Summary
from lab.metrics.scene_graph import CONSTRAINTS, KS, Constraint
from lab.report import evaluation_base as base
from lab.report.evaluation_base import format_score, spread
from lab.store import file_io

RECALL, PREDICATES = "recall.csv", "predicates.csv"
PLOTS = ("recall", "predicates", "examples")
K = 20  # of what is shown where there is room for one
HEADINGS = [*(f"R@{k}" for k in KS), *(f"mR@{k}" for k in KS)]


class Row(NamedTuple):
    """Recall and mean Recall at each of `KS`, of one mode, one constraint, and one predictor."""

    mode: str
    constraint: Constraint
    predictor: str
    recall: list[float]
    mean_recall: list[float]


def write(evaluation: SceneGraphEvaluation, directory: Path) -> Path:
    """Write `metrics.json`, `recall.csv`, `predicates.csv`, a PNG of each of `PLOTS`, and `report.html`.

    Returns:
        the page's path.

    Raises:
        OSError: the folder can't be written.
    """
    tables = {RECALL: recall_table(evaluation), PREDICATES: predicate_table(evaluation)}
    base.write(directory, as_data(evaluation), tables)
    drawn = base.draw_plots(directory, PLOTS, lambda folder: draw(evaluation, folder))
    file_io.atomic_write(directory / base.REPORT, page(evaluation, drawn))
    return directory / base.REPORT


def rows(evaluation: SceneGraphEvaluation, part: str | None = None) -> list[Row]:
    """Return all scores, the network's followed by the frequency baseline's, of all parts or of one."""
    found = []
    for mode in evaluation.modes:
        for constraint in CONSTRAINTS:
            for predictor in PREDICTORS:
                ranks = evaluation.ranks(mode, predictor, constraint, part)
                recall, means = [ranks.recall(k) for k in KS], [ranks.mean_recall(k) for k in KS]
                found.append(Row(mode, constraint, predictor, recall, means))
    return found


def bars(evaluation: SceneGraphEvaluation) -> list[figures.Bar]:
    """Recall@20 of each predicate, in the run's own mode with the constraint; without those of no triplet."""
    network, frequency = (evaluation.ranks(evaluation.mode, predictor, "with") for predictor in PREDICTORS)
    triplets = Counter(network.predicate.tolist())
    values, others = network.by_predicate(K), frequency.by_predicate(K)
    return [
        figures.Bar(group, name, triplets[index], values[index], others[index])
        for index, (group, name) in enumerate(evaluation.predicates)
        if triplets[index]
    ]


def over_parts(evaluation: SceneGraphEvaluation) -> dict[str, Summary | None]:
    """The spread over folds or seeds of Recall@20 and mean Recall@20, own mode, with the constraint."""
    ranks = [evaluation.ranks(evaluation.mode, "network", "with", part) for part in evaluation.parts]
    return base.over_parts(
        [{f"recall@{K}": each.recall(K), f"mean_recall@{K}": each.mean_recall(K)} for each in ranks]
    )


def as_data(evaluation: SceneGraphEvaluation) -> dict[str, object]:
    """Return everything as plain data; undefined values are NaN."""
    return base.as_data(
        evaluation,
        mode=evaluation.mode,
        dataset=evaluation.dataset,
        asked=[
            {"mode": each.mode, "part": each.part, "videos": each.videos, "frames": each.frames}
            for each in evaluation.results
        ],
        recall=list(_by_k(evaluation)),
        predicates=[each._asdict() for each in bars(evaluation)],
        **({"over_parts": base.plain(over_parts(evaluation))} if evaluation.parts else {}),
    )


def recall_table(evaluation: SceneGraphEvaluation) -> str:
    """`recall.csv`: a row per mode, constraint and K; and part, where there are several."""
    lines: list[list[object]] = []
    parts: list[str | None] = [*evaluation.parts]
    for part in parts or [None]:
        for line in _by_k(evaluation, part):
            mode, constraint, k, *values = line.values()
            lines.append([*([part] if part else []), mode, constraint, k, *values])
    head = ["mode", "constraint", "k", "recall", "mean_recall", "frequency_recall", "frequency_mean_recall"]
    return file_io.to_csv([*(["part"] if evaluation.parts else []), *head], lines)


def predicate_table(evaluation: SceneGraphEvaluation) -> str:
    """`predicates.csv`: a row per mode, constraint and annotated predicate, with its recall at each K."""

    def lines() -> Iterator[list[object]]:
        for mode in evaluation.modes:
            for constraint in CONSTRAINTS:
                ranks = [evaluation.ranks(mode, predictor, constraint) for predictor in PREDICTORS]
                triplets = Counter(ranks[0].predicate.tolist())
                values = [each.by_predicate(k) for each in ranks for k in KS]
                for index in sorted(triplets):
                    group, name = evaluation.predicates[index]
                    recalls = [value[index] for value in values]
                    yield [mode, constraint, group, name, triplets[index], *recalls]

    head = ["mode", "constraint", "group", "predicate", "triplets"]
    return file_io.to_csv(
        [*head, *(f"{predictor}_recall{k}" for predictor in PREDICTORS for k in KS)], lines()
    )


def draw(evaluation: SceneGraphEvaluation, directory: Path) -> None:
    """Draw the plots as PNG files; no examples if no frame has a triplet."""
    name = evaluation.folder.name
    panels: dict[tuple[str, str], list[figures.Line]] = {
        (measure, mode): [] for measure in ("Recall", "mean Recall") for mode in evaluation.modes
    }
    for row in rows(evaluation):
        for measure, values in (("Recall", row.recall), ("mean Recall", row.mean_recall)):
            line = figures.Line(
                f"{row.constraint} constraint", row.predictor == "network", dict(zip(KS, values, strict=True))
            )
            panels[measure, row.mode].append(line)
    figures.recall_figure(panels, directory / "recall.png", title=f"{name}, {_counted(evaluation)}")
    if found := bars(evaluation):
        title = f"Recall@{K} of each predicate: {evaluation.mode}, with constraint"
        figures.predicates_figure(found, directory / "predicates.png", title=title)
    best = base.apart(evaluation.best, evaluation.worst, id)
    if frames := [drawn(evaluation, each) for each in (*evaluation.worst, *best)]:
        title = f"{name}: {evaluation.mode}, with constraint; the worst frames and the best"
        figures.examples_figure(frames, directory / "examples.png", k=K, title=title)


def drawn(evaluation: SceneGraphEvaluation, example: Example) -> figures.Drawn:
    """Return the drawing of an example's frame."""
    names = [name for _, name in evaluation.predicates]
    title = f"{example.video}, frame {example.time:g}"
    return figures.drawn_frame(
        example.frame, example.ranked, evaluation.dataset, evaluation.objects, names, title
    )


def as_text(evaluation: SceneGraphEvaluation, report: Path | None = None) -> str:
    """Return the tables for a terminal, notes first."""
    body = [
        [row.mode, row.constraint, row.predictor, *map(format_score, (*row.recall, *row.mean_recall))]
        for row in rows(evaluation)
    ]
    lines = [verdict(evaluation), "", base.table(["mode", "constraint", "predictor", *HEADINGS], body, 3)]
    lines += ["", f"R@K: Recall@K, mR@K: mean Recall@K; of each predicate: {PREDICATES}"]
    if evaluation.parts:
        lines += ["", base.table(["", f"R@{K}", f"mR@{K}"], list(_of_parts(evaluation)))]
    return base.as_text(evaluation, _counted(evaluation), lines, report, "Note")


def verdict(evaluation: SceneGraphEvaluation) -> str:
    """Return a sentence with the score that matters."""
    network, frequency = (
        evaluation.ranks(evaluation.mode, predictor, "with").mean_recall(K) for predictor in PREDICTORS
    )
    if math.isnan(network):
        return "There is nothing to evaluate."
    text = f"Mean Recall@{K} is {format_score(network)} in {evaluation.mode} with constraint; the "
    text += f"frequency baseline has {format_score(frequency)}"
    return f"{text} (a factor of {network / frequency:.1f})." if frequency else f"{text}."


def page(evaluation: SceneGraphEvaluation, drawn: Mapping[str, bytes]) -> str:
    """Render the page as HTML.

    Args:
        drawn: PNG files by name.
    """
    first = rows(evaluation)[0]
    return base.page(
        "scene_graph_page.html.j2",
        evaluation,
        _counted(evaluation),
        [
            ("scores", "Scores", True),
            ("parts", base.PARTS, evaluation.parts),
            ("predicates", "Predicates", "predicates" in drawn),
            ("examples", "Examples", "examples" in drawn),
        ],
        what="videos",
        verdict=verdict(evaluation),
        tiles=list(zip(HEADINGS, (*first.recall, *first.mean_recall), strict=True)),
        headings=HEADINGS,
        rows=rows(evaluation),
        parts=list(_of_parts(evaluation)),
        bars=bars(evaluation),
        k=K,
        drawn=drawn,
    )


def _by_k(evaluation: SceneGraphEvaluation, part: str | None = None) -> Iterator[dict[str, object]]:
    """Yield scores per mode, constraint and K, of the network and of the frequency baseline."""
    found = rows(evaluation, part)
    for network, frequency in zip(found[::2], found[1::2], strict=True):
        for place, k in enumerate(KS):
            yield {
                "mode": network.mode,
                "constraint": network.constraint,
                "k": k,
                "recall": network.recall[place],
                "mean_recall": network.mean_recall[place],
                "frequency_recall": frequency.recall[place],
                "frequency_mean_recall": frequency.mean_recall[place],
            }


def _of_parts(evaluation: SceneGraphEvaluation) -> Iterator[list[str]]:
    """Name, Recall@20 and mean Recall@20 of each fold or seed, and their spread."""
    for part in evaluation.parts:
        ranks = evaluation.ranks(evaluation.mode, "network", "with", part)
        yield [part, format_score(ranks.recall(K)), format_score(ranks.mean_recall(K))]
    if evaluation.parts:
        yield [base.SPREAD, *map(spread, over_parts(evaluation).values())]


def _counted(evaluation: SceneGraphEvaluation) -> str:
    """`50 test videos, 400 frames`, of all parts."""
    own = [each for each in evaluation.results if each.mode == evaluation.mode]
    videos, frames = sum(each.videos for each in own), sum(each.frames for each in own)
    return f"{base.counted(evaluation, videos, 'video')}, {frames:,} frames"
