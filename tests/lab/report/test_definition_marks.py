"""Marks of values by older definitions; `tests/test_old_results.py` has them in tables."""

import re
from pathlib import Path
from typing import Any

from lab.report import study as report
from lab.report import study as study_report
from lab.report import study_data
from lab.report.definition_marks import footnote, footnotes, older
from lab.report.run_list import RunRow
from tests.lab.report import studies


def row(dice: float | None, definition: int | None, **data: Any) -> RunRow:
    summary: dict[str, Any] = {
        "best": {} if dice is None else {"val_dice": dice},
        "monitor": {"metric": "val_dice", "mode": "max"},
        "config": {"data": {"target": "lab.data.manifest", **data}, "metrics": {"dice": "lab.metrics.Dice"}},
    }
    if definition is not None:
        summary["definitions"] = {"dice": definition}
    return RunRow(Path("run"), "completed", summary)


def test_an_older_value_is_marked_where_a_newer_one_of_its_recipe_is_there() -> None:
    old, new, other = row(0.5, None), row(0.6, 2), row(0.7, 1, classes={"background": 0, "cell": 1})
    assert older([old, new, other], ["best.val_dice"]) == {"val_dice": {id(old): 1}}
    assert footnotes({"val_dice": {id(old): 1}}) == [footnote("val_dice", [1])]
    assert older([old, other], ["best.val_dice"]) == {}
    assert older([old, row(None, 2)], ["best.val_dice"]) == {}, "it has no value to compare with"


def test_a_study_with_trials_of_two_definitions(tmp_path: Path) -> None:
    config = studies.config()
    study = studies.create(tmp_path, config)
    studies.add(study, config, {}, values=(0.5,))
    studies.add(study, config, {}, values=(0.6,), definitions={"dice": 2})
    found = study_data.read(tmp_path, study, config)
    assert found.older == {"val_dice": {0: 1}}
    header, *rows = study_report.leaderboard(found)
    column = header.index("definition of val_dice")
    assert [(line[header.index("trial")], line[column]) for line in rows] == [("1", "2"), ("0", "1")]
    path = report.write(tmp_path, study, config)
    section = (
        path.read_text(encoding="utf-8").partition('<section id="trials">')[2].partition("</section>")[0]
    )
    assert re.findall(r'data-v="(0\.[56])">([^<]*)<', section) == [("0.6", "0.6000"), ("0.5", "0.5000*")]
    assert f'<p class="note">{footnote("val_dice", [1])}</p>' in section


def test_the_page_of_a_study_of_one_definition_has_no_marks(tmp_path: Path) -> None:
    config = studies.config()
    study = studies.create(tmp_path, config)
    for value in (0.5, 0.6):
        studies.add(study, config, {}, values=(value,), definitions={"dice": 2})
    page = report.write(tmp_path, study, config).read_text(encoding="utf-8")
    assert (
        ">0.5000<" in page and ">0.6000<" in page and "0.5000*" not in page and "not comparable" not in page
    )
