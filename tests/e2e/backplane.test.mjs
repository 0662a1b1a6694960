// Several instances and one Redis: two or three of elbow, readers of every dialect on each, and a
// redis-server that is killed, stopped, emptied and started again, or is behind a bad way. What is
// asked for: one order for everybody, nothing twice, nothing lost unless it is told.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { describe } from 'node:test';
import { WebSocket } from 'ws';
import { accepting, BINARY, freePort, run, test } from './elbow.mjs';
import { BadWay, Redis, SERVER } from './redis.mjs';
import {
  agree, client, everyKind, HISTORY, instance, socket, status, stream, talk, works,
} from './room.mjs';
import { peer } from './socketio.mjs';
import { eventually, sleep } from './wait.mjs';
import { proxyV1 } from './wire.mjs';

// --- One order ----------------------------------------------------------------------------------

describe('several instances', { concurrency: 2 }, () => {
  test('one order for readers of every kind at three instances', async (context) => {
    const redis = await Redis.start(context);
    const servers = [];
    for (let number = 0; number < 3; number += 1) {
      servers.push(await instance(context, redis.url));
    }
    const readers = [];
    for (const server of servers) readers.push(...(await everyKind(context, server)));
    const speakers = readers.filter((reader) => reader.say);
    const said = await talk(speakers, { ms: 2_000 });
    await agree(readers, said);
    // Positions are one text for everybody, and rise.
    const told = readers.filter(({ positions }) => positions.length);
    assert.equal(told.length, 6);
    for (const { positions } of told) assert.deepEqual(positions, told[0].positions);
    const ranks = told[0].positions.map((position) => position.split(/[-.]/).map(Number));
    const isBefore = (a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
    assert.ok(ranks.every((rank, at) => at === 0 || isBefore(ranks[at - 1], rank) < 0));
    // An acknowledgement means a place in the order.
    const asker = readers.find((reader) => reader.ask);
    assert.deepEqual(await asker.ask('is it said?'), []);
    await eventually('it is heard', () => readers.every(({ texts }) => texts.at(-1) === 'is it said?'));
    assert.ok(readers.every(({ ends, gaps }) => ends === 0 && gaps.length === 0));
  });

  test('channels are apart, and so are rooms with prefixes of their own', async (context) => {
    const redis = await Redis.start(context);
    const [a, b] = [await instance(context, redis.url), await instance(context, redis.url)];
    const other = await instance(context, redis.url, ['--redis-prefix', 'other:room']);
    const one = await socket(context, a.port, { target: '/ws/one' });
    const two = await socket(context, b.port, { target: '/ws/two' });
    const same = await socket(context, b.port, { target: '/ws/one' });
    const elsewhere = await socket(context, other.port, { target: '/ws/one' });
    one.say('one');
    two.say('two');
    elsewhere.say('elsewhere');
    await eventually('they are heard', () => same.texts.length && two.texts.length);
    await eventually('it is heard', () => elsewhere.texts.length);
    await sleep(200);
    assert.deepEqual([one.texts, same.texts], [['one'], ['one']]);
    assert.deepEqual([two.texts, elsewhere.texts], [['two'], ['elsewhere']]);
    const keys = await redis.ask('KEYS', '*');
    for (const key of ['{elbow}:c:one', '{elbow}:c:two', '{other:room}:c:one']) {
      assert.ok(keys.includes(key), keys);
    }
    assert.match(await redis.ask('TTL', '{elbow}:c:one'), /^:3[56]\d\d\r\n/);
  });

  test('binary messages, events with attachments and greetings reach the others', async (context) => {
    const redis = await Redis.start(context);
    const [a, b] = [
      await instance(context, redis.url, ['--events', '*'], { greeting: 'hi' }),
      await instance(context, redis.url, ['--events', '*'], { greeting: 'hi' }),
    ];
    const heard = ['hi', 'chat message', 'drawn'];
    const here = await peer(context, a.port, '4.8', { heard });
    const plain = await context.client(b.port);
    const there = await peer(context, b.port, '4.8', { heard });
    assert.deepEqual(await here.next(), ['hi'], 'somebody has come elsewhere');
    plain.say(Buffer.from([1, 2, 255]));
    for (const each of [here, there]) {
      assert.deepEqual(await each.next(), ['chat message', Buffer.from([1, 2, 255])]);
    }
    here.emit('drawn', { at: Buffer.from([7]) }, [1, 'two']);
    assert.deepEqual(await there.next(), ['drawn', { at: Buffer.from([7]) }, [1, 'two']]);
    assert.deepEqual(there.events, []);
  });

  test('who comes back to another instance misses nothing', async (context) => {
    const redis = await Redis.start(context);
    const [a, b] = [
      await instance(context, redis.url, HISTORY),
      await instance(context, redis.url, HISTORY),
    ];
    const speaker = await socket(context, a.port);
    for (let number = 0; number < 50; number += 1) speaker.say(`${number}`);
    await eventually('all is said', () => speaker.texts.length === 50);
    // Nobody has read the channel at the other instance so far.
    const since = speaker.positions[19];
    const back = await socket(context, b.port, { target: `/ws?since=${since}` });
    await eventually('it has what it missed', () => back.texts.length === 30);
    assert.deepEqual(back.texts, speaker.texts.slice(20));
    assert.deepEqual(back.positions, speaker.positions.slice(20));
    assert.deepEqual([back.began.recovered, back.began.missed], [true, 30]);
    const last = await stream(context, b.port, '/sse?last=3');
    await eventually('it has the newest', () => last.texts.length === 3);
    assert.deepEqual(last.texts, ['47', '48', '49']);
  });

  test('what was said survives the restart of every instance', async (context) => {
    const redis = await Redis.start(context);
    const first = await instance(context, redis.url, HISTORY);
    const speaker = await socket(context, first.port);
    for (const text of ['a', 'b', 'c']) speaker.say(text);
    await eventually('all is said', () => speaker.texts.length === 3);
    await first.end();
    const second = await instance(context, redis.url, HISTORY);
    const back = await socket(context, second.port, { target: `/ws?since=${speaker.positions[0]}` });
    await eventually('it has what it missed', () => back.texts.length === 2);
    assert.deepEqual(back.texts, ['b', 'c']);
    assert.equal(back.began.recovered, true);
  });

  test('instances that are killed, or leave, and come back while everybody talks', async (context) => {
    const redis = await Redis.start(context);
    const servers = [];
    for (let number = 0; number < 2; number += 1) {
      servers.push(await instance(context, redis.url, HISTORY));
    }
    const readers = [];
    for (const server of servers) readers.push(...(await everyKind(context, server)));
    const speakers = readers.filter((reader) => reader.say);
    // Whoever was at the third comes back to the next third, from where it was.
    const traveller = { name: 'the traveller', texts: [], positions: [] };
    let third = await instance(context, redis.url, HISTORY);
    let stay = await socket(context, third.port);
    const leave = () => {
      traveller.texts.push(...stay.texts);
      traveller.positions.push(...stay.positions);
    };
    const talking = talk(speakers, { ms: 4_000 });
    for (const signal of ['SIGKILL', 'SIGTERM', 'SIGKILL']) {
      await sleep(700);
      third.signal(signal);
      await eventually('it is gone', () => stay.ends);
      leave();
      third = await instance(context, redis.url, HISTORY);
      const target = `/ws?strict&since=${traveller.positions.at(-1)}`;
      stay = await socket(context, third.port, { target });
    }
    const said = await talking;
    await agree(readers, said);
    await eventually('it has everything', () => {
      return traveller.texts.length + stay.texts.length >= said.length;
    });
    leave();
    assert.deepEqual(traveller.texts, readers[0].texts, 'no seam');
    assert.ok(readers.every(({ ends, gaps }) => ends === 0 && gaps.length === 0));
  });

  test('a Socket.IO client recovers on another instance', async (context) => {
    const redis = await Redis.start(context);
    const args = [...HISTORY, '--recovery', 'on'];
    const [a, b] = [
      await instance(context, redis.url, args),
      await instance(context, redis.url, args),
    ];
    const speaker = await socket(context, b.port);
    const reader = await client(context, a.port, { way: 'websocket only' });
    speaker.say('before');
    await eventually('it is heard', () => reader.texts.length === 1);
    reader.peer.socket.io.engine.close();
    await eventually('it has gone', () => !reader.peer.socket.connected);
    speaker.say('meanwhile');
    reader.peer.socket.io.uri = b.url('/');
    reader.peer.socket.connect();
    await eventually('it has what it missed', () => reader.texts.length === 2);
    assert.deepEqual(reader.texts, ['before', 'meanwhile']);
    assert.equal(reader.peer.socket.recovered, true);
  });
});

// --- Backends -----------------------------------------------------------------------------------

describe('backends of several instances', { concurrency: 2 }, () => {
  const ADMIN = ['--admin-listen', '127.0.0.1:0'];

  /** An instance with an admin listener, whose port is learnt from the log. */
  async function administered(context, url, args = []) {
    const server = await instance(context, url, [...ADMIN, ...args]);
    const [, port] = await server.logged(/admin requests on \S*:(\d+)/);
    const admin = `http://127.0.0.1:${port}`;
    server.publish = async (channel, body, headers = {}) => {
      const options = { method: 'POST', body, headers };
      const response = await fetch(`${admin}/publish/${channel}`, options);
      return [response.status, response.ok ? (await response.json()).position : null];
    };
    server.status = async () => (await fetch(`${admin}/status`)).json();
    server.metrics = async () => (await fetch(`${admin}/metrics`)).text();
    return server;
  }

  test('what a backend says at one is heard at all, be anybody there or not', async (context) => {
    const redis = await Redis.start(context);
    const a = await administered(context, redis.url, HISTORY);
    const b = await administered(context, redis.url, HISTORY);
    const reader = await socket(context, b.port, { target: '/ws/news' });
    const [code, position] = await a.publish('news', 'hello');
    assert.equal(code, 202);
    await eventually('it is heard', () => reader.texts.length);
    assert.deepEqual([reader.texts, reader.positions], [['hello'], [position]]);
    // Nobody has ever been in this channel.
    const [first, second] = [await a.publish('empty', 'one'), await b.publish('empty', 'two')];
    assert.deepEqual([first[0], second[0]], [202, 202]);
    const late = await socket(context, a.port, { target: `/ws/empty?since=${first[1]}` });
    await eventually('it has what it missed', () => late.texts.length);
    assert.deepEqual([late.texts, late.positions], [['two'], [second[1]]]);
  });

  test('something is said where nobody is, although there may be no more channels', async (context) => {
    const redis = await Redis.start(context);
    const server = await administered(context, redis.url, ['--max-channels', '1']);
    const reader = await socket(context, server.port);
    const others = Array.from({ length: 20 }, (_, number) => server.publish(`n${number}`, 'x'));
    for (const answer of others) assert.equal((await answer)[0], 202);
    assert.equal((await server.publish('default', 'and here'))[0], 202);
    reader.say('and by whoever is here');
    await eventually('it is heard', () => reader.texts.length === 2);
    assert.deepEqual(reader.texts, ['and here', 'and by whoever is here']);
  });

  test('the longest name of an event and the largest message fit', async (context) => {
    const redis = await Redis.start(context);
    const server = await administered(context, redis.url, ['--max-message', '1KiB']);
    const reader = await socket(context, server.port, { target: `/ws/${'n'.repeat(128)}` });
    const body = JSON.stringify(['x'.repeat(1020)]);
    assert.equal(body.length, 1024);
    const event = '%01'.repeat(256);
    for (const channel of ['n'.repeat(128), 'm'.repeat(128)]) {
      const [code] = await server.publish(`${channel}?event=${event}`, body);
      assert.ok([202, 413].includes(code), `${code}`);
    }
    assert.equal((await server.publish('n'.repeat(128), 'after'))[0], 202);
    await eventually('it is heard', () => reader.texts.at(-1) === 'after');
  });

  test('a request that is repeated at another instance is one message', async (context) => {
    const redis = await Redis.start(context);
    const [a, b] = [await administered(context, redis.url), await administered(context, redis.url)];
    const readers = [await socket(context, a.port), await socket(context, b.port)];
    const key = { 'Idempotency-Key': 'order 66' };
    const answers = [];
    for (const server of [a, b, a, b]) answers.push(await server.publish('default', 'once', key));
    assert.deepEqual(answers, Array(4).fill(answers[0]));
    assert.equal(answers[0][0], 202);
    assert.equal((await b.publish('default', 'twice', { 'Idempotency-Key': 'another' }))[0], 202);
    for (const reader of readers) {
      await eventually('it is heard', () => reader.texts.includes('twice'));
      assert.deepEqual(reader.texts, ['once', 'twice']);
    }
  });

  test('while Redis is away the answer is 503, and the page of figures says so', async (context) => {
    const redis = await Redis.start(context, { isKept: true });
    const server = await administered(context, redis.url);
    const reader = await socket(context, server.port);
    assert.equal((await server.publish('default', 'before'))[0], 202);
    assert.match(await server.metrics(), /^elbow_backplane_connected 1$/m);
    assert.match(await server.metrics(), /^elbow_backplane_round_trip_seconds_count 1$/m);
    await redis.stop();
    const [code] = await server.publish('default', 'meanwhile');
    assert.equal(code, 503);
    assert.match(await server.metrics(), /^elbow_backplane_connected 0$/m);
    const { backplane } = await server.status();
    assert.ok(backplane);
    await redis.again();
    await eventually('it is said after all', () => reader.texts.length === 2);
    assert.deepEqual(reader.texts, ['before', 'meanwhile']);
  });
});

// --- Bad days -----------------------------------------------------------------------------------

describe('a bad day for Redis', { concurrency: 2 }, () => {
  test('connections are killed ten times a second: nothing is lost or doubled', async (context) => {
    const redis = await Redis.start(context);
    const servers = [await instance(context, redis.url), await instance(context, redis.url)];
    const readers = [];
    for (const server of servers) readers.push(...(await everyKind(context, server)));
    const speakers = readers.filter((reader) => reader.say);
    let isOver = false;
    const killing = (async () => {
      for (let kills = 0; !isOver; kills += 1) {
        await redis.tell('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
        await sleep(100);
        if (isOver) return kills;
      }
      return 0;
    })();
    const said = await talk(speakers, { ms: 4_000 });
    isOver = true;
    assert.ok((await killing) >= 20);
    await agree(readers, said);
    assert.ok(readers.every(({ ends, gaps }) => ends === 0 && gaps.length === 0));
  });

  test('it is started again with its data: what was said meanwhile comes then', async (context) => {
    const redis = await Redis.start(context, { isKept: true });
    const servers = [await instance(context, redis.url), await instance(context, redis.url)];
    const readers = [];
    for (const server of servers) readers.push(...(await everyKind(context, server)));
    const speakers = readers.filter((reader) => reader.say);
    const said = await talk(speakers, { ms: 500 });
    await redis.stop();
    for (const server of servers) {
      assert.deepEqual(await status(server, '/readyz'), [200, 'ok'], 'a restart takes less');
    }
    for (const [index, speaker] of speakers.entries()) {
      said.push(`meanwhile ${index}`);
      speaker.say(`meanwhile ${index}`);
    }
    for (const server of servers) {
      await eventually('the balancer is told', async () => {
        return (await status(server, '/readyz')).join(' ') === '503 backplane';
      });
      assert.deepEqual(await status(server, '/healthz'), [200, 'ok']);
    }
    assert.ok(readers.every(({ ends }) => ends === 0), 'readers stay');
    const lines = await Promise.all(servers.map((server) => server.nextLine()));
    await redis.again();
    for (const [index, server] of servers.entries()) {
      await works(server, lines[index]);
      assert.deepEqual(await status(server, '/readyz'), [200, 'ok']);
    }
    said.push(...(await talk(speakers, { ms: 300 })));
    await agree(readers, said);
    assert.ok(readers.every(({ ends, gaps }) => ends === 0 && gaps.length === 0));
  });

  test('it has forgotten everything: everybody is told, and one order goes on', async (context) => {
    const redis = await Redis.start(context);
    const servers = [await instance(context, redis.url), await instance(context, redis.url)];
    const readers = [];
    for (const server of servers) readers.push(...(await everyKind(context, server)));
    const said = await talk(readers.filter((reader) => reader.say), { ms: 500 });
    await agree(readers, said);
    await redis.stop();
    await redis.again();
    await toldOfGap(readers);
    await goesOn(context, servers);
  });

  test('FLUSHALL is a gap, too', async (context) => {
    const redis = await Redis.start(context);
    const servers = [await instance(context, redis.url), await instance(context, redis.url)];
    const readers = [];
    for (const server of servers) readers.push(...(await everyKind(context, server)));
    const said = await talk(readers.filter((reader) => reader.say), { ms: 300 });
    await agree(readers, said);
    await redis.tell('FLUSHALL');
    await toldOfGap(readers);
    for (const server of servers) await server.logged(/messages .*lost/);
    await goesOn(context, servers);
  });

  test('it is stopped for a while, as a machine that swaps: found, and nothing lost', async (context) => {
    const redis = await Redis.start(context);
    const server = await instance(context, redis.url);
    const readers = await everyKind(context, server);
    const speakers = readers.filter((reader) => reader.say);
    const said = await talk(speakers, { ms: 300 });
    const line = await server.nextLine();
    const stopped = Date.now();
    redis.signal('SIGSTOP');
    said.push(...(await talk(speakers, { ms: 200 })));
    await server.logged(/Redis: away/, { from: line });
    assert.ok(Date.now() - stopped < 10_000);
    await sleep(500);
    redis.signal('SIGCONT');
    await works(server, line);
    await agree(readers, said);
    assert.ok(readers.every(({ ends, gaps }) => ends === 0 && gaps.length === 0));
  });

  test('a way that stalls, is cut, and delivers late: each message once', async (context) => {
    const redis = await Redis.start(context);
    const ways = [await BadWay.to(context, redis.port), await BadWay.to(context, redis.port)];
    const servers = [await instance(context, ways[0].url), await instance(context, ways[1].url)];
    const readers = [];
    for (const server of servers) readers.push(...(await everyKind(context, server)));
    const speakers = readers.filter((reader) => reader.say);
    let isOver = false;
    const trouble = (async () => {
      for (let round = 0; !isOver; round += 1) {
        const way = ways[round % 2];
        way.delayMs = (round * 7) % 30;
        await sleep(60);
        way.stall();
        await sleep(40);
        if (round % 3 === 0) {
          way.resume();
          way.cut();
        } else if (round % 3 === 1) {
          await way.cutLate(50);
        } else {
          way.resume();
        }
      }
      for (const way of ways) {
        way.delayMs = 0;
        way.resume();
      }
    })();
    const said = await talk(speakers, { ms: 5_000 });
    isOver = true;
    await trouble;
    await agree(readers, said);
    assert.ok(readers.every(({ ends, gaps }) => ends === 0 && gaps.length === 0));
  });

  test('who speaks while it is away for long is sent elsewhere', { timeout: 90_000 }, async (context) => {
    const redis = await Redis.start(context, { isKept: true });
    const server = await instance(context, redis.url, ['--memory', '12MiB']);
    const reader = await socket(context, server.port, { isV1: false });
    const speaker = await socket(context, server.port, { isV1: false });
    await redis.stop();
    // More than may wait, so that the speaker is not read any more.
    const filling = 'x'.repeat(10_000);
    for (let number = 0; number < 1_000; number += 1) speaker.say(`${number} ${filling}`);
    await eventually('the speaker is closed', () => speaker.ends, 45_000);
    assert.deepEqual(speaker.end, [1013, 'backplane away']);
    assert.equal(reader.ends, 0, 'readers stay');
    await redis.again();
    // What was taken is said: the first so many, in their order.
    await eventually('what was taken comes', () => reader.texts.length > 50);
    await sleep(500);
    const numbers = reader.texts.map((text) => Number(text.split(' ')[0]));
    assert.deepEqual(numbers, [...numbers.keys()]);
  });
});

/** Everybody is told of a gap, each in the way of its dialect. */
async function toldOfGap(readers) {
  await eventually(
    'everybody is told',
    () => readers.every(({ gaps, ends }) => gaps.length || ends),
    15_000,
  );
  for (const { name, gaps, ends, end } of readers) {
    const kind = name.split(' ')[0];
    if (kind === 'v1' || kind === 'sse') {
      assert.deepEqual([gaps.length, ends], [1, 0], name);
    } else if (kind === 'plain') {
      assert.deepEqual(end, [1012, 'messages lost'], name);
    } else {
      assert.ok(['transport close', 'transport error'].includes(end), `${name}: ${end}`);
    }
  }
}

/** Whoever comes now, and whoever was told, hears the same. */
async function goesOn(context, servers) {
  const readers = [];
  for (const server of servers) readers.push(...(await everyKind(context, server)));
  const said = await talk(readers.filter((reader) => reader.say), { ms: 300 });
  await agree(readers, said);
  assert.ok(readers.every(({ ends, gaps }) => ends === 0 && gaps.length === 0));
}

// --- Who may, and where -------------------------------------------------------------------------

describe('connecting to Redis', { concurrency: 2 }, () => {
  const RIGHTS = ['+xadd', '+xread', '+xrange', '+xrevrange', '+expire', '+auth', '+select'];

  test('a user with the least rights, and a password in a file', async (context) => {
    const redis = await Redis.start(context);
    await redis.tell(
      ...['ACL', 'SETUSER', 'eve', 'reset', 'on', '>s3cret/@ word', '~{room}:*', ...RIGHTS],
    );
    await redis.tell('ACL', 'SETUSER', 'default', 'off');
    const file = path.join(context.folder(), 'password');
    fs.writeFileSync(file, 's3cret/@ word\n');
    const url = `redis://eve@127.0.0.1:${redis.port}`;
    const args = ['--redis-prefix', 'room', '--redis-password-file', file, ...HISTORY];
    const [a, b] = [await instance(context, url, args), await instance(context, url, args)];
    const [one, two] = [await socket(context, a.port), await socket(context, b.port)];
    one.say('by least rights');
    await eventually('it is heard', () => two.texts.length);
    const encoded = `redis://eve:s3cret%2F%40%20word@127.0.0.1:${redis.port}/0`;
    const c = await instance(context, encoded, ['--redis-prefix', 'room', ...HISTORY]);
    const three = await socket(context, c.port, { target: '/ws?last=1' });
    await eventually('it has the last', () => three.texts.length);
    const log = [a, b, c].flatMap((server) => server.lines).join('\n');
    assert.doesNotMatch(log, /s3cret|WARN|ERROR/);
  });

  test('a wrong password, and none, are said in words', async (context) => {
    const redis = await Redis.start(context, { args: ['--requirepass', 'right'] });
    const env = { ELBOW_REDIS_PASSWORD: 'wrong-one' };
    const wrong = await instance(context, redis.url, [], { env, away: true });
    await wrong.logged(/does not take the password \(WRONGPASS\)/);
    const without = await instance(context, redis.url, [], { away: true });
    await without.logged(/wants a password \(NOAUTH\)/);
    for (const server of [wrong, without]) {
      await eventually('the balancer is told', async () => {
        return (await status(server, '/readyz')).join(' ') === '503 backplane';
      });
    }
    assert.doesNotMatch(wrong.lines.join('\n'), /wrong-one/);
    const right = { ELBOW_REDIS_PASSWORD: 'right' };
    await instance(context, redis.url, [], { env: right });
    const shown = await run(BINARY, ['check', '--redis', redis.url], { env: right });
    assert.equal(shown.status, 0, shown.stderr);
    assert.match(shown.stdout, /password: \(set\), by ELBOW_REDIS_PASSWORD/);
    assert.doesNotMatch(shown.stdout, /right/);
  });

  test('a user who may not is told which right is missing', async (context) => {
    const redis = await Redis.start(context);
    await redis.tell('ACL', 'SETUSER', 'eve', 'reset', 'on', '>pw', '~*', ...RIGHTS.slice(1));
    const url = `redis://eve:pw@127.0.0.1:${redis.port}`;
    const server = await instance(context, url, [], { away: true });
    await server.logged(/does not let the user do this \(NOPERM\).*xadd/i);
  });

  test('by a name, and by the path of a socket, in another database', async (context) => {
    const redis = await Redis.start(context);
    const byName = await instance(context, `redis://localhost:${redis.port}/3`);
    await byName.logged(/connected to localhost:\d+ \((127\.0\.0\.1|\[::1\]):\d+\)/);
    const byPath = await instance(context, `unix:${redis.socket}`);
    const [one, two] = [await socket(context, byName.port), await socket(context, byPath.port)];
    one.say('three');
    two.say('zero');
    await eventually('they are heard', () => one.texts.length && two.texts.length);
    assert.deepEqual([one.texts, two.texts], [['three'], ['zero']], 'two databases');
  });

  test('it comes later than elbow: newcomers are put off, and then let in', async (context) => {
    const port = await freePort();
    const server = await instance(context, `redis://127.0.0.1:${port}`, [], { away: true });
    await server.logged(/cannot be reached: 127\.0\.0\.1:\d+: Connection refused/);
    const refused = await fetch(server.url('/sse'), { redirect: 'manual' });
    assert.equal(refused.status, 200, 'an EventSource would never come back from an error');
    assert.match(await refused.text(), /^retry: \d+/m);
    const tcp = await context.tcp(server.port);
    tcp.send('GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n');
    tcp.send('Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ZWxib3ctdGVzdC1rZXktMQ==\r\n\r\n');
    const response = await tcp.response();
    assert.equal(response.status, 503, response.text);
    assert.ok(response.headers['retry-after']);
    const redis = context.program(SERVER, ['--port', `${port}`, '--save', '']);
    await accepting(redis, port);
    await works(server);
    const reader = await socket(context, server.port);
    reader.say('at last');
    await eventually('it is heard', () => reader.texts.length);
  });

  const isRoot = process.geteuid() === 0;
  const moving = { skip: !isRoot && 'only root may show a process another /etc/hosts' };

  test('a name that leads elsewhere by now is followed', moving, async (context) => {
    const hosts = path.join(context.folder(), 'hosts');
    const port = await freePort();
    const relays = [];
    for (const address of ['127.0.0.2', '127.0.0.3']) {
      const redis = await Redis.start(context);
      relays.push(await BadWay.to(context, redis.port, { host: address, port }));
    }
    fs.writeFileSync(hosts, '127.0.0.2 redis.test\n');
    const mount = `mount --bind '${hosts}' /etc/hosts && exec "$@"`;
    const prefix = ['unshare', '--mount', 'sh', '-c', mount, 'sh'];
    const server = await instance(context, `redis://redis.test:${port}`, [], { prefix });
    await server.logged(/writer connected to redis\.test:\d+ \(127\.0\.0\.2:\d+\)/);
    const reader = await socket(context, server.port);
    reader.say('here');
    await eventually('it is heard', () => reader.texts.length === 1);
    fs.writeFileSync(hosts, '127.0.0.3 redis.test\n');
    relays[0].close();
    await server.logged(/writer connected to redis\.test:\d+ \(127\.0\.0\.3:\d+\)/);
    // Nobody there knows what was said here.
    await server.logged(/messages of channel default were lost; readers are told/);
    await eventually('it is told', () => reader.gaps.length === 1);
    reader.say('there');
    await eventually('it is heard', () => reader.texts.at(-1) === 'there');
  });

  test('a name that means nothing is said in words, and nobody waits for it', async (context) => {
    const server = await instance(context, 'redis://no-such-name.invalid', [], { away: true });
    await server.logged(/cannot be reached: no-such-name\.invalid:6379: /);
    assert.deepEqual(await status(server, '/healthz'), [200, 'ok']);
  });

  test('elbow ends while Redis is away', async (context) => {
    const server = await instance(context, 'redis://127.0.0.1:1', [], { away: true });
    server.signal('SIGTERM');
    assert.deepEqual(await server.gone(), { code: 0, signal: null });
  });
});

// --- Behind a balancer --------------------------------------------------------------------------

test('behind HAProxy with PROXY headers, three instances are one room', async (context) => {
  const redis = await Redis.start(context);
  const servers = [];
  for (let number = 0; number < 3; number += 1) {
    servers.push(await instance(context, redis.url, ['--proxy-protocol', 'required']));
  }
  const port = await freePort();
  const file = path.join(context.folder(), 'haproxy.cfg');
  const lines = servers.map(({ port: to }, index) => {
    return `  server elbow${index} 127.0.0.1:${to} send-proxy-v2 check check-send-proxy inter 200ms`;
  });
  fs.writeFileSync(
    file,
    `
global
  maxconn 500
defaults
  mode tcp
  timeout connect 2s
  timeout check 2s
  timeout client 60s
  timeout server 60s
listen balancer
  bind 127.0.0.1:${port}
  balance roundrobin
  option httpchk GET /readyz
  http-check expect status 200
${lines.join('\n')}
`,
  );
  await accepting(context.program('haproxy', ['-db', '-f', file]), port);
  const readers = [];
  for (let number = 0; number < 6; number += 1) {
    readers.push(await socket(context, port), await socket(context, port, { isV1: false }));
    readers.push(await stream(context, port));
    readers.push(await client(context, port, { way: 'websocket only' }));
  }
  for (const [index, reader] of readers.entries()) reader.name = `reader ${index}`;
  const said = await talk(readers.filter((reader) => reader.say), { ms: 1_000 });
  await agree(readers, said);
  for (const server of servers) {
    assert.ok(server.lines.some((line) => /open 127\.0\.0\.1:\d+ channel default/.test(line)));
  }
  // Whoever speaks to an instance itself introduces the client, as the balancer does.
  const direct = await context.upgraded(servers[0].port, { header: proxyV1('192.0.2.9', 9) });
  assert.ok(direct);
  await servers[0].logged(/open 192\.0\.2\.9:9 channel default/);
});
