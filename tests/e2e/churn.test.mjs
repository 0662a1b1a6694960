// Churn: 2,000 clients come and go, many dying in the middle of a frame, while twenty steady ones
// check that each of them hears every message exactly once, and all in one order.

import assert from 'node:assert/strict';
import { test } from './elbow.mjs';
import { eventually, sleep } from './wait.mjs';
import { frame, Tcp, TEXT, upgradeHead } from './wire.mjs';

const STEADY = 20;
const CHURNING = 2_000;
const AT_ONCE = 100;
const STEADY_MESSAGES = 100;

/** A short life: it joins, says something, hears its own echo perhaps, and dies in its own way. */
async function life(port, number, witnessed) {
  const tcp = await Tcp.connect(port);
  tcp.send(upgradeHead('/ws'));
  assert.equal((await tcp.response()).status, 101);
  const message = `churn ${number}`;
  const unfinished = frame(TEXT, `NEVER ${number} ${'x'.repeat(300)}`);
  const cut = 1 + (number % (unfinished.length - 1));
  tcp.send(frame(TEXT, message));
  if (number % 4 !== 0) {
    // It lives until it has heard itself: then everybody must.
    for (;;) {
      const { payload } = await tcp.frame(30_000);
      if (payload.toString() === message) break;
    }
    witnessed.add(message);
  }
  tcp.send(unfinished.subarray(0, cut));
  if (number % 2) tcp.socket.resetAndDestroy();
  else tcp.socket.end();
  await sleep(5);
  tcp.socket.destroy();
}

test(
  '2,000 clients churn; twenty hear every message once and in one order',
  { timeout: 240_000 },
  async (context) => {
    const server = await context.elbow(['--log-level', 'warn']);
    const steady = [];
    for (let count = 0; count < STEADY; count += 1) steady.push(await context.client(server.port));

    const before = server.descriptors();
    const witnessed = new Set();
    let next = 0;
    const churn = Array.from({ length: AT_ONCE }, async () => {
      while (next < CHURNING) {
        const number = next;
        next += 1;
        await life(server.port, number, witnessed);
      }
    });
    const talk = steady.map(async (client, index) => {
      for (let count = 0; count < STEADY_MESSAGES; count += 1) {
        client.say(`steady ${index} ${count}`);
        await sleep(50);
      }
    });
    await Promise.all([...churn, ...talk]);

    // What different connections say has no order between them while it is on its way: the end is
    // said when the dead are gone, with all that they had sent, and everyone has heard itself.
    await eventually('the dead are gone', () => server.descriptors() <= before, 30_000);
    for (const [index, client] of steady.entries()) {
      await eventually(
        'everyone hears its own last message',
        () => client.messages.includes(`steady ${index} ${STEADY_MESSAGES - 1}`),
        30_000,
      );
    }
    steady[0].say('the end');
    for (const client of steady) {
      await eventually(
        'everyone hears the end',
        () => client.messages.at(-1) === 'the end',
        30_000,
      );
    }
    const heard = steady[0].messages;
    for (const client of steady) assert.deepEqual(client.messages, heard, 'one order for all');
    const once = new Set(heard);
    assert.equal(once.size, heard.length, 'nothing twice');
    assert.deepEqual(
      heard.filter((message) => message.startsWith('NEVER')),
      [],
      'nothing unfinished',
    );
    for (const message of witnessed)
      assert.ok(once.has(message), `${message} was heard by its sender`);
    for (let index = 0; index < STEADY; index += 1) {
      const own = heard.filter((message) => message.startsWith(`steady ${index} `));
      const said = Array.from(
        { length: STEADY_MESSAGES },
        (_, count) => `steady ${index} ${count}`,
      );
      assert.deepEqual(own, said, 'all of one sender, in its order');
    }
    assert.ok(witnessed.size >= CHURNING / 2);
  },
);
