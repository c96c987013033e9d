// The list of requests, and one request in full.

import { api } from "../parts/api.js";
import { chosenIn, guardWords, legend, picture, plans, ranking, rejections } from "../parts/decision.js";
import { h, replace, show } from "../parts/dom.js";
import { table } from "../parts/table.js";

export async function requests(holder, { setup, filters, signal }) {
  const asked = new URLSearchParams();
  for (const name of ["card", "key", "errors", "routed", "before"]) if (filters.get(name)) asked.set(name, filters.get(name));
  let found = await api(`requests?limit=100&${asked}`, undefined, signal);
  const filter = (name, value) => {
    const next = new URLSearchParams(asked);
    next.delete("before");
    if (value) next.set(name, value);
    else next.delete(name);
    location.hash = `#/requests?${next}`;
  };
  const checkbox = (name, text) => h("span", {}, h("label", {}, h("input", { type: "checkbox", checked: filters.get(name) === "1", onchange: (event) => filter(name, event.target.checked ? "1" : "") }), ` ${text}`));
  const list = h("section"), isFirst = !asked.has("before");
  replace(holder,
    h("h1", {}, "Requests"),
    h("form", { class: "filters", onsubmit: (event) => event.preventDefault() },
      h("span", {}, h("label", { for: "card" }, "Answered by"), h("input", { id: "card", list: "cards", value: filters.get("card") ?? "", onchange: (event) => filter("card", event.target.value) })),
      h("datalist", { id: "cards" }, setup.cards.map((card) => h("option", { value: card }))),
      h("span", {}, h("label", { for: "of-key" }, "Key"), h("input", { id: "of-key", value: filters.get("key") ?? "", onchange: (event) => filter("key", event.target.value) })),
      checkbox("errors", "failed only"), checkbox("routed", "routed only")),
    list);
  const draw = () => replace(list, table("requests", [
      { name: "time (UTC)", of: (row) => row.at, show: show.time },
      { name: "request", of: (row) => row.id, show: (id) => h("a", { href: `#/requests/${encodeURIComponent(id)}` }, id.slice(0, 16)) },
      { name: "asked for", of: (row) => row.asked },
      { name: "answered by", of: (row) => row.card ?? "–", show: (value, row) => (row.plan ? `${row.plan}: ${value}` : value) },
      { name: "policy", of: (row) => row.policy ?? "–" },
      { name: "status", number: true, of: (row) => row.status, show: (status, row) => h("span", { class: status >= 400 || row.error ? "bad" : null }, row.error ? `${status} ${row.error}` : String(status)) },
      { name: "tokens", number: true, of: (row) => (row.input_tokens === null || row.input_tokens === undefined ? null : row.input_tokens + row.output_tokens), show: (value, row) => (value === null || value === undefined ? "?" : `${row.input_tokens}+${row.output_tokens}`) },
      { name: "cost", number: true, of: (row) => row.cost_usd, show: show.usd },
      { name: "time", number: true, of: (row) => row.total_ms, show: show.ms },
      { name: "calls", number: true, of: (row) => row.calls },
    ], found.requests, { empty: "No requests match. Point a client at this gateway with model \"auto\", or remove a filter." }),
    h("p", { class: "pages" }, isFirst ? null : h("a", { href: `#/requests?${without(asked, "before")}` }, "Newest"),
      found.before ? h("a", { href: `#/requests?${withValue(asked, "before", found.before)}` }, "Older") : null));
  draw();
  let since = Date.now(), busy = false;
  window.addEventListener("live", async () => {
    if (!isFirst || busy || list.contains(document.activeElement) || Date.now() - since < 1500) return;
    busy = true;
    try {
      const again = await api(`requests?limit=100&${asked}`, undefined, signal);
      since = Date.now();
      if (again.requests[0]?.id === found.requests[0]?.id) return;
      found = again;
      draw();
    } catch {
      // The line at the top says that the gateway is not connected.
    } finally {
      busy = false;
    }
  }, { signal });
}

function withValue(parameters, name, value) {
  const next = without(parameters, name);
  next.set(name, value);
  return next;
}

function without(parameters, name) {
  const next = new URLSearchParams(parameters);
  next.delete(name);
  return next;
}

export async function request(holder, { argument, signal }) {
  let found;
  try {
    found = await api(`requests/${encodeURIComponent(argument)}`, undefined, signal);
  } catch (error) {
    if (error.status !== 404) throw error;
    replace(holder, h("h1", {}, argument), h("p", { class: "note" }, "There is no such request, or it is older than the records are kept. ", h("a", { href: "#/requests" }, "The newest requests")));
    return;
  }
  const { row, outcome, decision } = found;
  replace(holder,
    h("h1", {}, row.id),
    h("div", { class: "two" },
      h("section", {}, h("h2", {}, "What happened"), h("p", { class: "answer" }, story(row, outcome, decision, found.then?.decision)), facts({
        time: `${show.time(row.at)} UTC`,
        "asked for": `${row.asked} (${row.surface}${found.stream ? ", streamed" : ""})`,
        answered: `${row.status}${row.card ? ` by ${row.card}` : ""}${row.error ? `, ${row.error}` : ""}`,
        tokens: row.input_tokens === undefined || row.input_tokens === null ? "?" : `${show.count(row.input_tokens)} read, ${show.count(row.output_tokens)} written`,
        cost: show.usd(row.cost_usd), key: row.key, session: found.session, degraded: outcome.degraded,
      }), h("h2", {}, "Feedback"), feedback(found.feedback)),
      h("section", {}, h("h2", {}, "Its time"), timeline(outcome))),
    decision ? decided(found) : h("p", { class: "note" }, "The client named the card, so nothing was decided."));
}

// Why the request went where it went, in a few words.
function story(row, outcome, decision, then) {
  const failed = (outcome.attempts ?? []).filter((attempt) => attempt.fault);
  const moved = failed.map((attempt) => `${attempt.card} failed (${attempt.fault})`).join(", then ");
  const end = row.card ? `${row.card} answered` : `no card answered (${row.error ?? row.status})`;
  if (!decision) return `The client named ${row.asked}, and ${moved ? `${moved}, and ` : ""}${end}.`;
  const name = then ? chosenIn(then) : decision.card;
  const best = then?.candidates.find((one) => one.card === name);
  const why = decision.named_plan ? "the client named this plan" : decision.guard === "held" ? "the guard held its default card" : decision.guard === "off" || decision.guard === "released" ? `it has the lowest score of ${then?.candidates.length ?? "all"} candidates` : "it is the guard's default card and the best one";
  return [h("strong", {}, name), ` was chosen by policy ${decision.policy}: ${why}${best ? `, with a forecast quality of ${show.quality(best.quality)}` : ""}. `,
    row.plan ? `${outcome.attempts?.length ?? 0} calls were made, and ${end}.` : failed.length ? `${moved}, so ${end}.` : row.card === name ? "It answered." : `Then ${end}.`];
}

function decided(found) {
  const { decision, then, now } = found;
  const [first, second] = [then?.decision, now?.decision];
  return [
    h("section", {}, h("h2", {}, "Why this card"),
      h("p", {}, `Policy ${decision.policy}${decision.flags ? ` with ${decision.flags}` : ""}. `,
        first ? guardWords(first.guard) : then?.problem ?? ""),
      first ? [picture(first), ranking(first), legend(first), rejections(first), plans(first)] : null),
    h("section", {}, h("h2", {}, "With today's cards, policies and date"),
      now?.problem ? h("p", { class: "note" }, now.problem) : null,
      second ? h("p", {}, now.same ? "The same decision." : [h("strong", {}, second.card), first && first.card !== second.card ? ` would answer, not ${first.card}.` : " would answer."]) : null,
      now?.reasons?.length ? h("ul", {}, now.reasons.map((reason) => h("li", {}, reason))) : null,
      now?.differences?.length ? table("differences", [
        { name: "what", of: (one) => one.what },
        { name: "recorded", of: (one) => words(one.then) },
        { name: "today", of: (one) => words(one.again) },
      ], now.differences) : null,
      second && !now.same ? ranking(second, "candidates-today") : null),
  ];
}

function words(value) {
  if (Array.isArray(value)) return value.join(", ");
  return typeof value === "number" ? String(Number(value.toPrecision(6))) : value && typeof value === "object" ? JSON.stringify(value) : String(value);
}

function timeline(outcome) {
  const total = Math.max(outcome.total_ms, 0.001);
  const rows = [["gateway: read, forecast, decide", 0, outcome.overhead_ms ?? 0, "own"]];
  let at = outcome.overhead_ms ?? 0;
  if (outcome.calls?.length) for (const call of outcome.calls) rows.push([`${call.role}: ${call.card} (${call.verdict})`, call.began_ms ?? at, call.elapsed_ms ?? 0, call.verdict === "failed" ? "failed" : ""]);
  else for (const [index, attempt] of (outcome.attempts ?? []).entries()) {
    const last = index === outcome.attempts.length - 1;
    const long = last && !attempt.fault ? total - at : attempt.elapsed_ms;
    rows.push([`call ${index + 1}: ${attempt.deployment}${attempt.fault ? ` (${attempt.fault})` : ""}`, at, long, attempt.fault ? "failed" : ""]);
    at += attempt.elapsed_ms;
  }
  return h("div", {}, rows.map(([name, from, long, kind]) => {
    const bar = h("span", { class: kind });
    bar.style.left = `${Math.min(99, (100 * from) / total)}%`;
    bar.style.width = `${Math.min(100, (100 * long) / total)}%`;
    return h("div", {}, h("div", { class: "hint" }, `${name}: ${show.ms(long)}`), h("div", { class: "bar", "aria-hidden": "true" }, bar));
  }), h("p", { class: "hint" }, `Together ${show.ms(total)}${outcome.ttft_ms ? `, first token after ${show.ms(outcome.ttft_ms)}` : ""}.`));
}

function feedback(given) {
  if (!given?.length) return h("p", { class: "hint" }, "No feedback. Clients send it to POST /v1/feedback with this id.");
  return h("ul", {}, given.map((one) => h("li", {}, `${one.verdict ?? `value ${one.value}, from 0 to 1,`} by ${one.source ?? "client"}${one.comment ? `: ${one.comment}` : ""}`)));
}

function facts(values) {
  return h("dl", { class: "facts" }, Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}
