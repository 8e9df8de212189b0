"""What of a studies' folder may be seen, and by which paths."""

from pathlib import Path

import pytest

from lab.report.static_files import Shelf


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    root = tmp_path / "studies"
    best = root / "a <b>" / "best"
    best.mkdir(parents=True)
    (root / "a <b>" / "report.html").write_text("the report")
    (root / "a <b>" / "study.yaml").write_text("secret")
    (best / "metrics.csv").write_text("epoch")
    (best / "best.pt").write_text("secret")
    (best / "out.json").symlink_to(tmp_path / "secret.json")
    (best / "study.json").symlink_to(root / "a <b>" / "study.yaml")
    (best / "loop.json").symlink_to(best / "loop.json")
    (root / "elsewhere").symlink_to(tmp_path)
    (tmp_path / "secret.json").write_text("secret")
    (tmp_path / "report.html").write_text("secret")
    return root


def test_what_is_shown(studies: Path) -> None:
    shelf = Shelf(studies)
    report, table = shelf.find("/a <b>/report.html"), shelf.find("a <b>/best/metrics.csv")
    assert report is not None and (report.content, report.kind) == (b"the report", "text/html")
    assert table is not None and (table.content, table.kind) == (b"epoch", "text/csv")


def test_lists_lead_to_what_is_shown(studies: Path) -> None:
    shelf = Shelf(studies)
    lists = [shelf.find(path) for path in ("/", "/a <b>/", "/a <b>/best")]
    texts = [page.content.decode() for page in lists if page is not None]
    assert '<a href="/studies/a%20%3Cb%3E/report.html">a &lt;b&gt;/report.html</a>' in texts[0]
    assert "report.html" in texts[1] and "best/" in texts[1] and "study.yaml" not in texts[1]
    assert "metrics.csv" in texts[2] and "best.pt" not in texts[2]


@pytest.mark.parametrize(
    "path",
    [
        "/a <b>/study.yaml", "/a <b>/best/best.pt", "/a <b>/best/out.json", "/a <b>/best/study.json",
        "/a <b>/best/loop.json", "/../secret.json", "/a <b>/../../secret.json", "/elsewhere/report.html",
        "/elsewhere/", "/a <b>/best/\0", "/a <b>/best\\metrics.csv", "/" + "a" * 5000, "/none/report.html",
        "//etc/passwd", "/report.html", "/a <b>/best/metrics.csv/x",
    ],
)  # fmt: skip
def test_what_is_not(studies: Path, path: str) -> None:
    assert Shelf(studies).find(path) is None


def test_no_folder_is_no_fault(tmp_path: Path) -> None:
    assert Shelf(tmp_path / "studies").find("/") is None
