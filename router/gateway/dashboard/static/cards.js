// The cards: facts, evidence and state.

import { api } from "./api.js";
import { h, replace, show } from "./dom.js";
import { table } from "./table.js";

export async function cards(holder, { argument, filters, signal }) {
  const [found, traffic] = await Promise.all([api("cards", undefined, signal), api("traffic?hours=168", undefined, signal).catch(() => ({ cards: [] }))]);
  const asked = new Map();
  let all = 0;
  for (const row of traffic.cards) {
    asked.set(row.group, row.requests);
    all += row.requests;
  }
  if (argument) {
    one(holder, found.find((card) => card.id === argument), argument);
    return;
  }
  const wanted = (filters.get("find") ?? "").toLowerCase();
  const rows = found.filter((card) => !wanted || JSON.stringify(card.facts).toLowerCase().includes(wanted));
  replace(holder,
    h("h1", {}, "Cards"),
    h("form", { class: "filters", onsubmit: (event) => event.preventDefault() }, h("span", {}, h("label", { for: "find" }, "Find"),
      h("input", { id: "find", type: "search", value: filters.get("find") ?? "", onchange: (event) => { location.hash = `#/cards?find=${encodeURIComponent(event.target.value)}`; } }))),
    h("section", {}, table("cards", [
      { name: "card", of: (card) => card.id, show: (id) => h("a", { href: `#/cards/${encodeURIComponent(id)}` }, id) },
      { name: "state", of: (card) => card.problem ?? "ready", show: (value, card) => h("span", { class: card.problem ? "bad" : "good" }, value) },
      { name: "provider", of: (card) => card.facts.provider },
      { name: "size", of: (card) => card.facts.size },
      { name: "price", of: (card) => priceOf(card) },
      { name: "context", of: (card) => card.facts.context },
      { name: "graded answers", number: true, of: (card) => card.graded, show: show.count },
      { name: "running", number: true, of: (card) => card.deployments.reduce((sum, one) => sum + one.running, 0) },
      { name: "7 days", number: true, of: (card) => asked.get(card.id) ?? 0, show: show.count },
      { name: "share", number: true, of: (card) => (asked.get(card.id) ?? 0) / all, show: show.share },
    ], rows, { empty: "No card matches. Remove the filter, or add cards with route cards import." })));
}

function one(holder, card, id) {
  if (!card) {
    replace(holder, h("h1", {}, id), h("p", { class: "note" }, "There is no such card any more."));
    return;
  }
  const { source, ...rest } = card.facts;
  replace(holder,
    h("h1", {}, card.id),
    card.problem ? h("p", { class: "alert" }, `It cannot be called: ${card.problem}`) : null,
    h("div", { class: "two" },
      h("section", {}, h("h2", {}, "Facts"), h("dl", { class: "facts" }, Object.entries(rest).map(([name, value]) => [h("dt", {}, name), h("dd", {}, written(value))])),
        h("p", { class: "hint" }, source ? `Source: ${source}` : "The card states no source.")),
      h("section", {}, h("h2", {}, "State"), table("deployments", [
        { name: "deployment", of: (row) => row.name },
        { name: "last call", of: (row) => (row.works === null ? "none yet" : row.works ? "worked" : "failed"), show: (value, row) => h("span", { class: row.works === false ? "bad" : null }, value) },
        { name: "running", number: true, of: (row) => row.running },
      ], card.deployments),
      h("p", {}, `${show.count(card.graded)} graded answers and ${card.examples} examples are known of it.`),
      h("p", {}, h("a", { href: `#/requests?card=${encodeURIComponent(card.id)}` }, "Its requests")))));
}

function priceOf(card) {
  const { price } = card.facts;
  return price ? [price.input, price.output].map((one) => one ?? "?").join(" / ") : "";
}

function written(value) {
  if (Array.isArray(value)) return value.every((one) => typeof one !== "object") ? value.join(", ") : JSON.stringify(value);
  if (value && typeof value === "object") return h("dl", { class: "facts" }, Object.entries(value).map(([name, inner]) => [h("dt", {}, name), h("dd", {}, written(inner))]));
  return String(value);
}
