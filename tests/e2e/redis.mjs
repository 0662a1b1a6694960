// A Redis of our own, and a way to it that can be bad: what tests of several instances stand on.

import assert from 'node:assert/strict';
import net from 'node:net';
import path from 'node:path';
import { accepting, freePort } from './elbow.mjs';
import { eventually, sleep } from './wait.mjs';

/** A redis-server on a port of its own, which can be stopped and started again with its data. */
export class Redis {
  static async start(context, { args = [], isKept = false, tls = null } = {}) {
    const redis = new Redis();
    const folder = context.folder();
    redis.context = context;
    redis.port = await freePort();
    redis.socket = path.join(folder, 'redis.sock');
    const kept = ['--appendonly', 'yes', '--appendfsync', 'always'];
    redis.args = [
      ...(tls ? ['--port', '0', '--tls-port', `${redis.port}`, ...tls] : ['--port', `${redis.port}`]),
      ...['--bind', '127.0.0.1', '--unixsocket', redis.socket, '--dir', folder, '--save', ''],
      ...(isKept ? kept : ['--appendonly', 'no']),
      ...args,
    ];
    await redis.again();
    return redis;
  }

  /** Starts it, after it was stopped. */
  async again() {
    this.child = this.context.program('redis-server', this.args);
    this.child.stdout.resume();
    await accepting(this.child, this.port);
    await eventually('it has read its data', async () => {
      const answer = await this.ask('PING').catch(() => '');
      return /^(\+PONG|-NOAUTH|-NOPERM)/.test(answer);
    });
  }

  async stop(signal = 'SIGKILL') {
    this.child.kill(signal);
    await this.child.ended;
  }

  signal(name) {
    this.child.kill(name);
  }

  get url() {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Asks one command, and returns the beginning of the answer as it comes. */
  async ask(...parts) {
    const socket = net.connect(this.socket);
    const request = parts.map((part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`).join('');
    socket.write(`*${parts.length}\r\n${request}`);
    try {
      return await new Promise((resolve, reject) => {
        socket.once('data', (bytes) => resolve(bytes.toString()));
        socket.once('error', reject);
        socket.once('close', () => reject(new Error('it has closed')));
      });
    } finally {
      socket.destroy();
    }
  }

  /** Asks one command, whose answer must be no error. */
  async tell(...parts) {
    const answer = await this.ask(...parts);
    assert.doesNotMatch(answer, /^-/, parts.join(' '));
    return answer;
  }
}

/**
 * The way from elbow to a Redis. It can stall, be cut so that what was said on it still arrives
 * later, or let nothing back.
 */
export class BadWay {
  #pairs = new Set();
  #isStalled = false;
  #held = [];
  /** How many milliseconds the way takes in each direction. */
  delayMs = 0;

  static async to(context, port) {
    const way = new BadWay();
    const listener = net.createServer((near) => way.#join(near, port));
    await new Promise((resolve) => {
      listener.listen(0, '127.0.0.1', resolve);
    });
    context.defer(() => {
      listener.close();
      for (const { near, far } of way.#pairs) [near, far].forEach((socket) => socket.destroy());
    });
    way.url = `redis://127.0.0.1:${listener.address().port}`;
    return way;
  }

  #join(near, port) {
    const pair = { near, far: net.connect(port, '127.0.0.1') };
    this.#pairs.add(pair);
    for (const [from, to] of [
      [pair.near, pair.far],
      [pair.far, pair.near],
    ]) {
      from.on('error', () => {});
      from.on('data', (bytes) => this.#carry(() => !to.destroyed && to.write(bytes)));
      from.on('close', () => {
        if (pair.isCut) return;
        this.#pairs.delete(pair);
        to.destroy();
      });
    }
  }

  #carry(deliver) {
    if (this.#isStalled) this.#held.push(deliver);
    else if (this.delayMs > 0) setTimeout(() => this.#carryNow(deliver), this.delayMs);
    else deliver();
  }

  #carryNow(deliver) {
    if (this.#isStalled) this.#held.push(deliver);
    else deliver();
  }

  /** From now on nothing arrives, in either direction, until `resume`. */
  stall() {
    this.#isStalled = true;
  }

  /** What was held up arrives. */
  resume() {
    this.#isStalled = false;
    for (const deliver of this.#held.splice(0)) deliver();
  }

  /** Ends the connections on elbow's side. What it had said arrives `ms` later, and then the end. */
  async cutLate(ms) {
    const pairs = [...this.#pairs];
    for (const pair of pairs) {
      pair.isCut = true;
      pair.near.destroy();
    }
    this.#pairs.clear();
    await sleep(ms);
    this.resume();
    await sleep(20);
    for (const { far } of pairs) far.end();
  }

  /** Ends the connections on both sides. */
  cut() {
    for (const { near, far } of this.#pairs) [near, far].forEach((socket) => socket.destroy());
    this.#pairs.clear();
  }
}
