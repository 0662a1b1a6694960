// The smallest instance: what a t4g.nano has free, 416 MiB, and limits that --fit derives from it.
// Goal: the attack on the memory ceiling (attack.mjs) ends neither the server nor anybody who keeps
// the rules, and the kernel's killer has nothing to do; and it is known how many connections such a
// machine holds.
//
// Method. The server runs in a control group of its own with that much memory, of version 2 or 1,
// and finds the limit by itself. Where no group can be made it runs with the limits that
// docs/OPERATIONS.md tells for that size, and as much address space. Figures are printed.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { mib, withstand } from './attack.mjs';
import { ROOT, test } from './elbow.mjs';
import { WebSocket } from 'ws';

const BYTES = 416 * 2 ** 20;
const IDLE = 10_000;

const read = (file) => fs.readFileSync(file, 'utf8');
const number = (file) => Number(read(file));

/** A control group with a limit on memory, or null. */
function group(context) {
  for (const make of [secondGroup, firstGroup]) {
    try {
      return make(context);
    } catch {
      // It is not mounted, or nobody may make one here.
    }
  }
  return null;
}

/** The path of the group that this process is in, as its line in /proc says. */
function ownPath(pattern) {
  const [, own] = read('/proc/self/cgroup').match(pattern);
  return own === '/' ? '' : own;
}

function folder(context, root) {
  const made = path.join(root, `elbow-tiny-${process.pid}`);
  fs.mkdirSync(made);
  // Registered before whatever runs in it, so that it is empty when it goes.
  context.defer(() => fs.rmdirSync(made));
  return made;
}

function secondGroup(context) {
  const root = `/sys/fs/cgroup${ownPath(/^0::(.*)$/m)}`;
  assert.match(read(`${root}/cgroup.controllers`), /memory/);
  if (!read(`${root}/cgroup.subtree_control`).includes('memory')) {
    fs.writeFileSync(`${root}/cgroup.subtree_control`, '+memory');
  }
  const made = folder(context, root);
  fs.writeFileSync(`${made}/memory.max`, String(BYTES));
  return {
    folder: made,
    mostBytes: () => number(`${made}/memory.peak`),
    bytes: () => number(`${made}/memory.current`),
    kills: () => Number(read(`${made}/memory.events`).match(/oom_kill (\d+)/)[1]),
  };
}

function firstGroup(context) {
  const own = ownPath(/^\d+:(?:.*,)?memory(?:,.*)?:(.*)$/m);
  const made = folder(context, `/sys/fs/cgroup/memory${own}`);
  fs.writeFileSync(`${made}/memory.limit_in_bytes`, String(BYTES));
  // Socket buffers are counted by themselves, and only where they have a limit.
  fs.writeFileSync(`${made}/memory.kmem.tcp.limit_in_bytes`, String(BYTES));
  const sum = (what) =>
    number(`${made}/memory.${what}_in_bytes`) + number(`${made}/memory.kmem.tcp.${what}_in_bytes`);
  return {
    folder: made,
    mostBytes: () => sum('max_usage'),
    bytes: () => sum('usage'),
    kills: () => Number(read(`${made}/memory.oom_control`).match(/oom_kill (\d+)/)?.[1] ?? 0),
  };
}

/** The flags that docs/OPERATIONS.md tells for a control group of this size. */
function documented() {
  const table = read(path.join(ROOT, 'docs/OPERATIONS.md'));
  const [, connections, memory, send, receive] = table.match(
    /^\| 416 MiB \| a control group \| (\S+) \| (\S+) \| (\S+) \| (\S+) \|/m,
  );
  return [
    ...['--max-connections', connections, '--memory', memory],
    ...['--send-buffer', send, '--receive-buffer', receive],
  ];
}

/** Starts a server in the box: the group, or else its address space. */
async function boxed(context, made, args) {
  const enter = made ? `echo $$ >${made.folder}/cgroup.procs` : `ulimit -v ${BYTES / 1024}`;
  const prefix = ['sh', '-c', `${enter} && exec "$@"`, 'sh'];
  return context.elbow(args, { prefix });
}

test('an instance of 416 MiB withstands the attack', { timeout: 240_000 }, async (context) => {
  const made = group(context);
  if (!made) console.error('NOT TESTED here: no control group can be made; ulimit -v instead');
  const limits = made ? ['--fit'] : documented();
  const args = ['--proxy-protocol', 'optional', ...limits];
  const server = await boxed(context, made, args);
  const [, total] = await server.logged(/memory ceiling, total: .*\((\d+) bytes\)/);
  assert.ok(Number(total) <= BYTES, total);
  await withstand(context, server, 1_600);
  assert.equal(server.ended, null);
  if (made) {
    console.log(`the whole group, highest: ${mib(made.mostBytes())} of ${mib(BYTES)}`);
    assert.equal(made.kills(), 0, 'the kernel had nobody to kill');
  }
});

test('ten thousand idle WebSockets fit into it', { timeout: 120_000 }, async (context) => {
  const made = group(context);
  if (!made) {
    context.t.skip('no control group can be made here');
    return;
  }
  const server = await boxed(context, made, ['--max-connections', String(IDLE + 100)]);
  const before = made.bytes();
  const open = async (number) => {
    const options = { localAddress: `127.0.2.${1 + (number % 4)}` };
    const socket = new WebSocket(`ws://127.0.0.1:${server.port}/ws`, options);
    context.defer(() => socket.terminate());
    await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject));
  };
  for (let begun = 0; begun < IDLE; begun += 100) {
    await Promise.all(Array.from({ length: 100 }, (_, number) => open(begun + number)));
  }
  const each = (made.bytes() - before) / IDLE;
  const room = Math.floor((BYTES - before) / each);
  console.log(`an idle WebSocket: ${each.toFixed(0)} bytes of the group; ${room} would fit`);
  assert.equal(made.kills(), 0);
});
