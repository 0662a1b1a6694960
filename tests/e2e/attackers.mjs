// A process full of attackers, for attack.mjs: as many connections as it is told to open, each
// of a kind that wants to cost the server memory or time. None keeps the rules for long.
//
// It is forked with the server's port and the source address of its connections (addresses differ
// so that no process runs out of ports), and takes orders as messages: `open` a crowd of one kind
// and keep it under a name, `leave` by such a name, `flood`. Each is answered when it is done, with
// what became of the crowd. A connection that the server refuses or closes counts as tried.

import { AsyncLocalStorage } from 'node:async_hooks';
import net from 'node:net';
import { requestHead } from './socketio.mjs';
import { sleep } from './wait.mjs';
import { BINARY_FRAME, frame, hex, PING, TEXT, upgradeHead, V2_SIGNATURE } from './wire.mjs';

/** Connections of a process that are being opened at a time. */
const WIDTH = 100;
/** Long enough to say "never" to one connection; the phases are bounded besides. */
const PATIENCE_MS = 15_000;
const POLLING = '/socket.io/?EIO=4&transport=polling';
const ENGINE = '/socket.io/?EIO=4&transport=websocket';

const [port, from] = [Number(process.argv[2]), process.argv[3]];

/** Sockets by the name of their crowd, also those that the server has refused something. */
const crowds = new Map();
/** The crowd that a connection will belong to. */
const current = new AsyncLocalStorage();

// --- Ways to connect ----------------------------------------------------------------------------

/** A connection, or null if it was refused. It reads nothing until told to. */
function connect() {
  return new Promise((resolve) => {
    const socket = net.connect({ port, host: '127.0.0.1', localAddress: from });
    const crowd = current.getStore();
    crowd.add(socket);
    socket.pause();
    socket.setNoDelay(true);
    socket.setTimeout(0);
    socket.on('error', () => {});
    socket.on('close', () => {
      crowd.delete(socket);
      resolve(null);
    });
    socket.on('connect', () => resolve(socket));
  });
}

/** The first bytes that come, as text; empty if the connection ends instead. */
function firstBytes(socket) {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(''), PATIENCE_MS);
    const end = (text) => {
      clearTimeout(timer);
      socket.pause();
      socket.removeListener('data', said);
      resolve(text);
    };
    const said = (bytes) => end(bytes.toString('latin1'));
    socket.on('data', said);
    socket.once('close', () => end(''));
    socket.resume();
  });
}

/** A WebSocket that does not read on, or null. */
async function upgraded(target) {
  const socket = await connect();
  socket?.write(upgradeHead(target));
  const answer = socket ? await firstBytes(socket) : '';
  return answer.startsWith('HTTP/1.1 101') ? socket : null;
}

/** A connection with an Engine.IO session that polls: its target is a property; or null. */
async function session() {
  const socket = await connect();
  socket?.write(requestHead('GET', POLLING, 0));
  const answer = socket ? await firstBytes(socket) : '';
  const [, sid] = answer.match(/"sid":"([^"]+)"/) ?? [];
  if (!sid) return null;
  socket.target = `${POLLING}&sid=${sid}`;
  return socket;
}

function discard(socket) {
  socket?.on('data', () => {});
  socket?.resume();
  return socket;
}

async function saying(opened, ...pieces) {
  const socket = await opened;
  for (const piece of pieces) socket?.write(piece);
  return socket;
}

// --- Kinds --------------------------------------------------------------------------------------

const LETTERS = 'x'.repeat(65_536);
const NOISE = Buffer.alloc(65_536, 0xa5);
const PAGES = 'GET / HTTP/1.1\r\nHost: h\r\n\r\n'.repeat(60);
const PINGS = Buffer.concat(Array(300).fill(frame(PING, NOISE.subarray(0, 125))));
/** What is half of a message of `announce` bytes, as far as its sender cares. */
const half = (bytes, announce = 65_536) =>
  frame(BINARY_FRAME, NOISE.subarray(0, bytes), { announce });
const HALF_LARGE = half(40_000);
const HALF_PAGE = half(15_000);
const HALF_SMALL = half(200);
const ENDLESS = frame(TEXT, LETTERS.slice(0, 10_000), { fin: false });
const WHOLE_LARGE = frame(BINARY_FRAME, NOISE);
const UNSPEAKABLE = hex('82ff3fffffffffffffff');
const V2_HALF = Buffer.concat([V2_SIGNATURE, hex('21110fa0'), NOISE.subarray(0, 3_900)]);

/** An event with two binary arguments, and one of them. */
const PLACEHOLDERS = [0, 1].map((num) => ({ _placeholder: true, num }));
const EVENT = JSON.stringify(['chat message', LETTERS.slice(0, 5_000), ...PLACEHOLDERS]);
const HALF_EVENT = frame(TEXT, `452-${EVENT}`);
const HALF_ATTACHED = frame(BINARY_FRAME, NOISE.subarray(0, 30_000));

/** Each opens one connection, number `n` of its crowd, does its part and returns the socket. */
const KINDS = {
  // Heads.
  head: () => saying(connect(), `GET / HTTP/1.1\r\nHost: h\r\nX: ${LETTERS.slice(0, 15_000)}`),
  line: (n) => saying(connect(), `GET /${LETTERS.slice(0, n % 8_000)}`),
  proxy1: () => saying(connect(), 'PROXY TCP4 203.0.113.7 198.51.100.'),
  proxy2: () => saying(connect(), V2_HALF),
  // Bodies.
  body: () => saying(connect(), requestHead('POST', '/', 60_000), LETTERS.slice(0, 30_000)),
  async post() {
    const socket = await session();
    const head = socket && requestHead('POST', socket.target, 65_536);
    return saying(socket, head, LETTERS.slice(0, 40_000));
  },
  // Frames.
  large: () => saying(upgraded('/ws/parts'), HALF_LARGE),
  page: () => saying(upgraded('/ws/parts'), HALF_PAGE),
  small: () => saying(upgraded('/ws/parts'), HALF_SMALL),
  stub: () => saying(upgraded('/ws/parts'), HALF_LARGE.subarray(0, 3)),
  endless: () => saying(upgraded('/ws/parts'), ENDLESS),
  unspeakable: () => saying(upgraded('/ws/parts'), UNSPEAKABLE),
  /** A whole message of the largest size, in pieces that arrive while thousands of others do. */
  async pieces() {
    const socket = await upgraded('/ws/pieces');
    for (let at = 0; socket && at < WHOLE_LARGE.length; at += 8_200) {
      socket.write(WHOLE_LARGE.subarray(at, at + 8_200));
      await sleep(20);
    }
    return socket;
  },
  // Who asks and does not read.
  stall: () => upgraded('/ws/crowd'),
  pages: () => saying(connect(), PAGES),
  pings: () => saying(upgraded('/ws/parts'), PINGS),
  reader: async () => discard(await upgraded('/ws/crowd')),
  // Channels that nobody asked for.
  stranger: (n) => upgraded(`/ws/stranger-${from}-${n}`),
  /** A channel of its own, whose ring it writes full, reading its echo. */
  async ring(n) {
    const socket = discard(await upgraded(`/ws/ring-${from}-${n}`));
    for (let sent = 0; socket && sent < 1.25 * 2 ** 20; sent += WHOLE_LARGE.length) {
      socket.write(WHOLE_LARGE);
    }
    return socket;
  },
  // Socket.IO.
  async abandoned() {
    (await session())?.destroy();
    return null;
  },
  async poll() {
    const socket = await session();
    return saying(socket, socket && requestHead('GET', socket.target, 0));
  },
  engine: () =>
    saying(upgraded(ENGINE), frame(TEXT, '40'), frame(TEXT, '40/x')),
  attachment: () =>
    saying(upgraded(ENGINE), frame(TEXT, '40'), HALF_EVENT, HALF_ATTACHED),
};

// --- Orders -------------------------------------------------------------------------------------

/** Opens `count` connections of `kinds` in turn, and keeps them as the crowd `name`. */
async function open({ kinds, count }) {
  let next = 0;
  const work = Array.from({ length: WIDTH }, async () => {
    while (next < count) {
      const number = next;
      next += 1;
      await KINDS[kinds[number % kinds.length]](number);
    }
  });
  await Promise.all(work);
}

/** Ends a crowd with resets, which leave no ports behind. */
async function leave({ name }) {
  for (const socket of crowds.get(name)) socket.resetAndDestroy();
  crowds.delete(name);
}

/** Says `text` in `target` for `ms`, from `count` connections, as fast as they are read. */
async function flood({ target, bytes, count, ms }) {
  const message = frame(TEXT, LETTERS.slice(0, bytes));
  const messages = Buffer.concat(Array(Math.ceil(16_384 / bytes)).fill(message));
  const floods = Array.from({ length: count }, async () => {
    const socket = discard(await upgraded(target));
    const end = Date.now() + ms;
    while (socket && !socket.destroyed && Date.now() < end) {
      socket.write(messages);
      while (socket.writableNeedDrain && !socket.destroyed && Date.now() < end) await sleep(5);
      await sleep(0);
    }
    socket?.resetAndDestroy();
  });
  await Promise.all(floods);
}

const ORDERS = { open, leave, flood };

process.on('message', async ({ id, order, ...rest }) => {
  const { name = 'nobody' } = rest;
  if (!crowds.has(name)) crowds.set(name, new Set());
  await current.run(crowds.get(name), () => ORDERS[order](rest));
  process.send({ id });
});
process.on('disconnect', () => process.exit(0));
