// How requests were routed, and what other cards would have done.

import { api } from "./api.js";
import { scatter } from "./charts.js";
import { h, replace, show } from "./dom.js";
import { WINDOWS, timeFilter } from "./now.js";
import { table } from "./table.js";

const GUARDS = {
  off: "no guard: the best forecast answers",
  same: "the default card was the best one",
  held: "held: the default card answered",
  released: "released: another card answered",
};

export async function routing(holder, { filters, signal }) {
  const hours = WINDOWS[filters.get("hours")] ? filters.get("hours") : "168";
  const [found, saved] = await Promise.all([api(`routing?hours=${hours}`, undefined, signal), api(`savings?hours=${hours}`, undefined, signal)]);
  replace(holder,
    h("h1", {}, "Routing"), timeFilter("routing", hours),
    h("p", { class: "hint" }, `Of the newest ${show.count(found.requests)} routed requests in this time.`),
    h("section", {}, h("h2", {}, "What was chosen, and what was not"), alternatives(saved)),
    h("div", { class: "two" },
      h("section", {}, h("h2", {}, "The guard"), table("guard", [
        { name: "policy", of: (row) => row.policy },
        { name: "what it did", of: (row) => GUARDS[row.guard] ?? row.guard },
        { name: "requests", number: true, of: (row) => row.requests, show: show.count },
      ], found.guards, { empty: "No routed requests in this time." }),
      h("h2", {}, "Plans"), table("plans", [
        { name: "plan", of: (row) => row.plan },
        { name: "requests", number: true, of: (row) => row.requests, show: show.count },
        { name: "calls each", number: true, of: (row) => row.calls / row.requests, show: (value) => value.toFixed(2) },
        { name: "per 1,000", number: true, of: (row) => 1000 * row.cost_usd / row.requests, show: show.usd },
        { name: "less than planned", number: true, of: (row) => row.degraded / row.requests, show: show.share },
      ], found.plans, { empty: "No plan answered. A policy uses them with plans: [cheap-first]." })),
      h("section", {}, h("h2", {}, "Forecasts against feedback"), table("calibration", [
        { name: "forecast from", number: true, of: (row) => row.low, show: (value) => value.toFixed(1) },
        { name: "to", number: true, of: (row) => row.high, show: (value) => value.toFixed(1) },
        { name: "answers", number: true, of: (row) => row.answers, show: show.count },
        { name: "mean forecast", number: true, of: (row) => row.forecast, show: show.quality },
        { name: "mean feedback", number: true, of: (row) => row.feedback, show: show.quality },
      ], found.calibration, { empty: "No feedback in this time. Clients send it to POST /v1/feedback." }),
      h("p", { class: "hint" }, "Whoever gives feedback decides which answers are judged, so a difference may come from that choice, too."))));
}

function alternatives(saved) {
  if (!saved.total) return h("p", { class: "empty" }, "Nothing to compare yet: routed requests with a complete answer and a price are needed.");
  const { routed, requests } = saved.total;
  const rows = [{ card: "as routed", ...routed }, ...Object.entries(saved.singles).map(([card, side]) => ({ card, ...side }))];
  const points = rows.map((row) => ({ name: row.card, cost: 1000 * row.cost_usd / requests, quality: row.quality, std: 0, chosen: row.card === "as routed" }));
  return [
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Quality against cost" }, scatter(points, "Forecast quality against cost: as routed, and each card for all of these requests")),
    h("p", { class: "hint" }, "Each point is one card for all of these requests; above and to the left is better. A card above the line of as routed at no higher cost would have been the better choice for all."),
    table("alternatives", [
      { name: "answered by", of: (row) => row.card },
      { name: "per 1,000", number: true, of: (row) => 1000 * row.cost_usd / requests, show: show.usd },
      { name: "forecast quality", number: true, of: (row) => row.quality, show: show.quality },
    ], rows.sort((a, b) => b.quality - a.quality), { chosen: (row) => row.card === "as routed" }),
  ];
}
