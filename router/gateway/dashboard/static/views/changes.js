// What has changed: the answers of cards, the prompts of days, and groups of prompts that are new.

import { api } from "../parts/api.js";
import { h, replace, show } from "../parts/dom.js";
import { table } from "../parts/table.js";
import { WINDOWS, cardLink, timeFilter } from "../parts/traffic.js";

const ASPECTS = { topics: "what they are about", novelty: "how novel they are" };

export async function changes(holder, { filters, signal }) {
  const hours = WINDOWS[filters.get("hours")] ? filters.get("hours") : "168";
  const found = await api("drift", undefined, signal);
  const days = h("div", { "aria-live": "polite" }), gaps = h("div", { "aria-live": "polite" });
  replace(holder,
    h("h1", {}, "Changes"), timeFilter("changes", hours),
    h("section", {}, h("h2", {}, "Answers of cards"), alarms(found)),
    h("section", {}, h("h2", {}, "Forecasts against judgements"), calibration(found)),
    h("section", {}, h("h2", {}, "Prompts of days"), days),
    h("section", {}, h("h2", {}, "Gaps"), gaps));
  load(days, `days?hours=${hours}`, showDays, signal);
  showNightly(gaps, hours, signal);
}

// What a gateway has found last night is there at once; to look again takes some seconds.
async function showNightly(holder, hours, signal) {
  const again = () => load(holder, `gaps?hours=${hours}`, showGaps, signal);
  const nightly = hours === "168" ? await api("gaps", undefined, signal).catch(() => null) : null;
  if (!nightly) return again();
  replace(holder,
    h("p", { class: "hint" }, `As of ${show.time(nightly.until_s)} (UTC), for the seven days before. `, h("button", { type: "button", onclick: again }, "Look again now")),
    ...showGaps(nightly));
}

async function load(holder, path, shown, signal) {
  replace(holder, h("p", { class: "hint" }, "Reading records …"));
  try {
    replace(holder, ...shown(await api(path, undefined, signal)));
  } catch (error) {
    if (!signal.aborted) replace(holder, h("p", { class: "note" }, error.message));
  }
}

function alarms(found) {
  if (!found.judged) return h("p", { class: "empty" }, "No answer was judged yet. Send requests with the model \"auto\"; clients judge the answers with POST /v1/feedback, and policies can have graders.");
  if (!found.alarms.length) return h("p", {}, `No card answers worse or better than before, in ${show.count(found.judged)} judged answers.`);
  const advice = [...new Set(found.alarms.filter((each) => each.ended_s === null).map((each) => each.advice))];
  return [
    table("drift", [
      { name: "card", of: (row) => row.card, show: cardLink },
      { name: "prompts", of: (row) => row.kind.replace("_", " ") || "all" },
      { name: "answers are", of: (row) => row.direction },
      { name: "since (UTC)", of: (row) => row.since_s, show: show.time },
      { name: "judged", number: true, of: (row) => row.judged, show: show.count },
      { name: "expected", number: true, of: (row) => row.expected, show: show.quality },
      { name: "right", number: true, of: (row) => row.value, show: show.quality },
      { name: "by chance", of: (row) => row.key === null ? `once in ${show.count(row.judgements_a_false_alarm)} judged answers` : `not certain without ${row.key}` },
      { name: "state", of: (row) => row.ended_s === null ? "open" : `over ${show.time(row.ended_s)}` },
    ], found.alarms),
    advice.map((each) => h("p", { class: "note" }, each)),
  ];
}

function calibration(found) {
  return [table("calibration-of-cards", [
    { name: "card", of: (row) => row.card, show: cardLink },
    { name: "judged", number: true, of: (row) => row.answers, show: (value) => show.count(Math.round(value)) },
    { name: "right − forecast", number: true, of: (row) => row.bias, show: (value) => `${value > 0 ? "+" : ""}${value.toFixed(3)}` },
    { name: "calibration error", number: true, of: (row) => row.error, show: (value) => value.toFixed(3) },
    { name: "95 %", of: (row) => `${row.interval[0].toFixed(3)} to ${row.interval[1].toFixed(3)}` },
    { name: "error by chance", number: true, of: (row) => row.by_chance, show: (value) => value.toFixed(3) },
  ], found.calibration, { empty: "No answer was judged yet." }),
  h("p", { class: "hint" }, "Where the interval is above the error that right forecasts would have by chance, the forecasts of the card are wrong.")];
}

function showDays(found) {
  const changed = found.filter((day) => day.since !== null);
  if (!found.length) return [h("p", { class: "empty" }, "To compare days, the prompts of at least four are needed, fifty each.")];
  if (!changed.length) return [h("p", {}, `The prompts of none of ${show.count(found.length / 2)} days differ from those of the days before.`)];
  return [table("days", [
    { name: "day (UTC)", of: (row) => row.day },
    { name: "differ in", of: (row) => ASPECTS[row.aspect] },
    { name: "since", of: (row) => row.since },
    { name: "prompts", number: true, of: (row) => row.prompts, show: show.count },
    { name: "distance", number: true, of: (row) => row.distance, show: (value) => value.toFixed(3) },
    { name: "usual at most", number: true, of: (row) => row.usual, show: (value) => value.toFixed(3) },
    { name: "p", number: true, of: (row) => row.p, show: (value) => value.toFixed(3) },
    { name: "novelty before", number: true, of: (row) => row.before, show: show.quality },
    { name: "now", number: true, of: (row) => row.now, show: show.quality },
  ], changed), h("p", { class: "hint" }, "Look at Cards by domain on Routing: which kind of prompt has become more frequent? If novelty rose, look at the gaps below.")];
}

function showGaps(found) {
  if (!found.gaps.length) return [h("p", {}, `No group of prompts is unlike the training, in ${show.count(found.read)} of ${show.count(found.of)} routed requests.`)];
  return [table("gaps", [
    { name: "prompts", of: (row) => row.terms.join(", ") || `such as ${row.examples[0]}` },
    { name: "a week", number: true, of: (row) => row.weekly, show: (value) => show.count(Math.round(value)) },
    { name: "share", number: true, of: (row) => row.share, show: show.share },
    { name: "best card", of: (row) => row.card, show: cardLink },
    { name: "forecast", number: true, of: (row) => row.forecast, show: show.quality },
    { name: "usual", number: true, of: (row) => row.usual, show: show.quality },
    { name: "worth a week", number: true, of: (row) => row.worth, show: (value) => `${show.count(Math.round(value))} right answers` },
  ], found.gaps), h("p", { class: "hint" }, "Train an adapter for the first one, or add a card that is good at it. Words are shown where prompts are recorded.")];
}
