// Try a prompt, weigh the goals, and see what the router would do. No model is called.

import { ApiError, api } from "./api.js";
import { chosenIn, guardWords, picture, plans, ranking, rejections } from "./decision.js";
import { h, replace, show } from "./dom.js";

const GOALS = { best: "quality", cheapest: "cost", fastest: "latency", smallest: "size", newest: "recency", private: "privacy", concise: "brevity" };
const EXAMPLE = "Prove that there are infinitely many primes.";
const SAVED = "pulvinar-prompt";

export async function playground(holder, { setup, filters, signal }) {
  const policy = setup.policies.some((one) => one.id === filters.get("policy")) ? filters.get("policy") : "default";
  const state = { policy, goals: {}, limits: filters.get("limits") ?? "", turns: restored() };
  for (const goal of setup.goals) if (filters.get(goal)) state.goals[goal] = Math.min(3, Math.max(0, Number(filters.get(goal)) || 0));
  const result = h("div", { "aria-live": "polite" }), turns = h("div"), copies = h("section");
  let waiting = null, call = null;

  const changed = (pause = 250) => {
    const kept = new URLSearchParams({ policy: state.policy, ...(state.limits ? { limits: state.limits } : {}), ...Object.fromEntries(Object.entries(state.goals).filter(([, weight]) => weight > 0)) });
    history.replaceState(null, "", `#/playground?${kept}`);
    sessionStorage.setItem(SAVED, JSON.stringify(state.turns));
    clearTimeout(waiting);
    waiting = setTimeout(decide, pause);
  };
  const decide = async () => {
    showCopies(copies, state, setup);
    call?.abort();
    call = new AbortController();
    const { signal: own } = call;
    try {
      const messages = state.turns.filter((turn) => turn.content.trim());
      if (!messages.length) {
        replace(result, h("p", { class: "empty" }, "Type a prompt to see which card would answer."));
        return;
      }
      const body = { model: `auto/${state.policy}`, messages, ...(flagsOf(state) ? { route: { flags: flagsOf(state) } } : {}) };
      showDecision(result, await api("decide", body, own));
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
      h("button", { type: "button", onclick: () => { state.turns.push({ role: state.turns.length % 2 ? "assistant" : "user", content: "" }); showTurns(); turns.querySelector("textarea:last-of-type, .turn:last-of-type textarea")?.focus(); } }, "Add a turn"),
      state.turns.length > 1 ? h("button", { type: "button", onclick: () => { state.turns.pop(); showTurns(); changed(0); } }, "Remove the last turn") : null));
  showTurns();
  const stated = setup.policies.find((one) => one.id === state.policy);
  const about = h("p", { class: "hint" }, stated?.description ?? "");
  replace(holder, h("h1", {}, "Playground"), h("div", { class: "play" },
    h("div", {},
      h("section", {}, turns,
        h("label", { for: "policy" }, "Policy"),
        h("select", { id: "policy", onchange: (event) => { state.policy = event.target.value; about.textContent = setup.policies.find((one) => one.id === state.policy).description; changed(0); } },
          setup.policies.map((one) => h("option", { value: one.id, selected: one.id === state.policy }, one.id))), about,
        h("h2", {}, "Weights"),
        setup.goals.map((goal) => slider(goal, state, changed)),
        h("p", { class: "hint" }, "0 leaves what the policy says."),
        h("label", { for: "limits" }, "Limits"),
        h("input", { id: "limits", value: state.limits, placeholder: "size<9B, cost<0.002$", oninput: (event) => { state.limits = event.target.value; changed(); } }),
        h("p", { class: "chips" }, ["size<9B", "cost<0.001$", "latency<2s", "privacy!=public", "capability=tools"].map((limit) =>
          h("button", { type: "button", onclick: () => { const field = document.getElementById("limits"); state.limits = [...state.limits.split(",").map((one) => one.trim()).filter((one) => one && one !== limit), limit].join(", "); field.value = state.limits; changed(0); } }, limit)))),
      copies),
    result));
  signal.addEventListener("abort", () => { clearTimeout(waiting); call?.abort(); });
  changed(0);
}

function textarea(value, id, changed) {
  const field = h("textarea", { id, oninput: (event) => changed(event.target.value) });
  field.value = value;
  return field;
}

function slider(goal, state, changed) {
  const output = h("output", { for: `goal-${goal}` }, (state.goals[goal] ?? 0).toFixed(2));
  const field = h("input", { id: `goal-${goal}`, type: "range", min: "0", max: "3", step: "0.05", oninput: (event) => {
    state.goals[goal] = Number(event.target.value);
    output.textContent = state.goals[goal].toFixed(2);
    changed(60);
  } });
  field.value = state.goals[goal] ?? 0;
  return h("div", { class: "slider" }, h("label", { for: `goal-${goal}` }, GOALS[goal] ?? goal), field, output);
}

function flagsOf(state) {
  const goals = Object.entries(state.goals).filter(([, weight]) => weight > 0).map(([goal, weight]) => `${goal}*${Number(weight.toFixed(2))}`);
  return [...goals, ...state.limits.split(",").map((one) => one.trim()).filter(Boolean)].join(",");
}

function showDecision(holder, decision) {
  const chosen = chosenIn(decision);
  const best = decision.candidates.find((one) => one.card === chosen) ?? decision.candidates[0];
  replace(holder,
    h("section", {},
      h("h2", {}, h("span", { id: "chosen" }, chosen), " answers"),
      h("p", {}, `Forecast quality ${show.quality(best.quality)} ± ${show.quality(best.quality_std)}, ${show.usd(best.cost_usd === null ? null : 1000 * best.cost_usd)} per 1,000 such requests${best.latency_ms === null ? "" : `, about ${show.ms(best.latency_ms)}`}.`),
      h("p", { class: "hint" }, guardWords(decision.guard)),
      binding(decision.binding),
      picture(decision)),
    h("section", {}, h("h2", {}, "Ranking"), ranking(decision), rejections(decision)), plans(decision));
}

function binding(limits) {
  if (!limits?.length) return null;
  const words = limits.map((limit) => (limit === "available" ? "the cards that cannot be called now" : limit));
  return h("p", { class: "hint" }, `Without ${words.join(", ")}, another card would be chosen.`);
}

function showCopies(holder, state, setup) {
  const flags = flagsOf(state);
  const stated = setup.policies.find((one) => one.id === state.policy);
  const goals = { ...stated?.goals, ...Object.fromEntries(Object.entries(state.goals).filter(([, weight]) => weight > 0)) };
  const limits = [...(stated?.limits ?? []), ...state.limits.split(",").map((one) => one.trim()).filter(Boolean)];
  const quoted = (text) => JSON.stringify(text);
  const yaml = [
    "id: my-policy", "description: From the playground.",
    ...(stated?.mistake_usd ? [`mistake_usd: ${stated.mistake_usd}`] : []),
    ...(Object.keys(goals).length ? ["goals:", ...Object.entries(goals).map(([goal, weight]) => `  ${goal}: ${Number(weight.toFixed(2))}`)] : []),
    ...(limits.length ? ["limits:", ...limits.map((limit) => `  - ${quoted(limit)}`)] : []),
    ...(stated?.plans?.length ? [`plans: [${stated.plans.join(", ")}]`] : []),
    ...(stated?.guard ? ["guard: on"] : []),
  ].join("\n");
  const model = `auto/${state.policy}`;
  const body = JSON.stringify({ model, messages: state.turns.filter((turn) => turn.content.trim()) }).replaceAll("'", "'\\''");
  const address = location.href.replace(/dashboard.*$/, "v1/chat/completions");
  const key = setup.has_keys ? ` -H "authorization: Bearer $KEY"` : "";
  const header = flags ? ` -H 'x-route-flags: ${flags}'` : "";
  const forms = {
    "flags": flags || "(none)",
    "header": flags ? `x-route-flags: ${flags}` : `model: ${model}`,
    "policy YAML": yaml,
    "curl": `curl -s ${address}${key} -H 'content-type: application/json'${header} -d '${body}'`,
  };
  replace(holder, h("h2", {}, "Use it"), Object.entries(forms).map(([name, text]) => h("details", { open: name === "flags" }, h("summary", {}, name), h("pre", {}, text),
    h("button", { type: "button", onclick: (event) => copy(text, event.target) }, "Copy"))));
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select the text to copy it";
  }
}

function restored() {
  try {
    const turns = JSON.parse(sessionStorage.getItem(SAVED));
    if (Array.isArray(turns) && turns.length) return turns;
  } catch {
    // Nothing readable was kept.
  }
  return [{ role: "user", content: EXAMPLE }];
}
