// The behaviour of elbow's status page: it asks the server that served it for `status` every
// second, keeps what the last 15 minutes have shown, and draws that.
//
// What the server counts since its start becomes what was counted between two looks; what is so at
// the moment is shown as it is. A histogram since the start minus an earlier one is the histogram
// of the time between, so quantiles are known to within a doubling: under so many milliseconds.
//
// What surprises: a browser cannot show an admin token by itself, so the page itself needs none and
// holds no figure; it asks for the token, keeps it in this tab, and sends it with each look. All
// that comes from the server is put in as text, never as markup.

const VERSION = 1; // of the status; another means other things
const LOOK_MS = 1_000;
const RETRY_MS = 2_000; // after a look that failed
const PATIENCE_MS = 5_000; // for an answer
const TOKEN_BYTES_MAX = 4096;
const KEPT_MS = 15 * 60_000;
const KEPT_MAX = 900; // looks; a clock that is set may bring more of them into the 15 minutes
const SPANS_MIN = [1, 2, 3, 5, 7, 10, 15]; // what the charts show: the first that has all looks
const CHANNELS_SHOWN = 20;
const ENDS_SHOWN = 20;
const WIDTH = 900; // of a chart, in units of its own
const HEIGHT = 150;
const TIMES_LOG2 = [4, 24]; // what a scale of times goes through: about 16 µs, 16 ms, 16 s

const $ = (id) => document.getElementById(id);
const utf8 = new TextEncoder();
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

// --- Words for quantities

function count(number) {
  return (Math.abs(number) < 10 ? short : whole).format(number);
}

function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; number >= 1000 && unit < units.length - 1; unit += 1) number /= 1024;
  return `${(unit > 0 && number < 10 ? short : whole).format(number)} ${units[unit]}`;
}

function time(seconds) {
  if (seconds === Infinity) return "more than the longest bound";
  const [factor, unit] = seconds < 0.001 ? [1e6, "µs"] : seconds < 1 ? [1e3, "ms"] : [1, "s"];
  return `${Number((seconds * factor).toPrecision(2))} ${unit}`;
}

const under = (seconds) => (seconds === Infinity ? time(seconds) : `under ${time(seconds)}`);

function age(seconds) {
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = Math.max(0, parts.findIndex(([length]) => seconds >= length));
  const words = parts.slice(seconds < 1 ? 3 : first).map(([length, unit], place, all) => {
    const [longer] = all[place - 1] ?? [Infinity];
    return `${Math.floor((seconds % longer) / length)} ${unit}`;
  });
  return words.slice(0, 2).join(" ");
}

// --- What a status says

/** The number at a path such as `fan_out.lag.p50`. Servers may lack keys: then it is 0. */
function at(status, path) {
  const value = path.split(".").reduce((object, key) => object?.[key], status);
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}

const pairs = (object) => Object.entries(object ?? {}).filter(([, value]) => value > 0);

/** How often times of each class were counted since `before`; the last has those beyond all. */
function classes(status, before, name) {
  const buckets = (of) => (Array.isArray(of[name]?.buckets) ? of[name].buckets : []);
  const earlier = buckets(before);
  const below = buckets(status).map(([, number], place) => number - (earlier[place]?.[1] ?? 0));
  below.push(at(status, `${name}.count`) - at(before, `${name}.count`));
  return below.map((number, place) => Math.max(0, number - (below[place - 1] ?? 0)));
}

/** The upper bounds of the classes, in seconds. */
function boundsOf(name) {
  const buckets = latest?.[name]?.buckets;
  return [...(Array.isArray(buckets) ? buckets.map(([bound]) => bound) : []), Infinity];
}

/** The bound that a part of the times counted in classes stay under; NaN if there are none. */
function quantile(counts, name, part) {
  const wanted = counts.reduce((sum, number) => sum + number, 0) * part;
  let seen = 0;
  if (wanted === 0) return NaN;
  return boundsOf(name)[counts.findIndex((number) => (seen += number) >= wanted)];
}

// --- The past
//
// Looks, oldest first: { at, restarted, broken, status figures, what was counted since the look
// before }. `broken`: there is no look right before it, and so nothing was counted since.

let past = [];
let latest = null; // the newest status
let before = null; // the status to count from; none after a look that failed

function keep(status) {
  const now = Date.now();
  const restarted = past.length > 0 && latest !== null
    && (at(status, "uptime") < at(latest, "uptime")
      || at(status, "fan_out.received_bytes") < at(latest, "fan_out.received_bytes"));
  const from = restarted ? null : before;
  latest = status;
  before = status;
  const seconds = from && at(status, "uptime") - at(from, "uptime");
  const since = (path) => Math.max(0, at(status, path) - at(from, path));
  const rate = (path) => (seconds > 0 ? since(path) / seconds : NaN);
  const ends = from ? Object.keys(status.closes ?? {}).map((why) => [why, since(`closes.${why}`)]) : [];
  const by = (object, value) => Object.fromEntries(Object.keys(object ?? {}).map(value));
  past.push({
    at: now,
    restarted,
    broken: from === null,
    connections: status.connections ?? {},
    said: by(status.fan_out?.published, (way) => [way, rate(`fan_out.published.${way}`)]),
    delivered: rate("fan_out.delivered"),
    received: rate("fan_out.received_bytes"),
    sent: rate("fan_out.sent_bytes"),
    lag: status.fan_out?.lag ?? {},
    resident: at(status, "memory.resident") || NaN,
    used: at(status, "limits.memory_bytes.used"),
    ceiling: at(status, "memory.ceiling"),
    turn: timesOf("turn", from ? classes(status, from, "turn") : []),
    fan_out: timesOf("fan_out", from ? classes(status, from, "fan_out") : []),
    ends: ends.filter(([, number]) => number > 0),
    ended: seconds > 0 ? ends.reduce((all, [, number]) => all + number, 0) / seconds : NaN,
    lapped: rate("fan_out.lapped"),
    pending: at(status, "backplane.pending_bytes"),
  });
  // A clock that was set back leaves looks of the future: these go, too.
  past = past.filter((look) => look.at <= now && now - look.at < KEPT_MS).slice(-KEPT_MAX);
}

const timesOf = (name, counts) =>
  ({ counts, p50: quantile(counts, name, 0.5), p99: quantile(counts, name, 0.99) });

/** The minutes that the charts go through. */
function spanMinutes() {
  const oldest = past.length > 0 ? (Date.now() - past[0].at) / 60_000 : 0;
  return SPANS_MIN.find((minutes) => oldest <= minutes) ?? SPANS_MIN.at(-1);
}

/** What was counted in classes in all looks, or in one. */
function sum(name, looks = past) {
  const total = boundsOf(name).map(() => 0);
  for (const look of looks) {
    const { counts } = look[name];
    if (counts.length === total.length) counts.forEach((n, place) => { total[place] += n; });
  }
  return total;
}

// --- Charts

/** Lines over the time that is kept. `of` finds the value in a look; NaN is none. */
const LINES = [
  ["Connections", count, [
    ["WebSocket", (look) => look.connections.websocket],
    ["Socket.IO", (look) => look.connections.socketio],
    ["Event streams", (look) => look.connections.sse],
    ["HTTP", (look) => look.connections.http],
  ]],
  ["Messages said, a second", count, [
    ["WebSocket", (look) => look.said.websocket],
    ["Socket.IO", (look) => look.said.socketio],
    ["Backends", (look) => look.said.admin],
    ["Other instances", (look) => look.said.backplane, () => latest?.backplane],
  ]],
  ["Messages delivered, a second", count, [["To all readers", (look) => look.delivered]]],
  ["Bytes read, a second", bytes, [["From all sockets", (look) => look.received]]],
  ["Bytes sent, a second", bytes, [["To all sockets", (look) => look.sent]]],
  ["Lag of readers", bytes, [
    ["p50", (look) => look.lag.p50],
    ["p99", (look) => look.lag.p99],
    ["Largest", (look) => look.lag.max],
  ]],
  ["Ends of connections, a second", count, [
    ["All", (look) => look.ended],
    ["Too slow", (look) => look.lapped],
  ]],
  ["Fan-out of a message", time, [
    ["p50", (look) => look.fan_out.p50],
    ["p99", (look) => look.fan_out.p99],
  ]],
  ["Turns of the loop", time, [
    ["p50", (look) => look.turn.p50],
    ["p99", (look) => look.turn.p99],
  ]],
  ["Memory", bytes, [
    ["Process", (look) => look.resident],
    ["In use of --memory", (look) => look.used],
    ["Ceiling", (look) => look.ceiling],
  ]],
  ["Waiting for Redis", bytes, [["Messages", (look) => look.pending]], () => latest?.backplane],
];

const BARS = [
  ["Fan-out, how long", "fan_out"],
  ["Turns, how long", "turn"],
];

const charts = [];
let pointed = null; // the time of the look whose values are shown; null: the newest

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text; // never markup: names of channels come from strangers
  return made;
}

function drawing(tag, className, attributes = {}) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  made.setAttribute("class", className);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** Text is set only if it is another: what is selected, or being read aloud, stays. */
function show(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

/** A chart without values, with a row of its legend for each name. */
function frame(title, names) {
  const figure = element("figure", "chart");
  const caption = element("figcaption");
  const moment = element("span", "at");
  caption.append(element("h3", "", title), moment);
  const view = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none" };
  const svg = drawing("svg", "plot", { ...view, role: "img", tabindex: 0 });
  const grid = [0.5, HEIGHT / 2, HEIGHT - 0.5].map((y) => `M0 ${y}H${WIDTH}`).join("");
  svg.append(drawing("path", "grid", { d: grid }));
  const plot = element("div", "plotted");
  const scale = ["top", "middle", "foot"].map((place) => element("span", `scale ${place}`));
  plot.append(svg, ...scale);
  const axis = element("div", "axis");
  axis.append(element("span"), element("span"));
  const list = element("dl", "legend");
  const legend = names.map((name, place) => {
    const row = element("div", `key key-${place}`);
    row.append(element("dt", "", name), element("dd"));
    list.append(row);
    return row;
  });
  figure.append(caption, plot, axis, list);
  $("charts").append(figure);
  return { title, figure, svg, moment, scale, axis, legend };
}

/** The next round number: 1, 2 or 5 with zeros, or of bytes a power of two. */
function roundUp(number, words) {
  if (words === bytes) return 2 ** Math.ceil(Math.log2(Math.max(number, 1)));
  const ten = 10 ** Math.floor(Math.log10(Math.max(number, 1)));
  return [1, 2, 5, 10].map((step) => step * ten).find((step) => step >= number);
}

/** How high in the chart a value stands, from 0 at its foot to 1. */
function heightOf(value, words, top) {
  if (words !== time) return value / top;
  const [low, high] = TIMES_LOG2;
  const log = Math.log2(Math.min(value, 20) * 1e6);
  return Math.min(1, Math.max(0, (log - low) / (high - low)));
}

/** Where a moment is in a chart that goes through so many minutes up to now. */
const scaleOf = (span, now = Date.now()) => (moment) =>
  Math.round((WIDTH - ((now - moment) / (span * 60_000)) * WIDTH) * 10) / 10;

function pathOf(values, words, top, xOf) {
  let path = "";
  let isDrawing = false;
  past.forEach((look, place) => {
    const value = values[place];
    if (!Number.isFinite(value) && value !== Infinity) {
      isDrawing = false;
      return;
    }
    const x = xOf(look.at);
    const y = Math.round((HEIGHT - 2 - heightOf(value, words, top) * (HEIGHT - 6)) * 10) / 10;
    const starts = !isDrawing || look.broken;
    path += starts ? `M${x} ${y}h0` : `L${x} ${y}`;
    isDrawing = true;
  });
  return path;
}

function lookAt(moment) {
  return (moment === null ? null : past.find((look) => look.at === moment)) ?? past.at(-1);
}

function lineChart([title, words, lines, isThere = () => true]) {
  const chart = frame(title, lines.map(([name]) => name));
  const paths = lines.map((_, place) => drawing("path", `line line-${place}`));
  const restarts = drawing("path", "restart");
  const cursor = drawing("path", "cursor");
  chart.svg.append(restarts, ...[...paths].reverse(), cursor);
  chart.draw = () => {
    chart.figure.hidden = !isThere();
    if (chart.figure.hidden) return;
    const span = spanMinutes();
    const xOf = scaleOf(span);
    const look = lookAt(pointed);
    const all = lines.map(([, of]) => past.map((each) => of(each) ?? NaN));
    const highest = Math.max(1, ...all.flat().filter(Number.isFinite));
    const top = roundUp(highest, words);
    const told = [];
    lines.forEach(([name, of, applies = () => true], place) => {
      paths[place].setAttribute("d", pathOf(all[place], words, top, xOf));
      const value = of(look) ?? NaN;
      const shown = Number.isNaN(value) ? "–" : (words === time ? under : words)(value);
      chart.legend[place].hidden = !applies();
      show(chart.legend[place].lastChild, shown);
      if (applies()) told.push(`${name}: ${shown === "–" ? "none" : shown}`);
    });
    const marks = past.filter(({ restarted }) => restarted);
    const markAt = (one) => `M${xOf(one.at)} 0V${HEIGHT}`;
    restarts.setAttribute("d", marks.map(markAt).join(""));
    cursor.setAttribute("d", pointed === null ? "" : markAt(look));
    const scale = words === time ? ["16 s", "16 ms", "16 µs"] : [words(top), "", ""];
    scale.forEach((text, place) => show(chart.scale[place], text));
    show(chart.axis.firstChild, `${span} min ago`);
    show(chart.axis.lastChild, "now");
    showMoment(chart, look, told);
  };
  chart.point = (part) => {
    const moment = Date.now() - (1 - part) * spanMinutes() * 60_000;
    const nearest = (one, other) =>
      (Math.abs(other.at - moment) < Math.abs(one.at - moment) ? other : one);
    pointed = past.length > 0 ? past.reduce(nearest).at : null;
  };
  chart.step = (by) => {
    const place = past.indexOf(lookAt(pointed)) + by;
    pointed = past[Math.min(past.length - 1, Math.max(0, place))]?.at ?? null;
  };
  return chart;
}

function showMoment(chart, look, told) {
  const when = pointed === null ? "now" : clock.format(look.at);
  show(chart.moment, when);
  chart.told = `${chart.title}, ${when}. ${told.join("; ")}.`;
  chart.svg.setAttribute("aria-label", chart.told);
}

/** How often times of each class were seen, in all that is kept or in the look that is pointed at. */
function barChart([title, name]) {
  const chart = frame(title, ["Counted", "p50", "p99", "Longest since the start"]);
  const cursor = drawing("path", "cursor");
  let bars = [];
  let place = null;
  chart.svg.append(cursor);
  chart.draw = () => {
    const bounds = boundsOf(name);
    if (bars.length !== bounds.length) {
      bars.forEach((bar) => bar.remove());
      bars = bounds.map(() => drawing("rect", "bar"));
      cursor.before(...bars);
    }
    const look = lookAt(pointed);
    const counts = sum(name, pointed === null ? past : [look]);
    const all = counts.reduce((total, number) => total + number, 0);
    const top = Math.max(1, ...counts);
    const width = WIDTH / bars.length;
    bars.forEach((bar, number) => {
      const height = (counts[number] / top) * (HEIGHT - 6);
      const shape = { x: number * width + 2, y: HEIGHT - height, width: width - 4, height };
      for (const [key, value] of Object.entries(shape)) bar.setAttribute(key, value.toFixed(1));
    });
    const x = place === null ? 0 : (place + 0.5) * width;
    cursor.setAttribute("d", place === null ? "" : `M${x} 0V${HEIGHT}`);
    const of = (part) => {
      const bound = quantile(counts, name, part);
      return Number.isNaN(bound) ? "–" : under(bound);
    };
    const from = place > 0 ? time(bounds[place - 1]) : "0";
    const to = place === null || bounds[place] === Infinity ? "and more" : `to ${time(bounds[place])}`;
    const values = [
      place === null ? count(all) : `${count(counts[place])} of ${count(all)}`,
      of(0.5), of(0.99), time(at(latest, `${name}.max`)),
    ];
    show(chart.legend[0].firstChild, place === null ? "Counted" : `${from} ${to}`);
    values.forEach((value, row) => show(chart.legend[row].lastChild, value));
    show(chart.scale[0], count(top));
    show(chart.axis.firstChild, bounds.length > 1 ? `under ${time(bounds[0])}` : "");
    show(chart.axis.lastChild, bounds.length > 1 ? `over ${time(bounds.at(-2))}` : "");
    showMoment(chart, look, chart.legend.map((row) => `${row.firstChild.textContent}: `
      + row.lastChild.textContent));
    if (pointed === null) show(chart.moment, `last ${spanMinutes()} min`);
  };
  const within = (number) => Math.min(bars.length - 1, Math.max(0, number));
  chart.point = (part) => { place = within(Math.floor(part * bars.length)); };
  chart.step = (by) => { place = within((place ?? (by < 0 ? bars.length : -1)) + by); };
  chart.leave = () => { place = null; };
  return chart;
}

function drawAll() {
  charts.forEach((chart) => chart.draw());
}

function leave(chart) {
  pointed = null;
  chart.leave?.();
  drawAll();
}

/** Values at a place of a chart, for whoever points there, and for whoever uses the keys. */
function listen(chart) {
  const { svg } = chart;
  const point = ({ clientX }) => {
    const { left, width } = svg.getBoundingClientRect();
    chart.point(Math.min(1, Math.max(0, (clientX - left) / width)));
    drawAll();
  };
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointerleave", () => leave(chart));
  svg.addEventListener("blur", () => leave(chart));
  svg.addEventListener("keydown", (event) => {
    const far = 10_000;
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -far, End: far };
    if (event.key === "Escape") {
      leave(chart);
    } else if (steps[event.key] !== undefined) {
      event.preventDefault();
      chart.step(steps[event.key]);
      drawAll();
      show($("moment"), chart.told);
    }
  });
}

// --- Tables

const tables = new Map();

/** Shows rows, of which the first is the head, in a table that is made when it is first shown. */
function table(title, rows, nothing = "") {
  let made = tables.get(title);
  if (!made) {
    made = element("table");
    made.append(element("caption", "", title), made.createTHead(), made.createTBody());
    tables.set(title, made);
    $("tables").append(made);
  }
  const body = rows.length > 1 || nothing === "" ? rows : [[nothing]];
  const [thead, tbody] = [made.tHead, made.tBodies[0]];
  fill(thead, rows.length > 1 ? [rows[0]] : [], "col");
  fill(tbody, rows.length > 1 ? body.slice(1) : body, "row");
}

function fill(part, rows, scope) {
  while (part.rows.length > rows.length) part.deleteRow(-1);
  rows.forEach((cells, number) => {
    const row = part.rows[number] ?? part.insertRow();
    while (row.cells.length > cells.length) row.deleteCell(-1);
    cells.forEach((text, place) => {
      if (!row.cells[place]) {
        const isHead = scope === "col" || place === 0;
        const cell = element(isHead ? "th" : "td");
        if (isHead) cell.scope = scope;
        row.append(cell);
      }
      show(row.cells[place], text);
    });
  });
}

const words = (name) => name.replaceAll("_", " ");

function showTables(status) {
  const headers = status.proxy_headers ?? {};
  const lately = new Map();
  for (const { ends } of past) {
    for (const [why, number] of ends) lately.set(why, (lately.get(why) ?? 0) + number);
  }
  const ends = pairs(status.closes).map(([why, all]) => [why, lately.get(why) ?? 0, all]);
  ends.sort((one, other) => other[1] - one[1] || other[2] - one[2]);
  table("Ends of connections", [
    ["Reason", `Last ${spanMinutes()} min`, "Since the start"],
    ...ends.slice(0, ENDS_SHOWN).map(([why, ...counts]) => [words(why), ...counts.map(count)]),
  ], "None yet.");
  const list = Array.isArray(status.channels) ? status.channels : [];
  table("Largest channels", [
    ["Name", "Members", "Kept", "Largest lag"],
    ...list.slice(0, CHANNELS_SHOWN).map((channel) => [
      String(channel.name),
      count(pairs(channel.members).reduce((all, [, number]) => all + number, 0)),
      count(at(channel, "kept")),
      bytes(at(channel, "lag.max")),
    ]),
  ], "None now.");
  table("PROXY headers", [
    ["Whom they name", "Version 1", "Version 2"],
    ...[["a client", "proxy"], ["the balancer", "local"], ["nobody", "unknown"]].map(
      ([name, key]) => [name, count(at(headers, `1.${key}`)), count(at(headers, `2.${key}`))],
    ),
    ...pairs(headers.errors).map(([why, number]) => [`closed: ${words(why)}`, count(number), ""]),
  ]);
  table("Health probes", [
    ["What they look like", "Count"],
    ["/healthz", count(at(headers, "probes.healthz"))],
    ["/readyz", count(at(headers, "probes.readyz"))],
    ["connected, sent nothing", count(at(headers, "probes.connect"))],
    ["a PROXY header alone", count(at(headers, "probes.proxy_header"))],
  ]);
  const parts = ["rings", "buffers", "sessions", "free", "tables", "ceiling", "kernel_ceiling"];
  table("Memory", [
    ["Part", "Size"],
    ...parts.map((part) => [words(part), bytes(at(status, `memory.${part}`))]),
  ]);
  const said = status.fan_out ?? {};
  table("Messages", [
    ["What became of them", "Since the start"],
    ["said", count(pairs(said.published).reduce((all, [, number]) => all + number, 0))],
    ["delivered", count(at(said, "delivered"))],
    ["readers that were too slow", count(at(said, "lapped"))],
    ["publishers that waited for readers", count(at(said, "publishers_paused"))],
    ["speakers held back by --message-rate", count(at(said, "speakers_held_back"))],
  ]);
  const backplane = status.backplane;
  if (backplane) {
    table("Other instances", [
      ["The line to Redis", "Now"],
      ["state", backplane.connected ? "connected" : "away"],
      ["round trip, p99", under(at(backplane, "round_trip.p99"))],
      ["waiting", bytes(at(backplane, "pending_bytes"))],
      ["sent once more", count(at(backplane, "resent"))],
      ["gaps", count(at(backplane, "gaps"))],
    ]);
  }
  const shown = tables.get("Other instances");
  if (shown) shown.hidden = !backplane;
}

// --- What is so now

/** Bars that say how much of each limit is in use. */
function showUse(status) {
  const used = [
    ["Sessions", "sessions", count],
    ["Channels", "channels", count],
    ["Memory of --memory", "memory_bytes", bytes],
    ["Descriptors", "descriptors", count],
  ].map(([name, key, format]) => {
    const { used: value, max } = status.limits?.[key] ?? {};
    return [name, value, max, format];
  });
  used.push(["Process, of its ceiling", status.memory?.resident, status.memory?.ceiling, bytes]);
  const list = $("use");
  used.forEach(([name, value, max, format], place) => {
    let row = list.children[place];
    if (!row) {
      row = element("div", "use");
      const bar = drawing("svg", "gauge", { viewBox: "0 0 100 4", preserveAspectRatio: "none" });
      bar.setAttribute("aria-hidden", "true");
      bar.append(drawing("rect", "gauge-bar", { height: 4 }));
      row.append(element("dt", "", name), element("dd"), bar);
      list.append(row);
    }
    row.hidden = !(max > 0) || value === undefined;
    if (row.hidden) return;
    show(row.children[1], `${format(value)} of ${format(max)}`);
    row.classList.toggle("high", value >= max * 0.9);
    row.querySelector("rect").setAttribute("width", Math.min(100, (value / max) * 100).toFixed(1));
  });
}

let findingsShown = "";

function showFindings(status) {
  const findings = Array.isArray(status.findings) ? status.findings : [];
  document.title = findings.length > 0 ? `(${findings.length}) elbow: status` : "elbow: status";
  const key = JSON.stringify(findings);
  if (key === findingsShown) return;
  findingsShown = key;
  const rows = findings.map(({ text, remedy }) => {
    const row = element("li", "finding");
    row.append(element("p", "", String(text)), element("p", "remedy", "Mend it by: "));
    row.lastChild.append(element("code", "", String(remedy)));
    return row;
  });
  if (rows.length === 0) rows.push(element("li", "fine", "Nothing is wrong, as far as the figures tell."));
  $("findings").querySelector("ul").replaceChildren(...rows);
}

function showStatus(status) {
  const { version = "", target = "" } = status.build ?? {};
  show($("build"), `${version} for ${target}, up ${age(at(status, "uptime"))}`);
  const list = Array.isArray(status.listeners) ? status.listeners : [];
  show($("listeners"), list.map(({ kind, address }) => `${kind}: ${address}`).join(", "));
  const span = spanMinutes();
  show($("span"), span === 1 ? "minute" : `${span} minutes`);
  showFindings(status);
  if (document.hidden) return;
  showUse(status);
  showTables(status);
  drawAll();
}

// --- Asking

let token = kept((storage) => storage.getItem("elbow.admin-token")) ?? "";
let timer = 0;
let awaySince = 0; // 0: the last look was answered

// Storage may be forbidden: then the token lasts as long as the page.
function kept(work) {
  try {
    return work(sessionStorage);
  } catch {
    return null;
  }
}

/** No server has a longer token, and no header can carry a control character. */
const canBeToken = (text) => utf8.encode(text).length <= TOKEN_BYTES_MAX && !/\p{Cc}/u.test(text);

/** A header carries bytes, and a script gives it characters that stand for one byte each. */
const bearer = () => `Bearer ${String.fromCharCode(...utf8.encode(token))}`;

function state(name, text) {
  document.body.dataset.state = name;
  $("state").dataset.state = name;
  show($("state"), text);
}

/** The server was not looked at. What is shown is old, and this says since when and why. */
function away(why) {
  before = null;
  awaySince ||= Date.now();
  const old = past.length > 0 ? ` What is shown is of ${clock.format(past.at(-1).at)}.` : "";
  state("away", `${why} since ${clock.format(awaySince)}; trying again.${old}`);
}

/** Asks for the token, and asks the server nothing until it is given. */
function askForToken() {
  loop.current = null;
  clearTimeout(timer);
  before = null;
  $("figures").hidden = true;
  $("login").hidden = false;
  show($("why"), token === "" ? "" : "This token is wrong.");
  token = "";
  kept((storage) => storage.removeItem("elbow.admin-token"));
  $("forget").hidden = true;
  state("locked", "Waiting for the token");
  $("token").focus();
}

function takeStatus(status) {
  if (status?.version !== VERSION) {
    $("figures").hidden = true;
    before = null;
    state("strange", `The server's status has version ${String(status?.version).slice(0, 20)}, and `
      + `this page knows ${VERSION}. Load the page anew.`);
    return;
  }
  awaySince = 0;
  $("login").hidden = true;
  $("figures").hidden = false;
  $("forget").hidden = token === "";
  if (token !== "") kept((storage) => storage.setItem("elbow.admin-token", token));
  keep(status);
  state("live", "Live");
  showStatus(status);
}

/** Asks for the status, and returns what is to be done about the answer, or about none. */
async function look() {
  if (!canBeToken(token)) return askForToken;
  const patience = new AbortController();
  const late = setTimeout(() => patience.abort(), PATIENCE_MS);
  const headers = token === "" ? {} : { Authorization: bearer() };
  const options = { headers, cache: "no-store", credentials: "omit", signal: patience.signal };
  try {
    const answer = await fetch("status", options);
    if (answer.status === 401) return askForToken;
    const text = await answer.text();
    if (answer.status === 403) return () => away(`The server refuses this page (${text})`);
    if (answer.status === 503) return () => away("The server is too busy for an answer");
    if (!answer.ok) return () => away(`The server answers ${answer.status}`);
    const status = JSON.parse(text);
    return () => takeStatus(status);
  } catch (error) {
    if (error instanceof SyntaxError) return () => away("What the server answers is no status");
    return () => away("The server cannot be reached");
  } finally {
    clearTimeout(late);
  }
}

/**
 * Looks, and again a second after this look began. Of two loops that run, the older ends, and what
 * its last look has shown is dropped: that may be older than what is shown, or of another token.
 */
async function loop() {
  clearTimeout(timer);
  const mine = Symbol("loop");
  loop.current = mine;
  const begun = Date.now();
  const conclude = await look();
  if (loop.current !== mine) return;
  try {
    conclude();
  } catch (error) {
    console.error(error);
    away("What the server answers cannot be shown");
  }
  if (document.body.dataset.state === "locked") return;
  const pause = awaySince > 0 ? RETRY_MS : LOOK_MS;
  timer = setTimeout(loop, Math.min(pause, Math.max(0, begun + pause - Date.now())));
}

// --- Start

for (const line of LINES) charts.push(lineChart(line));
for (const bars of BARS) charts.push(barChart(bars));
charts.forEach(listen);
$("login").addEventListener("submit", (event) => {
  event.preventDefault(); // also forbidden by the policy that the page is served with
  token = $("token").value;
  $("token").value = "";
  show($("why"), "");
  if (token !== "") loop();
});
$("forget").addEventListener("click", () => {
  token = "";
  askForToken();
});
// A browser lets a hidden page look less often. Who comes back sees figures of now.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && document.body.dataset.state !== "locked") loop();
});
loop();
