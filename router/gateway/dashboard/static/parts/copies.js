// What the playground shows, in the forms in which a client or an operator can use it.

import { h, replace } from "./dom.js";

const NAME = "my-policy", NOTHING = "(none)";

export function copies(holder, asked, setup) {
  const open = holder.querySelector("details[open]")?.dataset.form ?? "flags";
  const forms = {
    "flags": [asked.flags || NOTHING, `For route 'PROMPT' --policy ${asked.policy} --flags '…', or as "flags" in the "route" of a body with "model": "${asked.model}".`],
    "header": [headersOf(asked).map(([name, value]) => `${name}: ${value}`).join("\n"), `With "model": "${asked.plan ? asked.model : "auto"}" in the body.`],
    "policy YAML": [yamlOf(asked, setup), `Save it as policies/${NAME}.yaml, and ask for "auto/${NAME}".`],
    "curl": [curlOf({ model: asked.plan ? asked.model : "auto", messages: asked.messages }, headersOf(asked), setup), "This one calls the model. With /route in place of /v1/chat/completions it only decides."],
  };
  replace(holder, h("h2", {}, "Use it"), Object.entries(forms).map(([name, [text, use]]) => h("details", { open: name === open, "data-form": name }, h("summary", {}, name), h("pre", {}, text),
    h("p", { class: "hint" }, use),
    text === NOTHING ? null : h("button", { type: "button", onclick: (event) => copy(text, event.target) }, "Copy"))));
}

function headersOf({ policy, flags }) {
  return [["x-route-policy", policy], ...(flags ? [["x-route-flags", flags]] : [])];
}

// The policy that is chosen, with what was changed. JSON is YAML, too, so whatever is nested is written so.
function yamlOf(asked, setup) {
  const stated = setup.policies.find((one) => one.id === asked.policy) ?? {};
  const plans = [...new Set([...(stated.plans ?? []), ...(asked.plan ? [asked.plan] : [])])];
  const limits = [...new Set([...(stated.limits ?? []), ...asked.limits, ...(asked.plan ? [`plan=${asked.plan}`] : [])])];
  const goals = { ...stated.goals, ...asked.goals };
  const policy = {
    ...stated, id: NAME, description: `As ${asked.policy}, changed in the playground.`,
    ...(limits.length ? { limits } : {}), ...(Object.keys(goals).length ? { goals } : {}), ...(plans.length ? { plans } : {}),
  };
  return Object.entries(policy).map(([name, value]) => `${name}: ${["id", "description"].includes(name) ? value : JSON.stringify(value)}`).join("\n");
}

export function curlOf(body, extraHeaders, setup) {
  const address = location.href.replace(/dashboard(?=[#?]|$).*$/, "v1/chat/completions");
  const headers = [["content-type", "application/json"], ...extraHeaders].map(([name, value]) => ` -H ${quoted(`${name}: ${value}`)}`);
  const key = setup.has_keys ? ` -H "authorization: Bearer $KEY"` : "";
  return `curl -s ${quoted(address)}${key}${headers.join("")} -d ${quoted(JSON.stringify(body))}`;
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select the text to copy it";
  }
}
