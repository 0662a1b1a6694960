// Limits for public places, as unmodified Socket.IO clients see them: whoever has stayed for long
// enough comes back by itself, whatever carries it, and whoever says too much is only heard later.

import assert from 'node:assert/strict';
import { test } from './elbow.mjs';
import { CLIENTS, Peer, WAYS } from './socketio.mjs';
import { eventually } from './wait.mjs';

const KINDS = Object.keys(CLIENTS).flatMap((version) =>
  Object.keys(WAYS).map((way) => ({ version, way })),
);

test('clients come back by themselves when they have stayed for long enough', async (context) => {
  const { port } = await context.elbow(['--max-lifetime', '2s', '--greeting', 'off']);
  const scenes = KINDS.map(async ({ version, way }) => {
    const options = { way, reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 50 };
    const peer = new Peer(port, version, options);
    context.defer(() => peer.socket.close());
    await peer.connected;
    const name = `${version}, ${way}`;
    for (const round of [1, 2]) {
      await eventually(`${name} was sent away`, () => peer.ends.length >= round, 20_000);
      await eventually(`${name} is back`, () => peer.socket.connected);
    }
    // The transport was closed, not the namespace: after that a client stays away.
    for (const reason of peer.ends) assert.match(reason, /^transport (close|error)$/, name);
    const word = `${name} is here`;
    peer.emit('chat message', word);
    const isHeard = () => peer.events.some(([, text]) => text === word);
    await eventually(`${name} hears itself`, isHeard);
  });
  await Promise.all(scenes);
});

test('clients talk at one packet a second and lose nothing', async (context) => {
  const { port } = await context.elbow(['--message-rate', '1', '--greeting', 'off']);
  const words = ['one', 'two', 'three', 'four'];
  const scenes = KINDS.map(async ({ version, way }) => {
    const peer = new Peer(port, version, { way });
    context.defer(() => peer.socket.close());
    await peer.connected;
    const name = `${version}, ${way}`;
    let answers = 0;
    for (const word of words) {
      peer.emit('chat message', `${name}: ${word}`, () => {
        answers += 1;
      });
    }
    const own = () => peer.events.filter(([, text]) => text.startsWith(`${name}: `));
    const all = words.length;
    await eventually(`${name} is answered`, () => answers === all && own().length === all, 30_000);
    assert.deepEqual(own().map(([, text]) => text), words.map((word) => `${name}: ${word}`));
    assert.deepEqual(peer.ends, [], name);
  });
  await Promise.all(scenes);
});
