// Sorts a table by the column that is clicked, and turns the pages of a long one, whose other rows are JSON
// beside it: lists of texts, or of [text, key to sort by]. Without this script the first page is there.
document.querySelectorAll("table.sortable").forEach(function (table) {
  var body = table.tBodies[0];
  var rows = Array.prototype.slice.call(body.rows);
  var length = rows.length, first = 0;
  var more = table.parentNode.querySelector("script");
  var place = more && document.createElement("p");
  if (more) rows = rows.concat(JSON.parse(more.textContent));
  var heads = table.querySelectorAll("thead th");
  var key = function (row, column) {
    if (Array.isArray(row)) return Array.isArray(row[column]) ? row[column][1] : row[column];
    var cell = row.cells[column];
    return cell.hasAttribute("data-v") ? cell.getAttribute("data-v") : cell.textContent.trim();
  };
  var element = function (row) {
    if (!Array.isArray(row)) return row;
    var made = document.createElement("tr");
    row.forEach(function (content, column) {
      var cell = document.createElement("td");
      cell.className = heads[column].className;
      cell.textContent = (Array.isArray(content) ? content[0] : content) || "\u2013";
      made.appendChild(cell);
    });
    return made;
  };
  var show = function (start) {
    first = start;
    while (body.firstChild) body.removeChild(body.firstChild);
    rows.slice(first, first + length).forEach(function (row) { body.appendChild(element(row)); });
    var last = Math.min(first + length, rows.length);
    if (place) place.lastChild.textContent = " " + (first + 1) + " to " + last + " of " + rows.length;
  };
  if (more) {
    [["Previous", -1], ["Next", 1]].forEach(function (turn) {
      var button = document.createElement("button");
      button.type = "button";
      button.textContent = turn[0];
      button.addEventListener("click", function () {
        var start = first + turn[1] * length;
        if (start >= 0 && start < rows.length) show(start);
      });
      place.appendChild(button);
    });
    place.appendChild(document.createElement("span"));
    table.parentNode.parentNode.insertBefore(place, table.parentNode);
    show(0);
  }
  heads.forEach(function (head, column) {
    var button = document.createElement("button");
    button.type = "button";
    while (head.firstChild) button.appendChild(head.firstChild);
    head.appendChild(button);
    button.addEventListener("click", function () {
      var down = head.getAttribute("aria-sort") === "ascending";
      var keyed = rows.map(function (row) { return [key(row, column), row]; });
      keyed.sort(function (one, other) {
        var a = one[0], b = other[0];
        if (!a !== !b) return a ? -1 : 1; // empty cells stay last
        var x = Number(a), y = Number(b);
        var order = isNaN(x) || isNaN(y) ? a.localeCompare(b) : x - y;
        return down ? -order : order;
      });
      rows = keyed.map(function (pair) { return pair[1]; });
      show(0);
      heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
    });
  });
});
