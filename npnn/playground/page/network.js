// The network: a column of units for each layer, and a line for each weight.

import { theme, drawSigned, drawCurveOf, bytes, fitted } from "./pictures.js";

const MOST_SHOWN = 16;
// What layers were asked for last, which may be more than what was told since.
export const network = { columns: [], lines: [], told: null, selected: null, asked: null };
let choose, select, redraw;

export function setUp(onChoose, onSelect, onPlaced) {
  choose = onChoose;
  select = onSelect;
  redraw = onPlaced;
  const canvas = document.getElementById("lines"), stage = document.getElementById("stage");
  stage.addEventListener("click", (event) => {
    if (event.target.closest("button, select")) return;
    const box = canvas.getBoundingClientRect(), found = nearest(event.clientX - box.left, event.clientY - box.top);
    if (found) select(found.about);
  });
  stage.addEventListener("mousemove", (event) => {
    const box = canvas.getBoundingClientRect();
    stage.style.cursor = nearest(event.clientX - box.left, event.clientY - box.top) ? "pointer" : "";
  });
  document.getElementById("layers").addEventListener("keydown", move);
  new ResizeObserver(() => place()).observe(document.getElementById("layers"));
}

function make(tag, attributes = {}, ...children) {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) found.addEventListener(name.slice(2), value);
    else if (value !== null) found.setAttribute(name, value);
  }
  found.append(...children);
  return found;
}
export { make };

export function build(told) {
  network.told = told;
  network.selected = null;
  const root = document.getElementById("layers"), { hidden, filters } = told.chosen, [most, , mostFilters] = told.choices.most;
  const focused = document.activeElement?.id;
  root.replaceChildren();
  const tallest = Math.max(...told.columns.map((c) => Math.min(c.units, MOST_SHOWN)));
  root.style.setProperty("--unit", `${tallest > 12 ? 26 : tallest > 9 ? 30 : tallest > 6 ? 36 : 44}px`);
  network.columns = told.columns.map((column, number) => {
    const isImage = told.image && number === 0, units = isImage ? 1 : Math.min(column.units, MOST_SHOWN);
    const rows = make("div", { class: "units" }), buttons = [];
    for (let unit = 0; unit < units; unit++) {
      const canvas = make("canvas", { width: 16, height: 16, "aria-hidden": "true" });
      const button = make("button", { class: `unit${told.image ? " pixels" : ""}`, "aria-pressed": "false", "aria-label": nameOf(told, number, unit), "data-at": `${number},${unit}`, title: nameOf(told, number, unit), onclick: () => select({ column: number, unit }) }, canvas);
      buttons.push({ button, canvas });
      const label = unitLabel(told, number, unit);
      rows.append(label ? make("div", { class: "unit-row" }, ...(number ? [button, label] : [label, button])) : button);
    }
    if (units < column.units && !isImage) rows.append(make("span", { class: "unit-name" }, `and ${column.units - units} more`));
    root.append(make("div", { class: "layer", "data-column": number }, top(told, column, number), rows));
    return { ...column, buttons };
  });
  const add = (id, of, first, text, title) => make("button", { class: "add", id, title, onclick: () => chooseLayers(of, [...network.asked[of], [...(network.asked[of].at(-1) ?? first)]]) }, text);
  if (told.image && filters.length < mostFilters) root.insertBefore(add("add-filter", "filters", [4, "ReLU"], "+ conv", "Add a convolution"), root.children[1 + filters.length]);
  if (hidden.length < most) root.insertBefore(add("add-layer", "hidden", [4, "Tanh"], "+ layer", "Add a hidden layer"), root.lastElementChild);
  document.getElementById(focused)?.focus();
  drawInputs();
  place();
  fitted(document.getElementById("lines"), ...network.size);  // which clears it, until the first frame
}

function chooseLayers(of, layers) {
  network.asked = { ...network.asked, [of]: layers };
  choose({ [of]: layers });
}

function top(told, column, number) {
  const { filters } = told.chosen, isFilter = number > 0 && number <= filters.length, of = isFilter ? "filters" : "hidden";
  const at = isFilter ? number - 1 : number - 1 - filters.length, id = isFilter ? `filter-${at}` : `${at}`, word = isFilter ? "channels" : "units", isHidden = number > 0 && number < told.columns.length - 1;
  const title = number === 0 ? "Inputs" : isFilter ? `Conv ${number}` : isHidden ? `Layer ${number}` : "Outputs";
  const box = make("div", { class: "top" }, make("strong", {}, title));
  if (!isHidden) { box.append(make("span", { class: "quiet" }, number === 0 ? `${column.units}` : `${column.units}${column.activation ? `, ${column.activation}` : ""}`)); return box; }
  const changed = (by, name) => chooseLayers(of, network.asked[of].map(([units, activation], each) => (each === at ? [Math.max(1, Math.min(told.choices.most[1], units + by)), name ?? activation] : [units, activation])));
  const [units, activation] = told.chosen[of][at];
  const select = make("select", { id: `activation-${id}`, "aria-label": `Activation of layer ${number}`, onchange: (event) => changed(0, event.target.value) });
  for (const name of told.choices.activations) select.append(new Option(name, name, false, name === activation));
  box.append(
    make("div", { class: "row" },
      make("button", { id: `fewer-${id}`, "aria-label": `Fewer ${word} in layer ${number}`, onclick: () => changed(-1) }, "−"),
      make("span", { "aria-label": word }, `${units}`),
      make("button", { id: `more-${id}`, "aria-label": `More ${word} in layer ${number}`, onclick: () => changed(1) }, "+"),
      make("button", { id: `remove-${id}`, "aria-label": `Remove layer ${number}`, title: "Remove this layer", onclick: () => chooseLayers(of, network.asked[of].filter((_, each) => each !== at)) }, "×")),
    select);
  return box;
}

export function nameOf(told, number, unit) {
  if (number === 0) return told.image ? "the image" : `input ${told.axes[unit] ?? unit + 1}`;
  if (number === told.columns.length - 1) return `output ${told.classes.length === told.outputs ? told.classes[unit] : unit + 1}`;
  return `${number <= told.chosen.filters.length ? "channel" : "unit"} ${unit + 1} of layer ${number}`;
}

function unitLabel(told, number, unit) {
  if (number === 0 && !told.image) return make("span", { class: "unit-name" }, told.axes[unit] ?? `${unit + 1}`);
  if (number === told.columns.length - 1 && told.classes.length === told.outputs) return make("span", { class: "unit-name" }, told.classes[unit]);
  return null;
}

// What the inputs give over the plane never changes; of an image, the mean of the data is shown.
function drawInputs() {
  const told = network.told, side = told.grid[1];
  if (told.image) return;
  network.columns[0].buttons.forEach(({ canvas }, unit) => {
    if (told.kind === "line") drawCurveOf(canvas, Array.from({ length: 30 }, (_, at) => 20 + (215 * at) / 29));
    else drawSigned(canvas, Uint8Array.from({ length: side * side }, (_, at) => 255 * (unit ? 1 - Math.floor(at / side) / (side - 1) : (at % side) / (side - 1))), side);
  });
}

// Frames ------------------------------------------------------------------------------------------

export function draw(frame, parameters) {
  const told = network.told;
  if (!frame.maps || !told) return;
  const maps = bytes(frame.maps);
  let start = 0;
  network.columns.forEach((column, number) => {
    if (!number) return;
    const size = told.image ? column.side ** 2 : told.kind === "line" ? told.grid[2] : told.grid[1] ** 2;
    column.buttons.forEach(({ canvas }, unit) => {
      const values = maps.subarray(start + unit * size, start + (unit + 1) * size);
      if (values.length < size) return;
      if (told.image) drawSigned(canvas, values, column.side);
      else if (told.kind === "line") drawCurveOf(canvas, values);
      else drawSigned(canvas, values, told.grid[1]);
    });
    start += column.units * size;
  });
  if (told.image) drawSigned(network.columns[0].buttons[0].canvas, heeded(maps), told.image);
  drawLines(parameters);
}

// How much the first layer that sees all pixels heeds each of them.
function heeded(maps) {
  const { told, columns } = network, first = 1 + told.chosen.filters.length, { units } = columns[first], size = told.image ** 2;
  const start = columns.slice(1, first).reduce((sum, column) => sum + column.units * column.side ** 2, 0);
  return Uint8Array.from({ length: size }, (_, at) => {
    let sum = 0;
    for (let unit = 0; unit < units; unit++) sum += Math.abs(maps[start + unit * size + at] - 128);
    return 128 + Math.min(127, (2.2 * sum) / units);
  });
}

export function offsetOf(told, name) {
  let start = 0;
  for (const each of told.parameters) {
    if (each.name === name) return [start, each.shape];
    start += each.shape.reduce((a, b) => a * b, 1);
  }
  return null;
}

// Where each line goes; it is found anew when the columns have moved.
export function place() {
  const told = network.told, canvas = document.getElementById("lines");
  if (!told || !network.columns.length) return;
  const root = document.getElementById("layers"), wide = Math.max(root.scrollWidth, root.clientWidth), high = root.offsetHeight;
  canvas.style.width = `${wide}px`; canvas.style.height = `${high}px`;
  const base = root.getBoundingClientRect();
  const boxes = network.columns.map((c) => c.buttons.map(({ button }) => { const b = button.getBoundingClientRect(); return { left: b.left - base.left, right: b.right - base.left, y: b.top + b.height / 2 - base.top }; }));
  network.lines = [];
  for (let number = 1; number < network.columns.length; number++) {
    const found = offsetOf(told, `${network.columns[number].dense}.w`);
    if (!found) continue;
    const [start, shape] = found, outputs = network.columns[number].units, all = shape.reduce((a, b) => a * b, 1);
    const isKernel = network.columns[number].kind === "Conv2D", sources = told.image && number === 1 ? 1 : network.columns[number - 1].units;
    const count = all / (sources * outputs);  // weights that one line stands for
    boxes[number].forEach((to, unit) => boxes[number - 1].forEach((from, before) => {
      const first = isKernel ? unit * count * sources + before : before * outputs + unit;
      network.lines.push({ from, to, at: start + first, column: number, unit, before, count, stride: isKernel ? sources : sources * outputs, about: count > 1 ? { column: number, unit } : { column: number, unit, before } });
    }));
  }
  network.size = [wide, high];
  redraw();
}

function drawLines(parameters) {
  if (!parameters || !network.size) return;
  const [pen] = fitted(document.getElementById("lines"), ...network.size);
  const value = (line) => {
    if (line.count === 1) return parameters[line.at];
    let sum = 0;
    for (let each = 0; each < line.count; each++) sum += parameters[line.at + each * line.stride] ** 2;
    return Math.sqrt(sum);
  };
  const largest = {};
  for (const line of network.lines) {
    line.value = value(line);
    largest[line.column] = Math.max(largest[line.column] ?? 1e-9, Math.abs(line.value));
  }
  for (const line of network.lines) {
    const share = Math.abs(line.value) / largest[line.column], chosen = sameAs(line.about, network.selected);
    pen.strokeStyle = chosen ? theme.ink : line.count > 1 ? theme.quiet : line.value < 0 ? theme.minus : theme.plus;
    pen.globalAlpha = chosen ? 1 : 0.12 + 0.78 * share;
    pen.lineWidth = 0.6 + 5 * share + (chosen ? 1.5 : 0);
    pen.setLineDash(line.value < 0 ? [7, 4] : []);
    const bend = (line.to.left - line.from.right) * 0.45;
    pen.beginPath();
    pen.moveTo(line.from.right, line.from.y);
    pen.bezierCurveTo(line.from.right + bend, line.from.y, line.to.left - bend, line.to.y, line.to.left, line.to.y);
    pen.stroke();
  }
  pen.globalAlpha = 1; pen.setLineDash([]);
}

function sameAs(a, b) {
  return b && a.column === b.column && a.unit === b.unit && a.before === b.before;
}

function nearest(x, y) {
  let best = null, distance = 7;
  for (const line of network.lines) {
    if (x < line.from.right || x > line.to.left) continue;
    const share = (x - line.from.right) / (line.to.left - line.from.right);
    const smooth = share * share * (3 - 2 * share);
    const away = Math.abs(line.from.y + (line.to.y - line.from.y) * smooth - y);
    if (away < distance) { distance = away; best = line; }
  }
  return best;
}

export function mark(about) {
  network.selected = about;
  network.columns.forEach((column, number) => column.buttons.forEach(({ button }, unit) =>
    button.setAttribute("aria-pressed", String(Boolean(about) && about.before === undefined && about.column === number && about.unit === unit))));
}

// The column whose operation is shown slowly.
export function markPlace(place) {
  const layer = place.split(".")[0], parameter = place.includes(".") ? layer : null;
  document.querySelectorAll(".layer").forEach((box) => {
    const column = network.columns[box.dataset.column];
    box.classList.toggle("now", Boolean(column) && place !== "" && (column.place === layer || column.dense === layer || column.dense === parameter));
  });
}

function move(event) {
  const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  const at = event.target.dataset?.at;
  if (!by || !at) return;
  event.preventDefault();
  const [column, unit] = at.split(",").map(Number), next = network.columns[column + by[0]]?.buttons;
  if (next) next[Math.max(0, Math.min(next.length - 1, unit + by[1]))].button.focus();
}
