// What is shown of a decision, in the playground and of a recorded request.

import { scatter } from "./charts.js";
import { h, show } from "./dom.js";
import { table } from "./table.js";

// What a goal is called on the page.
export const GOALS = { best: "quality", cheapest: "cost", fastest: "latency", smallest: "size", newest: "recency", private: "privacy", concise: "brevity" };

// A goal's part of a score, distinguished from loss and cost, which a policy with mistake_usd has.
const partName = (part) => (GOALS[part] ? `weight of ${GOALS[part]}` : part);

export function picture(decision) {
  if (decision.candidates.length < 2) return null;
  const points = decision.candidates.map((one) => ({
    name: one.card, cost: one.cost_usd === null ? null : 1000 * one.cost_usd, quality: one.quality, std: one.quality_std, chosen: one.card === chosenIn(decision),
  }));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Quality against cost" }, scatter(points, `Forecast quality against cost of ${points.length} candidates; ${chosenIn(decision)} is chosen`));
}

export function ranking(decision, name = "candidates") {
  const parts = [...new Set(decision.candidates.flatMap((one) => Object.keys(one.parts)))];
  return table(name, [
    { name: "candidate", of: (one) => one.card },
    { name: "score", number: true, of: (one) => one.score, show: (value) => value.toFixed(4) },
    { name: "quality", number: true, of: (one) => one.quality, show: (value, one) => `${show.quality(value)} ± ${show.quality(one.quality_std)}` },
    { name: "per 1,000", number: true, of: (one) => (one.cost_usd === null ? null : 1000 * one.cost_usd), show: show.usd },
    { name: "time", number: true, of: (one) => one.latency_ms, show: show.ms },
    ...parts.map((part) => ({ name: partName(part), number: true, of: (one) => one.parts[part] ?? 0, show: (value) => value.toFixed(4) })),
    ...(decision.candidates.some((one) => one.assumed.length) ? [{ name: "assumed", of: (one) => one.assumed.join("; ") }] : []),
  ], decision.candidates, { chosen: (one) => one.card === chosenIn(decision), empty: "No card is a candidate." });
}

// What the numbers of the ranking mean.
export function legend(decision) {
  const parts = Object.keys(decision.candidates[0]?.parts ?? {});
  return h("p", { class: "hint" }, `The score is the sum of ${parts.map(partName).join(", ")}; the lowest is best. loss is 1 − forecast quality${parts.includes("cost") ? ", cost is dollars of this request against what the policy says that a wrong answer costs" : ""}${parts.some((part) => GOALS[part]) ? "; the others are goals with their weights" : ""}. "?" is not known.`);
}

export function rejections(decision, name = "rejections") {
  const rows = Object.entries(decision.rejections ?? {}).map(([card, one]) => ({ card, reason: [one.reason, ...(one.also ?? [])].join("; ") }));
  return h("details", {}, h("summary", {}, `${rows.length} rejected`),
    table(name, [{ name: "card", of: (row) => row.card }, { name: "reason", of: (row) => row.reason }], rows, { empty: "None." }));
}

export function guardWords(guard) {
  const words = {
    off: "The policy has no guard: the best forecast answers.",
    same: `The guard's default card is the best one too${guard.best ? `: ${guard.best}` : ""}.`,
    held: `The guard holds ${guard.default ?? "the default card"}, since the advantage of ${guard.best ?? "another one"} is not sure enough.`,
    released: `The guard lets ${guard.best ?? "the best card"} answer in place of ${guard.default ?? "the default card"}: its advantage is sure enough.`,
  };
  // Where the default card is the best one, the reason says just that again.
  const why = guard.reason && guard.state !== "same" ? ` In numbers: ${guard.reason}.` : "";
  return `${words[guard.state] ?? ""}${why}`;
}

// Every plan that was compared as a tree of its calls; the one that is chosen first.
export function plans(decision) {
  const chosen = chosenIn(decision);
  const compared = Object.values(decision.plans ?? {}).sort((a, b) => Number(b.id === chosen) - Number(a.id === chosen));
  return compared.map((plan) => {
    const rejected = decision.rejections?.[plan.id];
    const state = plan.id === chosen ? "chosen" : rejected ? `rejected: ${rejected.reason}` : "compared, and another one is better";
    return h("section", {}, h("h2", {}, `${plan.id} (${plan.method}): ${state}`),
      h("p", { class: "hint" }, `Quality ${show.quality(plan.quality)} ± ${show.quality(plan.quality_std)}, ${plan.calls.toFixed(1)} of ${plan.most_calls} calls expected, ${show.usd(plan.cost_usd)}, at most ${show.usd(plan.most_cost_usd)}, ${timeOf(plan.latency_ms)}.`),
      h("ul", { class: "tree" }, h("li", {}, "request", h("ul", { class: "tree" }, plan.steps.map((step) =>
        h("li", {}, `${step.role}: `, h("strong", {}, step.card), `, called with probability ${(step.probability ?? 1).toFixed(2)}, quality ${show.quality(step.quality)}, ${show.usd(step.cost_usd)}, ${timeOf(step.latency_ms)}`))))));
  });
}

function timeOf(ms) {
  return ms === null || ms === undefined ? "time unknown" : show.ms(ms);
}

export function chosenIn(decision) {
  return decision.plan.kind === "single" ? decision.plan.card : decision.plan.id;
}
