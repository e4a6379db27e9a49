"use strict";
// The chart: its state, its drawing, and the hands on it. Text only ever enters as textContent.
(() => {
  const $ = (id) => document.getElementById(id);
  const report = JSON.parse($("report").textContent);
  const spec = JSON.parse($("chart-spec").textContent);
  const lines = [...document.querySelectorAll("tbody tr")];

  // What is drawn, and of that what is shown.
  const root = document.documentElement;
  const points = spec.curves.flatMap(([name, rows], series) =>
    rows.map((n) => ({ n, name, series, x: report.rows[n][spec.x.key], y: report.rows[n][spec.y.key] })));
  const at = new Map(points.map((p) => [p.n, p]));
  const along = [...points].sort((a, b) => a.x - b.x || b.y - a.y);
  const marks = (n) => Object.keys(report.marks).filter((mark) => report.marks[mark] === n);
  const off = new Set();
  let least = null, best = null, hover = null, pinned = null, zoom = null, plot = null, placed = null, front = [], small = false;
  const start = at.has(report.marks.preferred) ? report.marks.preferred : along[0].n;
  const shown = (p) => !off.has(p.name);
  const isLog = (axis) => $(`log-${axis}`).checked;
  let inks = {};
  const ink = (name) => (inks[name] ??= getComputedStyle(root).getPropertyValue(`--${name}`).trim());

  function span(axis, before, after) {
    const values = points.filter(shown).map((p) => p[axis]);
    if (!values.length) return [1, 10];
    const [low, high] = [Math.min(...values), Math.max(...values)];
    if (!isLog(axis)) return [0, high * (1 + after)];
    const slack = Math.max(0, 0.5 - Math.log10(high / low)) / 2; // one point is no axis
    const width = Math.log10(high / low) + 2 * slack;
    return [low / 10 ** (before * width + slack), high * 10 ** (after * width + slack)];
  }

  function home(axis) {
    return axis === "x" ? span("x", 0.04, 0.03) : span("y", 0.16, 0.1);
  }

  // The front of what is shown: that of the report, unless a part of it is hidden.
  function frontOf() {
    if (!off.size) return spec.front;
    let lowest = Infinity;
    const kept = [...along].reverse().filter((p) => shown(p) && p.y < lowest && (lowest = p.y));
    return kept.reverse().map((p) => p.n);
  }

  function build() {
    plot?.destroy();
    [placed, inks] = [null, {}];
    const width = root.dataset.print ? 600 : $("plot").clientWidth;
    small = width < 560;
    const view = zoom ?? { x: home("x"), y: home("y") };
    const side = (axis, extra) => ({
      scale: axis, stroke: ink("quiet"), font: "13px system-ui, sans-serif", grid: { stroke: ink("grid"), width: 1 },
      ticks: { show: false }, splits: () => ticks(view[axis], isLog(axis), small ? 2 : 4), filter: (_, splits) => splits,
      values: (_, splits) => splits.map((v) => spec[axis].before + v.toLocaleString("en-US", { maximumSignificantDigits: 12 })),
      ...extra,
    });
    const scale = (axis) => ({ time: false, distr: isLog(axis) ? 3 : 1, range: () => view[axis] });
    plot = new uPlot({
      width, height: clamp(width * 0.62, 320, 600), padding: [14, small ? 12 : 150, 0, 0], legend: { show: false },
      scales: { x: scale("x"), y: scale("y") },
      axes: [side("x", { size: 26, label: spec.x.label, labelSize: 22, labelGap: 0, labelFont: "14px system-ui, sans-serif" }), side("y", { size: 62 })],
      series: [{}, ...spec.curves.map(([name], series) => ({
        show: !off.has(name), stroke: ink(`c${series % 7}`), width: 1.6, dash: series < 7 ? [] : [5, 4], spanGaps: true, points: { show: false } }))],
      cursor: { x: false, y: false, points: { show: false }, drag: { x: true, y: true, dist: 6, setScale: false } },
      hooks: { drawAxes: [under], draw: [over], setSelect: [select] },
    }, [along.map((p) => p.x), ...spec.curves.map((_, s) => along.map((p) => (p.series === s ? p.y : null)))], $("plot"));
    plot.over.addEventListener("mousemove", (event) => point(nearest(event)));
    plot.over.addEventListener("mouseleave", () => point(null));
    plot.over.addEventListener("click", (event) => pin(nearest(event)));
    plot.over.addEventListener("dblclick", () => enlarge(null));
  }

  // Drawing. Everything is measured in CSS pixels from the corner of the canvas.
  const inView = (p) => ["x", "y"].every((a) => p[a] >= plot.scales[a].min && p[a] <= plot.scales[a].max);
  const spot = (p) => [plot.valToPos(p.x, "x", true) / devicePixelRatio, plot.valToPos(p.y, "y", true) / devicePixelRatio];

  // Inside the axes only, and in CSS pixels.
  function within(u, draw) {
    const { left, top, width, height } = u.bbox;
    u.ctx.save();
    u.ctx.beginPath();
    u.ctx.rect(left - 12, top - 12, width + 24, height + 24);
    u.ctx.clip();
    u.ctx.scale(devicePixelRatio, devicePixelRatio);
    draw(u.ctx, left / devicePixelRatio, top / devicePixelRatio, height / devicePixelRatio);
    u.ctx.restore();
  }

  function under(u) {
    plot = u;
    within(u, (ctx, left, top, height) => {
      stroke(ctx, frontOf().map((n) => spot(at.get(n))), ink("front"), 9);
      if (least === null) return;
      ctx.fillStyle = ink("veil");
      ctx.fillRect(left, top, clamp(spot({ x: Math.max(least, u.scales.x.min), y: 1 })[0] - left, 0, 1e5), height);
    });
  }

  function whiskers(p) {
    const end = (axis, which) => report.rows[p.n][`${spec[axis].key}_${which}`];
    const inside = (axis, value) => clamp(value, plot.scales[axis].min, plot.scales[axis].max);
    return ["x", "y"].filter((axis) => end(axis, "lower") > 0 && end(axis, "upper") > 0)
      .map((axis) => ["lower", "upper"].map((which) => spot({ ...p, [axis]: inside(axis, end(axis, which)) })));
  }

  function over(u) {
    plot = u;
    front = new Set(frontOf());
    const chosen = [pinned, hover].filter((n) => n !== null).map((n) => at.get(n));
    within(u, (ctx) => {
      const preferred = points.filter((p) => (spec.doubts || marks(p.n).includes("preferred")) && shown(p));
      for (const p of new Set([...preferred, ...chosen])) whiskers(p).forEach((path) => stroke(ctx, path, ink("quiet"), 1));
      const stars = [];
      for (const p of points.filter(shown)) {
        const [colour, names] = [ink(`c${p.series % 7}`), marks(p.n)];
        if (names.some((name) => name.startsWith("preferred"))) stars.push([p, colour, names.includes("preferred")]);
        else disc(ctx, spot(p), 3.2, front.has(p.n) ? colour : ink("page"), colour, 1.2);
      }
      stars.sort((a, b) => a[2] - b[2]);
      for (const [p, colour, all] of stars) disc(ctx, spot(p), all ? 12 : 7, colour, ink(all ? "ink" : "page"), 1.2, 5);
      for (const p of chosen) disc(ctx, spot(p), 9, null, ink("ink"), 2);
      if (best !== null && least !== null) disc(ctx, spot(at.get(best)), 7, null, ink("ink"), 1.5);
    });
    u.ctx.save();
    u.ctx.scale(devicePixelRatio, devicePixelRatio);
    placed ??= labels(u);
    for (const { box, shape, anchor, tip, label } of placed) {
      if (Math.hypot(tip[0] - anchor[0], tip[1] - anchor[1]) > 16) stroke(u.ctx, [anchor, tip], label.colour, 0.8);
      write(u.ctx, label, label.shapes[shape], box, ink("page"));
    }
    u.ctx.restore();
  }

  function labels(u) {
    const seen = (p) => shown(p) && inView(p);
    const callouts = spec.callouts.filter(([n]) => seen(at.get(n)));
    if (least !== null && best !== null && seen(at.get(best)) && !callouts.some(([n]) => n === best)) {
      callouts.push([best, [`cheapest ≥ ${least}`, ...spec.words[best].slice(1).flatMap((text) => text.split(" · "))]]);
    }
    const curves = spec.curves.map(([name], series) => ({ name, series, points: along.filter((p) => p.series === series && seen(p)) }));
    const drawn = curves.filter((curve) => curve.points.length).sort((a, b) => b.points.at(-1).x - a.points.at(-1).x);
    const all = [
      ...callouts.map(([n, parts]) => ({
        anchors: [spot(at.get(n))], directions: AROUND, size: report.marks.preferred === n ? 14 : 12.5, weight: "normal",
        colour: ink("ink"), texts: small ? [[parts[0]]] : [27, 19, 50].map((width) => filled(parts, width)) })),
      ...drawn.map((curve) => ({
        anchors: [curve.points.at(-1), curve.points[0]].map(spot), directions: AT_END, size: 14, weight: "bold",
        colour: ink(`c${curve.series % 7}`), texts: [[curve.name.length > 28 ? `${curve.name.slice(0, 27)}…` : curve.name]] })),
    ];
    for (const label of all) {
      label.font = `${label.weight} ${label.size}px system-ui, sans-serif`;
      u.ctx.font = label.font;
      label.shapes = label.texts.map((text) => ({
        text, height: text.length * label.size * 1.3, width: Math.max(...text.map((line) => u.ctx.measureText(line).width)) }));
    }
    const paths = drawn.map((curve) => curve.points.map(spot));
    const preferred = at.get(report.marks.preferred);
    if (preferred && seen(preferred)) paths.push(...whiskers(preferred));
    const { left, top, height } = u.bbox;
    const frame = { left: left / devicePixelRatio, top: 0, right: u.width - 4, bottom: (top + height) / devicePixelRatio };
    return place(all, paths.flatMap(sampled), frame);
  }

  // The chosen point.
  function nearest(event) {
    const { left, top } = plot.root.getBoundingClientRect();
    const away = (p) => Math.hypot(spot(p)[0] - event.clientX + left, spot(p)[1] - event.clientY + top);
    const close = points.filter((p) => shown(p) && inView(p)).map((p) => [away(p), p.n]).sort(([a], [b]) => a - b)[0];
    return close && close[0] < 32 ? close[1] : null;
  }

  function point(n) {
    if (n === hover) return;
    hover = n;
    plot.redraw(false);
    const tip = $("tip");
    tip.hidden = n === null;
    if (n !== null) {
      tip.replaceChildren();
      spec.words[n].forEach((text, i) => text && make(tip, i ? "div" : "strong", text));
      const [x, y] = spot(at.get(n));
      tip.style.left = `${x + 16 + tip.offsetWidth > plot.width ? Math.max(0, x - 16 - tip.offsetWidth) : x + 16}px`;
      tip.style.top = `${Math.max(0, y - 16 - tip.offsetHeight)}px`;
    }
    detail();
  }

  function pin(n) {
    pinned = n === pinned ? null : n;
    for (const tr of lines) {
      const chosen = Number(tr.dataset.row) === pinned;
      tr.classList.toggle("pinned", chosen);
      tr.querySelector("button")?.setAttribute("aria-pressed", chosen);
    }
    plot.redraw(false);
    detail();
  }

  // A pinned point stays, so that others compare.
  function detail() {
    const n = pinned ?? hover ?? (shown(at.get(start)) ? start : best);
    describe($("detail"), spec, report, n, pinned !== null, pin);
  }

  // What the controls say.
  function apply() {
    const fast = points.filter((p) => shown(p) && (least === null || p.x >= least));
    best = fast.reduce((kept, p) => (kept && kept.y <= p.y ? kept : p), null)?.n ?? null;
    if (pinned !== null && !shown(at.get(pinned))) pin(pinned);
    for (const tr of lines) {
      const n = Number(tr.dataset.row);
      tr.hidden = off.has(spec.words[n][0]) || (least !== null && !(report.rows[n][spec.x.key] >= least));
      tr.classList.toggle("best", least !== null && n === best);
    }
    const num_shown = lines.filter((tr) => !tr.hidden).length;
    $("row-count").textContent = num_shown < lines.length ? `${num_shown} of ${lines.length} shown` : "";
    const answer = $("answer");
    answer.replaceChildren();
    if (least !== null && best === null) answer.textContent = "None of the shown rows is that fast.";
    if (least !== null && best !== null) {
      answer.append(`Cheapest at ${least} or more: `);
      make(answer, "strong", spec.words[best][0]);
      answer.append(`${spec.words[best].slice(1).filter(Boolean).join(" · ")} `);
      make(answer, "button", "Pin").addEventListener("click", () => pin(best));
    }
    hover = null;
    $("tip").hidden = true;
    build();
    detail();
  }

  function enlarge(view) {
    point(null);
    zoom = view;
    $("reset").disabled = view === null;
    build();
  }

  function select(u) {
    const { left, top, width, height } = u.select;
    if (width < 6 || height < 6) return;
    const view = { x: [left, left + width].map((v) => u.posToVal(v, "x")), y: [top + height, top].map((v) => u.posToVal(v, "y")) };
    setTimeout(() => enlarge(view));
  }

  function press(event) {
    const here = at.get(hover ?? pinned ?? start);
    const curves = spec.curves.map((_, s) => along.filter((p) => shown(p) && p.series === s)).filter((curve) => curve.length);
    if (!curves.length) return;
    const mine = Math.max(0, curves.findIndex((curve) => curve.includes(here)));
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const hop = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step) point((curves[mine][clamp(curves[mine].indexOf(here) + step, 0, curves[mine].length - 1)]).n);
    else if (hop) {
      const next = curves[(mine + hop + curves.length) % curves.length];
      point(next.reduce((a, b) => (Math.abs(a.x - here.x) <= Math.abs(b.x - here.x) ? a : b)).n);
    } else if (event.key === "Enter" || event.key === " ") pin(hover);
    else if (event.key === "Escape") {
      if (pinned !== null) pin(pinned);
      enlarge(null);
    } else return;
    event.preventDefault();
  }

  // Wiring.
  $("chart").hidden = false;
  spec.curves.forEach(([name], series) => {
    const label = make($("series"), "label");
    const box = make(label, "input");
    Object.assign(box, { type: "checkbox", checked: true });
    make(label, "span", "", "swatch").style.background = `var(--c${series % 7})`;
    label.append(name);
    box.addEventListener("change", () => (box.checked ? off.delete(name) : off.add(name), apply()));
  });
  for (const tr of lines) {
    const n = Number(tr.dataset.row);
    if (!at.has(n)) continue;
    const number = tr.querySelector(".number");
    const button = make(tr.cells[0], "button", number.textContent);
    Object.assign(button, { type: "button", title: "Pin in the chart" });
    number.replaceWith(button);
    button.addEventListener("click", () => pin(n));
  }
  $("least").addEventListener("input", (event) => {
    least = event.target.value === "" || !Number.isFinite(event.target.valueAsNumber) ? null : event.target.valueAsNumber;
    apply();
  });
  for (const axis of ["x", "y"]) $(`log-${axis}`).addEventListener("change", () => enlarge(null));
  $("reset").addEventListener("click", () => enlarge(null));
  $("plot").addEventListener("keydown", press);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", build);
  addEventListener("beforeprint", () => { root.dataset.print = "yes"; build(); });
  addEventListener("afterprint", () => { delete root.dataset.print; build(); });
  apply();
  new ResizeObserver(() => plot.width !== $("plot").clientWidth && !root.dataset.print && build()).observe($("plot"));
})();
