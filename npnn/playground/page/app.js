// The page: it hears frames, draws the newest one, and tells the trainer what was chosen.

import { theme, readTheme, floats, drawPlane, drawCurves, drawChart, drawBars, drawProblem, classColour, marker, fitted, short } from "./pictures.js";
import { network, setUp, build, draw, mark, markPlace, make, nameOf, offsetOf } from "./network.js";

const $ = (id) => document.getElementById(id);
const state = { told: null, frame: {}, curve: [], parameters: null, gradients: null, isNew: false, slow: null, at: 0, heard: 0, story: null, asked: 0 };
const drawn = [];
window.playground = { state, frames: 0, fps: 0, lines: () => network.lines };

// What is asked of the trainer --------------------------------------------------------------------

let problem = "";
function say(text) {
  problem = text;
  showMessage();
}

function showMessage() {
  const isWaiting = state.told && state.frame.running !== false && performance.now() - state.heard > 1500;
  const text = problem || state.frame.problem || (isWaiting ? `The step is being made ready on ${state.told.chosen.backend}…` : "");
  $("message").textContent = text;
  $("message").hidden = !text;
}

async function ask(name, given = {}) {
  const answer = await fetch(name, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(given) }).catch(() => null);
  if (!answer) { say("The playground does not answer: it has ended, or is busy."); return false; }
  if (!answer.ok) { say((await answer.json()).error); if (state.told) showChosen(state.told); return false; }
  say("");
  return true;
}

async function get(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error((await answer.json()).error);
  return answer;
}

let inFlight = 0;
async function choose(given) {
  inFlight += 1;
  const done = await ask("choose", given);
  inFlight -= 1;
  if (!done) network.asked = state.told.chosen;
}

function later(action, wait = 120) {
  let timer;
  return (...given) => { clearTimeout(timer); timer = setTimeout(() => action(...given), wait); };
}

// Frames ------------------------------------------------------------------------------------------

function listen() {
  const source = new EventSource("events");
  source.addEventListener("structure", (event) => hearStructure(JSON.parse(event.data)));
  source.addEventListener("message", (event) => hearFrame(JSON.parse(event.data)));
  source.addEventListener("open", () => say(""));
  source.addEventListener("error", () => say("The playground does not answer; this page waits for it."));
}

function hearStructure(told) {
  const same = state.told && JSON.stringify(state.told.columns) === JSON.stringify(told.columns) && state.told.chosen.problem === told.chosen.problem;
  const selected = same ? network.selected : null;
  state.told = told;
  state.heard = performance.now();
  if (!inFlight) network.asked = told.chosen;
  state.frame = { running: state.frame.running };
  state.curve = [];
  state.parameters = state.gradients = null;
  build(told);
  showChosen(told);
  showLegend(told);
  if (selected) look(selected); else { mark(null); forget(); }
}

function hearFrame(frame) {
  if (!state.told || frame.structure !== state.told.structure) return;
  state.frame = { ...state.frame, ...frame };
  if (frame.parameters) state.parameters = floats(frame.parameters);
  if (frame.gradients) state.gradients = floats(frame.gradients);
  if (frame.curve) state.curve = frame.curve;
  if (frame.point) addPoint(frame.point);
  state.isNew = true;
  state.heard = performance.now();
  state.hasMore = state.hasMore || Boolean(frame.distributions);
}

function addPoint(point) {
  const last = state.curve.at(-1);
  if (last && last[0] > point[0]) state.curve = [];
  if (last && last[0] === point[0]) state.curve.pop();
  state.curve.push(point);
  if (state.curve.length > 900) state.curve = state.curve.filter((_, at) => at % 2 === 0 || at > 880);
}

function tick(now) {
  requestAnimationFrame(tick);
  if (!state.isNew || !state.told) { count(now); return; }
  state.isNew = false;
  const { frame, told } = state;
  showNumbers(frame);
  draw(frame, state.parameters);
  drawPlane($("picture"), told, frame);
  drawCurves($("curves"), state.curve);
  if (state.hasMore) { state.hasMore = false; showMore(frame); }
  if (network.selected) showLookedAt();
  drawn.push(now);
  window.playground.frames += 1;
  count(now);
}

function count(now) {
  while (drawn.length && drawn[0] < now - 1000) drawn.shift();
  window.playground.fps = drawn.length;
  $("fps").textContent = drawn.length;
  if (now - state.heard > 1500) showMessage();
}

function showNumbers(frame) {
  $("steps").textContent = (frame.step ?? 0).toLocaleString("en");
  $("epoch").textContent = (frame.epoch ?? 0).toLocaleString("en", { maximumFractionDigits: 1 });
  $("speed").textContent = (frame.running ? (frame.speed ?? 0) : 0).toLocaleString("en");
  for (const name of ["loss", "val_loss", "accuracy", "val_accuracy"]) $(name).textContent = frame.shown?.[name] ?? "";
  $("accuracy-row").hidden = frame.shown?.accuracy === undefined;
  $("play").textContent = frame.running ? "Pause" : "Play";
  $("play").setAttribute("aria-pressed", String(Boolean(frame.running)));
  document.body.dataset.step = frame.step;
  showMessage();
}

function showMore(frame) {
  $("findings").replaceChildren(...frame.findings.map((text) => make("p", {}, text)));
  const box = $("bars"), key = frame.distributions.map((d) => d.of + d.place).join();
  const places = [...new Set(frame.distributions.map((d) => d.place))].sort((a, b) => a - b);
  if (box.dataset.key !== key) {
    box.dataset.key = key;
    box.replaceChildren(...["", "weights", "activations", "gradients"].map((text) => make("span", { class: "title" }, text)));
    for (const place of places) {
      const found = (of) => frame.distributions.find((d) => d.place === place && d.of === of);
      box.append(make("span", { class: "name" }, `${place}: ${found("activations").layer}`));
      for (const of of ["weights", "activations", "gradients"])
        box.append(found(of) ? make("canvas", { id: `bars-${of}-${place}`, role: "img", "aria-label": `${of} of layer ${place}` }) : make("span"));
    }
  }
  for (const one of frame.distributions) { const canvas = $(`bars-${one.of}-${one.place}`); if (canvas) drawBars(canvas, one); }
  showConfusion(frame.confusion);
}

function showConfusion(matrix) {
  $("confusion").hidden = !matrix;
  if (!matrix) return;
  const names = matrix.map((_, at) => state.told.classes[at] ?? String(at)), most = matrix.map((row) => Math.max(1, row.reduce((a, b) => a + b, 0)));
  const key = names.join() + state.told.structure;
  if ($("matrix").dataset.key !== key) {
    $("matrix").dataset.key = key;
    const head = make("tr", {}, make("th"), ...names.map((name) => make("th", { scope: "col" }, name)));
    const body = matrix.map((row, i) => make("tr", {}, make("th", { scope: "row" }, names[i]), ...row.map((_, j) => make("td", { id: `cell-${i}-${j}` }))));
    $("matrix").replaceChildren(make("table", {}, make("caption", {}, "rows: what is true; columns: what is answered"), make("thead", {}, head), make("tbody", {}, ...body)));
  }
  matrix.forEach((row, i) => row.forEach((value, j) => {
    const cell = $(`cell-${i}-${j}`), share = value / most[i];
    cell.textContent = value || "·";
    cell.style.background = value ? `color-mix(in srgb, ${i === j ? theme.plus : theme.minus} ${Math.round(12 + 60 * share)}%, transparent)` : "";
  }));
}

// Choices -----------------------------------------------------------------------------------------

const RATES = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.02, 0.03, 0.1, 0.3, 1, 3, 10], WEIGHTS = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1];

function options(select, values, chosen, name = String) {
  const all = values.includes(chosen) ? values : [...values, chosen].sort((a, b) => a - b), key = all.join();
  if (select.dataset.key !== key) { select.dataset.key = key; select.replaceChildren(...all.map((value) => new Option(name(value), value))); }
  select.value = chosen;
}

function showChosen(told) {
  const { chosen, choices } = told;
  if (!$("problems").children.length)
    for (const [name, [title]] of Object.entries(choices.problems)) {
      const canvas = make("canvas", { "aria-hidden": "true" });
      $("problems").append(make("button", { role: "radio", id: `problem-${name}`, "aria-checked": "false", onclick: () => (name === "table" && !state.told.table ? $("file").click() : choose({ problem: name })) }, canvas, title));
      drawProblem(canvas, name);
    }
  for (const name of Object.keys(choices.problems)) $(`problem-${name}`).setAttribute("aria-checked", String(name === chosen.problem));
  const [, most] = choices.problems[chosen.problem];
  $("noise").max = most; $("noise").step = most / 50;
  for (const [name, value] of [["noise", chosen.noise], ["validation", chosen.validation], ["batch_size", Math.round(Math.log2(chosen.batch_size))]])
    if (document.activeElement !== $(name)) $(name).value = value;
  $("noise-shown").textContent = short(chosen.noise);
  $("validation-shown").textContent = `${Math.round(100 * chosen.validation)} %, ${told.sizes[1]} of ${told.sizes[0] + told.sizes[1]}`;
  $("batch_size-shown").textContent = chosen.batch_size;
  if (document.activeElement !== $("seed")) $("seed").value = chosen.seed;
  options($("optimizer"), choices.optimizers, chosen.optimizer);
  options($("alpha"), RATES, chosen.alpha);
  options($("penalty"), choices.penalties, chosen.penalty, (name) => ({ none: "none", l2: "L2", l1: "L1" })[name]);
  options($("penalty_weight"), WEIGHTS, chosen.penalty_weight);
  $("penalty_weight").disabled = chosen.penalty === "none";
  options($("backend"), choices.backends, chosen.backend);
  const isTable = chosen.problem === "table";
  $("columns").hidden = !isTable || told.table_columns.length < 2;
  $("file-label").firstChild.textContent = told.table ? `${told.table}: open another` : "Open a CSV file";
  if (isTable) for (const at of [0, 1]) {
    const select = $(`column-${at}`), all = told.table_columns.length > 2 ? ["", ...told.table_columns] : told.table_columns;
    select.replaceChildren(...all.map((name) => new Option(name || "all, projected", name)));
    select.value = chosen.columns[at] ?? (told.table_columns.length > 2 ? "" : told.table_columns[at]);
  }
  $("stage-hint").textContent = told.image ? "each unit: its weights, multiplied through to the pixels" : told.kind === "line" ? "each unit: what it gives for x" : "each unit: what it gives over the plane";
  $("result-title").textContent = told.kind === "line" ? "The curve" : told.task === "regression" ? "Answers over the plane" : told.kind === "slice" ? "Decision boundary, in the plane in which the data differ most" : "Decision boundary";
}

function showLegend(told) {
  const box = $("classes");
  box.replaceChildren();
  const mark = (form, colour, filled) => { const canvas = make("canvas", { "aria-hidden": "true" }); canvas.style.width = canvas.style.height = "14px"; const [pen] = fitted(canvas, 14, 14); marker(pen, form, 7, 7, 4.5, colour, filled); return canvas; };
  if (told.classes.length && told.classes.length <= 4)
    told.classes.forEach((name, at) => box.append(make("span", { class: "class" }, mark(at, classColour(at, told.classes.length), true), name)));
  box.append(make("span", { class: "class" }, mark(0, theme.ink, false), "hollow: validation"));
}

function wire() {
  const slider = (id, name, value) => { const send = later((v) => choose({ [name]: v })); $(id).addEventListener("input", () => { $(`${id}-shown`).textContent = short(value($(id).value)); send(value($(id).value)); }); };
  slider("noise", "noise", Number);
  slider("validation", "validation", Number);
  slider("batch_size", "batch_size", (v) => 2 ** Number(v));
  for (const name of ["optimizer", "penalty", "backend"]) $(name).addEventListener("change", () => choose({ [name]: $(name).value }));
  for (const name of ["alpha", "penalty_weight"]) $(name).addEventListener("change", () => choose({ [name]: Number($(name).value) }));
  $("seed").addEventListener("change", () => choose({ seed: Number($("seed").value) }));
  $("new-seed").addEventListener("click", () => choose({ seed: (state.told.chosen.seed + 1) % 2 ** 32 }));
  $("file").addEventListener("change", async () => { const [file] = $("file").files; if (file) await ask("table", { name: file.name, text: await file.text() }); $("file").value = ""; });
  for (const at of [0, 1]) $(`column-${at}`).addEventListener("change", () => chooseColumns(at));
  $("play").addEventListener("click", play);
  $("step").addEventListener("click", () => ask("step"));
  $("reset").addEventListener("click", () => ask("reset"));
  $("slow").addEventListener("click", () => slowly());
  $("program").addEventListener("click", program);
  $("copy").addEventListener("click", copy);
  $("close").addEventListener("click", () => $("dialog").close());
  $("before").addEventListener("click", () => showOperation(state.at - 1));
  $("after").addEventListener("click", () => showOperation(state.at + 1));
  $("make-step").addEventListener("click", async () => { if (await ask("step")) slowly(); });
  $("close-slow").addEventListener("click", closeSlowly);
  $("sample").addEventListener("change", () => slowly());
  document.addEventListener("keydown", key);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", retheme);
  addEventListener("resize", () => { state.isNew = true; state.hasMore = Boolean(state.frame.distributions); });
}

function chooseColumns(at) {
  const names = [$("column-0").value, $("column-1").value], all = state.told.table_columns;
  if (!names[at]) return choose({ columns: [] });
  const other = names[1 - at];
  names[1 - at] = other && other !== names[at] ? other : all.find((name) => name !== names[at]);
  return choose({ columns: names });
}

function retheme() {
  readTheme();
  for (const name of Object.keys(state.told?.choices.problems ?? {})) drawProblem($(`problem-${name}`).firstChild, name);
  if (state.told) { build(state.told); showLegend(state.told); }
  state.isNew = state.hasMore = Boolean(state.frame.distributions);
}

const play = () => ask(state.frame.running ? "pause" : "play");

function key(event) {
  const on = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || $("dialog").open) return;
  if (on.matches("input, select, textarea") || (event.key === " " && on.matches("button, a"))) return;
  if (!$("slowly").hidden && !on.dataset?.at && ["ArrowLeft", "ArrowRight"].includes(event.key)) { showOperation(state.at + (event.key === "ArrowLeft" ? -1 : 1)); return; }
  const action = { " ": play, s: () => ask("step"), r: () => ask("reset"), w: () => slowly(), p: program, Escape: closeSlowly }[event.key];
  if (action) { event.preventDefault(); action(); }
}

// A closer look -----------------------------------------------------------------------------------

function look(about) {
  mark(about);
  state.story = null;
  state.asked = 0;
  showLookedAt();
  state.isNew = true;
}

function forget() {
  $("looked-at").replaceChildren(make("p", { class: "quiet" }, "Click a unit or a line of the network: its value, its gradient, and how they went."));
  $("looked-at").dataset.key = "";
  $("story").hidden = true;
}

// The parameter that was clicked: a weight, or the bias of a unit.
function parameterOf(about) {
  const { column, unit, before } = about, dense = state.told.columns[column].dense;
  if (column === 0) return null;
  return before === undefined ? { name: `${dense}.b`, at: [unit] } : { name: `${dense}.w`, at: [before, unit] };
}

function numberAt(array, { name, at }) {
  const [start, shape] = offsetOf(state.told, name);
  return array?.[start + (at.length === 2 ? at[0] * shape[1] + at[1] : at[0])];
}

function showLookedAt() {
  const { told } = state, about = network.selected, { column, unit, before } = about, box = $("looked-at");
  const parameter = parameterOf(about), key = JSON.stringify([about, told.structure]);
  if (box.dataset.key !== key) {
    box.dataset.key = key;
    const title = before === undefined ? nameOf(told, column, unit) : `Weight from ${nameOf(told, column - 1, before)} to ${nameOf(told, column, unit)}`;
    box.replaceChildren(make("h3", {}, title[0].toUpperCase() + title.slice(1)), make("table", {}, make("tbody", { id: "look-rows" })));
    if (before === undefined && column > 0) {
      const list = make("div", { class: "weights", id: "look-weights" });
      const inputs = told.columns[column - 1].units, many = network.lines.some((line) => line.column === column && line.count > 1);
      if (!many) for (let each = 0; each < inputs; each++) list.append(make("button", { title: `The weight from ${nameOf(told, column - 1, each)}`, onclick: () => look({ column, unit, before: each }) }));
      box.append(make("p", { class: "quiet" }, many ? "Its weights are its picture." : "Its weights, from:"), list);
    }
    $("story").hidden = !parameter;
  }
  const rows = [], shown = (value) => (value === undefined || value === null ? "–" : String(Number(value.toPrecision(4))));
  if (parameter) rows.push([before === undefined ? "bias" : "value", shown(numberAt(state.parameters, parameter))], ["its gradient ∂L/∂θ", shown(numberAt(state.gradients, parameter))]);
  const place = told.columns[column].place, mean = place && state.frame.units?.[place];
  if (before === undefined && mean) rows.push(["mean of what it gives", shown(mean[0][unit])], ["mean of ∂L/∂y there", shown(mean[1][unit])]);
  if (column === 0) rows.push(["", told.image ? "how much each pixel counts" : "as the data have it"]);
  $("look-rows").replaceChildren(...rows.map(([name, value]) => make("tr", {}, make("th", {}, name), make("td", {}, value))));
  if (before === undefined && column > 0) [...($("look-weights")?.children ?? [])].forEach((button, each) => { button.textContent = shown(numberAt(state.parameters, { name: `${told.columns[column].dense}.w`, at: [each, unit] })); });
  if (parameter && performance.now() - state.asked > 500) { state.asked = performance.now(); askStory(parameter); }
  drawStory();
}

async function askStory({ name, at }) {
  try {
    const story = await (await get(`story?name=${encodeURIComponent(name)}&at=${at.join()}`)).json();
    state.story = story;
    drawStory();
  } catch { state.story = null; }
}

function drawStory() {
  const story = state.story, canvas = $("story");
  if (canvas.hidden) return;
  const [pen, wide, high] = fitted(canvas);
  if (!story) return;
  const line = (values, colour) => [{ points: story.steps.map((step, at) => [step, values[at]]), colour }];
  drawChart(pen, [0, 0, wide, high / 2], line(story.values, theme.plus), { name: "value" });
  drawChart(pen, [0, high / 2, wide, high / 2], line(story.gradients, theme.minus), { name: "gradient" });
}

// Slow motion -------------------------------------------------------------------------------------

async function slowly() {
  try { state.slow = await (await get(`slow?sample=${Math.max(0, Number($("sample").value) || 0)}`)).json(); }
  catch (error) { say(error.message); return; }
  const { slow } = state;
  $("slowly").hidden = false;
  $("slow-step").textContent = slow.step.toLocaleString("en");
  $("sample").max = slow.samples - 1;
  $("sample").value = slow.sample;
  const list = $("list");
  list.replaceChildren();
  let phase = "";
  slow.operations.forEach((operation, at) => {
    if (operation.phase !== phase) { phase = operation.phase; list.append(make("li", { class: "phase" }, phase)); }
    list.append(make("li", {}, make("button", { "data-number": at, onclick: () => showOperation(at) }, `${at + 1}. ${operation.title}`)));
  });
  showOperation(0);
  $("slowly").scrollIntoView({ block: "nearest" });
}

function showOperation(at) {
  const { operations } = state.slow;
  state.at = Math.max(0, Math.min(operations.length - 1, at));
  const one = operations[state.at], formulas = make("div", { class: "formulas" });
  for (const formula of one.formulas) { const box = make("span"); box.innerHTML = formula; formulas.append(box); }
  const values = one.values.map(([name, shape, rows]) => make("div", { class: "value" }, make("strong", {}, name), make("span", { class: "quiet" }, shape ? `  ${shape}` : ""), make("pre", {}, rows.join("\n"))));
  $("operation").replaceChildren(
    make("p", { class: "quiet" }, `${state.at + 1} of ${operations.length}, ${one.phase}${one.phase === "update" || one.place.startsWith("link") ? "" : `, layer ${one.place}`}`),
    make("h3", {}, one.title), formulas, make("div", { class: "values" }, ...values), ...(one.remark ? [make("p", { class: "quiet" }, one.remark)] : []));
  document.querySelectorAll("#list button").forEach((button) => { const now = Number(button.dataset.number) === state.at; if (now) { button.setAttribute("aria-current", "step"); $("list").scrollTop = button.offsetTop - $("list").offsetTop - 120; } else button.removeAttribute("aria-current"); });
  $("before").disabled = state.at === 0;
  $("after").disabled = state.at === operations.length - 1;
  markPlace(one.place.startsWith("link") ? "" : one.place);
}

function closeSlowly() {
  $("slowly").hidden = true;
  markPlace("");
}

// The program -------------------------------------------------------------------------------------

async function program() {
  try { $("code").textContent = await (await get("program")).text(); } catch (error) { say(error.message); return; }
  $("dialog").showModal();
  copy();
}

async function copy() {
  const text = $("code").textContent;
  try { await navigator.clipboard.writeText(text); $("copy").textContent = "Copied"; }
  catch {  // where a browser lets no page write to the clipboard, the text is selected
    getSelection().selectAllChildren($("code"));
    $("copy").textContent = "Press Ctrl-C";
  }
  setTimeout(() => { $("copy").textContent = "Copy"; }, 1600);
}

readTheme();
setUp(choose, look, () => { state.isNew = true; });
wire();
listen();
requestAnimationFrame(tick);

