// The kiosk's page: asks the device what it sees, shows it, and sends back what a person says about it.

import { ask, Locked, picture, recognise, Refused, setToken, tell, Unreachable } from "./device.js";
import { colourOf, coloursOf, drawBoxes, percent, swatch } from "./drawing.js";

const LIVE_MS = 400;
const RETRY_MS = 1500;
const HEALTH_MS = 3000;
const LET_GO_MS = 4000;
const STEADY_MS = 500;

const OUTCOMES = {
  accept: ["✓", "Recognised"],
  confirm: ["?", "Please check"],
  unknown: ["–", "Not recognised"],
};
const MOST_NAMED = 3;
const NOTICES = {
  no_bundle: ["No bundle yet", "The device waits for its first model. It answers as soon as one has arrived."],
  no_source: ["No camera", "Nothing is watched. Ask about a picture of your own below."],
  camera_gone: ["The camera is gone", "The device tries to get it back by itself."],
  waiting: ["Waiting for the first picture", ""],
};

const $ = (id) => document.getElementById(id);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

const page = {
  shown: null, // the answer on the page
  held: false, // whether it stays, because a person looks at it or sent the picture
  holdEnds: 0, // a timer
  address: "", // of the picture's bytes
  changedAt: 0, // when another class was named
  sent: false, // whether a person sent the picture that is shown
  isWatching: false, // whether there is a camera
  done: new Set(), // answers that were judged
};

function write(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

function say(text, failed = false) {
  write("thanks", text);
  $("thanks").classList.toggle("failed", failed);
}

function notice(title, text = "") {
  $("notice").hidden = !title;
  write("notice-title", title);
  write("notice-text", text);
}

// What is shown.

async function show(answer) {
  if (page.shown && page.shown.prediction_id === answer.prediction_id) return;
  const blob = await picture(answer.prediction_id);
  const address = URL.createObjectURL(blob);
  const image = $("picture");
  image.src = address;
  await image.decode().catch(() => undefined);
  if (page.address) URL.revokeObjectURL(page.address);
  page.address = address;
  const before = page.shown;
  if (!before || before.predicted_class !== answer.predicted_class || before.outcome !== answer.outcome) {
    page.changedAt = performance.now();
  }
  page.shown = answer;
  image.hidden = false;
  $("overlay").removeAttribute("hidden"); // SVG elements have no property of that name
  $("main").classList.remove("empty");
  image.alt = `The picture: ${headline(answer)}`;
  $("stage").style.setProperty("--shape", `${answer.picture_width} / ${answer.picture_height}`);
  drawBoxes($("overlay"), answer);
  showVerdict(answer);
  showCounts(answer);
  showScores(answer);
  showQuestion(answer);
}

function headline(answer) {
  const counts = Object.entries(answer.counts);
  if (counts.length > MOST_NAMED) return `${answer.detections.length} things of ${counts.length} kinds`;
  if (counts.length) return counts.map(([label, number]) => `${number}\u00a0×\u00a0${label}`).join(", ");
  if (answer.reason === "nothing_found") return "Nothing found";
  return answer.predicted_class || answer.text || "Unknown";
}

function showVerdict(answer) {
  const [sign, outcome] = OUTCOMES[answer.outcome];
  const word = answer.outcome === "unknown" && answer.detections.length > 1 ? "Not everything recognised" : outcome;
  $("verdict").hidden = false;
  $("verdict").dataset.outcome = answer.outcome;
  write("sign", sign);
  write("outcome", word);
  write("named", headline(answer));
  const least = answer.detections.length > 1 ? "least sure " : "";
  write("sure", `${least}${percent(answer.confidence)}, ${answer.reason.replaceAll("_", " ")}`);
}

function showCounts(answer) {
  const counts = Object.entries(answer.counts);
  const colours = coloursOf(answer.counts);
  $("found").hidden = !counts.length;
  $("counts").replaceChildren(...counts.map(([label, number]) => {
    const name = cell("th", label);
    name.scope = "row";
    name.prepend(swatch(colourOf(colours, label)));
    return row(name, cell("td", String(number), "number"));
  }));
  write("total", String(counts.reduce((sum, [, number]) => sum + number, 0)));
}

function showScores(answer) {
  const heads = Object.entries(answer.attributes).map(([head, classes]) => {
    const [label, share] = Object.entries(classes)[0];
    return [`${head}: ${label}`, share];
  });
  const lists = [
    ["Classes", Object.entries(answer.probabilities)],
    ["Heads", heads],
    ["Nearest", Object.entries(answer.similarities)],
  ];
  const [title, scores] = lists.find(([, list]) => list.length) || ["", []];
  $("others").hidden = !scores.length;
  write("others-title", title);
  $("scores").replaceChildren(...scores.map(([label, value]) => {
    const name = cell("th", label);
    name.scope = "row";
    const bar = document.createElement("progress");
    bar.value = Math.max(0, value);
    bar.setAttribute("aria-label", label);
    const holder = cell("td", "", "bar");
    holder.append(bar);
    return row(name, holder, cell("td", title === "Nearest" ? value.toFixed(2) : percent(value), "number"));
  }));
}

function cell(kind, text, name = "") {
  const made = document.createElement(kind);
  made.textContent = text;
  made.className = name;
  return made;
}

function row(...cells) {
  const made = document.createElement("tr");
  made.append(...cells);
  return made;
}

// What is asked.

function showQuestion(answer) {
  const isDone = page.done.has(answer.prediction_id);
  const wantsAnswer = answer.outcome !== "accept";
  $("question").hidden = isDone;
  $("correction").hidden = true;
  $("choices").hidden = false;
  $("confirm").hidden = !answer.predicted_class || !wantsAnswer;
  write("confirm", `Yes, ${answer.predicted_class}`);
  write("correct", answer.predicted_class ? "No, something else" : "Name it");
  if (!wantsAnswer) write("correct", "This is wrong");
  write("asked", question(answer));
  if (!isDone && wantsAnswer) say("");
}

function question(answer) {
  if (answer.outcome === "accept") return "Not right?";
  const several = answer.detections.length > 1;
  if (!answer.predicted_class) return several ? "What is the thing with the thick frame?" : "What is this?";
  if (several) return `Is the thing with the thick frame ${answer.predicted_class}?`;
  return `Is this ${answer.predicted_class}?`;
}

async function judge(kind, label = "") {
  const answer = page.shown;
  const who = $("who").value.trim() || "kiosk";
  try {
    await tell({ prediction_id: answer.prediction_id, kind, label, who });
  } catch (error) {
    say(reason(error), true);
    return;
  }
  page.done.add(answer.prediction_id);
  $("question").hidden = true;
  say("Thank you. It is stored.");
  release();
}

function reason(error) {
  if (error instanceof Refused) return error.message;
  return "The device cannot be reached; nothing was stored. Try again.";
}

/** Keeps the answer on the page while a person deals with it, so that nobody judges another one by mistake. */
function hold() {
  clearTimeout(page.holdEnds);
  page.held = true;
}

function letGo() {
  clearTimeout(page.holdEnds);
  if (page.sent || !$("correction").hidden) return;
  page.holdEnds = setTimeout(release, LET_GO_MS);
}

function release() {
  clearTimeout(page.holdEnds);
  page.held = false;
  page.sent = false;
  $("resume").hidden = true;
}

function isSteady() {
  return performance.now() - page.changedAt > STEADY_MS;
}

function listen() {
  const panel = $("question");
  for (const event of ["pointerenter", "pointerdown", "focusin"]) panel.addEventListener(event, hold);
  for (const event of ["pointerleave", "focusout"]) panel.addEventListener(event, letGo);
  $("confirm").addEventListener("click", () => isSteady() && judge("confirmed"));
  $("correct").addEventListener("click", startCorrection);
  $("cancel").addEventListener("click", endCorrection);
  $("none").addEventListener("click", () => judge("none_of_these"));
  $("correction").addEventListener("submit", (event) => {
    event.preventDefault();
    const label = $("label").value.trim();
    if (label) judge("corrected", label);
  });
  $("resume").addEventListener("click", release);
  $("upload").addEventListener("change", askAboutFile);
  $("who").value = localStorage.getItem("edgeloop.who") || "";
  $("who").addEventListener("change", () => localStorage.setItem("edgeloop.who", $("who").value.trim()));
  $("door-form").addEventListener("submit", () => setToken($("token").value.trim()));
  new ResizeObserver(() => page.shown && drawBoxes($("overlay"), page.shown)).observe($("stage"));
}

async function startCorrection() {
  hold();
  $("choices").hidden = true;
  $("correction").hidden = false;
  $("label").value = "";
  $("label").focus();
  const known = await ask("/labels").catch(() => ({ labels: [] }));
  $("labels").replaceChildren(...known.labels.map((label) => new Option(label, label)));
}

function endCorrection() {
  $("choices").hidden = false;
  $("correction").hidden = true;
  $("correct").focus();
  letGo();
}

async function askAboutFile() {
  const [file] = $("upload").files;
  $("upload").value = "";
  if (!file) return;
  hold();
  page.sent = true;
  say("");
  try {
    await show(await recognise(file));
    write("caption", file.name);
    notice("");
    $("stage").classList.remove("away");
    $("resume").hidden = !page.isWatching;
  } catch (error) {
    say(reason(error), true);
    release();
  }
}

// What goes on by itself.

async function look() {
  const live = await ask("/live");
  if (page.held) return;
  page.isWatching = live.state !== "no_source" && live.state !== "no_bundle";
  const isLive = live.state === "live";
  $("stage").classList.toggle("away", !isLive);
  const [title, text] = NOTICES[live.state] || ["", ""];
  notice(title, live.detail || text);
  if (live.answer && live.state !== "no_bundle") {
    await show(live.answer);
    write("caption", `${live.source}, ${ago(live.age_s)}`);
  } else if (!live.answer && !page.shown) {
    write("caption", live.source);
  }
}

function ago(seconds) {
  if (seconds < 2) return "now";
  if (seconds < 120) return `${Math.round(seconds)} s ago`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min ago`;
  return `${Math.round(seconds / 3600)} h ago`;
}

function size(bytes) {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

async function lookAtDevice() {
  const health = await ask("/health");
  const { bundle, outbox } = health;
  write("device", health.device_id);
  write("bundle", bundle ? `Bundle ${bundle.name} ${bundle.version}${bundle.on_trial ? ", on trial" : ""}` : "No bundle");
  const pictures = outbox.pending === 1 ? "1 picture waits" : `${outbox.pending} pictures wait`;
  const waiting = outbox.pending ? `${pictures} to be sent, ${size(outbox.pending_bytes)}` : "Nothing waits to be sent";
  write("outbox", health.held_back ? `${waiting} (${health.held_back})` : waiting);
  const reached = health.server_reached_at;
  write("server", reached ? `Server reached ${ago(health.at - reached)}` : "Server not reached yet");
  write("trouble", health.last_error);
}

async function forever(work, everyMs) {
  for (;;) {
    let wait = everyMs;
    if (!document.hidden) {
      try {
        await work();
      } catch (error) {
        wait = RETRY_MS;
        await trouble(error);
      }
    }
    await pause(wait);
  }
}

async function trouble(error) {
  if (error instanceof Locked) {
    if (!$("door").open) $("door").showModal();
  } else if (error instanceof Unreachable) {
    $("stage").classList.add("away");
    notice("No connection to the device", "Its program does not answer. This page tries again by itself.");
  } else if (error instanceof Refused) {
    write("trouble", error.message);
  } else {
    throw error;
  }
}

listen();
forever(look, LIVE_MS);
forever(lookAtDevice, HEALTH_MS);
