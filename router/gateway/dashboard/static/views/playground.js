// Try a prompt, weigh the goals, and see what the router would do. No model is called.

import { ApiError, api } from "../parts/api.js";
import { copies } from "../parts/copies.js";
import { GOALS, chosenIn, guardWords, legend, picture, plans, ranking, rejections } from "../parts/decision.js";
import { h, replace, show } from "../parts/dom.js";

const LIMITS = ["size<9B", "cost<0.001$", "latency<2s", "privacy!=public", "capability=tools"];
const EXAMPLE = "Prove that there are infinitely many primes.";
const SAVED = "pulvinar-prompt";
const NONE = "single";

export async function playground(holder, { setup, filters, signal }) {
  const state = restored(setup, filters);
  const result = h("div", { class: "result", "aria-live": "polite" }), turns = h("div"), used = h("section", { class: "use" });
  let waiting = null, call = null, last = null;

  const changed = (pause = 250) => {
    history.replaceState(null, "", `#/playground?${addressOf(state)}`);
    sessionStorage.setItem(SAVED, JSON.stringify(state.turns));
    clearTimeout(waiting);
    waiting = setTimeout(decide, pause);
  };
  const decide = async () => {
    const asked = askedFor(state, setup);
    copies(used, asked, setup);
    call?.abort();
    call = new AbortController();
    const { signal: own } = call;
    try {
      if (!asked.messages.length) {
        replace(result, h("p", { class: "empty" }, "Type a prompt to see which card would answer."));
        return;
      }
      const route = { policy: asked.policy, ...(asked.flags ? { flags: asked.flags } : {}) };
      const decision = await api("decide", { model: asked.model, messages: asked.messages, route }, own);
      showDecision(result, decision, last);
      last = decision;
    } catch (error) {
      if (own.aborted) return;
      replace(result, h("p", { class: "alert", role: "alert" }, error.message));
      if (!(error instanceof ApiError)) throw error;
    }
  };
  const showTurns = () => replace(turns, state.turns.map((turn, index) => h("div", { class: state.turns.length > 1 ? "turn" : null },
    h("label", { for: `turn-${index}` }, state.turns.length > 1 ? `Turn ${index + 1}: ${turn.role}` : "Prompt"),
    textarea(turn.content, `turn-${index}`, (value) => { turn.content = value; changed(); }))),
    h("p", { class: "chips" },
      h("button", { type: "button", onclick: () => { state.turns.push({ role: state.turns.length % 2 ? "assistant" : "user", content: "" }); showTurns(); turns.querySelector(`#turn-${state.turns.length - 1}`).focus(); } }, "Add a turn"),
      state.turns.length > 1 ? h("button", { type: "button", onclick: () => { state.turns.pop(); showTurns(); changed(0); } }, "Remove the last turn") : null));
  showTurns();
  const about = h("p", { class: "hint" });
  const planned = h("p", { class: "hint" });
  const explain = () => {
    about.textContent = policyOf(state, setup)?.description ?? "";
    const plan = setup.plans.find((one) => one.id === state.plan);
    const own = policyOf(state, setup)?.plans ?? [];
    planned.textContent = plan ? `${plan.description} Nothing else is a candidate.`
      : state.plan === NONE ? "One card answers, whatever the policy says."
        : own.length ? `The policy compares ${own.join(", ")} with the cards.` : "This policy compares no plans, so one card answers.";
  };
  explain();
  replace(holder, h("h1", {}, "Playground"), h("div", { class: "play" },
    h("div", {},
      h("section", {}, turns,
        h("label", { for: "policy" }, "Policy"),
        h("select", { id: "policy", onchange: (event) => { state.policy = event.target.value; explain(); changed(0); } },
          setup.policies.map((one) => h("option", { value: one.id, selected: one.id === state.policy }, one.id))), about,
        h("label", { for: "plan" }, "Plan"),
        h("select", { id: "plan", onchange: (event) => { state.plan = event.target.value; explain(); changed(0); } },
          [["", "as the policy says"], [NONE, "off: one card"], ...setup.plans.map((one) => [one.id, `${one.id} (${one.kind})`])]
            .map(([value, text]) => h("option", { value, selected: value === state.plan }, text))), planned,
        h("h2", {}, "Weights"),
        inOrder(setup.goals).map((goal) => slider(goal, state, setup, changed)),
        h("p", { class: "hint" }, "Where nothing is moved, the policy's own weight counts. A weight of 1 is worth all of the quality; double what a goal weighs by doubling its number. Money that a policy states as mistake_usd counts beside it: ", h("a", { href: "#/routing?cost=2" }, "what twice the weight would change"), "."),
        h("label", { for: "limits" }, "Limits"),
        h("input", { id: "limits", value: state.limits, placeholder: LIMITS.slice(0, 2).join(", "), oninput: (event) => { state.limits = event.target.value; changed(); } }),
        h("p", { class: "chips" }, LIMITS.map((limit) =>
          h("button", { type: "button", onclick: () => { const field = document.getElementById("limits"); state.limits = [...limitsOf(state).filter((one) => one !== limit), limit].join(", "); field.value = state.limits; changed(0); } }, limit))),
        h("p", { class: "chips" }, h("button", { type: "button", onclick: () => {
          const address = "#/playground";
          sessionStorage.removeItem(SAVED);
          if (location.hash === address) window.dispatchEvent(new Event("hashchange"));
          else location.hash = address;
        } }, "Start again"))),
      used),
    result));
  signal.addEventListener("abort", () => { clearTimeout(waiting); call?.abort(); });
  changed(0);
}

// Those that are asked about most come first.
function inOrder(goals) {
  const known = Object.keys(GOALS).filter((goal) => goals.includes(goal));
  return [...known, ...goals.filter((goal) => !known.includes(goal))];
}

function policyOf(state, setup) {
  return setup.policies.find((one) => one.id === state.policy);
}

function limitsOf(state) {
  return state.limits.split(",").map((one) => one.trim()).filter(Boolean);
}

function restored(setup, filters) {
  const policies = setup.policies.map((one) => one.id);
  const named = [filters.get("policy"), "default"].find((id) => policies.includes(id)) ?? policies[0];
  const plan = [NONE, ...setup.plans.map((one) => one.id)].includes(filters.get("plan")) ? filters.get("plan") : "";
  const goals = {};
  for (const goal of setup.goals) if (filters.has(goal)) goals[goal] = Math.min(3, Math.max(0, Number(filters.get(goal)) || 0));
  let turns = [{ role: "user", content: EXAMPLE }];
  try {
    const kept = JSON.parse(sessionStorage.getItem(SAVED));
    if (Array.isArray(kept) && kept.length) turns = kept;
  } catch {
    // Nothing readable was kept.
  }
  return { policy: named, plan, goals, limits: filters.get("limits") ?? "", turns };
}

function addressOf(state) {
  return new URLSearchParams({ policy: state.policy, ...(state.plan ? { plan: state.plan } : {}), ...(state.limits ? { limits: state.limits } : {}), ...state.goals });
}

// What the request says: its model, policy, flags and messages. A plan that the client names is a model.
function askedFor(state, setup) {
  const messages = state.turns.filter((turn) => turn.content.trim());
  const named = setup.plans.some((one) => one.id === state.plan);
  const limits = [...limitsOf(state), ...(state.plan === NONE ? ["plan=single"] : [])];
  const goals = Object.entries(state.goals).map(([goal, weight]) => `${goal}*${Number(weight.toFixed(2))}`);
  return {
    messages, limits, policy: state.policy, goals: state.goals, plan: named ? state.plan : "",
    model: named ? `plan/${state.plan}` : `auto/${state.policy}`, flags: [...goals, ...limits].join(","),
  };
}

function textarea(value, id, changed) {
  const field = h("textarea", { id, oninput: (event) => changed(event.target.value) });
  field.value = value;
  return field;
}

function slider(goal, state, setup, changed) {
  const own = () => policyOf(state, setup)?.goals?.[goal] ?? 0;
  const output = h("output", { for: `goal-${goal}` });
  const field = h("input", { id: `goal-${goal}`, type: "range", min: "0", max: "3", step: "0.05", oninput: (event) => {
    state.goals[goal] = Number(event.target.value);
    write();
    changed(60);
  } });
  const write = () => { output.textContent = goal in state.goals ? state.goals[goal].toFixed(2) : "policy"; };
  field.value = state.goals[goal] ?? own();
  write();
  document.getElementById("policy")?.addEventListener("change", write);
  return h("div", { class: "slider" }, h("label", { for: `goal-${goal}` }, GOALS[goal] ?? goal), field, output);
}

function showDecision(holder, decision, before) {
  const chosen = chosenIn(decision);
  const best = decision.candidates.find((one) => one.card === chosen) ?? decision.candidates[0];
  const moved = before && chosenIn(before) !== chosen ? ` It was ${chosenIn(before)} before.` : "";
  replace(holder,
    h("section", {},
      h("h2", {}, h("span", { id: "chosen" }, chosen), decision.plan.kind === "single" ? " answers" : ` (${decision.plan.method}) answers`),
      h("p", {}, `Forecast quality ${show.quality(best.quality)} ± ${show.quality(best.quality_std)}, ${show.usd(best.cost_usd === null ? null : 1000 * best.cost_usd)} per 1,000 such requests${best.latency_ms === null ? "" : `, about ${show.ms(best.latency_ms)}`}.${moved}`),
      h("p", { class: "hint" }, guardWords(decision.guard)),
      binding(decision.binding),
      picture(decision)),
    plans(decision),
    h("section", {}, h("h2", {}, "Ranking"), ranking(decision), legend(decision), rejections(decision)));
}

function binding(limits) {
  if (!limits?.length) return null;
  const sentences = limits.map((limit) => (limit === "available" ? "If every card could be called now, another one would be chosen." : `Without ${limit}, another one would be chosen.`));
  return h("p", { class: "hint" }, sentences.join(" "));
}
