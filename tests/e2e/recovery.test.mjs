// Connection state recovery of unmodified Socket.IO clients 4.6, 4.7 and 4.8: the same scenes on
// elbow and on the original server with its adapter in memory, side by side. What the clients see
// of the two must be alike, but where the original is known to lose messages.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { describe } from 'node:test';
import { test } from './elbow.mjs';
import { peer, WAYS } from './socketio.mjs';
import { eventually, sleep } from './wait.mjs';

const require = createRequire(import.meta.url);
const { Server } = require('socket.io');

const VERSIONS = {
  4.6: require('socket.io-client-4-6'),
  4.7: require('socket.io-client-4-7'),
  4.8: require('socket.io-client-4'),
};
const KINDS = Object.keys(VERSIONS).flatMap((version) =>
  Object.keys(WAYS).map((way) => ({ version, way })),
);
const NAMESPACES = ['/', '/a', '/b'];

// --- Two servers --------------------------------------------------------------------------------

/** elbow, which keeps so many messages. */
async function elbow(context, history = 100) {
  const args = ['--history', `${history}`, '--recovery', 'on', '--greeting', 'off'];
  const { port } = await context.elbow(args);
  // Nothing of a client that has gone is remembered, so nobody has to wait for that.
  return { port, gone: async () => {} };
}

/** The original, which does what elbow does with an event. */
async function original(context) {
  const http = createServer();
  const io = new Server(http, { connectionStateRecovery: {} });
  for (const name of NAMESPACES) {
    io.of(name).on('connection', (socket) => {
      socket.on('chat message', (...args) => {
        const answer = typeof args.at(-1) === 'function' ? args.pop() : () => {};
        io.of(name).emit('chat message', ...args);
        answer();
      });
    });
  }
  await new Promise((resolve) => {
    http.listen(0, '127.0.0.1', resolve);
  });
  context.defer(() => io.close());
  const isGone = (id) => NAMESPACES.every((name) => !io.of(name).sockets.has(id));
  const gone = (id) => eventually('the original has noticed', () => isGone(id));
  return { port: http.address().port, gone };
}

// --- A client -----------------------------------------------------------------------------------

/** A client that is told when to connect again, and what its handlers saw. */
class Reader {
  /** What its handlers saw: `[name, ...arguments]`, and each `connect`. */
  seen = [];
  #ids = [];

  constructor(server, socket) {
    Object.assign(this, { server, socket });
    socket.on('connect', () => {
      if (!this.#ids.includes(socket.id)) this.#ids.push(socket.id);
      const { recovered } = socket;
      this.seen.push(['connect', { recovered, id: this.#ids.indexOf(socket.id) }]);
    });
    socket.on('chat message', (...args) => this.seen.push(['chat message', ...args]));
  }

  static async open(context, server, { version, way }, options = {}) {
    const socket = VERSIONS[version](`http://127.0.0.1:${server.port}`, {
      forceNew: true,
      reconnection: false,
      ...(WAYS[way] && { transports: WAYS[way] }),
      ...options,
    });
    context.defer(() => socket.disconnect());
    const reader = new Reader(server, socket);
    await reader.connected();
    if (way !== 'polling only') {
      const isThere = () => socket.io.engine.transport.name === 'websocket';
      await eventually('it is on websocket', isThere);
    }
    return reader;
  }

  async connected() {
    await eventually('it is connected', () => this.socket.connected);
  }

  /** Its connection goes, and it is not told to leave. */
  async drop() {
    const { id } = this.socket;
    this.socket.io.engine.close();
    await eventually('it is disconnected', () => !this.socket.connected);
    await this.server.gone(id);
  }

  async back() {
    this.socket.connect();
    await this.connected();
  }

  async heard(text) {
    const isText = ([, argument]) => argument === text;
    await eventually(`it hears ${text}`, () => this.seen.some(isText));
  }

  /** What it saw since the last call, with offsets, which no two servers have alike, by a word. */
  taken() {
    const isOffset = (value) => typeof value === 'string' && !value.includes(' ');
    return this.seen.splice(0).map(([name, ...args]) => {
      if (name === 'connect') return [name, ...args];
      return [name, ...args.slice(0, -1), isOffset(args.at(-1)) ? 'OFFSET' : args.at(-1)];
    });
  }
}

/** Somebody who speaks, whatever happens to the others. */
const speaker = (context, { port }, namespace) =>
  peer(context, port, 4.8, { way: 'websocket only', namespace });

/** Plays a scene on both servers and returns what was seen on each. */
async function sideBySide(context, scene) {
  const seen = [];
  for (const start of [elbow, original]) seen.push(await scene(await start(context)));
  return { elbow: seen[0], original: seen[1] };
}

/**
 * The same events in the same order, and the same of each connect. The original sends what was
 * missed in front of its answer, so its handlers hear that before they hear of the connect.
 */
function alike(ours, theirs) {
  for (const isConnect of [true, false]) {
    const of = (seen) => seen.filter(([name]) => (name === 'connect') === isConnect);
    assert.deepEqual(of(ours), of(theirs));
  }
}

const first = (recovered, id = 0) => ['connect', { recovered, id }];
const chat = (...args) => ['chat message', ...args, 'OFFSET'];

// --- Scenes -------------------------------------------------------------------------------------

describe('every client, every transport', { concurrency: 2 }, () => {
  for (const kind of KINDS) {
    test(`${kind.version}, ${kind.way}: missed, again, quiet, binary`, async (context) => {
      const bytes = Buffer.from([0, 1, 2, 0xff]);
      const scene = async (server) => {
        const reader = await Reader.open(context, server, kind);
        const other = await speaker(context, server);
        await other.ask('chat message', 'the first');
        await reader.heard('the first');
        for (const round of ['one', 'two']) {
          await reader.drop();
          await other.ask('chat message', `missed ${round}`);
          await other.ask('chat message', bytes);
          await other.ask('chat message', { nested: [bytes, 1] }, 'a second', null);
          await other.ask('chat message', `seen last ${round}`);
          await reader.back();
          await reader.heard(`seen last ${round}`);
        }
        // Nothing is said while it is away, and once more.
        for (const round of [1, 2]) {
          await reader.drop();
          await reader.back();
          await sleep(20 * round);
        }
        const answer = await new Promise((resolve) => {
          reader.socket.emit('chat message', 'asked for', (...args) => resolve(args));
        });
        await reader.heard('asked for');
        assert.deepEqual(answer, [], 'an acknowledgement has no offset');
        return reader.taken();
      };
      const seen = await sideBySide(context, scene);
      const round = (name) => [
        first(true),
        chat(`missed ${name}`),
        chat(bytes),
        chat({ nested: [bytes, 1] }, 'a second', null),
        chat(`seen last ${name}`),
      ];
      assert.deepEqual(seen.elbow, [
        first(false),
        chat('the first'),
        ...round('one'),
        ...round('two'),
        first(true),
        first(true),
        chat('asked for'),
      ]);
      alike(seen.elbow, seen.original);
    });

    test(`${kind.version}, ${kind.way}: before the first event`, async (context) => {
      const scene = async (server) => {
        const reader = await Reader.open(context, server, kind);
        const other = await speaker(context, server);
        await reader.drop();
        await other.ask('chat message', 'missed early');
        await reader.back();
        await other.ask('chat message', 'the end');
        await reader.heard('the end');
        return reader.taken();
      };
      const seen = await sideBySide(context, scene);
      const whole = [first(false), first(true), chat('missed early'), chat('the end')];
      assert.deepEqual(seen.elbow, whole);
      // The original has told no offset yet, so it cannot go on.
      assert.deepEqual(seen.original, [first(false), first(false, 1), chat('the end')]);
    });
  }
});

describe('every client', { concurrency: 2 }, () => {
  for (const version of Object.keys(VERSIONS)) {
    const kind = { version, way: 'polling, then upgrade' };

    test(`${version}: namespaces of one connection`, async (context) => {
      const scene = async (server) => {
        const root = await Reader.open(context, server, kind);
        const readers = [root];
        const others = [];
        for (const name of NAMESPACES) {
          if (name !== '/') readers.push(new Reader(server, root.socket.io.socket(name)));
          others.push(await speaker(context, server, name));
        }
        for (const [index, reader] of readers.entries()) {
          await reader.connected();
          await others[index].ask('chat message', `first of ${index}`);
          await reader.heard(`first of ${index}`);
        }
        const ids = readers.map((reader) => reader.socket.id);
        await root.drop();
        for (const id of ids) await server.gone(id);
        for (const [index, other] of others.entries()) {
          await other.ask('chat message', `missed of ${index}`);
          await other.ask('chat message', `last of ${index}`);
        }
        for (const reader of readers) reader.socket.connect();
        for (const [index, reader] of readers.entries()) await reader.heard(`last of ${index}`);
        assert.deepEqual(
          readers.map((reader) => reader.socket.id),
          ids,
        );
        return readers.map((reader) => reader.taken());
      };
      const seen = await sideBySide(context, scene);
      const of = (index) => [
        first(false),
        chat(`first of ${index}`),
        first(true),
        chat(`missed of ${index}`),
        chat(`last of ${index}`),
      ];
      assert.deepEqual(seen.elbow, [0, 1, 2].map(of));
      seen.elbow.forEach((each, index) => {
        alike(each, seen.original[index]);
      });
    });

    test(`${version}: it comes back by itself`, async (context) => {
      const scene = async (server) => {
        const options = { reconnection: true, reconnectionDelay: 50 };
        const reader = await Reader.open(context, server, kind, options);
        const other = await speaker(context, server);
        await other.ask('chat message', 'the first');
        await reader.heard('the first');
        reader.socket.io.engine.close();
        await other.ask('chat message', 'in between');
        const isBack = ([name, details]) => name === 'connect' && details.recovered;
        await eventually('it is back', () => reader.seen.some(isBack));
        await other.ask('chat message', 'the end');
        await reader.heard('the end');
        return reader.taken();
      };
      const seen = await sideBySide(context, scene);
      const texts = ['in between', 'the end'].map((text) => chat(text));
      assert.deepEqual(seen.elbow, [first(false), chat('the first'), first(true), ...texts]);
      alike(seen.elbow, seen.original);
    });

    test(`${version}: what it calls its own pid or offset is not believed`, async (context) => {
      for (const auth of [{ offset: 'zzz' }, { pid: 'mine' }, { pid: 5, offset: null }]) {
        const scene = async (server) => {
          const reader = await Reader.open(context, server, kind);
          const other = await speaker(context, server);
          await other.ask('chat message', 'the first');
          await reader.heard('the first');
          await reader.drop();
          await other.ask('chat message', 'missed');
          reader.socket.auth = auth;
          await reader.back();
          await other.ask('chat message', 'the end');
          await reader.heard('the end');
          return reader.taken();
        };
        const seen = await sideBySide(context, scene);
        const anew = [first(false), chat('the first'), first(false, 1), chat('the end')];
        assert.deepEqual(seen.elbow, anew);
        alike(seen.elbow, seen.original);
      }
    });

    test(`${version}: what is lost is told, and then it is whole again`, async (context) => {
      const server = await elbow(context, 2);
      const reader = await Reader.open(context, server, kind);
      const other = await speaker(context, server);
      await reader.drop();
      for (const number of [1, 2, 3]) await other.ask('chat message', `missed ${number}`);
      await reader.back();
      // It has heard nothing since, and knows its place all the same.
      await reader.drop();
      for (const number of [4, 5]) await other.ask('chat message', `missed ${number}`);
      await reader.back();
      await reader.heard('missed 5');
      const kept = [chat('missed 4'), chat('missed 5')];
      assert.deepEqual(reader.taken(), [first(false), first(false, 1), first(true, 1), ...kept]);
    });

    test(`${version}: a server that is another since begins anew`, async (context) => {
      const before = await elbow(context);
      const after = await elbow(context);
      const reader = await Reader.open(context, before, kind);
      const others = [await speaker(context, before), await speaker(context, after)];
      for (const other of others) await other.ask('chat message', 'the first');
      await reader.heard('the first');
      await reader.drop();
      reader.socket.io.uri = `http://127.0.0.1:${after.port}`;
      await reader.back();
      await reader.drop();
      await others[1].ask('chat message', 'missed');
      await reader.back();
      await reader.heard('missed');
      const seen = [first(false), chat('the first'), first(false, 1), first(true, 1)];
      assert.deepEqual(reader.taken(), [...seen, chat('missed')]);
    });
  }
});

test('a client that leaves by itself begins anew, as with the original', async (context) => {
  const kind = { version: '4.8', way: 'websocket only' };
  const scene = async (server) => {
    const reader = await Reader.open(context, server, kind);
    // With another namespace in use the connection stays.
    const beside = new Reader(server, reader.socket.io.socket('/a'));
    await beside.connected();
    const other = await speaker(context, server);
    await other.ask('chat message', 'the first');
    await reader.heard('the first');
    const { id } = reader.socket;
    reader.socket.disconnect();
    await server.gone(id);
    await other.ask('chat message', 'missed');
    await reader.back();
    await other.ask('chat message', 'the end');
    await reader.heard('the end');
    return reader.taken();
  };
  const seen = await sideBySide(context, scene);
  const anew = [first(false), chat('the first'), first(false, 1), chat('the end')];
  assert.deepEqual(seen.elbow, anew);
  alike(seen.elbow, seen.original);
});

test('clients of Engine.IO 3 are told no offset, and hear those that are', async (context) => {
  const { port } = await elbow(context);
  const old = await peer(context, port, 2.5, { way: 'websocket only' });
  const fresh = await peer(context, port, 4.8, { way: 'websocket only' });
  await fresh.ask('chat message', 'from the fresh');
  await old.ask('chat message', 'from the old');
  assert.deepEqual(await old.next(), ['chat message', 'from the fresh']);
  assert.deepEqual(await old.next(), ['chat message', 'from the old']);
  const offset = /^[a-z0-9]+\.(\d+)$/;
  for (const [text, number] of [
    ['from the fresh', '1'],
    ['from the old', '2'],
  ]) {
    const [, said, told, ...rest] = await fresh.next();
    assert.deepEqual([said, offset.exec(told)[1], rest], [text, number, []]);
  }
});
