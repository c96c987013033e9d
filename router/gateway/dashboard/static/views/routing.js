// How requests were routed, what other cards would have done, and what another weight of cost would change.

import { api } from "../parts/api.js";
import { heat, scatter, spans } from "../parts/charts.js";
import { h, replace, show } from "../parts/dom.js";
import { table } from "../parts/table.js";
import { WINDOWS, cardLink, sampled, timeFilter } from "../parts/traffic.js";

const GUARDS = {
  off: "no guard: the best forecast answers",
  same: "the default card was the best one",
  held: "held: the default card answered",
  released: "released: another card answered",
};
const FACTORS = { 0.25: "a quarter", 0.5: "half", 2: "twice", 4: "four times", 10: "ten times" };
const NO_REQUESTS = "No routed requests in this time. Choose a longer one, or send requests with the model \"auto\".";
const NOT_COMPARED = "Nothing to compare yet: routed requests with a complete answer and a price are needed.";

export async function routing(holder, { filters, signal }) {
  const hours = WINDOWS[filters.get("hours")] ? filters.get("hours") : "168";
  const [found, saved, setup] = await Promise.all([api(`routing?hours=${hours}`, undefined, signal), api(`savings?hours=${hours}`, undefined, signal), api("setup", undefined, signal)]);
  replace(holder,
    h("h1", {}, "Routing"), timeFilter("routing", hours),
    h("p", { class: "hint" }, found.of ? sampled(found.requests, found.of) : NO_REQUESTS),
    whatIf(hours, FACTORS[filters.get("cost")] ? filters.get("cost") : "2", found.of, signal),
    h("section", {}, h("h2", {}, "What was chosen, and what was not"), alternatives(saved.savings)),
    h("section", {}, h("h2", {}, "Cards by domain"), domains(found)),
    h("section", {}, h("h2", {}, "Novelty of prompts"), novelty(found)),
    h("div", { class: "two" },
      h("section", {}, h("h2", {}, "The guard"), table("guard", [
        { name: "policy", of: (row) => row.policy },
        { name: "what it did", of: (row) => GUARDS[row.guard] ?? row.guard },
        { name: "requests", number: true, of: (row) => row.requests, show: show.count },
        { name: "share", number: true, of: (row) => row.requests / of(found.guards, row), show: show.share },
      ], found.guards, { empty: NO_REQUESTS })),
      h("section", {}, h("h2", {}, "Forecasts against feedback"), table("calibration", [
        { name: "forecast from", number: true, of: (row) => row.low, show: (value) => value.toFixed(1) },
        { name: "to", number: true, of: (row) => row.high, show: (value) => value.toFixed(1) },
        { name: "answers", number: true, of: (row) => row.answers, show: show.count },
        { name: "mean forecast", number: true, of: (row) => row.forecast, show: show.quality },
        { name: "mean feedback", number: true, of: (row) => row.feedback, show: show.quality },
      ], found.calibration, { empty: "No feedback in this time. Clients send it to POST /v1/feedback with the id of an answer." }),
      h("p", { class: "hint" }, "Whoever gives feedback decides which answers are judged, so a difference may come from that choice, too."))),
    experiments(setup.experiments ?? {}),
    shadows(found.shadows),
    h("section", {}, h("h2", {}, "Plans"), table("plans", [
      { name: "plan", of: (row) => row.plan },
      { name: "requests", number: true, of: (row) => row.requests, show: show.count },
      { name: "calls each", number: true, of: (row) => row.calls / row.requests, show: (value) => value.toFixed(2) },
      { name: "per 1,000", number: true, of: (row) => 1000 * row.cost_usd / row.requests, show: show.usd },
      { name: "less than planned", number: true, of: (row) => row.degraded / row.requests, show: show.share },
    ], found.plans, { empty: "No plan answered. A policy compares them with cards where it says plans: [cheap-first]; the playground shows what a plan would do." }),
    found.roles.length ? [h("h2", {}, "Calls of plans"), table("calls-of-plans", [
      { name: "plan", of: (row) => row.plan },
      { name: "role", of: (row) => row.role },
      { name: "calls", number: true, of: (row) => row.calls, show: show.count },
      { name: "verdicts on the answers", of: (row) => Object.entries(row.verdicts).map(([verdict, count]) => `${verdict} ${count}`).join(", ") },
      { name: "cost of a call", number: true, of: (row) => row.cost_usd / row.calls, show: show.usd },
    ], found.roles)] : null));
}

const METRICS = { feedback: (value) => value.toFixed(3), cost: show.usd, latency: (value) => `${value.toFixed(0)} ms` };

function experiments(standings) {
  const rows = Object.entries(standings).flatMap(([name, one]) => one.arms.map((arm, place) => ({ name, one, arm, beside: place ? one.differences[place - 1] : null, of: one.names[place] })));
  if (!rows.length) return null;
  const value = (row, number) => (number === null || number === undefined ? "" : METRICS[row.one.metric](number));
  return h("section", {}, h("h2", {}, "Experiments"), table("experiments", [
    { name: "experiment", of: (row) => row.name },
    { name: "arm", of: (row) => row.of },
    { name: "by", of: (row) => row.one.by },
    { name: "units", number: true, of: (row) => row.arm.units, show: show.count },
    { name: "metric", of: (row) => row.one.metric },
    { name: "mean", of: (row) => value(row, row.arm.mean) },
    { name: "beside the first arm", of: (row) => value(row, row.beside?.difference) },
    { name: "at least", of: (row) => value(row, row.beside?.low) },
    { name: "at most", of: (row) => value(row, row.beside?.high) },
    { name: "state", of: (row) => (row.one.stopped_s === null ? "running" : `ended, all go to ${row.one.goes_to}`) },
  ], rows), h("p", { class: "hint" }, "The intervals hold however often you look."));
}

function shadows(reports) {
  if (!reports.length) return null;
  const both = (row, name, form) => (row.first && row.first[name] !== null && row.second[name] !== null ? `${form(row.first[name])} → ${form(row.second[name])}` : "");
  return h("section", {}, h("h2", {}, "Shadows"), table("shadows", [
    { name: "policy", of: (row) => row.policy },
    { name: "in the shadow", of: (row) => row.target, show: cardLink },
    { name: "pairs", number: true, of: (row) => row.pairs, show: show.count },
    { name: "failed", number: true, of: (row) => row.failed, show: show.count },
    { name: "same final answer", of: (row) => (row.same === null ? "" : `${show.share(row.same)} of ${row.compared}`) },
    { name: "graders", of: (row) => both(row, "grade", (value) => value.toFixed(2)) },
    { name: "refused", of: (row) => both(row, "refused", show.share) },
    { name: "cost", of: (row) => both(row, "cost_usd", show.usd) },
    { name: "median time", of: (row) => both(row, "median_ms", (value) => `${value.toFixed(0)} ms`) },
  ], reports), h("p", { class: "hint" }, "The newest answers that no client got, beside those that clients got: from → to."));
}

function of(guards, row) {
  return guards.reduce((sum, one) => sum + (one.policy === row.policy ? one.requests : 0), 0);
}

function whatIf(hours, factor, any, signal) {
  const result = h("div", { "aria-live": "polite" });
  const load = async (value) => {
    replace(result, h("p", { class: "hint" }, "Deciding again …"));
    try {
      showReweighed(result, await api(`what-if?hours=${hours}&cost=${value}`, undefined, signal));
    } catch (error) {
      if (!signal.aborted) replace(result, h("p", { class: "note" }, error.message));
    }
  };
  if (any) load(factor);
  else replace(result, h("p", { class: "empty" }, NO_REQUESTS));
  return h("section", {}, h("h2", {}, "If cost weighed more or less"),
    h("p", { class: "filters" }, h("span", {}, h("label", { for: "factor" }, "Cost weighs"),
      h("select", { id: "factor", onchange: (event) => {
        history.replaceState(null, "", `#/routing?hours=${hours}&cost=${event.target.value}`);
        load(event.target.value);
      } }, Object.entries(FACTORS).sort(([a], [b]) => a - b).map(([value, text]) => h("option", { value, selected: value === factor }, `${text} as much`))))),
    result);
}

function showReweighed(holder, found) {
  if (!found.requests) {
    replace(holder, h("p", { class: "empty" }, "These requests cannot be decided again: their inputs are not stored any more, or of another artifact."));
    return;
  }
  const { now, then } = found;
  const cost = then.cost_usd / now.cost_usd - 1, quality = then.quality - now.quality;
  const changed = found.changed / found.requests;
  replace(holder,
    h("p", { class: "answer" }, h("strong", {}, found.changed ? `${show.share(changed)} of the requests` : "No request"), " would go elsewhere",
      found.changed ? [": ", h("strong", {}, `${show.share(Math.abs(cost))} ${cost <= 0 ? "less" : "more"} cost`), `, from ${show.usd(1000 * now.cost_usd)} to ${show.usd(1000 * then.cost_usd)} per 1,000, and `,
        h("strong", {}, `${Math.abs(quality).toFixed(4)} ${quality <= 0 ? "less" : "more"} forecast quality`), "."] : ". Their cards are far enough ahead; try a greater factor."),
    table("what-if", [
      { name: "now", of: (row) => row.before, show: cardLink },
      { name: "then", of: (row) => row.after, show: cardLink },
      { name: "requests", number: true, of: (row) => row.requests, show: show.count },
      { name: "share", number: true, of: (row) => row.requests / found.requests, show: show.share },
    ], found.moves, { empty: "No request moves." }),
    h("p", { class: "hint" }, `${show.count(found.requests)} requests of this time, decided twice by today's cards and policies. The costs are forecasts, which differ from what was spent. To have it so: halve mistake_usd in the policy for twice the weight, and multiply the weight of cheapest where there is one.`,
      found.unmoved.length ? ` ${found.unmoved.join(", ")} ${found.unmoved.length > 1 ? "weigh" : "weighs"} no cost, so nothing changes there.` : ""));
}

function domains(found) {
  if (found.domains_problem) return h("p", { class: "empty" }, `${found.domains_problem}.`);
  if (!found.domains.length) return h("p", { class: "empty" }, NO_REQUESTS);
  return [
    heat("Requests by card and domain", found.domains),
    h("details", {}, h("summary", {}, "As a table"), table("domains", [
      { name: "domain", of: (row) => row.domain.replace("_", " ") },
      { name: "card", of: (row) => row.card, show: cardLink },
      { name: "requests", number: true, of: (row) => row.requests, show: show.count },
      { name: "share", number: true, of: (row) => row.requests / found.requests, show: show.share },
      { name: "per 1,000", number: true, of: (row) => 1000 * row.cost_usd / row.requests, show: show.usd },
      { name: "mean forecast", number: true, of: (row) => row.forecast, show: show.quality },
      { name: "judged", number: true, of: (row) => row.judged, show: show.count },
      { name: "mean feedback", number: true, of: (row) => row.feedback, show: (value) => (value === null ? "none" : show.quality(value)) },
    ], found.domains)),
    h("p", { class: "hint" }, "The domain of a prompt is the family of tasks that the predictor reads in it most. A cell has the share of all requests, the mean forecast, and the mean feedback where there is any."),
  ];
}

function novelty(found) {
  if (!found.novelty.length) return h("p", { class: "empty" }, NO_REQUESTS);
  const unusual = found.novelty.reduce((sum, one) => sum + one.unusual * one.requests, 0) / found.novelty.reduce((sum, one) => sum + one.requests, 0);
  return [
    h("p", {}, h("strong", {}, show.share(unusual)), " of the prompts are more novel than 99 % of the training prompts. For these a guard keeps its default card."),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Novelty over time" }, spans(found.novelty, "Mean novelty of prompts over time")),
    h("details", {}, h("summary", {}, "As a table"), table("novelty", [
      { name: "from (UTC)", of: (row) => row.since, show: show.time },
      { name: "to (UTC)", of: (row) => row.until, show: show.time },
      { name: "prompts", number: true, of: (row) => row.requests, show: show.count },
      { name: "mean novelty", number: true, of: (row) => row.novelty, show: show.quality },
      { name: "very novel", number: true, of: (row) => row.unusual, show: show.share },
    ], found.novelty)),
    h("p", { class: "hint" }, "0.9 means: more novel than 90 % of the training prompts. If it rises, the prompts become unlike those that the forecasts were learned from: train on your own outcomes.")];
}

function alternatives(saved) {
  if (!saved.total) return h("p", { class: "empty" }, NOT_COMPARED);
  const { routed, requests } = saved.total;
  const rows = [{ card: "as routed", ...routed }, ...Object.entries(saved.singles).map(([card, side]) => ({ card, ...side }))];
  const points = rows.map((row) => ({ name: row.card, cost: 1000 * row.cost_usd / requests, quality: row.quality, std: 0, chosen: row.card === "as routed" }));
  const better = rows.filter((row) => row.card !== "as routed" && row.quality >= routed.quality && row.cost_usd <= routed.cost_usd).map((row) => row.card);
  return [
    h("p", {}, better.length ? [h("strong", {}, better.join(", ")), " alone would have been at least as good and no dearer, by the forecasts."] : "No card alone would have been as good at no higher cost, by the forecasts."),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Quality against cost" }, scatter(points, "Forecast quality against cost: as routed, and each card for all of these requests")),
    h("p", { class: "hint" }, "Each point is one card for all of these requests; above and to the left is better. The line joins the points that no other one beats."),
    table("alternatives", [
      { name: "answered by", of: (row) => row.card },
      { name: "per 1,000", number: true, of: (row) => 1000 * row.cost_usd / requests, show: show.usd },
      { name: "forecast quality", number: true, of: (row) => row.quality, show: show.quality },
    ], rows.sort((a, b) => b.quality - a.quality), { chosen: (row) => row.card === "as routed" }),
  ];
}
