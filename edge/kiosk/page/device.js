// The device's API as the page calls it, and the token where the device asks for one.

const TOKEN = "edgeloop.token";

export class Unreachable extends Error {}
export class Locked extends Error {}
export class Refused extends Error {}

export function setToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

async function call(path, options = {}, timeoutMs = 5000) {
  const headers = { ...options.headers };
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  let reply;
  try {
    reply = await fetch(path, { ...options, headers, signal: AbortSignal.timeout(timeoutMs) });
  } catch {
    throw new Unreachable();
  }
  if (reply.status === 401) throw new Locked();
  if (!reply.ok) {
    const told = await reply.json().catch(() => ({}));
    throw new Refused(told.error_message || `the device answered ${reply.status}`);
  }
  return reply;
}

export async function ask(path) {
  return (await call(path)).json();
}

export async function picture(predictionId) {
  return (await call(`/live.jpg?prediction_id=${encodeURIComponent(predictionId)}`)).blob();
}

export async function tell(feedback) {
  const body = JSON.stringify(feedback);
  return (await call("/feedback", { method: "POST", body, headers: { "Content-Type": "application/json" } })).json();
}

export async function recognise(file) {
  const form = new FormData();
  form.append("file", file);
  return (await call("/predict/file", { method: "POST", body: form }, 60000)).json();
}
