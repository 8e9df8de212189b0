// Sorts a table by the column that is clicked; the page is complete without it.
document.querySelectorAll("table.sortable").forEach(function (table) {
  table.querySelectorAll("thead th").forEach(function (head, column) {
    var button = document.createElement("button");
    button.type = "button";
    while (head.firstChild) button.appendChild(head.firstChild);
    head.appendChild(button);
    button.addEventListener("click", function () {
      var down = head.getAttribute("aria-sort") === "ascending";
      var body = table.tBodies[0];
      var key = function (row) {
        var cell = row.cells[column];
        return cell.hasAttribute("data-v") ? cell.getAttribute("data-v") : cell.textContent.trim();
      };
      var rows = Array.prototype.map.call(body.rows, function (row) { return [key(row), row]; });
      rows.sort(function (one, other) {
        var a = one[0], b = other[0];
        if (!a !== !b) return a ? -1 : 1; // empty cells stay last
        var x = Number(a), y = Number(b);
        var order = isNaN(x) || isNaN(y) ? a.localeCompare(b) : x - y;
        return down ? -order : order;
      });
      rows.forEach(function (row) { body.appendChild(row[1]); });
      table.querySelectorAll("thead th").forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
    });
  });
});
