// Reads the gateway's JSON with the operator's key, which is asked for once a tab.

const KEY = "pulvinar-key";
let asking = null;

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export async function api(path, body, signal) {
  for (;;) {
    const response = await call(path, body, signal);
    if (response.ok) return response.json();
    const problem = await messageOf(response);
    if (response.status !== 401 && response.status !== 403) throw new ApiError(problem, response.status);
    await askForKey(problem);
  }
}

export async function* events(path, signal) {
  const response = await call(path, undefined, signal);
  if (!response.ok) throw new ApiError(await messageOf(response), response.status);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) if (part.startsWith("data: ")) yield JSON.parse(part.slice(6));
  }
}

function call(path, body, signal) {
  const key = sessionStorage.getItem(KEY);
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  const options = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  if (body !== undefined) headers["content-type"] = "application/json";
  return fetch(`dashboard/api/${path}`, { ...options, headers, signal });
}

async function messageOf(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `the gateway answered ${response.status}`;
  }
}

function askForKey(problem) {
  if (asking !== null) return asking;
  const dialog = document.getElementById("key-dialog");
  document.getElementById("key-problem").textContent = sessionStorage.getItem(KEY) ? problem : "";
  asking = new Promise((resolve) => {
    document.getElementById("key-form").addEventListener(
      "submit",
      () => {
        sessionStorage.setItem(KEY, document.getElementById("key").value.trim());
        asking = null;
        resolve();
      },
      { once: true },
    );
  });
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  if (!dialog.open) dialog.showModal();
  return asking;
}
