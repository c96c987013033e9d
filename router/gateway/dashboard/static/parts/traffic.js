// What several pages show of the traffic: how calls ended, how many requests were read, and the choice of the time.

import { h, show } from "./dom.js";
import { table } from "./table.js";

export const WINDOWS = { 1: "the last hour", 24: "24 hours", 168: "7 days", 720: "30 days" };

// A card that fails is not seen in the requests, where another one answers in its place.
export function calls(traffic, name = "calls") {
  return [
    traffic.calls.length && !traffic.calls.some(unwell) ? h("p", {}, `No card fails more than ${show.share(ILL)} of its calls.`) : null,
    table(name, [
      { name: "deployment", of: (row) => row.deployment },
      { name: "card", of: (row) => row.card, show: cardLink },
      { name: "calls", number: true, of: (row) => row.calls, show: show.count },
      { name: "failed", number: true, of: (row) => row.failed, show: (value, row) => h("span", { class: unwell(row) ? "bad" : null }, show.count(value)) },
      { name: "failed share", number: true, of: (row) => row.failed / row.calls, show: (value, row) => h("span", { class: unwell(row) ? "bad" : null }, show.share(value)) },
      { name: "why", of: (row) => Object.entries(row.faults).map(([fault, count]) => `${fault} ${count}`).join(", ") },
      { name: "last call (UTC)", of: (row) => row.last_s, show: show.time },
    ], traffic.calls, { empty: "No model was called in this time. Point a client at this gateway, model \"auto\"." }),
    h("p", { class: "hint" }, `Of the newest ${show.count(traffic.read)} requests in this time, also where another card then answered. What a request itself was refused for is listed, but does not count as failed.`)];
}

const ILL = 0.05;

export function unwell(row) {
  return row.failed / row.calls > ILL;
}

// In words which cards are unwell, and why.
export function illness(rows) {
  return ["Unwell: ", rows.filter(unwell).map((one, index) => [index ? "; " : "", cardLink(one.card), `, ${show.share(one.failed / one.calls)} of ${show.count(one.calls)} calls failed, most often: ${one.main_fault}`]), "."];
}

export function cardLink(card) {
  return h("a", { href: `#/cards/${encodeURIComponent(card)}` }, card);
}

export function timeFilter(page, hours) {
  return h("p", { class: "filters" }, h("span", {}, h("label", { for: "hours" }, "Time"),
    h("select", { id: "hours", onchange: (event) => { location.hash = `#/${page}?hours=${event.target.value}`; } },
      Object.entries(WINDOWS).map(([value, text]) => h("option", { value, selected: value === hours }, text)))));
}

export function sampled(requests, of) {
  return of > requests ? `Of ${show.count(requests)} out of ${show.count(of)} routed requests, spread over this time.` : `Of all ${show.count(of)} routed requests in this time.`;
}
