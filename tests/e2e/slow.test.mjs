// Peers that send too slowly, or nothing at all: each is ended at its deadline, while others must
// not notice. Most of this is waiting, which takes nothing from other files.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { test } from './elbow.mjs';
import { BINARY_FRAME, CLOSE, frame, othersTalk, TEXT } from './wire.mjs';

describe('slow senders', { concurrency: 5 }, () => {
  test('fifty slow heads are closed at their deadline', async (context) => {
    const server = await context.elbow();
    const ann = await context.client(server.port);
    const bob = await context.client(server.port);
    const slow = [];
    for (let count = 0; count < 50; count += 1) slow.push(await context.tcp(server.port));
    for (const tcp of slow) tcp.send('GET / HTTP/1.1\r\nX: ');
    const timer = setInterval(() => {
      for (const tcp of slow) if (!tcp.finished && !tcp.reset) tcp.send('a');
    }, 500);
    context.defer(() => clearInterval(timer));
    await othersTalk(ann, bob);
    for (const tcp of slow) {
      const { bytes } = await tcp.closed(30_000);
      if (bytes.length) assert.match(bytes.toString(), /^HTTP\/1\.1 408 /);
    }
    await othersTalk(ann, bob);
  });

  test('who says nothing at all is closed, without a word and without a line', async (context) => {
    const server = await context.elbow();
    const from = await server.nextLine();
    const tcp = await context.tcp(server.port);
    await tcp.closedSilently(40_000);
    assert.deepEqual(await server.settled(from), []);
  });

  test('a body that does not come ends the connection', async (context) => {
    const server = await context.elbow();
    const tcp = await context.tcp(server.port);
    tcp.send('POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345');
    await tcp.closed(40_000);
  });

  test('a message that is begun and not gone on with is closed with 1008', async (context) => {
    const server = await context.elbow();
    const ann = await context.client(server.port);
    const bob = await context.client(server.port);
    const inPayload = await context.upgraded(server.port);
    inPayload.send(frame(TEXT, 'half a', { announce: 100 }));
    const inHead = await context.upgraded(server.port);
    inHead.send(frame(TEXT, 'x'.repeat(500)).subarray(0, 3));
    const inFragments = await context.upgraded(server.port);
    inFragments.send(frame(TEXT, 'half a', { fin: false }));
    await othersTalk(ann, bob);
    for (const tcp of [inPayload, inHead, inFragments]) {
      let got = await tcp.frame(30_000);
      while (got.opcode !== CLOSE) got = await tcp.frame(30_000);
      assert.equal(got.code, 1008);
      await tcp.closed(30_000);
    }
    await othersTalk(ann, bob);
  });

  test(
    'a message that drips a byte a second is ended within its minute',
    { timeout: 120_000 },
    async (context) => {
      const server = await context.elbow();
      const tcp = await context.upgraded(server.port);
      // Binary: the mask would make anything of the letters.
      tcp.send(frame(BINARY_FRAME, 'x', { announce: 1_000 }));
      const timer = setInterval(() => {
        if (!tcp.finished) tcp.send('y');
      }, 1_000);
      context.defer(() => clearInterval(timer));
      const got = await tcp.frame(90_000);
      assert.deepEqual([got.opcode, got.code], [CLOSE, 1008]);
    },
  );
});
