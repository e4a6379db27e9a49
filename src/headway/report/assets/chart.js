"use strict";
// Hands on the chart: nothing is drawn here, what is drawn is shown, hidden, enlarged and described.
// Text only ever enters as textContent.
(() => {
  const $ = (id) => document.getElementById(id);
  const spec = JSON.parse($("chart-spec").textContent);
  const plot = $("plot");
  const lines = [...(document.querySelector("tbody")?.rows ?? [])];
  const curves = spec.curves.map(([name, rows], series) => ({ name, rows, series }));
  const seriesOf = new Map(curves.flatMap(({ rows, series }) => rows.map((n) => [n, series])));
  const off = new Set();
  let minimum = null, best = null, hover = null, pinned = null;

  const make = (parent, tag, text = "", name = "") => {
    const element = document.createElement(tag);
    element.textContent = text;
    if (name) element.className = name;
    parent.append(element);
    return element;
  };
  const all = (selector) => [...plot.querySelectorAll(selector)];
  const isShown = (n) => seriesOf.has(n) && !off.has(seriesOf.get(n));
  const isVisible = (element) => element.getClientRects().length > 0;
  const marks = (n) => all(`[data-row="${n}"]:not(.hw-range)`).filter(isVisible);

  // Where the mark of a row is on the screen.
  function spot(n) {
    const [mark] = marks(n);
    if (!mark) return null;
    const { left, top, width, height } = mark.getBoundingClientRect();
    return [left + width / 2, top + height / 2];
  }

  function nearest(event) {
    let closest = null, distance = 32;
    for (const mark of all("[data-row]:not(.hw-range)").filter(isVisible)) {
      const { left, top, width, height } = mark.getBoundingClientRect();
      const away = Math.hypot(left + width / 2 - event.clientX, top + height / 2 - event.clientY);
      if (away < distance) [closest, distance] = [Number(mark.dataset.row), away];
    }
    return closest;
  }

  // Both the hovered and the pinned row show their interval and a thick edge.
  function choose() {
    const rows = [hover, pinned].filter((n) => n !== null).map(String);
    for (const element of all("[data-row]")) element.classList.toggle("chosen", rows.includes(element.dataset.row));
    describe(pinned ?? hover ?? (isShown(spec.start) ? spec.start : best));
  }

  function point(n) {
    if (n === hover) return;
    hover = n;
    const tip = $("tip");
    const place = n === null ? null : spot(n);
    tip.hidden = place === null;
    if (place) {
      tip.replaceChildren();
      const [name, x, y, ...details] = spec.words[n];
      make(tip, "strong", name);
      make(tip, "div", `${x} · ${y}`);
      if (details.length) make(tip, "div", details.join(" · "));
      const frame = plot.getBoundingClientRect();
      const [left, top] = [place[0] - frame.left, place[1] - frame.top];
      tip.style.left = `${left + 16 + tip.offsetWidth > frame.width ? Math.max(0, left - 16 - tip.offsetWidth) : left + 16}px`;
      tip.style.top = `${Math.max(0, top - 16 - tip.offsetHeight)}px`;
    }
    choose();
  }

  function pin(n) {
    pinned = n === pinned ? null : n;
    for (const tr of lines) {
      const chosen = Number(tr.dataset.row) === pinned;
      tr.classList.toggle("pinned", chosen);
      tr.querySelector("button")?.setAttribute("aria-pressed", chosen);
    }
    choose();
  }

  // Everything there is to know about one point.
  function describe(n) {
    const box = $("detail");
    box.replaceChildren();
    if (n === null) return;
    const tr = document.querySelector(`tbody tr[data-row="${n}"]`);
    make(box, "h3", spec.words[n][0]);
    tr.querySelectorAll(".badge").forEach((badge) => box.append(badge.cloneNode(true), " "));
    spec.words[n].slice(1).forEach((text) => make(box, "p", text));
    const total = spec.parts.reduce((sum, [, values]) => sum + values[n], 0);
    if (total > 0) {
      const bar = make(box, "div", "", "bar");
      const list = make(box, "ul", "", "parts");
      spec.parts.forEach(([name, values, unit], i) => {
        make(bar, "span", "", `part-${i}`).style.width = `${(100 * values[n]) / total}%`;
        const item = make(list, "li");
        make(item, "span", "", `swatch part-${i}`);
        item.append(`${name} ${values[n].toPrecision(3)} ${unit}`);
      });
    }
    const terms = make(box, "dl");
    document.querySelectorAll("thead th").forEach((head, column) => {
      make(terms, "dt", head.textContent);
      make(terms, "dd", column ? tr.cells[column].textContent : String(n));
    });
    document.querySelectorAll(".same dt, .same dd").forEach((term) => make(terms, term.tagName, term.textContent));
    const button = make(box, "button", n === pinned ? "Unpin" : "Pin");
    button.type = "button";
    button.addEventListener("click", () => pin(n));
    if (n === pinned) make(box, "span", " Pinned: point at others to compare.", "quiet");
  }

  // What the controls say.
  function apply() {
    plot.classList.toggle("part", off.size > 0);
    for (const group of all("[data-series]")) group.classList.toggle("off", off.has(Number(group.dataset.series)));
    const rows = Object.keys(spec.points).map(Number);
    for (const range of all(".hw-range")) range.classList.toggle("off", !isShown(Number(range.dataset.row)));

    const enough = rows.filter((n) => isShown(n) && (minimum === null || spec.points[n][0] >= minimum));
    best = enough.reduce((low, n) => (low !== null && spec.points[low][1] <= spec.points[n][1] ? low : n), null);
    if (pinned !== null && !isShown(pinned)) pin(pinned);
    for (const tr of lines) {
      const n = Number(tr.dataset.row);
      tr.hidden = (seriesOf.has(n) && off.has(seriesOf.get(n))) || (minimum !== null && !enough.includes(n));
      tr.classList.toggle("best", minimum !== null && n === best);
    }
    const num_shown = lines.filter((tr) => !tr.hidden).length;
    $("row-count").textContent = num_shown < lines.length ? `${num_shown} of ${lines.length} shown` : "";

    const answer = $("answer");
    answer.replaceChildren();
    if (minimum !== null && best === null) answer.textContent = "None of the shown rows reaches that.";
    if (minimum !== null && best !== null) {
      answer.append(`Lowest at ${minimum} or more: `);
      make(answer, "strong", spec.words[best][0]);
      answer.append(`${spec.words[best].slice(1).join(" · ")} `);
      const button = make(answer, "button", "Pin");
      button.type = "button";
      button.addEventListener("click", () => pin(best));
    }
    point(null);
    choose();
  }

  // Zoom: the drawing stays, the part of it that is seen changes.
  const home = new Map(all(".drawing").map((drawing) => [drawing, drawing.getAttribute("viewBox")]));
  let drag = null;
  function enlarge(drawing, view) {
    drawing.setAttribute("viewBox", view ?? home.get(drawing));
    $("reset").disabled = [...home].every(([each, whole]) => each.getAttribute("viewBox") === whole);
  }
  function release(event) {
    if (!drag) return;
    const { drawing, x, y, box } = drag;
    box.remove();
    drag = null;
    const [left, right] = [Math.min(x, event.clientX), Math.max(x, event.clientX)];
    const [top, bottom] = [Math.min(y, event.clientY), Math.max(y, event.clientY)];
    if (right - left < 6 || bottom - top < 6) return pin(nearest(event));
    const frame = drawing.getBoundingClientRect();
    const [x0, y0, width, height] = drawing.getAttribute("viewBox").split(" ").map(Number);
    const [across, down] = [width / frame.width, height / frame.height];
    point(null);
    enlarge(drawing, [x0 + (left - frame.left) * across, y0 + (top - frame.top) * down, (right - left) * across, (bottom - top) * down].join(" "));
  }

  function press(event) {
    const here = hover ?? pinned ?? spec.start;
    const shown = curves.filter((curve) => !off.has(curve.series));
    if (!shown.length) return;
    const mine = Math.max(0, shown.findIndex((curve) => curve.rows.includes(here)));
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const hop = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step) {
      const { rows } = shown[mine];
      point(rows[Math.min(Math.max(rows.indexOf(here) + step, 0), rows.length - 1)]);
    } else if (hop) {
      const { rows } = shown[(mine + hop + shown.length) % shown.length];
      const x = spec.points[here]?.[0] ?? 0;
      point(rows.reduce((a, b) => (Math.abs(spec.points[a][0] - x) <= Math.abs(spec.points[b][0] - x) ? a : b)));
    } else if (event.key === "Enter" || event.key === " ") {
      pin(hover);
    } else if (event.key === "Escape") {
      if (pinned !== null) pin(pinned);
      for (const drawing of home.keys()) enlarge(drawing);
    } else return;
    event.preventDefault();
  }

  // Wiring.
  $("controls").hidden = false;
  document.querySelector(".keys").hidden = false;
  plot.classList.add("ready");
  for (const { name, series } of curves) {
    const label = make($("series"), "label");
    const box = make(label, "input");
    Object.assign(box, { type: "checkbox", checked: true });
    make(label, "span", "", `swatch hw-s${series % 7}`);
    label.append(name);
    box.addEventListener("change", () => (box.checked ? off.delete(series) : off.add(series), apply()));
  }
  for (const tr of lines) {
    const n = Number(tr.dataset.row);
    if (!seriesOf.has(n)) continue;
    const number = tr.querySelector(".number");
    if (!number) continue;
    const button = make(tr.cells[0], "button", number.textContent);
    Object.assign(button, { type: "button", title: "Pin in the chart" });
    number.replaceWith(button);
    button.addEventListener("click", () => pin(n));
  }
  for (const drawing of home.keys()) {
    drawing.addEventListener("pointermove", (event) => {
      if (!drag) return point(nearest(event));
      const frame = plot.getBoundingClientRect();
      Object.assign(drag.box.style, {
        left: `${Math.min(drag.x, event.clientX) - frame.left}px`, top: `${Math.min(drag.y, event.clientY) - frame.top}px`,
        width: `${Math.abs(event.clientX - drag.x)}px`, height: `${Math.abs(event.clientY - drag.y)}px` });
    });
    drawing.addEventListener("pointerleave", () => point(null));
    drawing.addEventListener("pointerdown", (event) => {
      const box = make(plot, "div");
      box.id = "zoom";
      drag = { drawing, x: event.clientX, y: event.clientY, box };
    });
    drawing.addEventListener("dblclick", () => enlarge(drawing));
  }
  addEventListener("pointerup", release);
  $("minimum").addEventListener("input", (event) => {
    const { value, valueAsNumber } = event.target;
    minimum = value === "" || !Number.isFinite(valueAsNumber) ? null : valueAsNumber;
    apply();
  });
  $("log").addEventListener("change", (event) => {
    plot.classList.toggle("plain", !event.target.checked);
    point(null);
  });
  $("reset").addEventListener("click", () => { for (const drawing of home.keys()) enlarge(drawing); });
  plot.addEventListener("keydown", press);
  apply();
})();
