// A process that watches the server of attack.mjs from outside while it is attacked: resident
// memory and the kernel's socket buffers in short intervals, and `/healthz` by a new connection
// each time. It is one of its own so that nothing that the test does puts off a sample.
//
// It is forked with the server's process id and port, and answers a message with what it has seen.

import { execFile } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';

const SAMPLE_MS = 40;
const PROBE_MS = 25;
const PROBE_PATIENCE_MS = 10_000;
/** Asking about ten thousand sockets takes the kernel a while. */
const SOCKETS_MS = 250;
const FROM = '127.0.0.9';

const [pid, port] = process.argv.slice(2).map(Number);
const PAGE_BYTES = 4096;

const seen = {
  residentBytes: 0,
  samples: 0,
  /** The longest time between two samples. */
  gapMs: 0,
  /** Socket buffers of the whole machine, both ends of each connection, less those at the start. */
  buffersBytes: 0,
  /** How often `ss` was asked for the server's ends; what they held, and the most of one of them. */
  socketSamples: 0,
  serverBytes: 0,
  connectionBytes: 0,
  /** What those bytes were: `received`, `ready` (set aside by the kernel), `queued`, `backlog`. */
  connection: null,
  /** The most that one of them held in two samples in a row. */
  lastingBytes: 0,
  probes: [],
  failed: [],
};

const field = (name) => {
  const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(status.match(new RegExp(`${name}:\\s+(\\d+)`))?.[1] ?? 0) * 1024;
};
const buffersBytes = () => {
  const [, pages] = fs.readFileSync('/proc/net/sockstat', 'utf8').match(/TCP:.* mem (\d+)/);
  return Number(pages) * PAGE_BYTES;
};

const buffersBefore = buffersBytes();
let sampledAt = performance.now();

function sample() {
  const now = performance.now();
  seen.gapMs = Math.max(seen.gapMs, now - sampledAt);
  sampledAt = now;
  seen.samples += 1;
  seen.residentBytes = Math.max(seen.residentBytes, field('VmRSS'));
  seen.buffersBytes = Math.max(seen.buffersBytes, buffersBytes() - buffersBefore);
}

/** What each of the server's ends held in the sample before, by the other end's address. */
let heldBefore = new Map();

/** What the kernel has charged to the server's ends: both queues, and what it holds ready. */
function askSockets() {
  const args = ['-tmnHO', 'state', 'connected', `sport = :${port}`];
  execFile('ss', args, { maxBuffer: 2 ** 26 }, (error, stdout) => {
    setTimeout(askSockets, SOCKETS_MS);
    if (error) return;
    seen.socketSamples += 1;
    let sum = 0;
    const held = new Map();
    for (const [, peer, r, f, w, backlog] of stdout.matchAll(
      /(\S+)\s+skmem:\(r(\d+),rb\d+,t\d+,tb\d+,f(\d+),w(\d+),o\d+,bl(\d+)/g,
    )) {
      const bytes = Number(r) + Number(f) + Number(w) + Number(backlog);
      sum += bytes;
      held.set(peer, bytes);
      const lasting = Math.min(bytes, heldBefore.get(peer) ?? 0);
      seen.lastingBytes = Math.max(seen.lastingBytes, lasting);
      if (bytes > seen.connectionBytes) {
        seen.connectionBytes = bytes;
        seen.connection = { received: +r, ready: +f, queued: +w, backlog: +backlog };
      }
    }
    heldBefore = held;
    seen.serverBytes = Math.max(seen.serverBytes, sum);
  });
}

function probe() {
  const began = performance.now();
  const socket = net.connect({ port, host: '127.0.0.1', localAddress: FROM });
  let answer = '';
  let failure = null;
  socket.setTimeout(PROBE_PATIENCE_MS, () => {
    failure = `no answer in ${PROBE_PATIENCE_MS} ms`;
    socket.destroy();
  });
  socket.on('connect', () =>
    socket.write('GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n'),
  );
  socket.on('data', (bytes) => {
    answer += bytes.toString('latin1');
  });
  socket.on('error', (error) => {
    failure = error.message;
  });
  socket.on('close', () => {
    if (/^HTTP\/1\.1 200 [^]*\r\n\r\nok$/.test(answer)) seen.probes.push(performance.now() - began);
    else seen.failed.push(failure ?? `answer: ${JSON.stringify(answer.slice(0, 200))}`);
    setTimeout(probe, PROBE_MS);
  });
}

setInterval(sample, SAMPLE_MS);
probe();
askSockets();
process.on('message', ({ id }) => {
  sample();
  process.send({ id, ...seen, highWaterBytes: field('VmHWM') });
});
process.on('disconnect', () => process.exit(0));
