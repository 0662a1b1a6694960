// The behaviour of elbow's chat page: one WebSocket to the server that served it.
//
// A message is plain text, so that wscat and Socket.IO clients can read it: the bare text, or
// `<name> text`, as in an IRC transcript, from who has given a name. The server relays each one
// unchanged to everyone in the channel, the sender included, in one order for all. That echo is
// the only receipt there is, and what this page builds on: see `heard`.
//
// The subprotocol is `elbow.v1`: in front of each message stands its position in the channel. The
// page keeps the newest for each channel and comes back with it, so the server sends what was said
// meanwhile, or says that it cannot. Positions last as long as the page: after a reload nothing is
// on the screen any more, and the last messages are wanted, not only those that were missed.
//
// What surprises: a browser answers the server's pings by itself and shows a page neither them nor
// their absence, nor the HTTP status of an upgrade that was refused. So a dead connection is
// noticed by the echo that stays away, and every refusal looks like being offline.

const MESSAGE_BYTES_MAX = 16 * 1024; // elbow takes 64 KiB unless told otherwise; this fits most
const SHOWN_LENGTH_MAX = 16 * 1024; // others may send more: the rest is not shown
const ROWS_MAX = 500; // of a channel's log; older ones go
const PENDING_MAX = 100; // messages on their way or waiting; well below ROWS_MAX
const ECHO_LIMIT_MS = 10_000; // a message out and nothing heard: the connection is dead
const CONNECT_LIMIT_MS = 10_000; // browsers alone would try for minutes
const RETRY_FIRST_MS = 1_000;
const RETRY_LAST_MS = 30_000;
const LASTED_MS = 10_000; // a connection this old was a good one: start again from RETRY_FIRST_MS
const SLEPT_MS = 75_000; // a tick this late: the machine slept; hidden pages get one a minute
const TOUCH_MS = 500; // a scroll this soon after the wheel or a finger is the person's
const LAST_WANTED = 50; // what a newcomer is shown of what was said before, where it is kept
const ALOUD_MAX = 10; // more messages than that at once are not read aloud
const HUSH_MS = 1_000; // for so long after them the log stays silent: screen readers lag behind
const GROUP_MS = 5 * 60_000; // later messages of the same author stand apart
const CHANNEL_BYTES_MAX = 128;
const CHANNEL = /^(?!\.{1,2}(\/|$))[\w.~:@=,+-]+(\/(?!\.{1,2}(\/|$))[\w.~:@=,+-]+)*$/;
const NAMED = /^<([^<>\s\p{Cc}][^<>\p{Cc}]{0,63})> (.+)$/su;
const NAME_STRIPPED = /[<>\p{Cc}\u202a-\u202e\u2066-\u2069]/gu; // and what turns text around

const CLOSE_WORDS = {
  1001: "server restarting",
  "too slow": "too slow to keep up",
  "token expired": "the token has expired",
  "may not speak": "you may only read here",
  1009: "message too big",
  1012: "server restarting",
  1013: "server full",
};

const $ = (id) => document.getElementById(id);
const log = $("log");
const message = $("message");
const utf8 = new TextEncoder();

const clockFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const dayFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "full" });

// --- Channels

// A room is what this page keeps of a channel it has been in: its log, what waits to be sent, what
// was sent and may have been lost (`doubts`), and how far the channel was heard (`position`). Going
// to another channel and back loses none of it.
const rooms = new Map();
let room;

// Rows by their element: { own, author, at }, what grouping has to know.
const rows = new WeakMap();

// Who this is, to a server that lets in nobody without a token. A tab keeps it over a reload.
let token = keptToken();

function keptToken() {
  try {
    return sessionStorage.getItem("token") ?? "";
  } catch {
    return ""; // the browser keeps nothing for this page
  }
}

/**
 * Takes the token out of the address, `/#token=…` or `/#news&token=…`. What stands behind a # is
 * sent to nobody; from here on it is not in the history either.
 */
function takeToken() {
  const parts = location.hash.slice(1).split("&");
  const found = parts.find((part) => part.startsWith("token="));
  if (found === undefined) return;
  token = found.slice("token=".length);
  try {
    sessionStorage.setItem("token", token);
  } catch {
    // Then it lasts as long as the page.
  }
  const channel = parts.filter((part) => part !== found).join("&");
  const hash = channel === "" ? "" : `#${channel}`;
  history.replaceState(null, "", location.pathname + location.search + hash);
}

/** The channel named by the address: `/#news` or `/?channel=news`. */
function channelFromAddress() {
  takeToken();
  let name = location.hash.slice(1);
  try {
    name = decodeURIComponent(name);
  } catch {
    // A lone % is no channel name either way.
  }
  name ||= new URLSearchParams(location.search).get("channel") || "default";
  const valid = name.length <= CHANNEL_BYTES_MAX && CHANNEL.test(name);
  $("notice").hidden = valid;
  $("notice").textContent = valid ? "" : `“${name.slice(0, 80)}” is no channel name: 1 to 128 of `
    + "A–Z a–z 0–9 . _ ~ : @ = , + - / are allowed, no part of it empty, . or .. This is the channel “default”.";
  return valid ? name : "default";
}

function enterChannel() {
  const name = channelFromAddress();
  if (room?.name === name) return;
  if (socket) leave("in another channel");
  room = rooms.get(name);
  if (!room) {
    const list = element("ol", "messages");
    list.role = "list"; // Safari forgets it is one when it has no bullets
    const recent = []; // positions of the newest messages
    room = { name, list, recent, waiting: [], doubts: [], position: null, day: "", gap: null };
    rooms.set(name, room);
    $("empty").hidden = true; // until it is known that nothing comes
  }
  hush();
  log.querySelector(".messages").replaceWith(room.list);
  $("channel").textContent = `#${name}`;
  showTitle();
  jump();
  retries = 0;
  connect();
}

// --- The connection

let socket = null; // the one that counts; events of any other are ignored
let inFlight = []; // sent on `socket`, echo still to come, oldest first: { frame, row }
let openedAt = 0; // 0: not open, or the server has not spoken yet
let past = 0; // messages still to come that were said before `socket` was opened
let isNewcomer = false; // to the room: what is past is no news
let startedAt = 0;
let heardAt = 0; // or when the oldest in flight was sent, if that is later
let retries = 0;
let retryAt = 0;
let retryTimer = 0;
let offlineWords = "Offline"; // with the server's reason, until it has us back

/** Connects anew; a connection that there still is, is given up for the reason `why`. */
function connect(why) {
  clearTimeout(retryTimer);
  if (socket) leave(why);
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const folder = location.pathname.replace(/[^/]*$/, ""); // the server may lie below a path
  const path = room.name === "default" ? "ws" : `ws/${room.name}`;
  // Where `since` cannot be honoured, `last` applies. That may bring again what stands here, where
  // instances share an order whose newest entries were lost.
  const since = room.position === null ? "" : `since=${room.position}&`;
  const url = `${scheme}//${location.host}${folder}${path}?${since}last=${LAST_WANTED}`;
  const mine = new WebSocket(url, token === "" ? "elbow.v1" : ["elbow.v1", `token.${token}`]);
  mine.binaryType = "arraybuffer";
  socket = mine;
  startedAt = performance.now();
  mine.onmessage = (event) => mine === socket && heard(event.data);
  mine.onclose = (event) => mine === socket && closed(event.code, event.reason);
  showState("connecting", "Connecting…");
}

/** The server has spoken: what was missed comes at once, and then what is new. */
function opened({ position, recovered, missed }) {
  openedAt = performance.now();
  past = missed;
  isNewcomer = room.position === null;
  if (past > 0 && (isNewcomer || past > ALOUD_MAX)) hush();
  if (room.gap) {
    closeGap(recovered, missed);
  } else if (missed > 0) {
    place(element("li", "notice", "Said before you came"));
  }
  room.position = position;
  offlineWords = "Offline";
  showState("connected", "Connected");
  for (const item of room.waiting.splice(0)) transmit(item);
  follow();
}

/** Says below which line the missed messages stand, or that they are lost. */
function closeGap(recovered, missed) {
  const { gap } = room;
  room.gap = null;
  if (recovered && missed === 0) {
    const next = gap.nextElementSibling;
    gap.remove(); // nobody said anything: there was no gap
    regroup(next);
    return;
  }
  gap.classList.toggle("lost", !recovered);
  gap.append(`, back at ${clockFormat.format(new Date())}. `
    + (recovered ? "What was said meanwhile:" : "Some messages may be lost."));
}

function closed(code, reason) {
  // A policy (1008) says which.
  const words = code === 1008 ? (CLOSE_WORDS[reason] ?? reason) : CLOSE_WORDS[code];
  leave(words ?? "connection lost");
  if (code === 1013) retries = Math.max(retries, 3); // who is full is not to be knocked at
  retryLater(words);
}

/** Gives the connection up, for the reason `why`; what was on its way is in doubt from now on. */
function leave(why) {
  const left = socket;
  socket = null;
  left?.close();
  for (const item of inFlight) showDoubt(item);
  room.doubts = [...room.doubts, ...inFlight].slice(-PENDING_MAX);
  inFlight = [];
  past = 0;
  if (openedAt) {
    const since = clockFormat.format(new Date());
    room.gap = place(element("li", "notice", `Not connected since ${since} (${why})`));
    if (performance.now() - openedAt > LASTED_MS) retries = 0;
  }
  openedAt = 0;
  follow();
}

/** Exponential backoff with full jitter: a thousand pages that lost one server come back spread. */
function retryLater(words) {
  const ceiling = Math.min(RETRY_LAST_MS, RETRY_FIRST_MS * 2 ** retries);
  const wait = Math.random() * ceiling;
  retries = Math.min(retries + 1, 10);
  retryAt = performance.now() + wait;
  retryTimer = setTimeout(connect, wait);
  if (words) offlineWords = `Offline: ${words}`;
  showState("offline", offlineWords);
}

function retryNow() {
  if (!socket) connect();
}

let tickedAt = Date.now(); // wall time: performance.now() may sleep with the machine

/** Once a second: the countdown, and the deadlines that need not be exact. */
function tick() {
  const slept = Date.now() - tickedAt > SLEPT_MS;
  tickedAt = Date.now();
  const now = performance.now();
  if (!socket) {
    showCountdown();
  } else if (!openedAt) {
    if (now - startedAt > CONNECT_LIMIT_MS) closed();
  } else if (slept) {
    connect("this machine slept");
  } else if (inFlight.length > 0 && now - heardAt > ECHO_LIMIT_MS) {
    connect("no answer from the server");
  } else if (past === 0 && now - openedAt > ECHO_LIMIT_MS) {
    room.doubts = []; // whatever has not come by now will not
  }
  if (past === 0 && now - hushedAt > HUSH_MS) log.removeAttribute("aria-live");
}

// --- Sending and hearing

function transmit(item) {
  if (inFlight.length === 0) heardAt = performance.now();
  inFlight.push(item);
  showDelivery(item.row, "sending", "sending…");
  socket.send(item.frame);
}

function say(frame, text) {
  const row = messageRow(text, true, "");
  const item = { frame, text, row };
  room.list.append(row);
  regroup(row);
  if (openedAt) {
    transmit(item);
  } else {
    room.waiting.push(item);
    showDelivery(row, "waiting", "waiting for the connection");
  }
  trim();
  jump();
}

/** A frame's position, empty where the server itself speaks, and what is behind it. */
function split(data) {
  if (typeof data === "string") {
    const end = data.indexOf("\n");
    return [data.slice(0, end), data.slice(end + 1)];
  }
  const bytes = new Uint8Array(data);
  const end = bytes.indexOf(10);
  return [new TextDecoder().decode(bytes.subarray(0, end)), bytes.subarray(end + 1)];
}

/** Takes an object of the server's own; those that this page does not know mean nothing to it. */
function told(object) {
  if (!openedAt) {
    opened(object);
  } else if (object.lost) {
    room.position = object.position;
    place(element("li", "notice lost", "Some messages were lost here."));
    follow();
  }
}

/**
 * Takes a message from the server. One's own is known by its echo: text equal to the oldest in
 * flight. No identifier is needed, because the order is the same for all and what we send keeps
 * its order within it: our echoes come in the order of `inFlight`, each exactly once. Others' words
 * may come between; they can be mistaken for ours only if they are the same to the letter, and of
 * two equal messages side by side nobody can tell which was whose. The receipt is then early by
 * one, no more: our own echo, still to come, is shown as theirs.
 *
 * All that is settled stands above all that is in flight, which stands above what waits. So an
 * echo finds its row in the right place already, and the log reads the same on every screen.
 *
 * Among what was said while the connection was away may be what we sent just before: its row is
 * there, in doubt, and moves to the place that the message turns out to have.
 */
function heard(data) {
  heardAt = performance.now();
  const [position, body] = split(data);
  if (position === "") {
    told(JSON.parse(body));
    return;
  }
  const isPast = past > 0;
  if (isPast) past -= 1;
  room.position = position;
  if (isPast && room.recent.includes(position)) return;
  room.recent = [...room.recent, position].slice(-LAST_WANTED);
  if (isPast && isHushed()) hushedAt = heardAt;
  const doubt = room.doubts.find(({ frame }) => frame === body);
  if (typeof body !== "string") {
    place(element("li", "notice binary", `binary, ${body.length} bytes`));
    if (!isPast || !isNewcomer) countNew();
  } else if (!isPast && body === inFlight[0]?.frame) {
    const { row } = inFlight.shift();
    showDelivery(row, "sent", "✓");
    settle(row, isPast);
  } else if (doubt) {
    resolve(doubt, isPast);
  } else {
    const [, author, text] = NAMED.exec(body) ?? [null, "", body];
    settle(place(messageRow(text, false, author)), isPast);
    if (!isPast || !isNewcomer) countNew();
  }
  trim();
  follow();
}

/** A message that was in doubt has been delivered. */
function resolve(doubt, isPast) {
  const { row } = doubt;
  room.doubts = room.doubts.filter((item) => item !== doubt);
  if (row.contains(document.activeElement)) message.focus(); // its button goes
  row.querySelector(".again").remove();
  showDelivery(row, "sent", "✓");
  const next = row.nextElementSibling;
  place(row);
  regroup(next);
  settle(row, isPast);
}

/** Puts a row below all that is settled, above all that is not. */
function place(row) {
  const pending = inFlight[0] ?? room.waiting[0];
  room.list.insertBefore(row, pending?.row ?? null);
  regroup(row.nextElementSibling);
  return row;
}

/**
 * The row has its place in the channel's order. What is new was said now, maybe on a new day; when
 * what is past was said nobody tells, so no time is shown with it.
 */
function settle(row, isPast) {
  if (isPast) {
    row.classList.toggle("past", rows.get(row).at === 0);
  } else {
    const now = new Date();
    const day = now.toDateString();
    if (room.day !== day) {
      row.before(element("li", "day", dayFormat.format(now)));
      room.day = day;
    }
    showTime(row, now);
  }
  regroup(row);
  regroup(row.nextElementSibling);
}

// --- What is shown

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text; // never markup: all of it comes from strangers
  return made;
}

function messageRow(text, own, author) {
  const row = element("li", own ? "message own" : "message other");
  const name = element("span", "author", own ? "You" : author || "someone");
  name.dir = "auto";
  if (author) {
    name.classList.add("named");
    name.style.setProperty("--hue", hue(author));
  }
  const rest = text.length - SHOWN_LENGTH_MAX;
  const shown = rest > 0 ? `${text.slice(0, SHOWN_LENGTH_MAX)}… (${rest} more)` : text;
  const body = element("span", "text", shown);
  body.dir = "auto";
  const meta = element("span", "meta");
  meta.append(element("time", ""), element("span", "status"));
  const bubble = element("div", "bubble");
  bubble.append(body, meta);
  row.append(name, bubble);
  rows.set(row, { own, author, at: 0 });
  if (own) showTime(row, new Date());
  return row;
}

function showTime(row, at) {
  const time = row.querySelector("time");
  time.dateTime = at.toISOString();
  time.textContent = clockFormat.format(at);
  rows.get(row).at = at.getTime();
}

/** The same colour for the same name on every screen. */
function hue(name) {
  let hash = 0;
  for (const byte of utf8.encode(name)) hash = (hash * 31 + byte) % 997;
  return (hash * 137) % 360; // steps of the golden angle: neighbours differ
}

function showDelivery(row, state, words) {
  row.dataset.state = state;
  row.querySelector(".status").textContent = words;
}

/**
 * Sent, but no echo before the connection died: it may have been delivered or not, and only the
 * person can judge whether saying it twice is worse than not at all. So it is never sent again by
 * itself.
 */
function showDoubt({ frame, text, row }) {
  showDelivery(row, "unknown", "perhaps not delivered");
  const again = element("button", "again", "Send again");
  again.type = "button";
  again.onclick = () => {
    if (tooMany()) return;
    room.doubts = room.doubts.filter((doubt) => doubt.row !== row);
    const next = row.nextElementSibling;
    row.remove();
    regroup(next);
    say(frame, text);
    message.focus(); // the button that had the focus is gone
  };
  row.querySelector(".meta").append(again);
}

/** Whether the row goes on from the one before: same author, not much later. */
function regroup(row) {
  const fact = row && rows.get(row);
  if (!fact) return;
  const before = row.previousElementSibling && rows.get(row.previousElementSibling);
  row.classList.toggle("grouped", Boolean(before) && before.own === fact.own
    && before.author === fact.author && fact.at - before.at < GROUP_MS);
}

function trim() {
  while (room.list.childElementCount > ROWS_MAX) room.list.firstElementChild.remove();
  regroup(room.list.firstElementChild);
}

// When the log was last filled at once, without being read aloud; see `tick` for its end.
let hushedAt = 0;

/** What comes into the log now is not read aloud. */
function hush() {
  hushedAt = performance.now();
  log.setAttribute("aria-live", "off");
}

function isHushed() {
  return log.hasAttribute("aria-live");
}

function showState(state, words) {
  if (state !== "connecting") $("empty").hidden = false;
  $("state").dataset.state = state;
  $("state-words").textContent = words;
  $("retry").hidden = state !== "offline";
  showCountdown();
}

function showCountdown() {
  const seconds = Math.max(1, Math.ceil((retryAt - performance.now()) / 1000));
  $("countdown").textContent = socket ? "" : `– retrying in ${seconds} s`;
}

/** Others have said something: the title tells it to other tabs, a button to who reads above. */
function countNew() {
  if (document.hidden) unread += 1;
  if (!atEnd) unseen += 1;
  showTitle();
  showJump();
}

function showTitle() {
  document.title = `${unread > 0 ? `(${unread}) ` : ""}elbow #${room.name}`;
}

// --- Scrolling
//
// The log follows its end while one is there, and stays put while one reads above.
let atEnd = true;
let unseen = 0; // since one left the end
let unread = 0; // since the page was hidden
let following = false;
let touchedAt = -TOUCH_MS;
let lastTop = 0;

/** After the log has grown. Once a frame at most: a flood must not cost a layout per message. */
function follow() {
  if (!atEnd || following) return;
  following = true;
  requestAnimationFrame(() => {
    following = false;
    if (atEnd) log.scrollTop = log.scrollHeight;
    lastTop = log.scrollTop;
  });
}

function jump() {
  atEnd = true;
  showJump();
  follow();
}

function showJump() {
  if (atEnd) unseen = 0;
  $("jump").hidden = atEnd;
  $("jump").textContent = unseen === 0 ? "↓ Latest"
    : `↓ ${unseen} new ${unseen === 1 ? "message" : "messages"}`;
}

/**
 * In a busy room the end moves in every frame, and so does the log after it. A hand that pulls the
 * other way wins, from its first pixels on: smooth scrolling comes in small steps.
 */
function scrolled() {
  const touched = performance.now() - touchedAt < TOUCH_MS;
  const up = touched && log.scrollTop < lastTop;
  lastTop = log.scrollTop;
  if (following && !touched) return; // about to go to the end
  atEnd = log.scrollHeight - lastTop - log.clientHeight < (up ? 2 : 48);
  showJump();
}

// --- The composer

function myName() {
  return $("name").value.replace(NAME_STRIPPED, "").trim();
}

/**
 * What would be sent now. Through UTF-8 and back: an unpaired surrogate becomes U+FFFD, as it does
 * on the wire, or its echo would not be known again.
 */
function draft() {
  const raw = message.value.replace(/^\n+/, "").trimEnd();
  const bytes = utf8.encode(myName() ? `<${myName()}> ${raw}` : raw);
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true }); // a BOM is text too, keep it
  return { text: raw, frame: decoder.decode(bytes), bytes: bytes.length };
}

function showLimit() {
  const { bytes } = draft();
  const over = bytes - MESSAGE_BYTES_MAX;
  $("limit").textContent = over > 0
    ? `Too long by ${over} bytes: a message has ${MESSAGE_BYTES_MAX} at most.`
    : over > -MESSAGE_BYTES_MAX / 8 ? `${-over} bytes left` : "";
  message.setAttribute("aria-invalid", String(over > 0));
  message.style.height = "auto";
  message.style.height = `${message.scrollHeight}px`;
}

function tooMany() {
  if (inFlight.length + room.waiting.length < PENDING_MAX) return false;
  $("limit").textContent = `${PENDING_MAX} messages are waiting: no more until they are sent.`;
  return true;
}

function submit(event) {
  event.preventDefault(); // also forbidden by the policy that the page is served with
  const { text, frame, bytes } = draft();
  if (text.trim() === "" || bytes > MESSAGE_BYTES_MAX || tooMany()) return;
  message.value = "";
  showLimit();
  say(frame, text);
  message.focus();
}

// Storage may be forbidden, or full: then the name lasts as long as the page.
function stored(work) {
  try {
    return work(localStorage);
  } catch {
    return null;
  }
}

function renamed() {
  $("name").value = myName();
  stored((storage) => storage.setItem("elbow.name", myName()));
  showLimit(); // the name counts too
}

// --- Start

$("name").value = stored((storage) => storage.getItem("elbow.name")) ?? "";
$("name").addEventListener("change", renamed);
$("name").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.isComposing) message.focus();
});
$("composer").addEventListener("submit", submit);
message.addEventListener("input", showLimit);
message.addEventListener("keydown", (event) => {
  // While an input method composes, Enter picks a word. Safari ends the composition before the key
  // arrives and says so only by the key code 229.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  $("composer").requestSubmit();
});
$("retry").addEventListener("click", () => {
  retryNow();
  message.focus(); // the button goes away
});
$("jump").addEventListener("click", () => {
  jump();
  message.focus();
});
log.addEventListener("scroll", scrolled, { passive: true });
for (const type of ["wheel", "touchmove", "pointerdown", "keydown"]) {
  log.addEventListener(type, () => { touchedAt = performance.now(); }, { passive: true });
}
new ResizeObserver(follow).observe(log);

addEventListener("hashchange", enterChannel);
addEventListener("online", retryNow);
addEventListener("pageshow", retryNow); // back from the browser's cache of pages
// The network under an open connection has gone: whether the connection is, only a new one tells.
addEventListener("offline", () => openedAt && connect("network gone"));
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  unread = 0;
  showTitle();
  retryNow();
});

enterChannel();
setInterval(tick, 1000);
if (matchMedia("(hover: hover)").matches) message.focus(); // else a keyboard would jump up
