"""Report of a scene graph evaluation: JSON, CSV tables, plots, an HTML page, and a text."""

import math
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

from lab.evaluate.scene_graph import PREDICTORS, Example, SceneGraphEvaluation, SceneGraphEvaluator
from lab.figures import scene_graph as figures
from lab.metrics.image_scores import Summary
from lab.metrics.scene_graph import CONSTRAINTS, KS, Constraint, Ranked
from lab.report import evaluation_base as base
from lab.report.evaluation_base import format_score, spread
from lab.store import file_io

RECALL, PREDICATES = "recall.csv", "predicates.csv"
K = 20  # of what is shown where there is room for one
HEADINGS = [*(f"R@{k}" for k in KS), *(f"mR@{k}" for k in KS)]


class Row(NamedTuple):
    """Recall and mean Recall at each of `KS`, of one mode, one constraint, and one predictor."""

    mode: str
    constraint: Constraint
    predictor: str
    recall: list[float]
    mean_recall: list[float]


class SceneGraphReport(base.Report[SceneGraphEvaluation]):
    """`metrics.json`, `recall.csv`, `predicates.csv`, a PNG of each of `plots`, and the page."""

    evaluator = SceneGraphEvaluator
    template = "scene_graph_page.html.j2"
    plots = ("recall", "predicates", "examples")
    items, notes = "videos", "Note"
    headings, k = HEADINGS, K

    def counted(self) -> str:
        """Return `50 test videos, 400 frames`, of all parts."""
        own = [each for each in self.evaluation.results if each.mode == self.evaluation.mode]
        videos, frames = sum(each.videos for each in own), sum(each.frames for each in own)
        return f"{base.counted(self.evaluation, videos, 'video')}, {frames:,} frames"

    def rows(self, part: str | None = None) -> list[Row]:
        """Return all scores, the network's followed by the frequency baseline's, of all parts or of one."""
        found = []
        for mode, constraint, predictor in product(self.evaluation.modes, CONSTRAINTS, PREDICTORS):
            ranks = self.evaluation.ranks(mode, predictor, constraint, part)
            recall, means = [ranks.recall(k) for k in KS], [ranks.mean_recall(k) for k in KS]
            found.append(Row(mode, constraint, predictor, recall, means))
        return found

    def own_ranks(self, predictor: str = "network", part: str | None = None) -> Ranked:
        """Return the ranks of one predictor in the run's own mode, with the constraint."""
        return self.evaluation.ranks(self.evaluation.mode, predictor, "with", part)

    def bars(self) -> list[figures.Bar]:
        """Return Recall@20 of each predicate that has triplets, by `own_ranks`."""
        network, frequency = map(self.own_ranks, PREDICTORS)
        triplets = Counter(network.predicate.tolist())
        values, others = network.by_predicate(K), frequency.by_predicate(K)
        return [
            figures.Bar(group, name, triplets[index], values[index], others[index])
            for index, (group, name) in enumerate(self.evaluation.predicates)
            if triplets[index]
        ]

    def over_parts(self) -> dict[str, Summary | None]:
        """Return the spread over folds or seeds of Recall@20 and mean Recall@20, by `own_ranks`."""
        ranks = [self.own_ranks(part=part) for part in self.evaluation.parts]
        return base.over_parts(
            [{f"recall@{K}": each.recall(K), f"mean_recall@{K}": each.mean_recall(K)} for each in ranks]
        )

    def results(self) -> dict[str, object]:
        """Return the scores as plain data."""
        it = self.evaluation
        return {
            "mode": it.mode,
            "dataset": it.dataset,
            "asked": [
                {"mode": each.mode, "part": each.part, "videos": each.videos, "frames": each.frames}
                for each in it.results
            ],
            "recall": list(self._by_k()),
            "predicates": [each._asdict() for each in self.bars()],
            **({"over_parts": base.plain(self.over_parts())} if it.parts else {}),
        }

    def tables(self) -> dict[str, str]:
        """Return a row per part, mode, constraint and K, and a row per mode, constraint and predicate."""
        recall = [
            {**({"part": part} if part else {}), **row}
            for part in self.evaluation.parts or [""]
            for row in self._by_k(part)
        ]
        columns = ["mode", "constraint", "group", "predicate", "triplets"]
        columns += [f"{predictor}_recall{k}" for predictor, k in product(PREDICTORS, KS)]
        return {
            RECALL: file_io.to_csv(list(recall[0]), (list(row.values()) for row in recall)),
            PREDICATES: file_io.to_csv(columns, self._predicates()),
        }

    def _by_k(self, part: str | None = None) -> Iterator[dict[str, object]]:
        """Yield scores per mode, constraint and K, of the network and of the frequency baseline."""
        found = self.rows(part)
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

    def _predicates(self) -> Iterator[list[object]]:
        """Yield a row per mode, constraint and annotated predicate, with its recall at each K."""
        for mode, constraint in product(self.evaluation.modes, CONSTRAINTS):
            ranks = [self.evaluation.ranks(mode, predictor, constraint) for predictor in PREDICTORS]
            triplets = Counter(ranks[0].predicate.tolist())
            values = [each.by_predicate(k) for each in ranks for k in KS]
            for index in sorted(triplets):
                recalls = [value[index] for value in values]
                yield [mode, constraint, *self.evaluation.predicates[index], triplets[index], *recalls]

    def draw(self, directory: Path) -> None:
        """Draw the plots as PNG files; no examples if no frame has a triplet."""
        it, name = self.evaluation, self.evaluation.folder.name
        recall, predicates, examples = (directory / f"{plot}.png" for plot in self.plots)
        panels: dict[tuple[str, str], list[figures.Line]] = {
            (measure, mode): [] for measure in ("Recall", "mean Recall") for mode in it.modes
        }
        for row in self.rows():
            for measure, values in (("Recall", row.recall), ("mean Recall", row.mean_recall)):
                by_k = dict(zip(KS, values, strict=True))
                line = figures.Line(f"{row.constraint} constraint", row.predictor == "network", by_k)
                panels[measure, row.mode].append(line)
        figures.recall_figure(panels, recall, title=f"{name}, {self.counted()}")
        if found := self.bars():
            title = f"Recall@{K} of each predicate: {it.mode}, with constraint"
            figures.predicates_figure(found, predicates, title=title)
        best = base.apart(it.best, it.worst, id)
        if frames := [self.drawn(each) for each in (*it.worst, *best)]:
            title = f"{name}: {it.mode}, with constraint; the worst frames and the best"
            figures.examples_figure(frames, examples, k=K, title=title)

    def drawn(self, example: Example) -> figures.Drawn:
        """Return the drawing of an example's frame."""
        it, names = self.evaluation, [name for _, name in self.evaluation.predicates]
        title = f"{example.video}, frame {example.time:g}"
        return figures.drawn_frame(example.frame, example.ranked, it.dataset, it.objects, names, title)

    def lines(self) -> Iterator[str]:
        """Yield the tables for a terminal."""
        body = [
            [row.mode, row.constraint, row.predictor, *map(format_score, (*row.recall, *row.mean_recall))]
            for row in self.rows()
        ]
        yield from (self.verdict(), "", base.table(["mode", "constraint", "predictor", *HEADINGS], body, 3))
        yield from ("", f"R@K: Recall@K, mR@K: mean Recall@K; of each predicate: {PREDICATES}")
        if self.evaluation.parts:
            yield from ("", base.table(["", f"R@{K}", f"mR@{K}"], self.parts()))

    def verdict(self) -> str:
        """Return a sentence with the score that matters."""
        network, frequency = (self.own_ranks(predictor).mean_recall(K) for predictor in PREDICTORS)
        if math.isnan(network):
            return "There is nothing to evaluate."
        text = f"Mean Recall@{K} is {format_score(network)} in {self.evaluation.mode} with constraint; the "
        text += f"frequency baseline has {format_score(frequency)}"
        return f"{text} (a factor of {network / frequency:.1f})." if frequency else f"{text}."

    def parts(self) -> list[list[str]]:
        """Return name, Recall@20 and mean Recall@20 of each fold or seed, and their spread."""
        rows = []
        for part in self.evaluation.parts:
            ranks = self.own_ranks(part=part)
            rows.append([part, format_score(ranks.recall(K)), format_score(ranks.mean_recall(K))])
        return [*rows, [base.SPREAD, *map(spread, self.over_parts().values())]]
