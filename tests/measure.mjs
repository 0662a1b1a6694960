// Figures of the release binary that no test asserts, since a machine that is busy with something
// else would fail it: how fast it starts, what it does while nothing happens, and what ten thousand
// idle WebSockets cost, and what Socket.IO costs on top. They are compared with the budgets of the
// design by whoever reads them.
//
//   cargo build --release
//   node tests/measure.mjs              everything: about three minutes
//   node tests/measure.mjs start idle crowd socketio     or some of it
//
// - start: from `exec` to the log line `listening on`, as it arrives here. Median of 21; ≤ 10 ms.
// - idle:  wake-ups and processor time in 20 s without connections. 0 wake-ups.
// - crowd: 10,000 WebSockets that say nothing and answer pings, held by another process:
//   memory of the server per connection (≤ 256 bytes), how their first pings are spread (they came
//   at once, and are due in the second half of the interval), and processor time in a minute.
// - socketio: memory per idle Socket.IO session, 2,000 on WebSockets and 2,000 that hold a poll; and
//   processor time per delivery to WebSockets, Socket.IO's dialect against the plain one.
//
// Needs 10,100 descriptors per process (`ulimit -n`), bash, and the npm packages (tests/run install).

import { fork } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import { fileURLToPath } from 'node:url';
import { Server } from './e2e/elbow.mjs';
import { requestHead } from './e2e/socketio.mjs';
import { sleep } from './e2e/wait.mjs';
import { frame, PONG, Tcp, TEXT, upgradeHead } from './e2e/wire.mjs';

const CONNECTIONS = 10_000;
const IDLE_MS = 20_000;
const WATCHED_MS = 60_000;
/** The default of --ping-interval. */
const INTERVAL_MS = 25_000;
const ENGINE_SESSIONS = 2_000;
const READERS = 300;
const MESSAGES = 2_000;
/** What is said, in either dialect. */
const MESSAGE = 'm'.repeat(64);
/** Pairs of runs, one of each dialect. */
const ROUNDS = 3;

const line = (what, figure) => console.log(`${`${what} `.padEnd(58, '.')} ${figure}`);

/** The value below which `share` of the sorted values lie. */
const quantile = (sorted, share) => sorted[Math.floor((sorted.length - 1) * share)];

/** What /proc says about memory, in bytes. `anonymous`: without the program's own file. */
function memory(server) {
  const status = fs.readFileSync(`/proc/${server.pid}/status`, 'utf8');
  const bytes = (name) => Number(status.match(new RegExp(`${name}:\\s+(\\d+)`))[1]) * 1024;
  return { resident: bytes('VmRSS'), anonymous: bytes('RssAnon') };
}

async function start() {
  const took = [];
  for (let count = 0; count < 21; count += 1) {
    const prefix = ['bash', '-c', 'echo "at $EPOCHREALTIME"; exec "$@"', 'bash'];
    const server = new Server([], { prefix });
    const arrived = new Promise((resolve) => {
      server.child.stdout.on('data', (bytes) => {
        if (bytes.includes('listening on')) resolve(performance.timeOrigin + performance.now());
      });
    });
    const at = await arrived;
    const [, begun] = server.lines.find((text) => text.startsWith('at ')).match(/([\d.]+)/);
    took.push(at - Number(begun) * 1000);
    await server.end();
  }
  took.sort((a, b) => a - b);
  line('start to listening', `${quantile(took, 0.5).toFixed(1)} ms (worst ${took.at(-1).toFixed(1)})`);
}

async function idle() {
  const server = new Server([], {});
  await server.listening();
  await sleep(500);
  const before = server.scheduling();
  await sleep(IDLE_MS);
  const after = server.scheduling();
  line(`wake-ups in ${IDLE_MS / 1000} s without connections`, after.sleeps - before.sleeps);
  line('  processor time', `${(after.cpuMs - before.cpuMs).toFixed(2)} ms`);
  await server.end();
}

async function crowd() {
  const server = new Server(['--log-level', 'info'], {});
  await server.listening();
  // What everybody shares (the ring's first pages, the log) is not any connection's.
  const warm = await hold(server.port, 50);
  await warm.end();
  await sleep(500);
  const empty = { ...memory(server), ...server.scheduling() };
  const began = Date.now();
  const holder = await hold(server.port, CONNECTIONS);
  const connected = { ...memory(server), ...server.scheduling() };
  const seconds = (Date.now() - began) / 1000;
  line(`${CONNECTIONS} connections, opened in`, `${seconds.toFixed(1)} s`);
  const each = ((connected.cpuMs - empty.cpuMs) / CONNECTIONS) * 1000;
  line('  processor time per connect and upgrade', `${each.toFixed(1)} µs`);
  for (const kind of ['anonymous', 'resident']) {
    const bytes = (connected[kind] - empty[kind]) / CONNECTIONS;
    line(`  ${kind} memory per connection`, `${bytes.toFixed(0)} bytes`);
  }
  await sleep(WATCHED_MS);
  const after = { ...memory(server), ...server.scheduling() };
  const pings = await holder.end();
  line(`  processor time in ${WATCHED_MS / 1000} s of idling`, share(connected, after));
  const perPing = ((after.cpuMs - connected.cpuMs) / pings.count) * 1000;
  line('  … which is, per ping and its pong', `${perPing.toFixed(1)} µs (${pings.count} pings)`);
  line('  wake-ups in that time', after.sleeps - connected.sleeps);
  const grown = (after.anonymous - connected.anonymous) / CONNECTIONS;
  line('  anonymous memory per connection, added by that', `${grown.toFixed(0)} bytes`);
  spread(pings.first);
  await server.end();
}

async function socketio() {
  await idleSessions('on a WebSocket', openEngineSocket, () => {});
  await idleSessions('with a held poll', openPoller, holdPoll);
  const costs = { plain: [], 'Socket.IO': [] };
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [dialect, cost] of Object.entries(costs)) cost.push(await broadcast(dialect));
  }
  const medians = Object.entries(costs).map(([dialect, cost]) => {
    cost.sort((a, b) => a - b);
    const range = `(${cost[0].toFixed(2)} to ${cost.at(-1).toFixed(2)})`;
    const median = quantile(cost, 0.5);
    line(`processor time per delivery, ${dialect}`, `${median.toFixed(2)} µs ${range}`);
    return median;
  });
  line('  Socket.IO in comparison', `${((medians[1] / medians[0] - 1) * 100).toFixed(1)} % more`);
}

/**
 * What a session takes that is in the default channel and says nothing: everything that grew, so
 * also, in the ring, the ten bytes that greeted it. What the pool keeps warm grows as well, by a
 * sixteenth of --memory at most, which is therefore small.
 */
async function idleSessions(way, open, settle) {
  // Nobody is pinged meanwhile.
  const args = ['--ping-interval', '10m', '--feed', '256KiB', '--memory', '4MiB'];
  const server = new Server(args, {});
  await server.listening();
  const held = [];
  const add = async (count) => {
    const added = await inParallel(count, 50, () => open(server.port));
    held.push(...added);
  };
  await add(50);
  await inParallel(held.length, 4, (number) => settle(held[number]));
  await sleep(500);
  const before = memory(server);
  await add(ENGINE_SESSIONS);
  // Whoever polls has been told of the others and asks again: that poll stays.
  await inParallel(held.length, 4, (number) => settle(held[number]));
  await sleep(500);
  const after = memory(server);
  for (const kind of ['anonymous', 'resident']) {
    const bytes = (after[kind] - before[kind]) / ENGINE_SESSIONS;
    line(`${kind} memory per idle session ${way}`, `${bytes.toFixed(0)} bytes`);
  }
  await server.end();
  for (const { socket } of held) socket.destroy();
}

/** Calls `make` `count` times, `width` at a time. */
async function inParallel(count, width, make) {
  const made = [];
  while (made.length < count) {
    const first = made.length;
    const batch = Array.from({ length: Math.min(width, count - first) }, (_, n) => make(first + n));
    made.push(...(await Promise.all(batch)));
  }
  return made;
}

async function openPlain(port) {
  const tcp = await Tcp.connect(port);
  tcp.send(upgradeHead('/ws'));
  await tcp.response();
  return tcp;
}

/** A Socket.IO session of protocol 4 on a WebSocket, in the default channel. */
async function openEngineSocket(port) {
  const tcp = await Tcp.connect(port);
  tcp.send(upgradeHead('/socket.io/?EIO=4&transport=websocket'));
  await tcp.response();
  await tcp.frame();
  tcp.send(frame(TEXT, '40'));
  await tcp.frame();
  return tcp;
}

/** One that polls, on one connection; at the moment without a request. */
async function openPoller(port) {
  const tcp = await Tcp.connect(port);
  tcp.target = '/socket.io/?EIO=4&transport=polling';
  tcp.send(requestHead('GET', tcp.target, 0));
  const { body } = await tcp.response();
  tcp.target += `&sid=${JSON.parse(body.subarray(1)).sid}`;
  tcp.send(`${requestHead('POST', tcp.target, 2)}40`);
  await tcp.response();
  return tcp;
}

/** Polls for what there is, and once more. */
async function holdPoll(tcp) {
  if (!tcp.polls) {
    tcp.send(requestHead('GET', tcp.target, 0));
    tcp.polls = true;
  }
  await tcp.response();
  tcp.send(requestHead('GET', tcp.target, 0));
}

/**
 * Microseconds of the server per message and reader. Each message is a send per reader: the next
 * is said when the speaker, who joined first and is served last, has heard the one before.
 */
async function broadcast(dialect) {
  // Nobody is pinged meanwhile.
  const server = new Server(['--ping-interval', '10m'], {});
  await server.listening();
  const open = dialect === 'plain' ? openPlain : openEngineSocket;
  const text = dialect === 'plain' ? MESSAGE : `42["chat message","${MESSAGE}"]`;
  const readers = [await open(server.port)];
  readers.push(...(await inParallel(READERS - 1, 50, () => open(server.port))));
  await sleep(500);
  const [speaker] = readers;
  const said = frame(TEXT, text);
  const heardBytes = 2 + text.length;
  const before = server.scheduling();
  await new Promise((resolve) => {
    let waiting = readers.length;
    for (const { socket } of readers) {
      let bytes = 0;
      socket.removeAllListeners('data');
      socket.on('data', (data) => {
        bytes += data.length;
        const whole = bytes % heardBytes === 0;
        if (whole && bytes === MESSAGES * heardBytes) {
          waiting -= 1;
          if (waiting === 0) resolve();
        } else if (whole && socket === speaker.socket) {
          socket.write(said);
        }
      });
    }
    speaker.send(said);
  });
  const after = server.scheduling();
  await server.end();
  for (const { socket } of readers) socket.destroy();
  return ((after.cpuMs - before.cpuMs) * 1000) / (READERS * MESSAGES);
}

const share = (before, after) => {
  const ms = after.cpuMs - before.cpuMs;
  return `${ms.toFixed(0)} ms (${((ms / WATCHED_MS) * 100).toFixed(2)} % of a core)`;
};

/** `first`: milliseconds from a connection's own upgrade to its first ping. */
function spread(first) {
  const after = first.map(({ wait }) => wait).sort((a, b) => a - b);
  const s = (ms) => `${(ms / 1000).toFixed(1)} s`;
  const range = [after[0], quantile(after, 0.5), after.at(-1)].map(s).join(', ');
  line('  first ping after the upgrade (min, median, max)', range);
  const even = first.length / (INTERVAL_MS / 2);
  for (const width of [1_000, 100]) {
    const counts = new Map();
    for (const { at } of first) {
      const place = Math.floor(at / width);
      counts.set(place, (counts.get(place) ?? 0) + 1);
    }
    const most = `${Math.max(...counts.values())} (evenly: ${even * width})`;
    line(`  first pings in the fullest ${width} ms`, most);
  }
  line('  connections that were pinged at all', first.length);
}

/** Holds `count` connections in another process; `end` tells of their pings. */
async function hold(port, count) {
  const child = fork(fileURLToPath(import.meta.url), ['--hold', String(port), String(count)]);
  const said = () =>
    new Promise((resolve, reject) => {
      child.once('message', resolve);
      child.once('exit', (code) => reject(new Error(`the holder ended: ${code}`)));
    });
  await said();
  return {
    async end() {
      const answer = said();
      child.send('end');
      const pings = await answer;
      child.kill();
      return pings;
    },
  };
}

/** That process: opens connections, a hundred at a time, and answers pings. */
async function holdHere(port, count) {
  const pong = frame(PONG);
  const pings = { count: 0, first: [] };
  const open = () =>
    new Promise((resolve, reject) => {
      let upgraded = 0;
      let pinged = false;
      const socket = net.connect(port, '127.0.0.1');
      socket.on('error', reject);
      socket.on('connect', () => socket.write(upgradeHead('/ws')));
      socket.on('data', (bytes) => {
        const now = performance.now();
        if (!upgraded) {
          if (!bytes.includes('101 Switching') || !bytes.includes('\r\n\r\n')) {
            reject(new Error(`no upgrade: ${bytes}`));
          }
          upgraded = now;
          resolve();
          return;
        }
        // Nobody says anything in this room: it can only be a ping without payload.
        if (bytes[0] !== 0x89 || bytes.length !== 2) throw new Error(`not a ping: ${bytes}`);
        pings.count += 1;
        if (!pinged) pings.first.push({ at: now, wait: now - upgraded });
        pinged = true;
        socket.write(pong);
      });
    });
  for (let done = 0; done < count; done += 100) {
    await Promise.all(Array.from({ length: Math.min(100, count - done) }, open));
  }
  process.send('open');
  process.on('message', () => process.send(pings));
}

const [first, ...rest] = process.argv.slice(2);
if (first === '--hold') {
  await holdHere(...rest.map(Number));
} else {
  const parts = { start, idle, crowd, socketio };
  const asked = first ? [first, ...rest] : Object.keys(parts);
  for (const name of asked) {
    if (!parts[name]) {
      console.error(`no figure called ${name}: ${Object.keys(parts).join(', ')}`);
      process.exit(2);
    }
    await parts[name]();
  }
}
