"use strict";
// What the chart is drawn with: ticks, strokes, and places for labels.

// Round numbers between two, at least enough of them where there are such: the rule of plot.py.
function ticks([low, high], log, enough) {
  const rough = (high - low) / (enough + 4);
  const lead = 10 ** Math.floor(Math.log10(rough));
  if (log) {
    const tens = [];
    for (let ten = Math.floor(Math.log10(low)); ten <= Math.log10(high); ten++) tens.push(ten);
    for (const leads of [[1], [1, 2, 5], [1, 1.5, 2, 3, 5, 7]]) {
      const chosen = tens.flatMap((ten) => leads.map((l) => Number(`${l}e${ten}`))).filter((t) => t >= low && t <= high);
      if (chosen.length >= enough) return chosen;
    }
  }
  const step = [1, 2, 5, 10].map((l) => l * lead).find((s) => s >= rough * 0.999);
  const chosen = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) chosen.push(Number((i * step).toPrecision(12)));
  return chosen;
}

// A label takes the cheapest of a few places: the rule of labels.py, y growing downwards.
const AROUND = [[1, 1], [1, 0.5], [0.5, 1], [1, 0], [0, 1], [1, -0.5], [-0.5, 1], [-1, -1], [-1, -0.5], [-1, 0],
  [-0.5, -1], [0, -1], [0.5, -1], [1, -1], [-1, 0.5], [-1, 1]];
const AT_END = [[0, -1], [1, 0], [1, -1], [-1, -1], [1, 1], [0, 1], [-1, 0]];
const AWAY = [7, 14, 22, 34, 50, 72, 100, 140];
const near = ([x, y], box, margin) =>
  x > box.left - margin && x < box.right + margin && y > box.top - margin && y < box.bottom + margin;
const clamp = (v, low, high) => Math.min(Math.max(v, low), high);

function sampled(path) {
  const out = path.slice(0, 1);
  for (let i = 1; i < path.length; i++) {
    const [[a, b], [c, d]] = [path[i - 1], path[i]];
    const pieces = Math.max(1, Math.floor(Math.hypot(c - a, d - b) / 6));
    for (let k = 1; k <= pieces; k++) out.push([a + ((c - a) * k) / pieces, b + ((d - b) * k) / pieces]);
  }
  return out;
}

function place(labels, lines, frame) {
  const apart = [...new Map(lines.map(([x, y]) => [`${Math.round(x / 2)} ${Math.round(y / 2)}`, [x, y]])).values()];
  const obstacles = apart.filter((_, i) => i % (1 + Math.floor(apart.length / 4000)) === 0);
  const done = [];
  for (const label of labels) {
    let cheapest = null;
    label.anchors.forEach(([x, y], i) => label.shapes.forEach(({ width, height }, shape) => AWAY.forEach((away) =>
      label.directions.forEach(([across, down], rank) => {
        const left = x + across * (away + width / 2) - width / 2;
        const top = y + down * (away + height / 2) - height / 2;
        const box = { left, top, right: left + width, bottom: top + height };
        let cost = 8 * i + 2 * shape + away / 4 + rank / 2;
        if (cheapest && cost >= cheapest.cost) return;
        if (left < frame.left || top < frame.top || box.right > frame.right || box.bottom > frame.bottom) cost += 1000;
        const tip = [clamp(x, left, box.right), clamp(y, top, box.bottom)];
        const leader = sampled([[x, y], tip]).slice(1);
        cost += 6 * obstacles.filter((p) => near(p, box, 3)).length;
        cost += 8 * leader.filter(([a, b]) => obstacles.some((p) => near(p, { left: a, right: a, top: b, bottom: b }, 4))).length;
        cost += 300 * done.filter((d) => (box.left < d.box.right && d.box.left < box.right && box.top < d.box.bottom
          && d.box.top < box.bottom) || leader.some((p) => near(p, d.box, 0))).length;
        if (!cheapest || cost < cheapest.cost) cheapest = { cost, box, shape, anchor: [x, y], tip, label };
      }))));
    done.push(cheapest);
  }
  return done;
}

function filled(parts, width) {
  return parts.reduce((out, part) => {
    const joined = `${out.at(-1)} · ${part}`;
    return out.length && joined.length <= width ? [...out.slice(0, -1), joined] : [...out, part];
  }, []);
}

function stroke(ctx, path, colour, width) {
  ctx.beginPath();
  path.forEach(([x, y], i) => (i ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
  Object.assign(ctx, { strokeStyle: colour, lineWidth: width, lineJoin: "round", lineCap: "round" });
  ctx.stroke();
}

// A disc, or a star of so many corners.
function disc(ctx, [x, y], radius, fill, edge, width, corners = 0) {
  ctx.beginPath();
  if (!corners) ctx.arc(x, y, radius, 0, 2 * Math.PI);
  for (let i = 0; i < 2 * corners; i++) {
    const [angle, r] = [(i * Math.PI) / corners - Math.PI / 2, i % 2 ? radius * 0.42 : radius];
    ctx.lineTo(x + r * Math.cos(angle), y + r * Math.sin(angle));
  }
  ctx.closePath();
  Object.assign(ctx, { fillStyle: fill, strokeStyle: edge, lineWidth: width });
  if (fill) ctx.fill();
  ctx.stroke();
}

function write(ctx, label, { text }, { left, top }, halo) {
  Object.assign(ctx, { font: label.font, textBaseline: "top", textAlign: "left", lineWidth: 3, lineJoin: "round",
    strokeStyle: halo, fillStyle: label.colour });
  text.forEach((line, i) => {
    const y = top + (i + 0.15) * label.size * 1.3;
    ctx.strokeText(line, left, y);
    ctx.fillText(line, left, y);
  });
}
