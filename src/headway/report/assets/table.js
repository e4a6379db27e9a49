"use strict";
// The table of any report, and the report as a file.
(() => {
  const save = document.getElementById("save");
  save.hidden = false;
  save.addEventListener("click", () => {
    const text = document.getElementById("report").textContent;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = `${JSON.parse(text).kind.replace(/[^a-z0-9-]+/gi, "-")}.json`;
    link.click();
    URL.revokeObjectURL(link.href);
  });

  const valueAt = (tr, column) => {
    if (column === 0) return Number(tr.dataset.row);
    const cell = tr.cells[column];
    if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
    return cell.textContent === "-" ? null : cell.textContent;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });

  // What is unknown stays last, whichever way the rest is sorted.
  for (const table of document.querySelectorAll("table")) {
    const heads = [...table.querySelectorAll("thead th[aria-sort]")];
    heads.forEach((th, column) => th.querySelector("button").addEventListener("click", () => {
      const sign = th.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      th.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const keyed = [...table.tBodies[0].rows].map((tr) => [valueAt(tr, column), valueAt(tr, 0), tr]);
      keyed.sort(([a, m], [b, n]) => (a === null) - (b === null) || (a === null ? 0 : sign * compare(a, b)) || m - n);
      table.tBodies[0].append(...keyed.map(([, , tr]) => tr));
    }));
  }
})();
