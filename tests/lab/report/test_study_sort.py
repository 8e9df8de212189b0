"""The page's script, run by node on a table of small stand-ins for a browser's elements."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.report import html_page

DOM = """
class Element {
  constructor(tag, text) {
    this.tag = tag; this.children = []; this.attributes = {}; this.own = "";
    if (text) this.textContent = text;
  }
  get firstChild() { return this.children[0]; }
  get lastChild() { return this.children[this.children.length - 1]; }
  get rows() { return this.children; }
  get cells() { return this.children; }
  get textContent() { return this.own + this.children.map(c => c.textContent).join(""); }
  set textContent(text) {
    const node = new Element("#text");
    node.own = text; this.children = []; this.appendChild(node);
  }
  removeChild(child) { this.children = this.children.filter(c => c !== child); child.parentNode = null; }
  appendChild(child) {
    if (child.parentNode) child.parentNode.removeChild(child);
    this.children.push(child); child.parentNode = this;
  }
  insertBefore(child, next) {
    this.appendChild(child); this.children.pop();
    this.children.splice(this.children.indexOf(next), 0, child);
  }
  hasAttribute(name) { return name in this.attributes; }
  getAttribute(name) { return name in this.attributes ? this.attributes[name] : null; }
  setAttribute(name, value) { this.attributes[name] = value; }
  removeAttribute(name) { delete this.attributes[name]; }
  addEventListener(event, act) { this.click = act; }
}
const [heads, cells, rest, clicks] = JSON.parse(process.argv[2]);
const table = new Element("table"), body = new Element("tbody"), box = new Element("div");
const section = new Element("section"), more = rest && new Element("script", JSON.stringify(rest));
for (const row of cells) {
  const made = new Element("tr");
  for (const text of row) made.appendChild(new Element("td", text));
  body.appendChild(made);
}
table.tBodies = [body];
const titles = heads.map(text => new Element("th", text));
table.querySelectorAll = () => titles;
box.appendChild(table); section.appendChild(box);
box.querySelector = () => more;
const document = {querySelectorAll: () => [table], createElement: tag => new Element(tag)};
SCRIPT
const shown = () => [section.children.length > 1 ? section.firstChild.textContent : "",
  ...body.children.map(row => row.children.map(cell => cell.textContent).join(" "))];
const found = [shown()];
for (const name of clicks) {
  const buttons = [...titles.map(head => head.firstChild), ...(more ? section.firstChild.children : [])];
  const button = buttons.find(each => each.textContent === name);
  button.click(); found.push(shown());
}
console.log(JSON.stringify(found));
"""


def shown(cells: list[list[str]], rest: Any, *clicks: str) -> list[list[str]]:
    """The pager's text and the rows of the page, at first and after each click on a heading or button."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node to run the script")
    script = (Path(html_page.__file__).parent / "study_sort.js").read_text(encoding="utf-8")
    given = json.dumps([["trial", "value"], cells, rest, clicks])
    command = [node, "--eval", DOM.replace("SCRIPT", script).replace("argv[2]", "argv[1]"), given]
    found: list[list[str]] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


def test_a_short_table_is_sorted_by_a_heading_up_and_down() -> None:
    cells = [["10", "b"], ["9", ""], ["2", "a"]]
    first, up, down, texts = shown(cells, None, "trial", "trial", "value")
    assert first == ["", "10 b", "9 ", "2 a"]
    assert up == ["", "2 a", "9 ", "10 b"] and down == ["", "10 b", "9 ", "2 a"]
    assert texts == ["", "2 a", "10 b", "9 "], "empty cells stay last"


def test_a_long_table_has_pages_and_is_sorted_as_a_whole() -> None:
    rest = [["3", "d"], ["4", ""], ["5", ["1 min", "60"]], ["0", ["2 h", "7200"]], ["7", "e"]]
    pages = shown(
        [["10", "b"], ["2", "a"]], rest, "Previous", "Next", "Next", "Next", "Next", "trial", "Next"
    )
    turn = "PreviousNext 1 to 2 of 7"
    assert pages[0] == pages[1] == [turn, "10 b", "2 a"]
    assert pages[2] == ["PreviousNext 3 to 4 of 7", "3 d", "4 –"]
    assert pages[3][1:] == ["5 1 min", "0 2 h"]
    assert pages[4] == pages[5] == ["PreviousNext 7 to 7 of 7", "7 e"]
    assert pages[6] == [turn, "0 2 h", "2 a"] and pages[7][1:] == ["3 d", "4 –"]
    sizes = shown([["10", "5"]], rest[2:4], "value", "Next")
    assert [page[1] for page in sizes] == ["10 5", "10 5", "5 1 min"]
