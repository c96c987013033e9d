// The page "Now": requests, spend, savings, times, errors, and what is wrong.

import { api } from "./api.js";
import { byHour } from "./charts.js";
import { h, replace, show } from "./dom.js";
import { table } from "./table.js";

export const WINDOWS = { 1: "the last hour", 24: "24 hours", 168: "7 days", 720: "30 days" };

const NONE = { cards: "no card answered", policies: "card named by the client", keys: "no key" };

export async function now(holder, { filters, setup, signal }) {
  const hours = WINDOWS[filters.get("hours")] ? filters.get("hours") : "24";
  const alerts = h("div", { "aria-live": "polite" }), moving = h("div"), saved = h("div");
  let draw = await loaded(hours, moving, signal);
  replace(holder,
    h("h1", {}, "Now"), alerts,
    timeFilter("now", hours),
    moving, saved);
  showAlerts(alerts, { refused_edit: setup.configuration.problem, cooling: {} });
  document.getElementById("main").addEventListener("shown", () => draw(), { once: true });
  showSavings(saved, hours, signal);
  let busy = false, since = Date.now();
  window.addEventListener("live", async ({ detail }) => {
    showAlerts(alerts, detail);
    if (busy || Date.now() - since < 10000) return;
    busy = true;
    try {
      draw = await loaded(hours, moving, signal);
      draw();
      since = Date.now();
    } finally {
      busy = false;
    }
  }, { signal });
}

async function loaded(hours, holder, signal) {
  const traffic = await api(`traffic?hours=${hours}`, undefined, signal);
  const total = sum(traffic.hours);
  const chart = h("div");
  const [byCard, byPolicy, byKey] = ["cards", "policies", "keys"].map((name) => groups(traffic[name], name));
  const [middle, high] = traffic.latency_ms ?? [null, null];
  replace(holder,
    h("dl", { class: "tiles" },
      tile("Requests", show.count(total.requests)),
      tile("Failed", show.share(total.errors / total.requests), `${show.count(total.errors)} requests`),
      tile("Spent", show.usd(total.cost_usd), `${show.usd(1000 * total.cost_usd / total.requests || 0)} per 1,000`),
      tile("Time, median", show.ms(middle), traffic.timed ? `95 %: ${show.ms(high)}; the newest ${show.count(traffic.timed)}` : "no answers"),
      tile("First token", show.ms(traffic.ttft_ms?.[0]), traffic.ttft_ms ? `95 %: ${show.ms(traffic.ttft_ms[1])}` : "no streams"),
      tile("Tokens", show.count(total.input_tokens + total.output_tokens), `${show.count(total.output_tokens)} written`)),
    h("section", {}, h("h2", {}, "Requests by hour"), chart, series(traffic).table),
    h("div", { class: "two" },
      h("section", {}, h("h2", {}, "By card"), grouped("by-card", "card", byCard)),
      h("section", {}, h("h2", {}, "By policy"), grouped("by-policy", "policy", byPolicy),
        h("h2", {}, "By key"), grouped("by-key", "key", byKey))));
  let remove = null;
  signal.addEventListener("abort", () => remove?.());
  return () => {
    remove?.();
    const { seconds, requests, errors } = series(traffic);
    if (total.requests) remove = byHour(chart, seconds, [{ name: "requests", values: requests }, { name: "failed", values: errors }]);
    else replace(chart, h("p", { class: "empty" }, "No requests in this time. Point a client at this gateway, model \"auto\"."));
  };
}

function series(traffic) {
  const first = traffic.since, last = Math.floor(traffic.until / 3600) * 3600;
  const at = new Map();
  for (let hour = first; hour <= last; hour += 3600) at.set(hour, { hour, requests: 0, errors: 0, cost_usd: 0 });
  for (const one of traffic.hours) {
    const row = at.get(one.group);
    if (row) for (const name of ["requests", "errors", "cost_usd"]) row[name] += one[name];
  }
  const rows = [...at.values()];
  const columns = [
    { name: "hour (UTC)", of: (row) => show.time(row.hour) },
    { name: "requests", number: true, of: (row) => row.requests, show: show.count },
    { name: "failed", number: true, of: (row) => row.errors, show: show.count },
    { name: "cost", number: true, of: (row) => row.cost_usd, show: show.usd }];
  return {
    seconds: rows.map((row) => row.hour), requests: rows.map((row) => row.requests), errors: rows.map((row) => row.errors),
    table: h("details", {}, h("summary", {}, "As a table"), table("requests-by-hour", columns, rows.filter((row) => row.requests))),
  };
}

function groups(rows, name) {
  return rows.map((row) => ({ ...row, group: row.group || NONE[name] })).sort((a, b) => b.requests - a.requests);
}

function sum(rows) {
  const total = { requests: 0, errors: 0, input_tokens: 0, output_tokens: 0, cost_usd: 0, total_ms: 0 };
  for (const row of rows) for (const name of Object.keys(total)) total[name] += row[name];
  return total;
}

function grouped(name, kind, rows) {
  const all = rows.reduce((count, row) => count + row.requests, 0);
  return table(name, [
    { name: kind, of: (row) => row.group, show: (value) => (kind !== "policy" && !Object.values(NONE).includes(value) ? h("a", { href: `#/requests?${kind}=${encodeURIComponent(value)}` }, value) : value) },
    { name: "requests", number: true, of: (row) => row.requests, show: show.count },
    { name: "share", number: true, of: (row) => row.requests / all, show: show.share },
    { name: "failed", number: true, of: (row) => row.errors / row.requests, show: show.share },
    { name: "cost", number: true, of: (row) => row.cost_usd, show: show.usd },
    { name: "mean time", number: true, of: (row) => row.total_ms / row.requests, show: show.ms },
  ], rows, { empty: "No requests in this time." });
}

async function showSavings(holder, hours, signal) {
  let found;
  try {
    found = await api(`savings?hours=${hours}`, undefined, signal);
  } catch (error) {
    if (!signal.aborted) replace(holder, h("p", { class: "note" }, `Savings cannot be computed: ${error.message}`));
    return;
  }
  const total = found.total;
  if (!total) {
    replace(holder, h("section", {}, h("h2", {}, "Saved by routing"), h("p", { class: "empty" }, "Nothing to compare yet: routed requests with a complete answer and a price are needed.")));
    return;
  }
  const { routed, single, requests } = total;
  replace(holder, h("section", {},
    h("h2", {}, "Saved by routing"),
    h("p", {}, h("strong", { class: single.cost_usd >= routed.cost_usd ? "good" : "bad" }, show.usd(Math.abs(single.cost_usd - routed.cost_usd))),
      single.cost_usd >= routed.cost_usd ? " saved" : " more spent", ` (${show.share(1 - routed.cost_usd / single.cost_usd)}) on ${show.count(requests)} requests, against `,
      h("strong", {}, found.baseline), `, with ${Math.abs(single.quality - routed.quality).toFixed(3)} ${single.quality >= routed.quality ? "less" : "more"} forecast quality.`),
    table("savings", [
      { name: "answered", of: (row) => row.name },
      { name: "cost", number: true, of: (row) => row.cost_usd, show: show.usd },
      { name: "per 1,000", number: true, of: (row) => 1000 * row.cost_usd / requests, show: show.usd },
      { name: "forecast quality", number: true, of: (row) => row.quality, show: show.quality },
    ], [{ name: "as routed", ...routed }, { name: `${found.card || found.baseline} for all`, ...single }]),
    h("p", { class: "hint" }, `Of the newest ${show.count(found.requests)} requests in this time. Quality is a forecast; nobody graded the answers. The whole comparison: route savings.`)));
}

function showAlerts(holder, state) {
  const found = [];
  if (state.refused_edit) found.push(`The last change of the configuration was refused, and the one before is active:\n${state.refused_edit}`);
  if (state.limits_problem) found.push(`Limits of keys cannot be kept, and their requests get 503: ${state.limits_problem}`);
  if (state.records_problem) found.push(`Records wait in the journal, since their database cannot be written: ${state.records_problem}`);
  if (state.records_dropped) found.push(`${show.count(state.records_dropped)} records were dropped: the store cannot be written.`);
  if (state.is_draining) found.push("The gateway is shutting down, and takes no new requests.");
  const cooling = Object.keys(state.cooling ?? {});
  if (cooling.length) found.push(`Cooling down after failures: ${cooling.join(", ")}`);
  replace(holder, found.map((text) => h("p", { class: "alert", role: "alert" }, text)));
}

export function timeFilter(page, hours) {
  return h("p", { class: "filters" }, h("span", {}, h("label", { for: "hours" }, "Time"),
    h("select", { id: "hours", onchange: (event) => { location.hash = `#/${page}?hours=${event.target.value}`; } },
      Object.entries(WINDOWS).map(([value, text]) => h("option", { value, selected: value === hours }, text)))));
}

function tile(name, value, more) {
  return h("div", { class: "tile" }, h("dt", {}, name), h("dd", {}, value, more ? h("small", {}, more) : null));
}
