// The page "Now": requests, spend, savings, times, errors, and what is wrong.

import { api } from "../parts/api.js";
import { byHour } from "../parts/charts.js";
import { curlOf } from "../parts/copies.js";
import { h, replace, show } from "../parts/dom.js";
import { table } from "../parts/table.js";
import { WINDOWS, calls, illness, sampled, timeFilter, unwell } from "../parts/traffic.js";

const NONE = { cards: "no card answered", policies: "card named by the client", keys: "no key" };

export async function now(holder, { filters, setup, signal }) {
  const hours = WINDOWS[filters.get("hours")] ? filters.get("hours") : "24";
  const alerts = h("div", { "aria-live": "polite" }), tiles = h("div"), moving = h("div"), saved = h("div");
  const budgets = h("div");
  const first = await loaded(hours, tiles, moving, setup, signal);
  let { draw, total } = first;
  replace(holder,
    h("h1", {}, "Now"), alerts,
    timeFilter("now", hours),
    tiles, saved, budgets, moving);
  showAlerts(alerts, { refused_edit: setup.configuration.problem, cooling: {} });
  document.getElementById("main").addEventListener("shown", () => draw(), { once: true });
  if (total.requests) showSavings(saved, hours, signal, first.routedUsd);
  showBudgets(budgets, signal);
  let busy = false, since = Date.now();
  window.addEventListener("live", async ({ detail }) => {
    showAlerts(alerts, detail);
    // What somebody reads in detail does not change under them.
    const isRead = moving.contains(document.activeElement) || moving.querySelector("details[open]") !== null;
    if (busy || isRead || Date.now() - since < 10000) return;
    busy = true;
    try {
      const wasEmpty = !total.requests;
      const next = await loaded(hours, tiles, moving, setup, signal);
      ({ draw, total } = next);
      draw();
      if (wasEmpty && total.requests) showSavings(saved, hours, signal, next.routedUsd);
      showBudgets(budgets, signal);
      since = Date.now();
    } catch {
      // The line at the top says that the gateway is not connected.
    } finally {
      busy = false;
    }
  }, { signal });
}

async function loaded(hours, tiles, holder, setup, signal) {
  const traffic = await api(`traffic?hours=${hours}`, undefined, signal);
  const total = sum(traffic.hours);
  if (!total.requests) {
    replace(tiles);
    replace(holder, h("section", {}, h("h2", {}, "No requests in this time"),
      h("p", { class: "empty" }, "Choose a longer time, or send the first one: point a client at this gateway with the model \"auto\", or copy this into a terminal."),
      h("pre", {}, curlOf({ model: "auto", messages: [{ role: "user", content: "What is 17*23?" }] }, [], setup))));
    return { routedUsd: 0, total, draw: () => {} };
  }
  const chart = h("div");
  const [byCard, byPolicy, byKey] = ["cards", "policies", "keys"].map((name) => groups(traffic[name], name));
  const [middle, high] = traffic.latency_ms ?? [null, null];
  replace(tiles,
    h("dl", { class: "tiles" },
      tile("Requests", show.count(total.requests)),
      tile("Failed", show.share(total.errors / total.requests), total.errors === 1 ? "1 request" : `${show.count(total.errors)} requests`),
      tile("Spent", show.usd(total.cost_usd), `${show.usd(1000 * total.cost_usd / total.requests || 0)} per 1,000`),
      tile("Time, median", show.ms(middle), traffic.timed ? `95 %: ${show.ms(high)}; the newest ${show.count(traffic.timed)}` : "no answers"),
      tile("First token", show.ms(traffic.ttft_ms?.[0]), traffic.ttft_ms ? `95 %: ${show.ms(traffic.ttft_ms[1])}` : "no streams"),
      tile("Tokens", show.count(total.input_tokens + total.output_tokens), `${show.count(total.output_tokens)} written`)),
    traffic.calls.some(unwell) ? h("p", { class: "alert" }, illness(traffic.calls)) : null);
  replace(holder,
    h("section", {}, h("h2", {}, "Requests by hour"), chart, series(traffic).table),
    h("section", {}, h("h2", {}, "How calls ended"), calls(traffic)),
    h("div", { class: "two" },
      h("section", {}, h("h2", {}, "By card"), grouped("by-card", "card", byCard)),
      h("section", {}, h("h2", {}, "By policy"), grouped("by-policy", "policy", byPolicy),
        h("h2", {}, "By key"), grouped("by-key", "key", byKey))));
  let remove = null;
  signal.addEventListener("abort", () => remove?.());
  const routedUsd = traffic.policies.reduce((usd, one) => usd + (one.group ? one.cost_usd : 0), 0);
  return { routedUsd, total, draw: () => {
    remove?.();
    const { seconds, requests, errors } = series(traffic);
    remove = byHour(chart, seconds, [{ name: "requests", values: requests }, { name: "failed", values: errors }]);
  } };
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
  ], rows, { empty: "No requests in this time. Choose a longer one, or point a client at this gateway, model \"auto\"." });
}

async function showSavings(holder, hours, signal, routedUsd) {
  let found;
  try {
    const answer = await api(`savings?hours=${hours}`, undefined, signal);
    found = { ...answer.savings, of: answer.of };
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
  const less = single.cost_usd >= routed.cost_usd, share = 1 - routed.cost_usd / single.cost_usd;
  const all = routedUsd * (single.cost_usd / routed.cost_usd - 1);
  const tried = found.thrifty?.[0];
  replace(holder, h("section", {},
    h("h2", {}, "Saved by routing"),
    h("p", { class: "answer" }, h("strong", { class: less ? "good" : "bad" }, Number.isFinite(all) ? `${found.of > found.requests ? "about " : ""}${show.usd(Math.abs(all))}` : show.share(Math.abs(share))),
      less ? " saved" : " more spent", ` in this time (${show.share(Math.abs(share))}), against `, h("strong", {}, found.baseline), " for every routed request, with ",
      h("strong", {}, `${Math.abs(single.quality - routed.quality).toFixed(3)} ${single.quality >= routed.quality ? "less" : "more"}`), " forecast quality."),
    table("savings", [
      { name: "answered", of: (row) => row.name },
      { name: "cost", number: true, of: (row) => row.cost_usd, show: show.usd },
      { name: "per 1,000", number: true, of: (row) => 1000 * row.cost_usd / requests, show: show.usd },
      { name: "forecast quality", number: true, of: (row) => row.quality, show: show.quality },
    ], [{ name: "as routed", ...routed }, { name: `${found.card || found.baseline} for all`, ...single },
      ...(tried && tried !== found.card ? [{ name: `${tried} for all, the best that would not have cost more`, ...found.thrifty[1] }] : [])]),
    h("p", { class: "hint" }, `${sampled(found.requests, found.of)} ${show.count(requests)} of them can be compared${leftOut(found.left_out)}. Quality is a forecast; nobody graded the answers. `, h("a", { href: `#/routing?hours=${hours}` }, "Every card, and what another weight of cost would change"), ".")));
}

// What the keys with a daily budget have spent today, the fullest first.
async function showBudgets(holder, signal) {
  if (holder.contains(document.activeElement)) return;
  let rows;
  try {
    rows = (await api("budgets", undefined, signal)).budgets;
  } catch (error) {
    if (!signal.aborted) replace(holder, h("p", { class: "note" }, `Budgets cannot be read: ${error.message}`));
    return;
  }
  if (!rows.length) {
    replace(holder);
    return;
  }
  replace(holder, h("section", {}, h("h2", {}, "Budgets today (UTC)"), table("budgets", [
    { name: "key", of: (row) => row.key, show: (value) => h("a", { href: `#/requests?key=${encodeURIComponent(value)}` }, value) },
    { name: "spent", number: true, of: (row) => row.spent_usd, show: show.usd },
    { name: "budget", number: true, of: (row) => row.budget_usd, show: show.usd },
    { name: "used", number: true, of: (row) => row.spent_usd / row.budget_usd, show: (value) => h("span", { class: value >= 0.9 ? "bad" : null }, show.share(value)) },
  ], rows), h("p", { class: "hint" }, "Keys with a budget that have sent requests today, with what all gateways that share their limits have counted. A key whose budget is used up gets 429 until midnight UTC.")));
}

function leftOut(reasons) {
  const words = Object.entries(reasons ?? {}).map(([reason, count]) => `${reason}: ${count}`);
  return words.length ? ` (not: ${words.join("; ")})` : "";
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

function tile(name, value, more) {
  return h("div", { class: "tile" }, h("dt", {}, name), h("dd", {}, value, more ? h("small", {}, more) : null));
}
