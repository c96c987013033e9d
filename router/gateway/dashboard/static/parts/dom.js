// Builds elements and formats values. Text is always set as text, never as HTML.

export function h(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function s(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function replace(parent, ...children) {
  parent.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
}

const grouped = new Intl.NumberFormat("en");

export const show = {
  count: (value) => (value === null || value === undefined ? "?" : grouped.format(Math.round(value))),
  share: (value) => (Number.isFinite(value) ? `${(100 * value).toFixed(value > 0 && value < 0.01 ? 2 : 1)} %` : "–"),
  usd: (value) => {
    if (value === null || value === undefined || Number.isNaN(value)) return "?";
    if (value === 0) return "$0";
    const digits = value >= 100 ? 0 : value >= 1 ? 2 : Math.min(8, 2 - Math.floor(Math.log10(value)));
    return `$${value.toFixed(digits)}`;
  },
  ms: (value) => {
    if (value === null || value === undefined || Number.isNaN(value)) return "?";
    return value >= 10000 ? `${(value / 1000).toFixed(0)} s` : value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${value.toFixed(value < 10 ? 1 : 0)} ms`;
  },
  quality: (value) => (value === null || value === undefined ? "?" : value.toFixed(3)),
  time: (seconds) => new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " "),
};
