"use strict";
// Everything there is to know about one point.

const make = (parent, tag, text = "", name = "") => {
  const element = document.createElement(tag);
  element.textContent = text;
  if (name) element.className = name;
  parent.append(element);
  return element;
};

function describe(box, spec, report, n, pinned, pin) {
  box.replaceChildren();
  if (n === null) return;
  const tr = document.querySelector(`tbody tr[data-row="${n}"]`);
  make(box, "h3", spec.words[n][0]);
  tr.querySelectorAll(".badge").forEach((badge) => box.append(badge.cloneNode(true), " "));
  spec.words[n].slice(1).forEach((text) => make(box, "p", text));
  const parts = spec.parts.map(([key, name]) => [name, report.rows[n][key] ?? 0]);
  const total = parts.reduce((sum, [, seconds]) => sum + seconds, 0);
  if (total > 0) {
    const bar = make(box, "div", "", "bar");
    const list = make(box, "ul", "", "parts");
    parts.forEach(([name, seconds], i) => {
      make(bar, "span", "", `part-${i}`).style.width = `${(100 * seconds) / total}%`;
      const item = make(list, "li");
      make(item, "span", "", `swatch part-${i}`);
      item.append(`${name} ${(1000 * seconds).toPrecision(3)} ms`);
    });
  }
  const all = make(box, "dl");
  document.querySelectorAll("thead th").forEach((head, column) => {
    make(all, "dt", head.textContent);
    make(all, "dd", column ? tr.cells[column].textContent : String(n));
  });
  document.querySelectorAll(".same dt, .same dd").forEach((term) => make(all, term.tagName, term.textContent));
  const button = make(box, "button", pinned ? "Unpin" : "Pin");
  button.type = "button";
  button.addEventListener("click", () => pin(n));
  if (pinned) make(box, "span", " Pinned: point at others to compare.", "quiet");
}
