// The examples with the real server: what they show of what is said, how client.mjs ends, and that
// those named resume miss nothing when they are cut off, or say that they may have. The example
// embed.rs has its test inside.

import assert from 'node:assert/strict';
import http from 'node:http';
import path from 'node:path';
import { describe } from 'node:test';
import { Cable } from './cable.mjs';
import { PYTHON, ROOT, test } from './elbow.mjs';
import { eventually } from './wait.mjs';

const example = (name) => path.join(ROOT, 'examples', name);

/** What Node needs to be told for a WebSocket of its own; `null` if it has none. */
function flags() {
  if (globalThis.WebSocket) return [];
  const flag = '--experimental-websocket';
  return process.allowedNodeEnvironmentFlags.has(flag) ? [flag] : null;
}

/** An example as a process: what it has shown, and a way to type. */
function shower(context, command, args) {
  const child = context.program(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const shown = [];
  let rest = '';
  child.stdout.on('data', (bytes) => {
    const lines = (rest + bytes).split('\n');
    rest = lines.pop();
    shown.push(...lines);
  });
  return { child, shown, type: (line) => child.stdin.write(`${line}\n`) };
}

const skip = flags() ? false : 'no WebSocket in this Node';

const typist = (context, url) =>
  shower(context, process.execPath, [...flags(), example('client.mjs'), url]);

describe('the client in ten lines', { skip }, () => {
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

/** Who shows everything through a cable that is cut, whatever it is written in. */
async function missesNothing(context, start) {
  const args = ['--history', '100'];
  const first = await context.elbow(args);
  const cable = await Cable.to(context, first.port);
  const { shown } = start(`127.0.0.1:${cable.port}`);
  await first.logged(/open .*channel news/);
  let other = await context.client(first.port, { target: '/ws/news' });
  const expected = [];
  const say = (...texts) => {
    expected.push(...texts);
    for (const text of texts) other.say(text);
  };
  const shows = () =>
    eventually('everything is shown', () => shown.length >= expected.length).finally(() =>
      assert.deepEqual(shown, expected),
    );
  // Cut before the first message, and in the middle; nothing is shown twice.
  for (const [before, meanwhile] of [
    [[], ['nothing came before']],
    [['grüße', 'data: id: 7'], ['one', 'two', 'three']],
    [['four'], []],
  ]) {
    say(...before);
    await shows();
    cable.cut();
    say(...meanwhile);
    for (const text of [...before, ...meanwhile]) assert.equal(await other.next(), text);
    cable.mend();
    await shows();
  }
  say('five');
  await shows();

  // The next server knows nothing of what the first one kept.
  first.signal('SIGKILL');
  await first.gone();
  const listen = `127.0.0.1:${first.port}`;
  const second = await context.elbow(args, { listen });
  expected.push('(something may be missing here)');
  await shows();
  other = await context.client(second.port, { target: '/ws/news' });
  say('six');
  await shows();
}

describe('a reader that misses nothing', () => {
  test('resume.mjs', { skip }, (context) =>
    missesNothing(context, (place) =>
      shower(context, process.execPath, [
        ...flags(),
        example('resume.mjs'),
        `ws://${place}/ws/news`,
      ]),
    ),
  );

  test('resume.py', (context) =>
    missesNothing(context, (place) =>
      shower(context, PYTHON, [example('resume.py'), `ws://${place}/ws/news`]),
    ),
  );

  test('resume.sh', (context) =>
    missesNothing(context, (place) =>
      shower(context, 'sh', [example('resume.sh'), `http://${place}/sse/news`]),
    ),
  );

  test('resume.sh keeps its place when it is put off, and in the middle of an event', async (context) => {
    const answers = [
      'id: k.6\n\nid: k.7\ndata: seven\n\n',
      'retry: 100\n\n',
      'id: k.7\n\nid: k.8\ndata: eight',
      'id: k.7\n\nid: k.8\ndata: eight\ndata: and more\n\n',
    ];
    const asked = [];
    const server = http.createServer((request, response) => {
      asked.push(request.headers['last-event-id']);
      response.writeHead(200, { 'Content-Type': 'text/event-stream', Connection: 'close' });
      response.end(answers[asked.length - 1] ?? '');
    });
    await new Promise((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    context.defer(() => server.close());
    const url = `http://127.0.0.1:${server.address().port}/sse`;
    const { shown } = shower(context, 'sh', [example('resume.sh'), url]);
    // Between two requests are one to five seconds.
    await eventually('it has come five times', () => asked.length >= 5, 40_000);
    assert.deepEqual(asked.slice(0, 5), [undefined, 'k.7', 'k.7', 'k.7', 'k.8']);
    assert.deepEqual(shown, ['seven', 'eight', 'and more']);
  });
});
