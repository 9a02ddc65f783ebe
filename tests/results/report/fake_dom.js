// The part of a browser's document that report.js uses, for one table: prints the rows after each click as JSON.
const fs = require("fs");
const { script, columns, rows, clicks } = JSON.parse(fs.readFileSync(0, "utf8"));
const heads = columns.map(() => {
  const attributes = new Map();
  let listener = null;
  const button = { addEventListener: (_, called) => { listener = called; } };
  return {
    querySelector: () => button,
    getAttribute: (name) => attributes.has(name) ? attributes.get(name) : null,
    setAttribute: (name, value) => attributes.set(name, value),
    removeAttribute: (name) => attributes.delete(name),
    click: () => listener(),
  };
});
const cell = (value) => typeof value === "number" ? { dataset: { value: String(value) }, textContent: "" } : { dataset: {}, textContent: value };
const body = { rows: rows.map((row) => ({ cells: row.map(cell), row })), append(...sorted) { this.rows = sorted; } };
const table = { tHead: { rows: [{ cells: heads }] }, tBodies: [body] };
global.document = { querySelectorAll: () => [table] };
eval(script);
const seen = clicks.map((column) => {
  heads[column].click();
  return { rows: body.rows.map((row) => row.row), sort: heads.map((head) => head.getAttribute("aria-sort")) };
});
console.log(JSON.stringify(seen));
