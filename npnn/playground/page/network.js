// The network: a column of units for each layer, and a line for each weight.

import { theme, drawSigned, drawCurveOf, bytes, fitted } from "./pictures.js";

const MOST_SHOWN = 12;
// The hidden layers as they were asked for last, which may be more than what was told since.
export const network = { columns: [], lines: [], told: null, selected: null, hidden: [] };
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
  const root = document.getElementById("layers"), hidden = told.chosen.hidden;
  const focused = document.activeElement?.id;
  root.replaceChildren();
  const tallest = Math.max(...told.columns.map((c) => Math.min(c.units, MOST_SHOWN)));
  root.style.setProperty("--unit", `${tallest > 9 ? 30 : tallest > 6 ? 36 : 44}px`);
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
    root.append(make("div", { class: "layer", "data-column": number }, top(told, column, number, hidden), rows));
    return { ...column, buttons };
  });
  if (hidden.length < told.choices.most[0]) {
    const last = root.lastElementChild;
    root.insertBefore(make("button", { class: "add", id: "add-layer", title: "Add a hidden layer", onclick: () => chooseHidden([...network.hidden, [...(network.hidden.at(-1) ?? [4, "Tanh"])]]) }, "+ layer"), last);
  }
  document.getElementById(focused)?.focus();
  drawInputs();
  place();
}

function chooseHidden(hidden) {
  network.hidden = hidden;
  choose({ hidden });
}

function top(told, column, number, hidden) {
  const at = number - 1, isHidden = number > 0 && number < told.columns.length - 1;
  const title = number === 0 ? "Inputs" : isHidden ? `Layer ${number}` : "Outputs";
  const box = make("div", { class: "top" }, make("strong", {}, title));
  if (!isHidden) { box.append(make("span", { class: "quiet" }, number === 0 ? `${column.units}` : `${column.units}${column.activation ? `, ${column.activation}` : ""}`)); return box; }
  const changed = (by, name) => chooseHidden(network.hidden.map(([units, activation], each) => (each === at ? [Math.max(1, Math.min(told.choices.most[1], units + by)), name ?? activation] : [units, activation])));
  const [units, activation] = hidden[at];
  const select = make("select", { id: `activation-${at}`, "aria-label": `Activation of layer ${number}`, onchange: (event) => changed(0, event.target.value) });
  for (const name of told.choices.activations) select.append(new Option(name, name, false, name === activation));
  box.append(
    make("div", { class: "row" },
      make("button", { id: `fewer-${at}`, "aria-label": `Fewer units in layer ${number}`, onclick: () => changed(-1) }, "−"),
      make("span", { "aria-label": "units" }, `${units}`),
      make("button", { id: `more-${at}`, "aria-label": `More units in layer ${number}`, onclick: () => changed(1) }, "+"),
      make("button", { id: `remove-${at}`, "aria-label": `Remove layer ${number}`, title: "Remove this layer", onclick: () => chooseHidden(network.hidden.filter((_, each) => each !== at)) }, "×")),
    select);
  return box;
}

export function nameOf(told, number, unit) {
  if (number === 0) return told.image ? "the image" : `input ${told.axes[unit] ?? unit + 1}`;
  if (number === told.columns.length - 1) return `output ${told.classes.length === told.outputs ? told.classes[unit] : unit + 1}`;
  return `unit ${unit + 1} of layer ${number}`;
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
  const maps = bytes(frame.maps), size = told.image ? told.image ** 2 : told.kind === "line" ? told.grid[2] : told.grid[1] ** 2;
  let start = 0;
  network.columns.forEach((column, number) => {
    if (!number) return;
    column.buttons.forEach(({ canvas }, unit) => {
      const values = maps.subarray(start + unit * size, start + (unit + 1) * size);
      if (values.length < size) return;
      if (told.image) drawSigned(canvas, values, told.image);
      else if (told.kind === "line") drawCurveOf(canvas, values);
      else drawSigned(canvas, values, told.grid[1]);
    });
    start += column.units * size;
  });
  if (told.image && network.columns[1]) drawSigned(network.columns[0].buttons[0].canvas, meanImage(maps, size), told.image);
  drawLines(parameters);
}

// How much the first layer heeds each pixel.
function meanImage(maps, size) {
  const units = network.columns[1].units;
  return Uint8Array.from({ length: size }, (_, at) => {
    let sum = 0;
    for (let unit = 0; unit < units; unit++) sum += Math.abs(maps[unit * size + at] - 128);
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
    const [start, [inputs, outputs]] = found;
    boxes[number].forEach((to, unit) => boxes[number - 1].forEach((from, before) => {
      const isImage = told.image && number === 1;
      network.lines.push({ from, to, at: start + before * outputs + unit, column: number, unit, before, inputs: isImage ? inputs : 1, outputs, about: isImage ? { column: number, unit } : { column: number, unit, before } });
    }));
  }
  network.size = [wide, high];
  redraw();
}

function drawLines(parameters) {
  if (!parameters || !network.size) return;
  const [pen] = fitted(document.getElementById("lines"), ...network.size);
  const value = (line) => {
    if (line.inputs === 1) return parameters[line.at];
    let sum = 0;
    for (let each = 0; each < line.inputs; each++) sum += parameters[line.at + each * line.outputs] ** 2;
    return Math.sqrt(sum);
  };
  const largest = {};
  for (const line of network.lines) {
    line.value = value(line);
    largest[line.column] = Math.max(largest[line.column] ?? 1e-9, Math.abs(line.value));
  }
  for (const line of network.lines) {
    const share = Math.abs(line.value) / largest[line.column], chosen = sameAs(line.about, network.selected);
    pen.strokeStyle = chosen ? theme.ink : line.inputs > 1 ? theme.quiet : line.value < 0 ? theme.minus : theme.plus;
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
