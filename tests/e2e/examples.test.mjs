// examples/client.mjs with the real server: what it shows of what is said, and how it ends. The
// other example, embed.rs, has its test inside.

import assert from 'node:assert/strict';
import path from 'node:path';
import { describe } from 'node:test';
import { ROOT, test } from './elbow.mjs';
import { eventually } from './wait.mjs';

const CLIENT = path.join(ROOT, 'examples/client.mjs');

/** What Node needs to be told for a WebSocket of its own; `null` if it has none. */
function flags() {
  if (globalThis.WebSocket) return [];
  const flag = '--experimental-websocket';
  return process.allowedNodeEnvironmentFlags.has(flag) ? [flag] : null;
}

/** The example as a process: what it has shown, and a way to type. */
function typist(context, url) {
  const child = context.program(process.execPath, [...flags(), CLIENT, url], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const shown = [];
  let rest = '';
  child.stdout.on('data', (bytes) => {
    const lines = (rest + bytes).split('\n');
    rest = lines.pop();
    shown.push(...lines);
  });
  return { child, shown, type: (line) => child.stdin.write(`${line}\n`) };
}

describe('the client in ten lines', { skip: flags() ? false : 'no WebSocket in this Node' }, () => {
  test('shows what is said, its own words included, until the server leaves', async (context) => {
    const server = await context.elbow();
    const url = `ws://127.0.0.1:${server.port}/ws/news`;
    const [ann, bob] = [typist(context, url), typist(context, url)];
    const other = await context.client(server.port, { target: '/ws/news' });
    await eventually('all three are in', async () => {
      return (await server.settled()).filter((line) => / open /.test(line)).length === 3;
    });
    ann.type('grüße');
    assert.equal(await other.next(), 'grüße');
    other.say('hello');
    for (const { shown } of [ann, bob]) {
      await eventually('both are shown', () => shown.length === 2);
      assert.deepEqual(shown, ['grüße', 'hello']);
    }
    server.signal('SIGTERM');
    for (const { child, shown } of [ann, bob]) {
      assert.deepEqual(await child.ended, { code: 0, signal: null });
      await eventually('its end is shown', () => shown.length === 3);
      assert.equal(shown[2], 'closed: 1001 going away');
    }
  });

  test('ends with what is typed', async (context) => {
    const server = await context.elbow();
    const { child } = typist(context, `ws://127.0.0.1:${server.port}/ws`);
    await server.logged(/open .* channel default/);
    child.stdin.end();
    assert.deepEqual(await child.ended, { code: 0, signal: null });
    await server.logged(/channel default: closed by client/);
  });
});
