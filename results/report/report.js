"use strict";
// A click on a header sorts its table: numbers from the largest down, text from A on; a second click turns the order round.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = Array.from(table.tHead.rows[0].cells);
  const body = table.tBodies[0];
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const rows = Array.from(body.rows);
      const numeric = rows.every((row) => row.cells[column].dataset.value !== undefined);
      const before = head.getAttribute("aria-sort");
      const ascending = before === null ? !numeric : before === "descending";
      const key = (row) => numeric ? Number(row.cells[column].dataset.value) : row.cells[column].textContent;
      rows.sort((a, b) => (numeric ? key(a) - key(b) : compare(key(a), key(b))) * (ascending ? 1 : -1));
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      body.append(...rows);
    });
  });
}
