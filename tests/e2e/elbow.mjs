// What every test here stands on: `test` and the server binary, which it starts, whose log it
// collects and which it ends by its pid.
//
// A test gets a context from `test(name, body)`. What it starts through that context ends with it,
// and when it fails the tail of each server's log is printed and the whole is kept in
// tests/output/e2e/.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import nodeTest from 'node:test';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { SOON_MS, eventually } from './wait.mjs';
import { Client, Tcp, upgradeHead } from './wire.mjs';

/** The repository. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const OUTPUT = path.join(ROOT, 'tests/output/e2e');
export const BINARY =
  process.env.ELBOW_BIN ??
  path.join(process.env.CARGO_TARGET_DIR ?? path.join(ROOT, 'target'), 'release/elbow');

/** Python, with the packages of requirements.txt. */
export const PYTHON =
  process.env.ELBOW_PYTHON ??
  path.join(process.env.CARGO_TARGET_DIR ?? path.join(ROOT, 'target'), 'python/bin/python');

if (!fs.existsSync(BINARY)) {
  console.error(`no server binary at ${BINARY}: run \`cargo build --release\` or set ELBOW_BIN`);
  process.exit(1);
}
fs.mkdirSync(OUTPUT, { recursive: true });

// --- Tests and processes ------------------------------------------------------------------------

/** Whatever still runs when this process ends, for whatever reason, is ended with it. */
const running = new Set();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
for (const name of ['SIGINT', 'SIGTERM']) process.on(name, () => process.exit(1));

/** Like node's `test`, with a context that cleans up and shows the servers' logs on failure. */
export function test(name, ...rest) {
  const body = rest.pop();
  const { timeout = 60_000, ...options } = rest.pop() ?? {};
  nodeTest(name, options, async (t) => {
    const context = new Context(name, t);
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`the test took over ${timeout} ms`)), timeout);
    });
    try {
      await Promise.race([body(context), late]);
    } catch (error) {
      context.showLogs();
      throw error;
    } finally {
      clearTimeout(timer);
      await context.cleanUp();
    }
  });
}

class Context {
  #cleanups = [];
  #servers = [];

  constructor(name, t) {
    this.name = name;
    this.t = t;
  }

  /** Runs `cleanup` when the test is over; the last one registered runs first. */
  defer(cleanup) {
    this.#cleanups.push(cleanup);
  }

  /** A part of this test with a name of its own, on the servers of this one. */
  async part(name, body) {
    await this.t.test(name, async () => {
      try {
        await body();
      } catch (error) {
        this.showLogs();
        throw error;
      }
    });
  }

  /** Starts elbow on a port of the system's choice and waits until it listens. */
  async elbow(args = [], options = {}) {
    // At this level nobody says which port it is.
    const isQuiet = args.includes('warn') && !options.listen;
    const listen = isQuiet ? `127.0.0.1:${await freePort()}` : options.listen;
    const server = new Server(args, { ...options, listen });
    this.#servers.push(server);
    this.defer(() => server.end());
    if (!options.unready) await (isQuiet ? server.answering() : server.listening());
    return server;
  }

  /** Starts another program, for as long as the test lasts. */
  program(command, args, options = {}) {
    const child = spawnTracked(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    this.defer(() => endProcess(child));
    return child;
  }

  /** A fresh folder, for as long as the test lasts. */
  folder() {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'elbow-e2e-'));
    this.defer(() => fs.rmSync(folder, { recursive: true, force: true }));
    return folder;
  }

  /** A raw TCP connection. */
  async tcp(port, options) {
    const tcp = await Tcp.connect(port, options);
    this.defer(() => tcp.socket.destroy());
    return tcp;
  }

  /** A raw TCP connection that has been upgraded to WebSocket. */
  async upgraded(port, { target = '/ws', header = '', fields = [], ...options } = {}) {
    const tcp = await this.tcp(port, options);
    tcp.send(Buffer.concat([Buffer.from(header), Buffer.from(upgradeHead(target, fields))]));
    const response = await tcp.response();
    assert.equal(response.status, 101, response.text);
    return tcp;
  }

  /** A client of the `ws` package, open. */
  async client(port, options) {
    const client = new Client(port, options);
    this.defer(() => client.socket.terminate());
    await client.opened;
    return client;
  }

  showLogs() {
    for (const [index, server] of this.#servers.entries()) {
      const tail = server.lines.slice(-30).join('\n');
      const errors = server.errors ? `\n--- its stderr:\n${server.errors}` : '';
      const ended = server.ended ? ` (ended: ${JSON.stringify(server.ended)})` : '';
      const command = `elbow ${server.args.join(' ')}${ended}`;
      console.error(`--- ${command}: the log's tail:\n${tail}${errors}\n---`);
      const name = `${path.basename(process.argv[1], '.test.mjs')} ${this.name}`;
      const file = `${name.replace(/[^A-Za-z0-9]+/g, '-').slice(0, 80)}-${index}.log`;
      const whole = `${command}\n${server.lines.join('\n')}${errors}\n`;
      fs.writeFileSync(path.join(OUTPUT, file), whole);
    }
  }

  async cleanUp() {
    for (const cleanup of this.#cleanups.reverse()) await cleanup();
  }
}

function spawnTracked(command, args, options) {
  const child = spawn(command, args, options);
  running.add(child);
  child.ended = new Promise((resolve) => {
    child.on('error', (error) => {
      running.delete(child);
      resolve({ error });
    });
    child.on('exit', (code, signal) => {
      running.delete(child);
      resolve({ code, signal });
    });
  });
  return child;
}

async function endProcess(child) {
  if (running.has(child)) child.kill('SIGKILL');
  await child.ended;
}

/** What every server is told: what AddressSanitizer needs, and whether sends are batched. */
const PASSED_ON = Object.fromEntries(
  ['ASAN_OPTIONS', 'ELBOW_IO_URING']
    .filter((name) => process.env[name])
    .map((name) => [name, process.env[name]]),
);

/** Runs a program to its end: `{ status, stdout, stderr }`. */
export async function run(command, args = [], { input, ms = 20_000, ...options } = {}) {
  const child = spawnTracked(command, args, { stdio: ['pipe', 'pipe', 'pipe'], ...options });
  const output = { stdout: [], stderr: [] };
  child.stdout.on('data', (bytes) => output.stdout.push(bytes));
  child.stderr.on('data', (bytes) => output.stderr.push(bytes));
  child.stdin.on('error', () => {}).end(input ?? '');
  const closed = new Promise((resolve) => {
    child.on('close', resolve);
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), ms);
  const { code, signal, error } = await child.ended;
  if (error) throw error;
  await closed;
  clearTimeout(timer);
  return {
    status: code,
    signal,
    stdout: Buffer.concat(output.stdout).toString(),
    stderr: Buffer.concat(output.stderr).toString(),
  };
}

/** Waits until `child` accepts connections; fails with what it says if it ends instead. */
export async function accepting(child, port) {
  let said = '';
  let ended = null;
  child.stderr.on('data', (bytes) => {
    said += bytes;
  });
  child.ended.then((how) => {
    ended = how;
  });
  await eventually('it accepts connections', async () => {
    if (ended) assert.fail(`it ended: ${ended.error ?? ''} ${said}`);
    const tcp = await Tcp.connect(port).catch(() => null);
    tcp?.socket.destroy();
    return tcp;
  });
}

/**
 * A port that nobody listens on, for programs that cannot choose one themselves. It is below those
 * that the system gives to whoever asks for any: one of these could be another test's a moment
 * later, and a test would talk to a stranger's server. Each process begins elsewhere.
 */
export async function freePort() {
  for (let tried = 0; tried < 10_000; tried += 1) {
    const port = 20_000 + ((process.pid * 131 + portsAskedFor) % 10_000);
    portsAskedFor += 1;
    if (await isFree(port)) return port;
  }
  return assert.fail('none of ten thousand ports is free');
}

let portsAskedFor = 0;

async function isFree(port) {
  const listener = net.createServer().listen(port, '127.0.0.1');
  const listens = await new Promise((resolve) => {
    listener.on('listening', () => resolve(true));
    listener.on('error', () => resolve(false));
  });
  if (listens) {
    await new Promise((resolve) => {
      listener.close(resolve);
    });
  }
  return listens;
}

// --- The server ---------------------------------------------------------------------------------

/** A running elbow, outside of a test too. */
export class Server {
  /** Every line of its log so far. */
  lines = [];
  /** Whatever it wrote to standard error. */
  errors = '';
  /** `{ code, signal }` once it has ended. */
  ended = null;

  /**
   * `listen`: an address other than the system's choice on loopback; `prefix`: a program that
   * execs the server, with its arguments; `binary`: another than that which everybody tests;
   * `stdout`: a descriptor in the place of our pipe;
   * `inherit`: listening descriptors to hand over instead of `--listen`.
   */
  constructor(args, options) {
    const {
      listen = '127.0.0.1:0',
      prefix = [],
      stdout = 'pipe',
      inherit = [],
      env = {},
      binary = BINARY,
    } = options;
    this.args = [...(inherit.length ? [] : ['--listen', listen]), ...args];
    const [command, ...commandArgs] = [...prefix, binary, ...this.args];
    this.host = listen.slice(0, listen.lastIndexOf(':'));
    this.port = Number(listen.slice(listen.lastIndexOf(':') + 1));
    this.child = spawnTracked(command, commandArgs, {
      stdio: ['ignore', stdout, 'pipe', ...inherit],
      env: { PATH: process.env.PATH, ...PASSED_ON, ...env },
    });
    this.child.ended.then((ended) => {
      this.ended = ended;
    });
    this.child.stderr.on('data', (bytes) => {
      this.errors += bytes;
    });
    let rest = '';
    this.child.stdout?.on('data', (bytes) => {
      const parts = (rest + bytes).split('\n');
      rest = parts.pop();
      this.lines.push(...parts);
    });
  }

  get pid() {
    return this.child.pid;
  }

  /** Waits for the first `listening on` line, and learns the port from it. */
  async listening() {
    const [, port] = await this.logged(/listening on \S*:(\d+)/);
    this.port = Number(port);
  }

  /** Waits until it takes a connection. */
  async answering() {
    await eventually('it takes a connection', async () => {
      assert.equal(this.ended, null, this.errors);
      const tcp = await Tcp.connect(this.port, { host: this.host }).catch(() => null);
      tcp?.socket.destroy();
      return tcp;
    });
  }

  /** Waits for a line of the log that matches, and returns the match. `from`: line to begin at. */
  async logged(pattern, { from = 0, ms = SOON_MS } = {}) {
    return eventually(
      `a log line like ${pattern}`,
      () => {
        for (const line of this.lines.slice(from)) {
          const match = line.match(pattern);
          if (match) return match;
        }
        if (this.ended) {
          assert.fail(
            `ended before it logged ${pattern}: ${JSON.stringify(this.ended)} ` +
              `${this.lines.join('\n')}${this.errors}`,
          );
        }
        return null;
      },
      ms,
    );
  }

  /**
   * Everything logged so far, from line `from` on, surely complete: a request of our own is logged
   * behind it, and left out.
   */
  async settled(from = 0) {
    const introduction = this.args.includes('required') ? 'PROXY UNKNOWN\r\n' : '';
    const mark = `/settled-${Math.random().toString(36).slice(2)}`;
    const tcp = await Tcp.connect(this.port, { host: this.host });
    tcp.send(`${introduction}GET ${mark} HTTP/1.0\r\n\r\n`);
    await this.logged(new RegExp(mark), { from });
    tcp.socket.destroy();
    return this.lines.slice(from).filter((line) => !line.includes('/settled-'));
  }

  /** The number of the line that will be logged next. */
  async nextLine() {
    await this.settled();
    return this.lines.length;
  }

  signal(name) {
    this.child.kill(name);
  }

  /** Waits for the end of the process: `{ code, signal }`. */
  async gone(ms = 20_000) {
    return eventually('the server has ended', () => this.ended, ms);
  }

  async end() {
    await endProcess(this.child);
  }

  url(target = '/') {
    return `http://${this.host}:${this.port}${target}`;
  }

  /** Processor time used so far, in seconds. */
  cpuSeconds() {
    const stat = fs.readFileSync(`/proc/${this.pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  /** The same to the nanosecond, and how often it has gone to sleep. */
  scheduling() {
    const read = (name) => fs.readFileSync(`/proc/${this.pid}/${name}`, 'utf8');
    const [, sleeps] = read('status').match(/\nvoluntary_ctxt_switches:\s+(\d+)/);
    return { cpuMs: Number(read('schedstat').split(' ')[0]) / 1e6, sleeps: Number(sleeps) };
  }

  /** Resident memory, in bytes; 0 under a sanitizer, to which most of it belongs. */
  residentBytes() {
    if (process.env.ASAN_OPTIONS) return 0;
    const [, kib] = fs.readFileSync(`/proc/${this.pid}/status`, 'utf8').match(/VmRSS:\s+(\d+)/);
    return Number(kib) * 1024;
  }

  /** How many descriptors it has open. */
  descriptors() {
    return fs.readdirSync(`/proc/${this.pid}/fd`).length;
  }
}
