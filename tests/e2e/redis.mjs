// A Redis of our own, and a way to it that can be bad: what tests of several instances stand on.

import assert from 'node:assert/strict';
import net from 'node:net';
import path from 'node:path';
import { accepting, freePort } from './elbow.mjs';
import { eventually, sleep } from './wait.mjs';

/** What serves: Redis, or what takes its place. */
export const SERVER = process.env.ELBOW_REDIS ?? 'redis-server';

/** A server on a port of its own, which can be stopped and started again with its data. */
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
    this.child = this.context.program(SERVER, this.args);
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

/** Servers of one cluster, each with an id and its own share of the slots. */
export class Cluster {
  /** Masters that have all slots among them, and agree about that. */
  static async start(context, count) {
    const cluster = new Cluster();
    cluster.context = context;
    cluster.nodes = [];
    for (let number = 0; number < count; number += 1) await cluster.#add();
    cluster.share = Math.ceil(16_384 / count);
    for (const [index, node] of cluster.nodes.entries()) {
      const first = index * cluster.share;
      const last = Math.min(16_384, first + cluster.share) - 1;
      await node.tell('CLUSTER', 'ADDSLOTSRANGE', `${first}`, `${last}`);
    }
    await cluster.#agreed();
    return cluster;
  }

  async #add() {
    const bus = await freePort();
    const args = ['--cluster-enabled', 'yes', '--cluster-port', `${bus}`];
    const node = await Redis.start(this.context, { args: [...args, '--cluster-node-timeout', '15000'] });
    node.bus = bus;
    [, node.id] = (await node.tell('CLUSTER', 'MYID')).split('\r\n');
    for (const other of this.nodes) {
      await node.tell('CLUSTER', 'MEET', '127.0.0.1', `${other.port}`, `${other.bus}`);
    }
    this.nodes.push(node);
    return node;
  }

  async #agreed() {
    for (const node of this.nodes) {
      await eventually('the cluster is whole', async () => {
        const info = await node.ask('CLUSTER', 'INFO');
        return (
          info.includes('cluster_state:ok') &&
          info.includes(`cluster_known_nodes:${this.nodes.length}\r\n`)
        );
      });
    }
  }

  /** A new server that has all that `master` has. */
  async replica(master) {
    const node = await this.#add();
    await this.#agreed();
    await node.tell('CLUSTER', 'REPLICATE', master.id);
    await eventually('it has everything', async () => {
      return (await node.ask('INFO', 'replication')).includes('master_link_status:up');
    });
    return node;
  }

  /** The slot of a room's keys. */
  async slot(prefix) {
    return Number((await this.nodes[0].tell('CLUSTER', 'KEYSLOT', prefix)).slice(1));
  }

  /** The one that was given a slot at the start. */
  owner(slot) {
    return this.nodes[Math.floor(slot / this.share)];
  }

  /** Moves a slot with its keys while it is in use, step by step as `redis-cli --cluster reshard`. */
  async move(slot, from, to) {
    await to.tell('CLUSTER', 'SETSLOT', `${slot}`, 'IMPORTING', from.id);
    await from.tell('CLUSTER', 'SETSLOT', `${slot}`, 'MIGRATING', to.id);
    await sleep(100);
    for (;;) {
      const listed = await from.tell('CLUSTER', 'GETKEYSINSLOT', `${slot}`, '100');
      const keys = listed.split('\r\n').filter((line) => line.startsWith('{'));
      if (!keys.length) break;
      for (const key of keys) await from.tell('MIGRATE', '127.0.0.1', `${to.port}`, key, '0', '5000');
    }
    await sleep(100);
    await to.tell('CLUSTER', 'SETSLOT', `${slot}`, 'NODE', to.id);
    await from.tell('CLUSTER', 'SETSLOT', `${slot}`, 'NODE', to.id);
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

  /** A way to a port, from an address that is free unless it is named. */
  static async to(context, port, from = { host: '127.0.0.1', port: 0 }) {
    const way = new BadWay();
    way.listener = net.createServer((near) => way.#join(near, port));
    await new Promise((resolve, reject) => {
      way.listener.once('error', reject);
      way.listener.listen(from, resolve);
    });
    context.defer(() => way.close());
    way.url = `redis://${from.host}:${way.listener.address().port}`;
    return way;
  }

  /** Ends everything, for good. */
  close() {
    this.listener.close();
    this.cut();
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
