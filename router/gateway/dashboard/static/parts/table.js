// A table that can be sorted, and saved as CSV and JSON.

import { h, replace } from "./dom.js";

// columns: [{ name, of: row -> value, show?: (value, row) -> text or element, number? }]
export function table(name, columns, rows, { empty = "Nothing yet.", chosen = () => false, sort = null } = {}) {
  if (rows.length === 0) return h("p", { class: "empty" }, empty);
  const body = h("tbody");
  let [by, down] = sort ?? [null, true];
  const fill = () => {
    const order = [...rows];
    if (by !== null) {
      const of = columns[by].of;
      order.sort((a, b) => (down ? -1 : 1) * compared(of(a), of(b)));
    }
    replace(body, order.map((row) => h("tr", { class: chosen(row) ? "chosen" : null }, columns.map((column) => cell(column, row)))));
  };
  const heads = columns.map((column, index) =>
    h("th", { scope: "col", class: column.number ? "number" : null },
      h("button", { type: "button", onclick: () => {
        down = by === index ? !down : Boolean(column.number);
        by = index;
        heads.forEach((head, other) => (other === index ? head.setAttribute("aria-sort", down ? "descending" : "ascending") : head.removeAttribute("aria-sort")));
        fill();
      } }, column.name)));
  fill();
  return h("div", {},
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, h("table", {}, h("thead", {}, h("tr", {}, heads)), body)),
    h("p", { class: "export" },
      h("button", { type: "button", class: "link", onclick: () => save(`${name}.csv`, "text/csv", csv(columns, rows)) }, "CSV"),
      h("button", { type: "button", class: "link", onclick: () => save(`${name}.json`, "application/json", JSON.stringify(rows, null, 1)) }, "JSON")));
}

function cell(column, row) {
  const value = column.of(row);
  const shown = column.show ? column.show(value, row) : value;
  return h("td", { class: column.number ? "number" : null }, shown === null || shown === undefined ? "" : shown);
}

function compared(a, b) {
  const [left, right] = [a ?? -Infinity, b ?? -Infinity];
  return typeof left === "string" || typeof right === "string" ? String(left).localeCompare(String(right)) : left - right;
}

function csv(columns, rows) {
  const quoted = (value) => {
    // A cell that begins so would be a formula to a spreadsheet.
    const text = value === null || value === undefined ? "" : String(value).replace(/^[=+\-@\t\r](?!\d)/, "'$&");
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [columns.map((column) => column.name), ...rows.map((row) => columns.map((column) => column.of(row)))];
  return `${lines.map((line) => line.map(quoted).join(",")).join("\r\n")}\r\n`;
}

function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
