"""The whole page, of studies as they really end. Its figures are tested one by one beside this."""

import base64
import hashlib
import json
import os
import re
import time
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import optuna
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from lab.config.optimize_config import OptimizeConfig
from lab.console import shell_commands
from lab.report import study as report
from lab.report import study_data
from tests.lab.report import studies

PARAMS = {"optimizer.lr": 0.01, "optimizer": "AdamW", "net.layers": 3, "batch_size": 8}
HOSTILE = '<script>alert("x")</script>&\'größe 🦠'
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """A page's elements, where every one is closed in order, as a browser would not insist on."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes something else"
        self.words.append(" " if tag in ("td", "th", "h2", "h3", "dt", "li", "p") else "")

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self._open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def having(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def write(folder: Path, study: optuna.Study, config: OptimizeConfig) -> Page:
    """The page, with all that must be true of any of them."""
    path = report.write(folder, study, config)
    assert path == folder / "report.html"
    assert (folder / "leaderboard.csv").is_file()
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.having("script")) == 1
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/")), attributes
        assert not any(name.startswith("on") for name in attributes)
    assert not re.search(r"url\(|@import|https?://", text)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    used = {str(a["href"])[1:] for _, a in page.tags if str(a.get("href", "")).startswith("#")}
    assert used <= set(ids)
    for drawn in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        for element in ElementTree.fromstring(drawn).iter():
            for name in ("d", "x", "y", "x1", "x2", "y1", "y2", "width", "transform"):
                assert not re.search(r"\b(nan|inf)", element.attrib.get(name, ""))
    for row in page.having("th"):
        assert "scope" in row
    return page


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, optuna.Study, OptimizeConfig]:
    """40 trials with all that can happen to them, and the winner's folder."""
    folder = tmp_path_factory.mktemp("studies") / "spheroids"
    config = studies.config(storage="postgresql://me:hunter2@host/db")
    study = studies.create(folder, config)
    studies.fill(study, config, folder)
    best = folder / "best"
    best.mkdir()
    (best / "config.yaml").write_text("epochs: 30\n")
    (best / "trial.json").write_text(json.dumps({"number": study.best_trial.number}))
    Image.new("RGB", (400, 300), "red").save(best / "history.png")
    Image.effect_noise((3000, 2000), 90).convert("RGB").save(best / "predictions.png")
    (folder / "study.yaml").write_text("study_name: spheroids\n")
    return folder, study, config


def test_the_page_of_a_night(
    night: tuple[Path, optuna.Study, OptimizeConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, study, config = night
    monkeypatch.chdir(folder.parent.parent)
    page = write(folder, study, config)
    best = study.best_trial
    assert f"Trial {best.number} reached val_dice {best.value:.4f}" in page.text
    sections = [a["id"] for a in page.having("section")]
    assert sections == [
        "winner", "history", "curves", "importances", "parallel", "slices", "outcomes", "bounds", "pruning",
        "confirmation", "trials", "provenance",
    ]  # fmt: skip
    name = folder.parent.name
    for command in (f"--run {name}/spheroids/best/config.yaml", f"--optimize {name}/spheroids/study.yaml",
                    f"--report {name}/spheroids"):  # fmt: skip
        assert f"main.py {command} " in f"{page.text} "
    failed = [trial.number for trial in study.trials if trial.user_attrs["outcome"] == "failed"]
    assert failed
    assert all(f"trial_{number:05d}/traceback.txt" in page.text for number in failed)
    assert studies.FAILED in page.text
    assert "postgresql://me:***@host/db" in page.text
    assert "hunter2" not in (folder / "report.html").read_text()
    assert "TPESampler" in page.text


def test_pictures_are_inside_and_not_too_large(night: tuple[Path, optuna.Study, OptimizeConfig]) -> None:
    page = write(*night)
    small, large = page.having("img")
    assert (small["width"], small["height"], small["alt"]) == ("400", "300", "Curves of the winner")
    assert (large["width"], large["height"]) == ("1600", "1067")
    for image, kind in ((small, "png"), (large, "jpeg")):
        head, _, content = str(image["src"]).partition(",")
        assert head == f"data:image/{kind};base64"
        opened = Image.open(BytesIO(base64.b64decode(content)))
        assert opened.size == (int(str(image["width"])), int(str(image["height"])))
    assert (night[0] / "report.html").stat().st_size < 3_000_000


def test_only_our_script_may_run(night: tuple[Path, optuna.Study, OptimizeConfig]) -> None:
    page = write(*night)
    text = (night[0] / "report.html").read_text()
    (script,) = re.findall(r"<script>(.*)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [
        a["content"] for a in page.having("meta") if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )


def test_nothing_that_a_person_named_can_break_the_page(tmp_path: Path) -> None:
    space = {
        "net.a": {"choices": [HOSTILE, "plain"]},
        "optimizer.lr": {"type": "float", "low": 1e-5, "high": 0.1, "log": True},
    }
    config = studies.config(search_space=space, monitor={"metric": HOSTILE, "mode": "max"})
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    study = optuna.create_study(study_name=HOSTILE, storage=storage, direction="maximize")
    for n, outcome in enumerate(("completed", "completed", "failed", "pruned", "diverged")):
        values = (0.5 + n / 10,) if outcome == "completed" else ()
        params = {"net.a": HOSTILE if n % 2 else "plain", "optimizer.lr": 0.01}
        studies.add(
            study, config, params, outcome, values, {1: 0.1}, cause=HOSTILE, forked_from=HOSTILE * (n == 1)
        )
    confirm = {"seeds": [1, 2], "metric": HOSTILE, "mode": "max", "verdict": HOSTILE,
               "candidates": [{"trial": 1, "values": [0.5, 0.6], "mean": 0.55, "low": 0.5, "high": 0.6}],
    }  # fmt: skip
    (tmp_path / "confirm.json").write_text(json.dumps(confirm))
    page = write(tmp_path, study, config)
    assert page.text.count(HOSTILE) >= 8  # there, as text
    assert "<script>alert" not in (tmp_path / "report.html").read_text()


def test_a_long_table_has_pages_and_figures_stay_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "_ROWS", 10)
    monkeypatch.setattr(study_data, "MOST_DRAWN", 20)
    lr = {"type": "float", "low": 1e-5, "high": 0.1, "log": True}
    config = studies.config(search_space={"net.a": {"choices": ["plain", HOSTILE]}, "optimizer.lr": lr})
    study = studies.create(tmp_path, config)
    for number in range(40):
        params = {"net.a": HOSTILE, "optimizer.lr": 0.001 * (number + 1)}
        wrong = number % 4 == 3
        value = () if wrong else (number / 64,)
        studies.add(study, config, params, "failed" if wrong else "completed", value, {1: 0.5})
    report.write(tmp_path, study, config)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    data = study_data.read(tmp_path, study, config)
    order = report.in_order(data.trials)
    shown = re.findall(r'<td class="n">(\d*)</td><td class="n">(\d+)</td><td>', text)
    assert shown == [(str(trial.rank), str(trial.number)) for trial in order[:10]]
    (found,) = re.findall(r'<script type="application/json">(.*?)</script>', text)
    rows = json.loads(found)
    assert "<" not in found and len(rows) == 30
    assert [row[:3] for row in rows] == [[str(t.rank or ""), str(t.number), t.outcome] for t in order[10:]]
    paths = [dimension.path for dimension in data.dimensions]
    assert rows[0][3] == study_data.amount(order[10].values[0]) and rows[-1][3] == ""
    assert rows[0][4 + paths.index("optimizer.lr")] == f"{0.001 * (order[10].number + 1):.4g}"
    assert rows[0][4 + paths.index("net.a")] == report.cell(HOSTILE)
    assert len(rows[0]) == len(
        re.findall(r"<th scope", text.partition('id="trials"')[2].partition("</tr>")[0])
    )
    assert "40 trials, 10 at a time" in text and "the first 10 of 10" not in text
    best = [trial.number for trial in data.ranked[:2]]
    assert best == [38, 37] and set(best) <= data.drawn and len(data.drawn) == 20
    assert sorted(data.drawn - set(best)) == [
        [n for n in range(40) if n not in best][k * 38 // 18] for k in range(18)
    ]
    assert "Figures show 20 of the 40 trials" in text
    assert len(re.findall(r'class="curve ', text)) == 20
    with (tmp_path / "leaderboard.csv").open() as file:
        assert sum(1 for _ in file) == 41


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ((), "No trial has been started yet."),
        (("running",), "The one trial has no result yet: 1 running."),
        (("failed",) * 3, "None of 3 trials has a result: 3 failed."),
        (("pruned", "diverged", "out_of_memory", "timed_out"), "None of 4 trials has a result: "),
        (("completed",), "it is the only trial with a result"),
        (("completed", "waiting", "interrupted", "running"), "3 trials have not ended yet"),
    ],
)
def test_a_study_is_never_too_young_for_a_page(outcomes: tuple[str, ...], said: str, tmp_path: Path) -> None:
    config = studies.config()
    study = studies.create(tmp_path, config)
    for outcome in outcomes:
        curve = {1: 0.25} if outcome in ("pruned", "completed") else {}
        studies.add(
            study, config, PARAMS, outcome, (0.5,) if outcome == "completed" else (), curve, cause="x"
        )
    assert said in write(tmp_path, study, config).text


def test_several_objectives_show_their_front(tmp_path: Path) -> None:
    both = [{"metric": "val_dice", "mode": "max"}, {"metric": "parameters", "mode": "min"}]
    config = studies.config(monitor=both)
    study = studies.create(tmp_path, config)
    studies.fill(study, config, tmp_path)
    page = write(tmp_path, study, config)
    assert "pareto" in [a["id"] for a in page.having("section")]
    front = len(study.best_trials)
    assert f"{front} of " in page.text
    labels = [a["aria-label"] for a in page.having("svg") if "aria-label" in a]
    assert sum("by number" in str(label) for label in labels) == 2
    assert any(str(label).startswith("parameters by val_dice") for label in labels)
    assert any(str(label).startswith("learning curves") for label in labels)


def test_seeds_forks_and_wrong_files_are_shown(tmp_path: Path) -> None:
    config = studies.config()
    study = studies.create(tmp_path, config)
    curve = {step: step / 100 for step in range(1, 61)}
    studies.add(
        study, config, PARAMS, "completed", (0.5,), curve, repeats={"seed_3": 0.4375, "seed_4": 0.5625}
    )
    studies.add(study, config, PARAMS, "completed", (0.25,), forked_from="older 7")
    (tmp_path / "confirm.json").write_text("{")
    text = write(tmp_path, study, config).text
    assert "seed 3 0.4375" in text
    assert "older 7" in text
    assert "1 finished trial was imported from another study" in text
    assert "confirm.json: not a confirmation" in text


def test_best_of_another_trial_is_not_taken_for_the_winners(tmp_path: Path) -> None:
    config = studies.config()
    study = studies.create(tmp_path, config)
    studies.add(study, config, PARAMS, "completed", (0.5,))
    studies.trial_folder(tmp_path, 0)
    best = tmp_path / "best"
    best.mkdir()
    (best / "config.yaml").write_text("epochs: 1\n")
    data = study_data.read(tmp_path, study, config)
    for content, home in (('{"number": 0}', best), ('{"number": 4}', tmp_path / "trial_00000"),
                          ("{", tmp_path / "trial_00000")):  # fmt: skip
        (best / "trial.json").write_text(content)
        assert report.winners_folder(data) == home
        command = shell_commands.main("--run", home / "config.yaml")
        assert report.commands_of(data)[0][1] == shell_commands.anywhere(command)


@pytest.mark.timeout(20)
def test_a_picture_that_is_none_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "history.png").write_bytes(b"no picture")
    os.mkfifo(tmp_path / "predictions.png")  # reading it would wait for ever
    assert report.inlined(tmp_path) == []
    assert report.inlined(None) == []


def test_paths_are_quoted_for_the_shell(tmp_path: Path) -> None:
    config = studies.config()
    folder = tmp_path / "my $tudies"
    data = study_data.read(folder, studies.create(folder, config), config)
    ((what, command),) = report.commands_of(data)
    assert what == "update this page" and command.endswith(f" main.py --report '{folder}'")
    assert command.startswith("cd ")


def test_a_large_study_is_quick_and_small(tmp_path: Path) -> None:
    config = studies.config(n_trials=500)
    study = optuna.create_study(study_name="large", direction="maximize")
    studies.fill(study, config, tmp_path, trials=500, epochs=100)
    began = time.process_time()
    path = report.write(tmp_path, study, config)
    assert time.process_time() - began < 5
    assert path.stat().st_size < 3_000_000
    assert path.read_text().count('class="curve many') > 300


numbers = st.floats(allow_nan=False)
curves = st.dictionaries(st.integers(1, 40), st.floats(), max_size=6)
trials = st.lists(
    st.tuples(
        st.sampled_from([*study_data.OUTCOMES]),
        numbers,
        curves,
        st.sampled_from([1e-5, 0.003, 0.1]),
        st.sampled_from(["SGD", "AdamW", None]),
    ),
    max_size=12,
)


@settings(
    max_examples=20,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(trials=trials, maximize=st.booleans())
def test_no_value_breaks_the_page(
    trials: list[tuple[str, float, dict[int, float], float, str | None]], maximize: bool, tmp_path: Path
) -> None:
    config = studies.config(monitor={"metric": "val_dice", "mode": "max" if maximize else "min"})
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if maximize else "minimize")
    for outcome, value, curve, lr, optimizer in trials:
        params = {"optimizer.lr": lr, **({"optimizer": optimizer} if optimizer else {})}
        done = outcome in ("completed", "early_stopped")
        studies.add(study, config, params, outcome, (value,) if done else (), curve, epochs=len(curve))
    write(tmp_path, study, config)


def test_a_configuration_that_kills_is_named_with_its_values(tmp_path: Path) -> None:
    config = studies.config()
    study = studies.create(tmp_path, config)
    point = {"optimizer.lr": 0.01, "optimizer": "AdamW", "net.layers": 3, "batch_size": 8}
    studies.add(study, config, point, "completed", (0.5,))
    assert "uarantined" not in write(tmp_path, study, config).text
    cause = "its process ended with exit code 7; tried 2 times, and quarantined"
    studies.add(study, config, {**point, "net.layers": 5}, "failed", cause=cause, quarantined=True)
    text = write(tmp_path, study, config).text
    assert "1 configuration is quarantined, because it kills its process: trial 1." in text
    assert f"optimizer.lr 0.01, optimizer AdamW, net.layers 5, batch_size 8 {cause}" in " ".join(text.split())
