// Which page is shown follows from the address: #/page/argument?filters.

import { ApiError, api, events } from "./parts/api.js";
import { h, replace } from "./parts/dom.js";
import { cards } from "./views/cards.js";
import { changes } from "./views/changes.js";
import { now } from "./views/now.js";
import { playground } from "./views/playground.js";
import { request, requests } from "./views/requests.js";
import { routing } from "./views/routing.js";

const PAGES = { now: ["Now", now], routing: ["Routing", routing], changes: ["Changes", changes], requests: ["Requests", requests], cards: ["Cards", cards], playground: ["Playground", playground] };
const main = document.getElementById("main");
let leave = null;
let current = "";

function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [page, ...rest] = path.split("/");
  return { page: page || "now", argument: decodeURIComponent(rest.join("/")), filters: new URLSearchParams(query ?? "") };
}

async function open() {
  const { page, argument, filters } = place();
  const [title, show] = PAGES[page] ?? PAGES.now;
  document.title = `${argument || title} · Pulvinar`;
  replace(document.getElementById("nav"), Object.entries(PAGES).map(([name, [text]]) =>
    h("a", { href: `#/${name}`, "aria-current": name === page ? "page" : null }, text)));
  leave?.abort();
  leave = new AbortController();
  const signal = leave.signal;
  const holder = h("div");
  try {
    const setup = await api("setup", undefined, signal);
    const wanted = page === "requests" && argument ? request : show;
    await wanted(holder, { setup, argument, filters, signal });
  } catch (error) {
    if (signal.aborted) return;
    replace(holder, h("h1", {}, title), h("p", { class: error.status === 503 ? "note" : "alert", role: "alert" }, error.message));
    if (!(error instanceof ApiError)) throw error;
  }
  if (signal.aborted) return;
  replace(main, holder);
  if (current && current !== page + argument) main.focus();
  current = page + argument;
  main.dispatchEvent(new Event("shown"));
}

async function watch() {
  const live = document.getElementById("live");
  for (;;) {
    try {
      for await (const state of events("live")) {
        live.textContent = `${state.in_flight} in flight${state.queued ? `, ${state.queued} waiting` : ""} · ${state.callable} cards`;
        window.dispatchEvent(new CustomEvent("live", { detail: state }));
      }
    } catch (error) {
      live.textContent = error.status === 401 || error.status === 403 ? "" : "not connected";
    }
    await new Promise((resolve) => setTimeout(resolve, 3000));
  }
}

window.addEventListener("hashchange", open);
open();
watch();
