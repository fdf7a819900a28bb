"use strict";
// Tables are complete without this script. It lets readers sort them, by two columns at once.
function keyOf(row, column) {
  const cell = row.cells[column];
  const number = cell.dataset.value;
  return number === undefined ? cell.textContent : Number(number);
}
function compareBy(column, isDescending) {
  return (first, second) => {
    const a = keyOf(first, column);
    const b = keyOf(second, column);
    const bothNumbers = typeof a === "number" && typeof b === "number";
    const order = bothNumbers ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
    return isDescending ? -order : order;
  };
}
function sortTable(table, column, isDescending) {
  const rows = Array.from(table.tBodies[0].rows);
  // The sort keeps the order of equal rows: sorting twice sorts by two columns.
  rows.sort(compareBy(column, isDescending));
  table.tBodies[0].append(...rows);
  Array.from(table.tHead.rows[0].cells).forEach((head, number) => {
    if (number === column) {
      head.setAttribute("aria-sort", isDescending ? "descending" : "ascending");
    } else {
      head.removeAttribute("aria-sort");
    }
  });
}
function addButtons(table) {
  Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => {
      sortTable(table, column, head.getAttribute("aria-sort") === "ascending");
    });
    head.replaceChildren(button);
  });
}
function addChoice(controls, text, heads) {
  const label = document.createElement("label");
  const select = document.createElement("select");
  select.append(new Option("given order", ""));
  heads.forEach((head, column) => select.append(new Option(head, String(column))));
  label.append(text + " ", select);
  controls.append(label);
  return select;
}
function addControls(table) {
  const given = Array.from(table.tBodies[0].rows);
  const heads = Array.from(table.tHead.rows[0].cells, (head) => head.textContent);
  const controls = document.createElement("div");
  controls.className = "controls";
  const first = addChoice(controls, "Sort by", heads);
  const second = addChoice(controls, "then by", heads);
  controls.addEventListener("change", () => {
    table.tBodies[0].append(...given);
    for (const select of [second, first]) {
      if (select.value !== "") {
        sortTable(table, Number(select.value), false);
      }
    }
  });
  table.parentElement.before(controls);
}
for (const table of document.querySelectorAll("table.sortable")) {
  addControls(table);
  addButtons(table);
}
