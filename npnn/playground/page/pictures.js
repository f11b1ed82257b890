// Pictures on canvases: colours, the plane, curves, bars. Each draws what it is given.

const CLASSES = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8c6d1f", "#7a5cc7", "#5f6b78", "#b8324f"];
export const theme = {};

export function readTheme() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["paper", "card", "ink", "quiet", "rule", "plus", "minus", "middle", "third"])
    theme[name] = style.getPropertyValue(`--${name}`).trim();
  theme.signed = table(rgb(theme.minus), rgb(theme.middle), rgb(theme.plus));
}

function rgb(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

function table(low, middle, high) {
  const found = new Uint8Array(768);
  for (let value = 0; value < 256; value++) {
    const share = Math.min(1, Math.abs(value - 128) / 127), end = value < 128 ? low : high;
    for (let part = 0; part < 3; part++)
      found[3 * value + part] = Math.round(middle[part] + (end[part] - middle[part]) * share);
  }
  return found;
}

export function classColour(number, count) {
  return count === 2 ? [theme.minus, theme.plus][number] : CLASSES[number % CLASSES.length];
}

// A canvas as large as it is shown, in the screen's own pixels.
export function fitted(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const wide = width ?? canvas.clientWidth, high = height ?? canvas.clientHeight;
  if (canvas.width !== Math.round(wide * ratio) || canvas.height !== Math.round(high * ratio)) {
    canvas.width = Math.round(wide * ratio);
    canvas.height = Math.round(high * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, wide, high);
  return [pen, wide, high];
}

export function bytes(text) {
  const found = atob(text), array = new Uint8Array(found.length);
  for (let at = 0; at < found.length; at++) array[at] = found.charCodeAt(at);
  return array;
}

export function floats(text) {
  return new Float32Array(bytes(text).buffer);
}

// Signed bytes as a square picture of so many pixels a side.
export function drawSigned(canvas, values, side) {
  if (canvas.width !== side) canvas.width = canvas.height = side;
  const pen = canvas.getContext("2d"), image = pen.createImageData(side, side), colours = theme.signed;
  for (let at = 0; at < side * side; at++) {
    const from = 3 * values[at];
    image.data[4 * at] = colours[from];
    image.data[4 * at + 1] = colours[from + 1];
    image.data[4 * at + 2] = colours[from + 2];
    image.data[4 * at + 3] = 255;
  }
  pen.putImageData(image, 0, 0);
}

export function drawCurveOf(canvas, values) {
  const [pen, wide, high] = fitted(canvas);
  pen.fillStyle = theme.middle;
  pen.fillRect(0, 0, wide, high);
  pen.strokeStyle = theme.rule;
  pen.beginPath(); pen.moveTo(0, high / 2); pen.lineTo(wide, high / 2); pen.stroke();
  pen.strokeStyle = theme.plus; pen.lineWidth = 2;
  pen.beginPath();
  values.forEach((value, at) => pen.lineTo((at / (values.length - 1)) * wide, high * (1 - (value - 1) / 254)));
  pen.stroke();
}

// The plane ---------------------------------------------------------------------------------------

const small = document.createElement("canvas");

export function drawPlane(canvas, told, frame) {
  const [pen, wide, high] = fitted(canvas), side = told.grid[0];
  if (!frame.outputs) return;
  if (told.kind === "line") { drawLine(pen, wide, high, told, floats(frame.outputs)); return; }
  const image = new ImageData(side, side), count = told.outputs;
  let level = null;
  if (told.task === "regression") {
    const numbers = floats(frame.outputs), largest = numbers.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-9);
    fill(image, (at) => pick(Math.round(128 + (127 * numbers[at * count]) / largest)));
  } else {
    const shares = bytes(frame.outputs), size = side * side;
    if (count <= 2) {
      level = (at) => shares[at + (count - 1) * size] - 127.5;
      fill(image, (at) => pick(shares[at + (count - 1) * size], 0.8));
    } else {
      const colours = Array.from({ length: count }, (_, number) => rgb(classColour(number, count))), paper = rgb(theme.middle);
      fill(image, (at) => {
        let best = 0;
        for (let each = 1; each < count; each++) if (shares[at + each * size] > shares[at + best * size]) best = each;
        const share = 0.75 * (shares[at + best * size] / 255);
        return paper.map((part, i) => part + (colours[best][i] - part) * share);
      });
    }
  }
  small.width = small.height = side;
  small.getContext("2d").putImageData(image, 0, 0);
  pen.imageSmoothingEnabled = true; pen.imageSmoothingQuality = "high";
  pen.drawImage(small, 0, 0, wide, high);
  if (level) contour(pen, level, side, wide, high);
  drawPoints(pen, wide, high, told);
}

function pick(value, most = 1) {
  const at = 3 * Math.max(0, Math.min(255, Math.round(128 + (value - 128) * most)));
  return theme.signed.subarray(at, at + 3);
}

function fill(image, colour) {
  for (let at = 0; at < image.data.length / 4; at++) {
    const found = colour(at);
    image.data.set([found[0], found[1], found[2], 255], 4 * at);
  }
}

// The line along which a function of the grid's points is 0.
function contour(pen, level, side, wide, high) {
  const x = (at) => ((at + 0.5) / side) * wide, y = (at) => ((at + 0.5) / side) * high;
  pen.strokeStyle = theme.ink; pen.lineWidth = 1.6; pen.beginPath();
  for (let row = 0; row + 1 < side; row++) for (let column = 0; column + 1 < side; column++) {
    const corners = [[0, 0], [1, 0], [1, 1], [0, 1]].map(([i, j]) => [column + i, row + j, level((row + j) * side + column + i)]);
    const crossed = [];
    for (let edge = 0; edge < 4; edge++) {
      const [from, to] = [corners[edge], corners[(edge + 1) % 4]];
      if (from[2] < 0 !== to[2] < 0) {
        const share = from[2] / (from[2] - to[2]);
        crossed.push([x(from[0] + (to[0] - from[0]) * share), y(from[1] + (to[1] - from[1]) * share)]);
      }
    }
    for (let at = 0; at + 1 < crossed.length; at += 2) { pen.moveTo(...crossed[at]); pen.lineTo(...crossed[at + 1]); }
  }
  pen.stroke();
}

function drawPoints(pen, wide, high, told) {
  const [low, top] = told.limits, count = told.classes.length;
  const range = extent(told);
  for (const part of ["train", "validation"]) {
    const [points, targets] = told.points[part];
    points.forEach(([a, b], at) => {
      const x = ((a - low[0]) / (top[0] - low[0])) * wide, y = (1 - (b - low[1]) / (top[1] - low[1])) * high;
      if (told.task === "regression") {
        const value = Math.round(128 + (127 * targets[at]) / Math.max(Math.abs(range[0]), Math.abs(range[1]), 1e-9));
        const [r, g, blue] = pick(value);
        marker(pen, 0, x, y, 4, `rgb(${r} ${g} ${blue})`, part === "train");
      } else if (count > 4) {
        pen.font = `${part === "train" ? 700 : 400} 11px system-ui, sans-serif`;
        pen.textAlign = "center"; pen.textBaseline = "middle";
        pen.strokeStyle = theme.card; pen.lineWidth = 2.5; pen.strokeText(told.classes[targets[at]], x, y);
        pen.fillStyle = classColour(targets[at], count); pen.fillText(told.classes[targets[at]], x, y);
      } else marker(pen, targets[at], x, y, 4, classColour(targets[at], Math.max(count, 2)), part === "train");
    });
  }
}

// A mark whose form tells the class; one of the validation part is hollow.
export function marker(pen, form, x, y, size, colour, filled) {
  pen.beginPath();
  if (form % 4 === 0) pen.arc(x, y, size, 0, 2 * Math.PI);
  else if (form % 4 === 1) pen.rect(x - size * 0.88, y - size * 0.88, size * 1.76, size * 1.76);
  else if (form % 4 === 2) { pen.moveTo(x, y - size * 1.2); pen.lineTo(x + size * 1.1, y + size * 0.8); pen.lineTo(x - size * 1.1, y + size * 0.8); pen.closePath(); }
  else { pen.moveTo(x, y - size * 1.3); pen.lineTo(x + size * 1.3, y); pen.lineTo(x, y + size * 1.3); pen.lineTo(x - size * 1.3, y); pen.closePath(); }
  pen.fillStyle = filled ? colour : theme.card; pen.fill();
  pen.lineWidth = filled ? 1 : 2; pen.strokeStyle = filled ? theme.card : colour; pen.stroke();
}

function extent(told) {
  const all = [...told.points.train[1], ...told.points.validation[1]];
  return [Math.min(...all), Math.max(...all)];
}

function drawLine(pen, wide, high, told, values) {
  const [low, top] = told.limits, [least, most] = extent(told), room = 0.12 * (most - least || 1);
  const y = (value) => high * (1 - (value - least + room) / (most - least + 2 * room));
  const x = (value) => ((value - low[0]) / (top[0] - low[0])) * wide;
  pen.fillStyle = theme.middle; pen.fillRect(0, 0, wide, high);
  for (const part of ["train", "validation"])
    told.points[part][0].forEach(([a], at) => marker(pen, 0, x(a), y(told.points[part][1][at]), 3.4, theme.plus, part === "train"));
  pen.strokeStyle = theme.minus; pen.lineWidth = 3.5; pen.beginPath();
  for (let at = 0; at < values.length; at++) pen.lineTo((at / (values.length - 1)) * wide, y(values[at]));
  pen.stroke();
}

// Lines against steps -----------------------------------------------------------------------------

export function drawChart(pen, box, lines, { logarithmic = false, from = null, to = null, name = "" } = {}) {
  const [left, upper, wide, high] = box, inner = [left + 54, upper + 16, wide - 62, high - 34];
  const values = lines.flatMap((line) => line.points.map((p) => p[1])).filter((v) => v !== null && Number.isFinite(v) && (!logarithmic || v > 0));
  const steps = lines.flatMap((line) => line.points.map((p) => p[0]));
  pen.fillStyle = theme.quiet; pen.font = "11px system-ui, sans-serif"; pen.textBaseline = "alphabetic"; pen.textAlign = "left";
  pen.fillText(name, inner[0], upper + 11);
  if (!values.length) return;
  const scale = logarithmic ? Math.log10 : (v) => v;
  let low = from ?? Math.min(...values.map(scale)), top = to ?? Math.max(...values.map(scale));
  if (top - low < 1e-12) { low -= 0.5; top += 0.5; }
  const first = Math.min(...steps), last = Math.max(...steps, first + 1);
  const x = (step) => inner[0] + ((step - first) / (last - first)) * inner[2];
  const y = (value) => inner[1] + (1 - (scale(value) - low) / (top - low)) * inner[3];
  pen.strokeStyle = theme.rule; pen.lineWidth = 1; pen.textAlign = "right"; pen.textBaseline = "middle";
  for (let tick = 0; tick <= 2; tick++) {
    const at = low + ((top - low) * tick) / 2, height = inner[1] + (1 - tick / 2) * inner[3];
    pen.beginPath(); pen.moveTo(inner[0], height); pen.lineTo(inner[0] + inner[2], height); pen.stroke();
    pen.fillText(short(logarithmic ? 10 ** at : at), inner[0] - 5, height);
  }
  pen.textBaseline = "alphabetic"; pen.textAlign = "left"; pen.fillText(short(first), inner[0], upper + high - 4);
  pen.textAlign = "right"; pen.fillText(`${short(last)} steps`, inner[0] + inner[2], upper + high - 4);
  for (const line of lines) {
    pen.strokeStyle = line.colour; pen.lineWidth = 2; pen.setLineDash(line.dash ?? []); pen.beginPath();
    for (const [step, value] of line.points) if (value !== null && (!logarithmic || value > 0)) pen.lineTo(x(step), y(value));
    pen.stroke(); pen.setLineDash([]);
  }
}

export function drawCurves(canvas, curve) {
  const [pen, wide, high] = fitted(canvas), column = (at) => curve.map((p) => [p[0], p[at]]);
  const both = curve.some((p) => p[3] !== null), height = both ? high / 2 : high;
  const losses = curve.flatMap((p) => [p[1], p[2]]).filter((v) => v > 0);
  const logarithmic = losses.length > 1 && Math.max(...losses) / Math.min(...losses) > 15;
  const pair = (a, b) => [{ points: column(a), colour: theme.plus }, { points: column(b), colour: theme.minus, dash: [5, 3] }];
  drawChart(pen, [0, 0, wide, height], pair(1, 2), { logarithmic, name: `loss: training ——  validation - -${logarithmic ? ", log" : ""}` });
  if (both) drawChart(pen, [0, height, wide, height], pair(3, 4), { to: 1, name: "accuracy" });
}

export function drawBars(canvas, one) {
  const [pen, wide, high] = fitted(canvas), most = Math.max(...one.counts, 1), count = one.counts.length;
  pen.fillStyle = { weights: theme.plus, activations: theme.third, gradients: theme.minus }[one.of];
  one.counts.forEach((n, at) => {
    const tall = n ? Math.max(1.5, (n / most) * (high - 14)) : 0;
    pen.fillRect((at / count) * wide, high - 12 - tall, wide / count - 0.6, tall);
  });
  pen.fillStyle = theme.quiet; pen.font = "10px system-ui, sans-serif"; pen.textBaseline = "bottom";
  pen.textAlign = "left"; if (wide > 90) pen.fillText(short(one.low), 0, high);
  pen.textAlign = "right"; pen.fillText(short(one.high), wide, high);
}

export function short(value) {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size >= 1e6) return value.toExponential(1);
  if (size >= 1000 || Number.isInteger(value)) return Math.round(value).toLocaleString("en");
  return size && size < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}

// What a problem looks like, before it is chosen ---------------------------------------------------

export function drawProblem(canvas, name) {
  const [pen] = fitted(canvas, 42, 42);
  pen.fillStyle = theme.middle; pen.fillRect(0, 0, 42, 42);
  const dot = (x, y, kind) => marker(pen, kind, 21 + 17 * x, 21 - 17 * y, 2.1, [theme.minus, theme.plus][kind], true);
  let seed = 7;
  const random = () => ((seed = (seed * 16807) % 2147483647) / 2147483647) * 2 - 1;
  if (name === "digits") {
    pen.fillStyle = theme.ink; pen.font = "700 17px system-ui, sans-serif"; pen.textAlign = "center"; pen.textBaseline = "middle";
    [["3", 11, 13], ["8", 30, 12], ["0", 12, 31], ["5", 30, 31]].forEach(([text, x, y]) => pen.fillText(text, x, y));
  } else if (name === "table") {
    pen.strokeStyle = theme.quiet; pen.strokeRect(7, 9, 28, 24);
    pen.beginPath(); for (const y of [17, 25]) { pen.moveTo(7, y); pen.lineTo(35, y); } for (const x of [16, 26]) { pen.moveTo(x, 9); pen.lineTo(x, 33); } pen.stroke();
    pen.fillStyle = theme.plus; pen.fillRect(8, 10, 26, 6);
  } else for (let at = 0; at < 44; at++) {
    const s = at / 44, kind = at % 2;
    if (name === "xor" || name === "xor-one-output") { const a = random() < 0 ? -1 : 1; dot(0.55 * a + 0.25 * random(), 0.55 * a * (kind ? -1 : 1) + 0.25 * random(), kind); }
    else if (name === "clusters") { const side = kind ? 1 : -1; dot(0.42 * side + 0.42 * random(), 0.42 * side + 0.42 * random(), kind); }
    else if (name === "circles") { const angle = 40 * s, r = kind ? 0.82 + 0.1 * random() : 0.3 + 0.2 * random(); dot(r * Math.cos(angle), r * Math.sin(angle), kind); }
    else if (name === "spirals") { const angle = 8.2 * s + Math.PI * kind, r = 0.1 + 0.85 * s; dot(r * Math.cos(angle), r * Math.sin(angle), kind); }
    else if (name === "sine") dot(2 * s - 1, 0.7 * Math.sin(6.3 * s) + 0.13 * random(), 1);
    else dot(2 * s - 1, 1.4 * s - 0.7 + 0.15 * random(), 1);
  }
}
