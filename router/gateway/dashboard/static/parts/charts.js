// Pictures: quality against cost as SVG, and requests by hour with uPlot.

import { h, s, show } from "./dom.js";

const WIDTH = 640, HEIGHT = 330, LEFT = 46, RIGHT = 14, TOP = 26, BOTTOM = 34;

// points: [{ name, cost, quality, std, chosen }]; cost in dollars a thousand requests.
export function scatter(points, label) {
  const known = points.filter((point) => point.cost !== null && point.quality !== null);
  if (known.length === 0) return h("p", { class: "empty" }, "No card with a known cost.");
  const least = Math.min(...known.map((point) => point.cost).filter((cost) => cost > 0), 1);
  const place = (cost) => Math.log10(1 + cost / least);
  const widest = Math.max(...known.map((point) => place(point.cost)), 0.1);
  const [low, high] = range(known.map((point) => point.quality));
  const x = (cost) => LEFT + (place(cost) / widest) * (WIDTH - LEFT - RIGHT);
  const y = (quality) => HEIGHT - BOTTOM - ((quality - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const front = paretoFront(known);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => low + share * (high - low));
  const costs = [0, ...[0.2, 0.45, 0.7, 1].map((share) => least * (10 ** (share * widest) - 1))];
  const named = new Set([...front.slice(-6), ...known.filter((point) => point.chosen)].map((point) => point.name));
  return s("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label },
    ticks.map((quality) => [
      s("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: y(quality), y2: y(quality) }),
      s("text", { x: LEFT - 6, y: y(quality) + 4, "text-anchor": "end" }, quality.toFixed(2))]),
    costs.map((cost) => s("text", { x: x(cost), y: HEIGHT - BOTTOM + 16, "text-anchor": cost === costs.at(-1) ? "end" : "middle" }, show.usd(cost))),
    s("text", { x: WIDTH - RIGHT, y: HEIGHT - 4, "text-anchor": "end" }, "dollars per 1,000 requests"),
    s("text", { x: 4, y: 11 }, "forecast quality"),
    s("path", { class: "front", d: front.map((point, index) => `${index ? "L" : "M"}${x(point.cost)},${y(point.quality)}`).join("") }),
    known.map((point) => s("g", {},
      s("line", { class: "whisker", x1: x(point.cost), x2: x(point.cost), y1: y(Math.min(high, point.quality + point.std)), y2: y(Math.max(low, point.quality - point.std)) }),
      s("circle", { class: point.chosen ? "chosen" : "point", cx: x(point.cost), cy: y(point.quality), r: point.chosen ? 6 : 4 }),
      s("title", {}, `${point.name}: quality ${show.quality(point.quality)} ± ${show.quality(point.std)}, ${show.usd(point.cost)} per 1,000`))),
    labels(known.filter((point) => named.has(point.name)), x, y));
}

// Each name beside its point, a little higher or lower where another one stands there.
function labels(points, x, y) {
  const used = [];
  return points.sort((a, b) => Number(b.chosen) - Number(a.chosen)).map((point) => {
    const right = x(point.cost) > WIDTH - 170;
    const left = x(point.cost) + (right ? -9 : 9);
    const top = [4, -9, 17].map((move) => y(point.quality) + move).find((at) =>
      at > TOP - 8 && !used.some(([otherLeft, otherTop]) => Math.abs(otherTop - at) < 12 && Math.abs(otherLeft - left) < 150));
    if (top === undefined) return null;
    used.push([left, top]);
    return s("text", { class: "name", x: left, y: top, "text-anchor": right ? "end" : "start" }, point.name);
  }).filter(Boolean);
}

function range(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = Math.max(0.02, (high - low) * 0.12);
  return [Math.max(0, low - room), Math.min(1, high + room)];
}

// The points that no other one beats in both quality and cost, by cost.
export function paretoFront(points) {
  const front = [];
  for (const point of [...points].sort((a, b) => a.cost - b.cost || b.quality - a.quality)) {
    if (front.length === 0 || point.quality > front.at(-1).quality) front.push(point);
  }
  return front;
}

// seconds: hours; series: [{ name, values }]. The same numbers stand in a table beside it.
export function byHour(holder, seconds, series) {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  const colors = [color("--point"), color("--bad")];
  const time = (seconds) => show.time(seconds).slice(0, 16);
  // As in the tables: UTC, and the day where it begins.
  const hours = (_, ticks, __, ___, step) => ticks.map((at, index) => {
    const [day, hour] = [time(at).slice(5, 10), time(at).slice(11)];
    return step >= 86400 ? day : index === 0 || hour === "00:00" ? `${hour}\n${day}` : hour;
  });
  const axis = { stroke: color("--soft"), grid: { stroke: color("--line") }, ticks: { stroke: color("--line") } };
  const options = {
    width: holder.clientWidth || 600,
    height: 190,
    cursor: { drag: { x: false, y: false } },
    scales: { x: { range: (_, low, high) => [low - 1800, high + 1800] }, y: { range: (_, __, high) => [0, Math.max(high, 1)] } },
    tzDate: (seconds) => window.uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    axes: [{ ...axis, values: hours }, { ...axis, size: 56 }],
    series: [{ label: "time (UTC)", value: (_, at) => (at === null ? "–" : time(at)) }, ...series.map(({ name }, index) => ({
      label: name, stroke: colors[index], fill: index === 0 ? `${colors[0]}44` : undefined, width: 1.5,
      paths: window.uPlot.paths.bars({ size: [0.8, 40] }), points: { show: false },
    }))],
  };
  const plot = new window.uPlot(options, [seconds, ...series.map(({ values }) => values)], holder);
  const observer = new ResizeObserver(() => plot.setSize({ width: holder.clientWidth, height: 190 }));
  observer.observe(holder);
  return () => {
    observer.disconnect();
    plot.destroy();
  };
}

// Cards by domains; the darker a cell, the more requests. cells: [{ domain, card, requests, forecast, judged, feedback }].
export function heat(label, cells) {
  const all = cells.reduce((sum, one) => sum + one.requests, 0);
  const sums = (of) => {
    const found = new Map();
    for (const one of cells) found.set(one[of], (found.get(one[of]) ?? 0) + one.requests);
    return [...found].sort((a, b) => b[1] - a[1]);
  };
  const at = new Map(cells.map((one) => [`${one.card}\n${one.domain}`, one]));
  const greatest = Math.max(...cells.map((one) => one.requests));
  const domains = sums("domain");
  const cell = (one) => {
    if (!one) return h("td", { class: "number" }, "–");
    return h("td", { class: `number heat-${Math.ceil(4 * one.requests / greatest)}` }, show.share(one.requests / all),
      h("small", {}, `forecast ${show.quality(one.forecast)}`), one.judged ? h("small", {}, `feedback ${show.quality(one.feedback)} (${one.judged})`) : null);
  };
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, h("table", { class: "heat" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "card"), domains.map(([domain, count]) => h("th", { scope: "col", class: "number" }, domain.replace("_", " "), h("small", {}, show.share(count / all)))))),
    h("tbody", {}, sums("card").map(([card, count]) => h("tr", {}, h("th", { scope: "row" }, card, h("small", {}, show.share(count / all))), domains.map(([domain]) => cell(at.get(`${card}\n${domain}`))))))));
}

// spans: [{ since, until, novelty, unusual }]; a bar a span, from 0 to 1.
export function spans(rows, label) {
  const height = 150, bottom = 22, top = 8;
  const [first, last] = [rows[0].since, rows.at(-1).until];
  const x = (at) => LEFT + ((at - first) / (last - first)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => height - bottom - value * (height - bottom - top);
  return s("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label },
    [0, 0.5, 1].map((value) => [
      s("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      s("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(1))]),
    rows.map((row) => s("rect", { class: row.unusual > 0.05 ? "chosen" : "point", x: x(row.since) + 0.5, width: Math.max(x(row.until) - x(row.since) - 1, 1), y: y(row.novelty), height: y(0) - y(row.novelty) },
      s("title", {}, `${show.time(row.since)}: novelty ${show.quality(row.novelty)}, ${show.share(row.unusual)} very novel, of ${row.requests}`))),
    s("text", { x: LEFT, y: height - 6 }, show.time(first).slice(0, 16)),
    s("text", { x: WIDTH - RIGHT, y: height - 6, "text-anchor": "end" }, show.time(last).slice(0, 16)));
}
