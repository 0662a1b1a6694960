// Unmodified Socket.IO clients, 4.8, 2.5 and 2.1.1, over each of their transports: what they say
// and hear, among themselves and with plain WebSocket clients, through upgrades, silence, restarts
// and churn. The bytes on the wire are engineio.test.mjs's, browsers are socketio-page.test.mjs's.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { test } from './elbow.mjs';
import { CLIENTS, Peer, peer, refusal, WAYS } from './socketio.mjs';
import { eventually, sleep } from './wait.mjs';

const VERSIONS = Object.keys(CLIENTS).sort().reverse();
const UNICODE = 'héllo € 😀 مرحبا \u2028 "quoted" \\ \n\t\u0001 \u007f';

/** Every client over every transport. */
const KINDS = VERSIONS.flatMap((version) => Object.keys(WAYS).map((way) => ({ version, way })));

/** A connected peer that has reached the transport it is after. */
async function settled(context, port, { version, way }, options) {
  const made = await peer(context, port, version, { way, ...options });
  if (way === 'polling only') assert.equal(made.transport, 'polling');
  else await made.upgraded();
  return made;
}

const isBytes = (value, expected) =>
  assert.deepEqual([Buffer.isBuffer(value), Buffer.from(value)], [true, expected]);

describe('every client, every transport', { concurrency: 4 }, () => {
  for (const kind of KINDS) {
    test(`${kind.version}, ${kind.way}`, async (context) => {
      const { port } = await context.elbow();
      const ann = await settled(context, port, kind);
      const bob = await settled(context, port, kind);
      assert.deepEqual(await ann.next(), ['hi'], 'who was there is told');

      ann.emit('chat message', 'one');
      assert.deepEqual(await ann.next(), ['chat message', 'one'], 'the sender hears it too');
      assert.deepEqual(await bob.next(), ['chat message', 'one'], 'and who joined heard no hi');

      assert.deepEqual(await bob.ask('chat message', UNICODE), [], 'acknowledged, with nothing');
      const structure = { list: [1, -2.5e3, true, null], nested: { text: UNICODE } };
      assert.deepEqual(await ann.ask('chat message', structure, 'second', 3), []);
      for (const each of [ann, bob]) {
        assert.deepEqual(await each.next(), ['chat message', UNICODE]);
        assert.deepEqual(await each.next(), ['chat message', structure, 'second', 3]);
      }

      const bytes = Buffer.from([0, 1, 2, 0x1e, 0xff, 4, 0x62]);
      assert.deepEqual(await ann.ask('chat message', bytes), []);
      assert.deepEqual(await bob.ask('chat message', { a: [bytes, 'x'], b: Buffer.alloc(0) }), []);
      for (const each of [ann, bob]) {
        const [, alone] = await each.next();
        isBytes(alone, bytes);
        const [, nested] = await each.next();
        isBytes(nested.a[0], bytes);
        isBytes(nested.b, Buffer.alloc(0));
        assert.equal(nested.a[1], 'x');
      }

      ann.emit('nobody relays this', 1);
      ann.emit('nor this', bytes);
      ann.emit('chat message', 'the end');
      for (const each of [ann, bob]) {
        assert.deepEqual(await each.next(), ['chat message', 'the end'], 'others are ignored');
        assert.deepEqual([each.events, each.ends], [[], []]);
      }
    });
  }
});

test('all of them in one room hear the same, in one order', async (context) => {
  const { port } = await context.elbow();
  const peers = [];
  for (const kind of KINDS) peers.push(await settled(context, port, kind));
  const plain = await context.client(port);
  for (let count = 0; count < 50; count += 1) {
    for (const [index, each] of peers.entries()) each.emit('chat message', `${index} ${count}`);
    plain.say(`plain ${count}`);
    if (count % 10 === 0) await sleep(20);
  }
  const order = [];
  while (order.length < 50 * (peers.length + 1)) order.push(await plain.next());
  assert.equal(new Set(order).size, order.length, 'nothing twice');
  for (const [index, each] of peers.entries()) {
    assert.deepEqual(
      order.filter((said) => said.startsWith(`${index} `)),
      Array.from({ length: 50 }, (_, count) => `${index} ${count}`),
      'in the order of its sender',
    );
    plain.say(`end ${index}`);
    const said = (await each.until(`end ${index}`)).filter(([name]) => name !== 'hi');
    const others = said.map(([, said]) => said).filter((said) => !said.startsWith('end'));
    assert.deepEqual(others, order);
  }
});

describe('namespaces', { concurrency: 4 }, () => {
  for (const version of VERSIONS) {
    test(`${version}: /news is the channel news`, async (context) => {
      const { port } = await context.elbow();
      const everyone = await peer(context, port, version);
      const plain = await context.client(port, { target: '/ws/news' });
      const ann = await peer(context, port, version, { namespace: '/news' });
      const bob = await peer(context, port, version, { namespace: '/news', way: 'polling only' });
      assert.deepEqual(await ann.next(), ['hi']);
      await ann.ask('chat message', 'from ann');
      plain.say('from plain');
      assert.equal(await plain.next(), 'from ann');
      for (const each of [ann, bob]) {
        assert.deepEqual(await each.next(), ['chat message', 'from ann']);
        assert.deepEqual(await each.next(), ['chat message', 'from plain']);
      }
      await everyone.ask('chat message', 'elsewhere');
      // 2.x is always in / as well, so each of the others caused a hi there.
      const joined = version.startsWith('2') ? [['hi'], ['hi']] : [];
      assert.deepEqual(await everyone.until('elsewhere'), joined);
      await sleep(200);
      assert.deepEqual([ann.events, bob.events, plain.messages.slice(1)], [[], [], []]);
    });

    test(`${version}: two namespaces over one transport`, async (context) => {
      const { port } = await context.elbow();
      const main = await peer(context, port, version);
      const news = main.socket.io.socket('/news');
      context.defer(() => news.disconnect());
      const heard = [];
      news.on('chat message', (said) => heard.push(said));
      await eventually('news is entered', () => news.connected);

      const other = await peer(context, port, version, { namespace: '/news' });
      const bytes = Buffer.from('news');
      other.emit('chat message', 'in news');
      await other.ask('chat message', bytes);
      await main.ask('chat message', 'in default');
      await main.until('in default');
      await eventually('news is heard', () => heard.length === 2);
      assert.deepEqual(heard, ['in news', bytes]);

      news.disconnect();
      await other.ask('chat message', 'after it left');
      await main.ask('chat message', 'still here');
      await main.until('still here');
      assert.deepEqual([heard.length, main.ends], [2, []]);
    });

    test(`${version}: what cannot be a channel is refused`, async (context) => {
      const { port } = await context.elbow();
      const names = ['default', 'bad name', 'two//slashes', 'a/', 'a/../b', 'x'.repeat(129)];
      for (const namespace of names.map((name) => `/${name}`)) {
        const said = await refusal(context, port, version, { namespace });
        assert.equal(said, 'Invalid namespace', namespace);
      }
      for (const name of ['room/1', 'a:b@c=d+e~f.g_h-i', 'x'.repeat(128)]) {
        await peer(context, port, version, { namespace: `/${name}` });
      }
    });

    test(`${version}: a refused namespace leaves the others alone`, async (context) => {
      const { port } = await context.elbow();
      const main = await peer(context, port, version);
      const bad = main.socket.io.socket('/default');
      const refused = new Promise((resolve) => {
        bad.once('connect_error', resolve);
        bad.once('error', resolve);
      });
      await refused;
      assert.deepEqual(await main.ask('chat message', 'on'), []);
      assert.deepEqual(await main.next(), ['chat message', 'on']);
      assert.deepEqual(main.ends, []);
    });
  }

  test('the ninth namespace of a session is refused', async (context) => {
    const { port } = await context.elbow();
    const main = await peer(context, port, '4.8');
    const enter = (namespace) => {
      const socket = main.socket.io.socket(namespace);
      return new Promise((resolve) => {
        socket.once('connect', () => resolve('connect'));
        socket.once('connect_error', () => resolve('connect_error'));
      });
    };
    for (let count = 1; count < 8; count += 1) assert.equal(await enter(`/n${count}`), 'connect');
    assert.equal(await enter('/n8'), 'connect_error');
    assert.deepEqual(await main.ask('chat message', 'on'), []);
  });

  test('CONNECT may carry what an application would look at', async (context) => {
    const { port } = await context.elbow();
    const auth = { token: 'ok', nested: { list: [1, '€'] } };
    for (const options of [
      { auth },
      { auth: (give) => give(auth) },
      { auth, namespace: '/news' },
      { query: { token: 'a b&c', EIO: '4' } },
    ]) {
      const ann = await peer(context, port, '4.8', options);
      assert.deepEqual(await ann.ask('chat message', 'in'), []);
    }
    for (const options of [
      { query: { token: 'x' } },
      { namespace: '/news?token=x' },
      { namespace: '/news', query: 'token=x' },
    ]) {
      const ann = await peer(context, port, '2.5', options);
      assert.deepEqual(await ann.ask('chat message', 'in'), []);
    }
  });
});

describe('one world with plain clients', { concurrency: 4 }, () => {
  for (const kind of KINDS.filter(({ version }) => version !== '2.1')) {
    test(`${kind.version}, ${kind.way}`, async (context) => {
      const { port } = await context.elbow();
      const plain = await context.client(port);
      const ann = await settled(context, port, kind);
      const bytes = Buffer.from([0, 0x1e, 0xff, 4]);

      plain.say(UNICODE);
      plain.say('');
      plain.say(bytes);
      plain.say(Buffer.alloc(0));
      assert.deepEqual(await ann.next(), ['chat message', UNICODE]);
      assert.deepEqual(await ann.next(), ['chat message', '']);
      for (const expected of [bytes, Buffer.alloc(0)]) {
        const [name, value, ...more] = await ann.next();
        assert.deepEqual([name, more], ['chat message', []]);
        isBytes(value, expected);
      }
      for (const own of [UNICODE, '', bytes, Buffer.alloc(0)]) {
        assert.deepEqual(await plain.next(), own);
      }

      const other = await context.client(port);
      for (const args of [
        ['two', 'arguments'],
        [],
        [{ an: 'object' }],
        [['a list']],
        [42],
        [null],
        [bytes, 'and text'],
        [{ nested: bytes }],
      ]) {
        ann.emit('chat message', ...args);
      }
      ann.emit('chat message', UNICODE);
      ann.emit('chat message', '');
      await ann.ask('chat message', bytes);
      for (const each of [plain, other]) {
        assert.deepEqual(await each.next(), UNICODE, 'what has no plain form is skipped');
        assert.deepEqual(await each.next(), '');
        assert.deepEqual(await each.next(), bytes);
      }
      await sleep(200);
      assert.deepEqual([plain.messages, other.messages], [[], []]);
      assert.equal(ann.events.length, 11, 'not so at Socket.IO clients');
    });
  }

  test('a plain client that joins causes no hi', async (context) => {
    const { port } = await context.elbow();
    const ann = await peer(context, port, '4.8');
    const plain = await context.client(port);
    plain.say('here');
    assert.deepEqual(await ann.next(), ['chat message', 'here']);
  });
});

describe('--events', { concurrency: 4 }, () => {
  const heard = ['hi', 'chat message', 'typing', 'stop typing', 'other'];

  test('names what is relayed', async (context) => {
    const { port } = await context.elbow(['--events', 'typing,stop typing']);
    const plain = await context.client(port);
    const ann = await peer(context, port, '4.8', { heard });
    const bob = await peer(context, port, '2.5', { heard });
    assert.deepEqual(await ann.next(), ['hi']);
    ann.emit('other', 1);
    ann.emit('chat message', 'not relayed');
    assert.deepEqual(await ann.ask('typing', { who: 'ann' }), []);
    assert.deepEqual(await bob.ask('stop typing', 'now'), []);
    plain.say('plain');
    for (const each of [ann, bob]) {
      assert.deepEqual(await each.next(), ['typing', { who: 'ann' }]);
      assert.deepEqual(await each.next(), ['stop typing', 'now']);
      assert.deepEqual(await each.next(), ['chat message', 'plain']);
    }
    assert.equal(await plain.next(), 'plain', 'another event has no plain form');
  });

  test('* relays all', async (context) => {
    const { port } = await context.elbow(['--events', '*']);
    const ann = await peer(context, port, '4.8', { heard });
    const bob = await peer(context, port, '2.1', { heard });
    assert.deepEqual(await ann.next(), ['hi']);
    ann.emit('other');
    bob.emit('typing', Buffer.from([1]), 'x');
    ann.emit('chat message', 'y');
    await ann.ask('hi', 'there');
    for (const each of [ann, bob]) {
      const events = [];
      while (events.length < 4) events.push(await each.next());
      const byName = Object.fromEntries(events);
      assert.deepEqual(Object.keys(byName).sort(), ['chat message', 'hi', 'other', 'typing']);
      assert.equal(byName.hi, 'there');
      isBytes(byName.typing, Buffer.from([1]));
    }
  });
});

test(
  'an upgrade under load loses, doubles and reorders nothing',
  { timeout: 90_000 },
  async (context) => {
    const { port } = await context.elbow();
    const talker = await context.client(port);
    let said = 0;
    const talk = setInterval(() => {
      for (let count = 0; count < 5; count += 1) {
        talker.say(`talk ${said}`);
        said += 1;
      }
    }, 5);
    context.defer(() => clearInterval(talk));

    const movers = [];
    for (let round = 0; round < 8; round += 1) {
      for (const version of VERSIONS) {
        const mover = new Peer(port, version);
        context.defer(() => mover.socket.disconnect());
        movers.push(mover);
        mover.polled = 0;
        mover.socket.on('chat message', () => {
          if (mover.transport === 'polling') mover.polled += 1;
        });
        mover.connected.then(async () => {
          for (let count = 0; count < 100; count += 1) {
            mover.emit('chat message', `${movers.indexOf(mover)} ${count}`);
            if (count % 5 === 0) await sleep(5);
          }
          mover.finished = true;
        });
      }
      await sleep(50);
    }
    for (const mover of movers) {
      await mover.connected;
      await mover.upgraded();
      await eventually('it has said all', () => mover.finished, 20_000);
    }
    await sleep(200);
    clearInterval(talk);
    talker.say('the end');
    const heardAll = () => talker.messages.at(-1) === 'the end';
    await eventually('the talker hears the end', heardAll, 20_000);
    const all = talker.messages.slice(0, -1);
    assert.equal(all.filter((text) => text.startsWith('talk ')).length, said);
    for (const [index, mover] of movers.entries()) {
      const own = Array.from({ length: 100 }, (_, count) => `${index} ${count}`);
      assert.deepEqual(all.filter((text) => text.startsWith(`${index} `)), own, 'said once each');
      const events = await mover.until('the end', 20_000);
      const texts = events.filter(([name]) => name === 'chat message').map(([, text]) => text);
      assert.deepEqual(texts, all.slice(all.indexOf(texts[0])), 'heard as it was said');
      assert.ok(texts.includes(own[0]), 'from the beginning on');
      assert.ok(mover.polled < texts.length, 'not all by polls');
    }
    const polled = movers.filter((mover) => mover.polled > 0).length;
    assert.ok(polled > movers.length / 4, `${polled} heard something before they moved`);
  },
);

describe('silence', { concurrency: 4 }, () => {
  const PINGS = ['--ping-interval', '1s', '--ping-timeout', '1s'];

  test('idle clients of all kinds stay', { timeout: 60_000 }, async (context) => {
    // So long a timeout that a machine which stops for a while ends nobody; and the test is longer
    // than interval and timeout, so that a ping without an answer does.
    const server = await context.elbow(['--ping-interval', '1s', '--ping-timeout', '5s']);
    const peers = [];
    for (const kind of KINDS) peers.push(await settled(context, server.port, kind));
    const plain = await context.client(server.port);
    await sleep(8_500);
    plain.say('still there?');
    for (const [index, each] of peers.entries()) {
      const { version, way } = KINDS[index];
      assert.deepEqual(each.ends, [], `${version}, ${way}: ${server.lines.join('\n')}`);
      await each.until('still there?');
    }
  });

  for (const version of VERSIONS) {
    test(`${version}: a server that says nothing is given up`, async (context) => {
      const server = await context.elbow(PINGS);
      const ann = await settled(context, server.port, { version, way: 'websocket only' });
      server.signal('SIGSTOP');
      context.defer(() => server.signal('SIGCONT'));
      await eventually('it gives up', () => ann.ends.length);
      assert.deepEqual(ann.ends, ['ping timeout']);
    });
  }
});

describe('the end and after', { concurrency: 2 }, () => {
  test(
    'SIGTERM closes the transport, never the namespace; all come back',
    { timeout: 90_000 },
    async (context) => {
      const first = await context.elbow(['--drain', '1s']);
      const peers = [];
      for (const kind of KINDS) {
        const options = { reconnection: true, reconnectionDelay: 300, reconnectionDelayMax: 600 };
        peers.push(await settled(context, first.port, kind, options));
      }
      const news = await peer(context, first.port, '4.8', {
        namespace: '/news',
        reconnection: true,
        reconnectionDelay: 300,
      });
      first.signal('SIGTERM');
      for (const each of [...peers, news]) {
        await eventually('it is told', () => each.ends.length, 20_000);
      }
      assert.deepEqual(
        [...peers, news].map(({ ends }) => ends[0]),
        [...peers, news].map(() => 'transport close'),
      );
      assert.deepEqual(await first.gone(), { code: 0, signal: null });

      const { port } = await context.elbow([], { listen: `127.0.0.1:${first.port}` });
      for (const each of [...peers, news]) await each.reconnected();
      const plain = await context.client(port);
      plain.say('welcome back');
      for (const each of peers) {
        await each.until('welcome back');
        assert.deepEqual(await each.ask('chat message', 'thanks'), []);
      }
      assert.deepEqual(await news.ask('chat message', 'news as well'), []);
      assert.ok([...peers, news].every(({ ends }) => !ends.includes('io server disconnect')));
    },
  );

  for (const kind of KINDS) {
    test(`${kind.version}, ${kind.way}: a client that leaves is gone`, async (context) => {
      const server = await context.elbow();
      const { port } = server;
      const ann = await settled(context, port, kind);
      ann.socket.disconnect();
      assert.deepEqual(ann.ends, ['io client disconnect']);
      await server.logged(/\bclose\b/);
      const again = await settled(context, port, kind);
      assert.deepEqual(await again.ask('chat message', 'back'), []);
      assert.deepEqual(again.events, [['chat message', 'back']]);
    });
  }
});

test(
  '500 clients of all kinds at once, some coming and going: once each, in one order',
  { timeout: 180_000 },
  async (context) => {
    const { port } = await context.elbow(['--log-level', 'warn']);
    const members = [];
    const join = async (index) => {
      if (index % 4 === 0) {
        const plain = await context.client(port);
        members.push({ heard: () => plain.messages, say: (said) => plain.say(said) });
        return;
      }
      // Polling costs this process most, so there is least of it.
      const version = VERSIONS[index % 3];
      const way = Object.keys(WAYS)[[1, 1, 0, 1, 1, 2, 1, 0][index % 8]];
      const made = await settled(context, port, { version, way }, { heard: [] });
      const heard = [];
      made.socket.on('chat message', (said) => heard.push(said));
      members.push({ heard: () => heard, say: (said) => made.emit('chat message', said) });
    };
    for (let index = 0; index < 460; index += 20) {
      await Promise.all(Array.from({ length: 20 }, (_, offset) => join(index + offset)));
    }

    const witnessed = new Set();
    let going = true;
    const churn = Array.from({ length: 40 }, async (_, lane) => {
      for (let life = 0; going; life += 1) {
        const kind = KINDS[(lane + life) % KINDS.length];
        const made = new Peer(port, kind.version, { way: kind.way });
        await made.connected;
        const said = `churn ${lane} ${life}`;
        assert.deepEqual(await made.ask('chat message', said), []);
        witnessed.add(said);
        if (life % 2) made.socket.disconnect();
        else made.socket.io.engine.close();
        await sleep(500);
      }
    });

    members[0].say('the start');
    const rounds = 120;
    for (let round = 0; round < rounds; round += 1) {
      const index = (round * 37) % members.length;
      members[index].say(`round ${round}`);
      await sleep(100);
    }
    going = false;
    await Promise.all(churn);
    members[0].say('the end');
    for (const { heard } of members) {
      await eventually('everyone hears the end', () => heard().at(-1) === 'the end', 30_000);
    }
    const since = (all) => all.slice(all.indexOf('the start'));
    const order = since(members[0].heard());
    for (const { heard } of members) assert.deepEqual(since(heard()), order, 'one order for all');
    assert.equal(new Set(order).size, order.length, 'nothing twice');
    assert.equal(order.filter((said) => said.startsWith('round ')).length, rounds);
    for (const said of witnessed) {
      const before = members[0].heard().includes(said);
      assert.ok(before, `${said} was acknowledged, so it was heard`);
    }
    assert.ok(witnessed.size > 100, `${witnessed.size} lives`);
  },
);
