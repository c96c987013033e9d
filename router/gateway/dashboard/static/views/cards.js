// The cards: facts, evidence, state, value, and the adapters that servers hold.

import { api } from "../parts/api.js";
import { h, replace, show } from "../parts/dom.js";
import { table } from "../parts/table.js";
import { calls, illness, unwell } from "../parts/traffic.js";

const STATES = { cooling_down: "cooling down", rate_limited: "rate limited", at_capacity: "at capacity" };

export async function cards(holder, { argument, filters, signal }) {
  const nothing = { cards: [], calls: [], read: 0 };
  const [found, traffic] = await Promise.all([api("cards", undefined, signal), api("traffic?hours=168", undefined, signal).catch(() => nothing)]);
  if (argument) {
    one(holder, found, traffic, argument);
    return;
  }
  const asked = new Map(traffic.cards.map((row) => [row.group, row.requests]));
  const all = traffic.cards.reduce((sum, row) => sum + row.requests, 0);
  const failing = new Map();
  for (const row of traffic.calls) {
    const own = failing.get(row.card) ?? { calls: 0, failed: 0 };
    failing.set(row.card, { calls: own.calls + row.calls, failed: own.failed + row.failed });
  }
  const stateOf = (card) => {
    const own = failing.get(card.id);
    if (card.problem?.startsWith("cooling")) return { rank: 0, text: card.problem, bad: true };
    if (own && unwell(own)) return { rank: 1, text: `${show.share(own.failed / own.calls)} of its calls failed${card.problem ? `; ${card.problem}` : ""}`, bad: true };
    if (card.problem) return { rank: 3, text: card.problem, bad: true };
    return { rank: 2, text: "ready", bad: false };
  };
  const states = new Map(found.cards.map((card) => [card.id, stateOf(card)]));
  const wanted = (filters.get("find") ?? "").toLowerCase(), only = filters.get("callable") === "1";
  const rows = found.cards
    .filter((card) => (!wanted || JSON.stringify(card.facts).toLowerCase().includes(wanted)) && (!only || !card.problem))
    .sort((a, b) => states.get(a.id).rank - states.get(b.id).rank || (asked.get(b.id) ?? 0) - (asked.get(a.id) ?? 0));
  const sick = found.cards.filter((card) => states.get(card.id).rank < 2);
  const filter = (name, value) => {
    const next = new URLSearchParams(filters);
    if (value) next.set(name, value);
    else next.delete(name);
    location.hash = `#/cards?${next}`;
  };
  const value = h("div", {}, h("p", {}, h("button", { type: "button", onclick: () => showValues(value, signal) }, "Compute from the requests of seven days")));
  replace(holder,
    h("h1", {}, "Cards"),
    sick.length ? h("p", { class: "alert" }, "Unwell: ", sick.map((card, index) => [index ? "; " : "", h("a", { href: `#/cards/${encodeURIComponent(card.id)}` }, card.id), `, ${states.get(card.id).text}`])) : null,
    h("form", { class: "filters", onsubmit: (event) => event.preventDefault() },
      h("span", {}, h("label", { for: "find" }, "Find"),
        h("input", { id: "find", type: "search", value: filters.get("find") ?? "", onchange: (event) => filter("find", event.target.value) })),
      h("span", {}, h("label", {}, h("input", { type: "checkbox", checked: only, onchange: (event) => filter("callable", event.target.checked ? "1" : "") }), " only those that can be called"))),
    h("section", {}, table("cards", [
      { name: "card", of: (card) => card.id, show: (id) => h("a", { href: `#/cards/${encodeURIComponent(id)}` }, id) },
      { name: "state", of: (card) => states.get(card.id).text, show: (text, card) => h("span", { class: states.get(card.id).bad ? "bad" : "good" }, text) },
      { name: "7 days", number: true, of: (card) => asked.get(card.id) ?? 0, show: show.count },
      { name: "share", number: true, of: (card) => (all ? (asked.get(card.id) ?? 0) / all : 0), show: show.share },
      { name: "running", number: true, of: (card) => card.deployments.reduce((sum, one) => sum + one.running, 0) },
      { name: "provider", of: (card) => card.facts.provider },
      { name: "size", of: (card) => sizeOf(card) },
      { name: "price", of: (card) => priceOf(card) },
      { name: "context", of: (card) => card.facts.context },
      { name: "evidence", of: (card) => card.evidence },
    ], rows, { empty: "No card matches. Remove the filter, or add cards with route cards import." })),
    h("section", {}, h("h2", {}, "What each card adds"), value),
    h("section", {}, h("h2", {}, "Adapters on servers"), servers(found.servers)));
}

async function showValues(holder, signal) {
  replace(holder, h("p", { class: "hint" }, "Computing …"));
  let found;
  try {
    found = await api("values?hours=168", undefined, signal);
  } catch (error) {
    if (!signal.aborted) replace(holder, h("p", { class: "note" }, error.message));
    return;
  }
  replace(holder,
    table("value-of-cards", [
      { name: "card", of: (row) => row.card, show: (id) => h("a", { href: `#/cards/${encodeURIComponent(id)}` }, id) },
      { name: "dearer without it, per 1,000", number: true, of: (row) => 1000 * row.value_usd, show: show.usd },
      { name: "the best for", number: true, of: (row) => row.best, show: show.share },
      { name: "could be called", number: true, of: (row) => row.callable, show: show.share },
      { name: "forecast quality", number: true, of: (row) => row.quality, show: show.quality },
      { name: "per 1,000", number: true, of: (row) => 1000 * row.cost_usd, show: show.usd },
    ], found.cards, { empty: "No routed request with a complete answer in seven days. Send some with the model \"auto\"." }),
    h("p", { class: "hint" }, `Of ${show.count(found.requests)} requests, by forecasts: how much price and mistakes, at ${show.usd(found.mistake_usd)} a wrong answer, would cost more without the card. A card at $0 adds nothing that another one does not. Measured on outcomes: route cards value.`,
      found.unpriced.length ? ` Not compared, since they have no price: ${found.unpriced.join(", ")}.` : ""));
}

function servers(found, of = null) {
  const held = found.filter((server) => of === null || server.adapters.some((each) => each.card === of) || of in server.problems);
  if (!held.length) return h("p", { class: "empty" }, of === null ? "No server holds adapters. The card of a base says so with adapters: {server: vllm, slots: 8}." : "No server holds it now. It is loaded with the next request, or with route resident load.");
  return [
    table("adapter-servers", [
      { name: "server", of: (row) => row.server },
      { name: "kind", of: (row) => row.kind },
      { name: "slots used", of: (row) => `${row.adapters.length} of ${row.slots}` },
      { name: "found loaded", number: true, of: (row) => (row.hits + row.loads ? row.hits / (row.hits + row.loads) : null), show: (value) => (value === null ? "–" : show.share(value)) },
      { name: "loads", number: true, of: (row) => row.loads, show: show.count },
      { name: "evictions", number: true, of: (row) => row.evictions, show: show.count },
      { name: "waits", number: true, of: (row) => row.waits, show: show.count },
      { name: "failures", number: true, of: (row) => row.failures, show: (count) => h("span", { class: count ? "bad" : null }, show.count(count)) },
    ], held),
    table("adapters", [
      { name: "server", of: (row) => row.server },
      { name: "adapter", of: (row) => row.card ?? row.adapter, show: (value, row) => (row.card ? h("a", { href: `#/cards/${encodeURIComponent(row.card)}` }, row.card) : row.adapter) },
      { name: "state", of: (row) => row.state },
      { name: "pinned", of: (row) => (row.pinned ? "pinned" : "") },
      { name: "in use", number: true, of: (row) => row.uses },
      { name: "last used", number: true, of: (row) => row.idle_s, show: (seconds, row) => (row.uses ? "now" : `${ago(seconds)} ago`) },
      { name: "unloaded after", number: true, of: (row) => row.ttl_s, show: (seconds) => (seconds === null || seconds === undefined ? "" : ago(seconds)) },
    ], held.flatMap((server) => server.adapters.map((each) => ({ server: server.server, ...each }))), { empty: "No adapter is loaded. Each is loaded with its first request." }),
    held.flatMap((server) => Object.entries(server.problems).map(([card, why]) => h("p", { class: "alert" }, `${card} could not be loaded on ${server.server}: ${why}`)))];
}

function ago(seconds) {
  return seconds < 90 ? `${Math.round(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

function one(holder, found, traffic, id) {
  const card = found.cards.find((each) => each.id === id);
  if (!card) {
    replace(holder, h("h1", {}, id), h("p", { class: "note" }, "There is no such card any more. ", h("a", { href: "#/cards" }, "All cards")));
    return;
  }
  const { source, benchmarks, ...rest } = card.facts;
  const own = { ...traffic, calls: traffic.calls.filter((row) => row.card === id) };
  const share = traffic.cards.reduce((sum, row) => sum + row.requests, 0);
  const requests = traffic.cards.find((row) => row.group === id)?.requests ?? 0;
  replace(holder,
    h("h1", {}, card.id),
    card.problem ? h("p", { class: "alert" }, `It cannot be called: ${card.problem}`) : null,
    h("section", {}, h("h2", {}, "Health"), table("deployments", [
      { name: "deployment", of: (row) => row.name },
      { name: "address", of: (row) => row.url ?? "of its provider" },
      { name: "now", of: (row) => (row.state ? `${STATES[row.state]}, for ${row.wait_s} s` : "ready"), show: (value, row) => h("span", { class: row.state ? "bad" : "good" }, value) },
      { name: "last call", of: (row) => (row.works === null ? "none since the start" : row.works ? "worked" : "failed"), show: (value, row) => h("span", { class: row.works === false ? "bad" : null }, value) },
      { name: "running", number: true, of: (row) => row.running },
    ], card.deployments),
    h("h2", {}, "How calls ended"), own.calls.some(unwell) ? h("p", { class: "alert" }, illness(own.calls)) : null, calls(own, "calls-of-card"),
    h("p", {}, `${show.count(requests)} requests of seven days${share ? `, ${show.share(requests / share)} of all` : ""}: `, h("a", { href: `#/requests?card=${encodeURIComponent(card.id)}` }, "its requests"), ".")),
    card.facts.kind === "adapter" || found.servers.some((server) => server.adapters.some((each) => each.card === id)) ? h("section", {}, h("h2", {}, "On servers"), servers(found.servers, id)) : null,
    h("div", { class: "two" },
      h("section", {}, h("h2", {}, "Facts"), h("dl", { class: "facts" }, Object.entries(rest).map(([name, value]) => [h("dt", {}, name), h("dd", {}, written(value))])),
        h("p", { class: "hint" }, source ? `Source: ${written(source)}` : "The card states no source.")),
      h("section", {}, h("h2", {}, "Evidence"), h("p", {}, `The forecasts follow from: ${card.evidence}. ${show.count(card.graded)} graded answers of probes and ${card.examples} examples are on this gateway.`),
        table("benchmarks", [
          { name: "benchmark", of: (row) => row.name },
          { name: "score", number: true, of: (row) => row.score },
          { name: "source", of: (row) => row.source ?? "" },
          { name: "date", of: (row) => row.date ?? "" },
        ], Object.entries(benchmarks ?? {}).map(([name, value]) => (typeof value === "object" ? { name, ...value } : { name, score: value })),
        { empty: "The card states no benchmark. route onboard asks the model probes and grades them." }))));
}

function priceOf(card) {
  const { price } = card.facts;
  return price ? [price.input, price.output].map((one) => one ?? "?").join(" / ") : "";
}

// A mixture of experts has two sizes.
function sizeOf(card) {
  const { size } = card.facts;
  return size && typeof size === "object" ? `${size.total} (${size.active} active)` : size ?? "";
}

function written(value) {
  if (Array.isArray(value)) return value.every((one) => typeof one !== "object") ? value.join(", ") : JSON.stringify(value);
  if (value && typeof value === "object") return h("dl", { class: "facts" }, Object.entries(value).map(([name, inner]) => [h("dt", {}, name), h("dd", {}, written(inner))]));
  return String(value);
}
