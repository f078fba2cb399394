// Boxes with labels over the picture. Nothing is told by colour alone: every box carries its label; the boxes of
// things to be confirmed are dashed, those of unknown things dotted, as in the drawings of `edgeloop device predict`.

const SVG = "http://www.w3.org/2000/svg";
// Okabe and Ito's colours (Color Universal Design, 2008).
const COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#4c9bd6", "#d55e00", "#cc79a7"];
const NEUTRAL = "#bebebe";
const DASHES = { confirm: "5 3", unknown: "1 2" };
const CROWD = 25;

export function percent(share) {
  if (share > 0 && share < 0.005) return "<1 %";
  return `${share < 1 ? Math.min(99, Math.round(100 * share)) : 100} %`;
}

/** One colour for each class, in the order of their numbers; unknown things are grey. */
export function coloursOf(counts) {
  const labels = Object.keys(counts).filter((label) => label !== "unknown");
  return new Map(labels.map((label, at) => [label, COLOURS[at % COLOURS.length]]));
}

export function colourOf(colours, label) {
  return colours.get(label) || NEUTRAL;
}

/** Draws what was found into an SVG that lies over the picture and is scaled like it. */
export function drawBoxes(overlay, answer) {
  const { picture_width: width, picture_height: height, detections } = answer;
  overlay.replaceChildren();
  overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const view = overlay.getBoundingClientRect();
  const pixel = 1 / (Math.min(view.width / width, view.height / height) || 1);
  const colours = coloursOf(answer.counts);
  const size = Math.max(14, Math.min(24, view.width / 60));
  const letters = (detections.length >= CROWD ? 0.75 * size : size) * pixel;
  const taken = [];
  const asked = inQuestion(answer);
  // The surest last, so that it lies on top; labels after all boxes.
  const things = [...detections].reverse();
  for (const thing of things) overlay.append(box(thing, colours, pixel, thing === asked ? 3 : 1));
  for (const thing of things) overlay.append(tag(overlay, thing, colours, letters, [width, height], taken));
}

/** The thing that a person is asked about: the least sure of those that made the answer uncertain. */
function inQuestion(answer) {
  if (answer.outcome === "accept") return null;
  const doubtful = answer.detections.filter((thing) => thing.outcome === answer.outcome);
  return doubtful.reduce((least, thing) => (least && sureness(least) <= sureness(thing) ? least : thing), null);
}

function sureness(thing) {
  return thing.answers.length ? thing.answers[0].confidence : thing.confidence;
}

function box(thing, colours, pixel, thick) {
  const [left, top, right, bottom] = thing.box;
  const group = document.createElementNS(SVG, "g");
  group.setAttribute("class", "thing");
  for (const [colour, thickness] of [["#000000", 2 + 3 * thick], [colourOf(colours, thing.predicted_class), 3 * thick]]) {
    const line = document.createElementNS(SVG, "rect");
    const dashes = (DASHES[thing.outcome] || "").split(" ").filter(Boolean).map((dash) => dash * 3 * pixel);
    set(line, { x: left, y: top, width: right - left, height: bottom - top, fill: "none", stroke: colour });
    set(line, { "stroke-width": thickness * pixel, "stroke-dasharray": dashes.join(" ") || "none" });
    group.append(line);
  }
  return group;
}

function words(thing) {
  const first = thing.predicted_class || "unknown";
  const more = thing.answers.slice(1).map((answer) => answer.predicted_class).filter(Boolean);
  if (thing.outcome === "unknown") return first;
  return `${[first, ...more].join(", ")} ${percent(sureness(thing))}${thing.outcome === "confirm" ? "?" : ""}`;
}

function tag(overlay, thing, colours, letters, size, taken) {
  const group = document.createElementNS(SVG, "g");
  const text = document.createElementNS(SVG, "text");
  text.textContent = words(thing);
  set(text, { "font-size": letters, fill: "#000000", "font-family": "system-ui, sans-serif" });
  group.append(text);
  overlay.append(group);
  const width = text.getComputedTextLength() + 0.6 * letters;
  const height = 1.35 * letters;
  const [x, y] = place(thing.box, width, height, size, taken);
  const ground = document.createElementNS(SVG, "rect");
  set(ground, { x, y, width, height, fill: colourOf(colours, thing.predicted_class) });
  set(text, { x: x + 0.3 * letters, y: y + 1.0 * letters });
  group.prepend(ground);
  return group;
}

/** Above the box, inside it, or below it: the first place where no other label is, and always in the picture. */
function place([left, top, right, bottom], width, height, [most, lowest], taken) {
  const x = Math.max(0, Math.min(left, most - width));
  const tries = [[x, top - height], [x, top], [x, bottom], [x, bottom - height], [Math.max(0, right - width), top]];
  const inside = tries.filter(([, y]) => y >= 0 && y + height <= lowest);
  const free = inside.find(([tx, ty]) => !taken.some(([ox, oy, ow, oh]) =>
    tx < ox + ow && ox < tx + width && ty < oy + oh && oy < ty + height));
  const found = free || inside[0] || [x, Math.max(0, top)];
  taken.push([...found, width, height]);
  return found;
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
}

/** The little square of a class beside its number. */
export function swatch(colour) {
  const picture = document.createElementNS(SVG, "svg");
  set(picture, { viewBox: "0 0 10 10", class: "swatch", "aria-hidden": "true" });
  const square = document.createElementNS(SVG, "rect");
  set(square, { width: 10, height: 10, fill: colour });
  picture.append(square);
  return picture;
}
