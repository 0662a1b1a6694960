// WebSocket over real sockets: clients of the `ws` package echo, broadcast and keep to their
// channels; the opening handshake's refusals; every vector of tests/ws.rs, F01 to F42, at once and
// one byte per segment. The Autobahn suite (tests/autobahn) covers the rest of RFC 6455.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { test } from './elbow.mjs';
import { eventually, sleep } from './wait.mjs';
import {
  BINARY_FRAME,
  CLOSE,
  closeBody,
  frame,
  hex,
  PING,
  PONG,
  refused,
  TEXT,
  upgradeHead,
} from './wire.mjs';

describe('broadcast', { concurrency: 4 }, () => {
  test('a channel of one is an echo server: text as text, binary as binary', async (context) => {
    const server = await context.elbow();
    const client = await context.client(server.port);
    const binary = Buffer.from([0, 1, 2, 253, 254, 255]);
    for (const message of ['', 'hello', 'grüße 👋', 'x'.repeat(65_536), binary, Buffer.alloc(0)]) {
      client.say(message);
      assert.deepEqual(await client.next(), message);
    }
  });

  test('two hear each other, the sender included, in one order', async (context) => {
    const server = await context.elbow();
    const ann = await context.client(server.port);
    const bob = await context.client(server.port, { target: '/' });
    for (let count = 0; count < 100; count += 1) {
      ann.say(`ann ${count}`);
      bob.say(`bob ${count}`);
    }
    const heard = [];
    for (let count = 0; count < 200; count += 1) {
      heard.push(await ann.next());
      assert.equal(await bob.next(), heard.at(-1));
    }
    assert.equal(new Set(heard).size, 200);
    const ofAnn = heard.filter((message) => message.startsWith('ann'));
    assert.deepEqual(
      ofAnn,
      Array.from({ length: 100 }, (_, count) => `ann ${count}`),
    );
  });

  test('channels do not hear each other; / and /ws are the channel default', async (context) => {
    const server = await context.elbow();
    const rooms = {};
    for (const target of ['/', '/ws', '/ws/default', '/ws/news', '/ws/News', '/ws/a.b_c-9',
      '/ws/room/1', '/ws/room:1']) {
      rooms[target] = await context.client(server.port, { target });
    }
    for (const [target, client] of Object.entries(rooms)) client.say(target);
    const byName = ['/', '/ws', '/ws/default'];
    for (const [target, client] of Object.entries(rooms)) {
      const expected = byName.includes(target) ? byName : [target];
      const heard = [];
      while (heard.length < expected.length) heard.push(await client.next());
      assert.deepEqual(heard.sort(), expected);
    }
    await sleep(300);
    for (const client of Object.values(rooms)) assert.deepEqual(client.messages, []);
    await server.logged(/open.*news/);
  });

  test('who joins later starts at the head', async (context) => {
    const server = await context.elbow();
    const early = await context.client(server.port);
    early.say('before');
    await early.next();
    const late = await context.client(server.port);
    early.say('after');
    assert.equal(await late.next(), 'after');
  });

  test("the log tells of a session's open and close", async (context) => {
    const server = await context.elbow(['--log-level', 'debug']);
    const client = await context.client(server.port, { target: '/ws/news', from: '127.0.0.4' });
    const who = `127\\.0\\.0\\.4:${client.localPort}`;
    await server.logged(new RegExp(`open.*${who}.*news`));
    client.say('abc');
    await client.next();
    await server.logged(/message: abc/);
    client.socket.close(1000, 'enough');
    await server.logged(new RegExp(`close.*${who}.*news`));
    assert.equal((await client.closed()).code, 1000);
  });

  test('a message cannot forge a line of the log', async (context) => {
    const server = await context.elbow(['--log-level', 'debug']);
    const client = await context.client(server.port);
    client.say('a\n2026 INFO forged\r\u001b[31m');
    await client.next();
    await server.logged(/message: a/);
    assert.deepEqual(
      (await server.settled()).filter((line) => /^2026 INFO forged/.test(line)),
      [],
    );
    assert.ok(!server.lines.some((line) => line.includes('\u001b[31m')));
  });
});

describe('opening', { concurrency: 4 }, () => {
  test("a browser's Origin must match Host, or be allowed", async (context) => {
    const server = await context.elbow(['--allow-origin', 'https://chat.example']);
    const { port } = server;
    for (const origin of [
      `http://127.0.0.1:${port}`,
      'https://chat.example',
      'https://CHAT.example',
      undefined,
    ]) {
      await context.client(port, origin ? { origin } : {});
    }
    for (const origin of [
      'https://evil.example',
      `http://127.0.0.1:${port + 1}`,
      'null',
      'https://chat.example.evil',
      'http://chat.example',
      `http://127.0.0.1:${port}@evil.example`,
    ]) {
      assert.equal((await refused(port, { origin })).status, 403, origin);
    }
    const evil = 'https://evil.example';
    await server.logged(
      new RegExp(`WARN .*127\\.0\\.0\\.1:\\d+ was refused: pages of ${evil} may not connect, ` +
        `--allow-origin ${evil} would let them$`),
    );
  });

  test('--allow-origin "*" allows any', async (context) => {
    const server = await context.elbow(['--allow-origin', '*']);
    await context.client(server.port, { origin: 'https://anywhere.example' });
  });

  test('what is wrong with an upgrade is told by its status', async (context) => {
    const server = await context.elbow();
    const key = 'Sec-WebSocket-Key: ZWxib3ctdGVzdC1rZXktMQ==';
    const head = (...fields) => `GET /ws HTTP/1.1\r\nHost: h\r\n${fields.join('\r\n')}\r\n\r\n`;
    const asked = ['Upgrade: websocket', 'Connection: Upgrade'];
    const v13 = 'Sec-WebSocket-Version: 13';
    for (const [what, request, status] of [
      ['no upgrade at all', head(), 426],
      ['another protocol', head('Upgrade: h2c', 'Connection: Upgrade', v13, key), 426],
      ['no Connection', head('Upgrade: websocket', v13, key), 426],
      ['version 8', head(...asked, 'Sec-WebSocket-Version: 8', key), 426],
      ['no version', head(...asked, key), 426],
      ['no key', head(...asked, v13), 400],
      ['two keys', head(...asked, v13, key, key), 400],
      ['a key of 15 bytes', head(...asked, v13, 'Sec-WebSocket-Key: ZWxib3ctdGVzdC1rZXkt'), 400],
      ['a body', head(...asked, v13, key, 'Content-Length: 3'), 400],
      ['HTTP/1.0', head(...asked, v13, key).replace('/1.1', '/1.0'), 400],
      ['POST', head(...asked, v13, key).replace('GET', 'POST'), 405],
      ['a bad channel', upgradeHead('/ws/no%20spaces'), [400, 404]],
      ['a channel of 129 letters', upgradeHead(`/ws/${'x'.repeat(129)}`), [400, 404]],
    ]) {
      const tcp = await context.tcp(server.port);
      tcp.send(request);
      const response = await tcp.response();
      assert.ok([status].flat().includes(response.status), `${what}: ${response.text}`);
      if (what.startsWith('version')) assert.equal(response.headers['sec-websocket-version'], '13');
    }
  });

  test('lists, other cases, a tab, two Connection fields: all are upgrades', async (context) => {
    const server = await context.elbow();
    const tail = 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: okrcDgz1GgZKMUpCrzL3/g==\r\n\r\n';
    for (const asked of [
      'Upgrade: websocket, h2c\r\nConnection: keep-alive, Upgrade\r\n',
      'upgrade: WebSocket\r\nconnection: UPGRADE\r\n',
      'Upgrade: websocket\r\nConnection: keep-alive\r\nConnection: Upgrade\r\n',
      'Upgrade: h2c,\twebsocket\r\nConnection:\tkeep-alive,\tUpgrade\r\n',
    ]) {
      const tcp = await context.tcp(server.port);
      tcp.send(`GET /ws HTTP/1.1\r\nHost: h\r\n${asked}${tail}`);
      const { status, headers, text } = await tcp.response();
      assert.equal(status, 101, text);
      assert.equal(headers['sec-websocket-accept'], 'GnJ5EuRl5TmW1JduGpAG/qkSVeI=');
      assert.equal(headers.upgrade.toLowerCase(), 'websocket');
      assert.equal(headers.connection.toLowerCase(), 'upgrade');
    }
  });

  test('of what is offered a subprotocol is chosen, and no extension', async (context) => {
    const server = await context.elbow();
    const tcp = await context.tcp(server.port);
    tcp.send(
      upgradeHead('/ws', [
        'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits',
        'Sec-WebSocket-Protocol: token.secret, chat, superchat',
      ]),
    );
    const { status, headers } = await tcp.response();
    assert.equal(status, 101);
    assert.equal(headers['sec-websocket-extensions'], undefined);
    assert.equal(headers['sec-websocket-protocol'], 'chat');
  });

  test('one client too many is refused with 503, and probes say so', async (context) => {
    const server = await context.elbow(['--max-connections', '2']);
    const status = async (target) => (await fetch(server.url(target))).status;
    const first = await context.client(server.port);
    const second = await context.client(server.port);
    const { status: refusal, headers } = await refused(server.port);
    assert.equal(refusal, 503);
    assert.match(headers['retry-after'], /^\d+$/);
    assert.deepEqual([await status('/healthz'), await status('/readyz')], [200, 503]);
    second.say('still here');
    assert.equal(await first.next(), 'still here');
    second.socket.close(1000);
    await second.closed();
    await eventually('there is room again', async () => (await status('/readyz')) === 200);
    await context.client(server.port);
  });

  test("--max-connections-per-ip counts the clients' real addresses", async (context) => {
    const server = await context.elbow(['--max-connections-per-ip', '2']);
    await context.client(server.port, { from: '127.0.0.2' });
    const second = await context.client(server.port, { from: '127.0.0.2' });
    const port = second.localPort;
    assert.equal((await refused(server.port, { from: '127.0.0.2' })).status, 503);
    await context.client(server.port, { from: '127.0.0.3' });
    second.socket.close(1000);
    await second.closed();
    await server.logged(new RegExp(`close.*127\\.0\\.0\\.2:${port}\\b`));
    await context.client(server.port, { from: '127.0.0.2' });
  });

  test('one channel too many gets 503; default always has its place', async (context) => {
    const server = await context.elbow(['--max-channels', '2']);
    const one = await context.client(server.port, { target: '/ws/one' });
    assert.equal((await refused(server.port, { target: '/ws/two' })).status, 503);
    await context.client(server.port);
    await context.client(server.port, { target: '/ws/one' });
    one.say('hi');
    assert.equal(await one.next(), 'hi');
  });
});

const text = (payload) => ({ opcode: TEXT, payload });
const pong = (payload) => ({ opcode: PONG, payload });
const closed = (code) => ({ opcode: CLOSE, code });
const key = '37fa213d';
/** A masked close frame of two bytes. */
const closing = (code) => frame(CLOSE, closeBody(code));

/** [id, bytes sent, frames that come back]; a close is the last. `--max-message` is 1000. */
const VECTORS = [
  ['F01 text', hex(`8182 ${key} 5f93`), [text('hi')]],
  ['F02 unmasked', hex('8102 6869'), [closed(1002)]],
  ['F03 RSV1', hex(`c182 ${key} 5f93`), [closed(1002)]],
  ['F04 opcode 3', hex(`8382 ${key} 5f93`), [closed(1002)]],
  ['F05 opcode B', hex(`8b80 ${key}`), [closed(1002)]],
  ['F06 fragmented ping', hex(`0982 ${key} 5f93`), [closed(1002)]],
  ['F07 ping of 126', frame(PING, 'p'.repeat(126)), [closed(1002)]],
  ['F08 ping of 125', frame(PING, 'p'.repeat(125)), [pong('p'.repeat(125))]],
  ['F09 continuation first', hex(`8082 ${key} 5f93`), [closed(1002)]],
  ['F10 text inside text', hex(`0181 ${key} 56 8181 ${key} 55`), [closed(1002)]],
  [
    'F11 ping between fragments',
    hex(`0181 ${key} 56 8981 ${key} 47 8081 ${key} 55`),
    [pong('p'), text('ab')],
  ],
  ['F12 16-bit form of 5', hex(`81fe 0005 ${key} 5f9f4d5158`), [closed(1002)]],
  ['F13 64-bit form of 5', hex(`81ff 0000000000000005 ${key} 5f9f4d5158`), [closed(1002)]],
  ['F14 length of 2^63', hex(`81ff 8000000000000000 ${key}`), [closed(1002)]],
  ['F15 announced over the limit', hex(`82fe 03e9 ${key}`), [closed(1009)]],
  [
    'F16 fragments over the limit',
    Buffer.concat([frame(TEXT, 'x'.repeat(600), { fin: false }), frame(0, 'x'.repeat(600))]),
    [closed(1009)],
  ],
  ['F17 byte ff', hex(`8181 ${key} c8`), [closed(1007)]],
  ['F18 overlong', hex(`8182 ${key} f755`), [closed(1007)]],
  ['F19 surrogate', hex(`8183 ${key} da5aa1`), [closed(1007)]],
  ['F20 above U+10FFFF', hex(`8184 ${key} c36aa1bd`), [closed(1007)]],
  ['F21 cut code point', hex(`8182 ${key} d578`), [closed(1007)]],
  ['F22 code point over fragments', hex(`0181 ${key} d5 8082 ${key} b556`), [text('€')]],
  ['F23 fails fast', hex(`0182 ${key} 5605`), [closed(1007)]],
  ['F24 empty close', hex(`8880 ${key}`), [closed(undefined)]],
  ['F25 close of 1 byte', hex(`8881 ${key} 34`), [closed(1002)]],
  ['F26 close 1000', hex(`8882 ${key} 3412`), [closed(1000)]],
  ['F27 close 1001 with a reason', hex(`8885 ${key} 3413434452`), [closed(1001)]],
  ['F28 close 999', closing(999), [closed(1002)]],
  ['F29 close 1004', closing(1004), [closed(1002)]],
  ['F30 close 1005', closing(1005), [closed(1002)]],
  ['F31 close 1006', closing(1006), [closed(1002)]],
  ['F32 close 1012', closing(1012), [closed(1012)]],
  ['F33 close 1015', closing(1015), [closed(1002)]],
  ['F34 close 1016', closing(1016), [closed(1002)]],
  ['F35 close 3000', closing(3000), [closed(3000)]],
  ['F36 close 4999', closing(4999), [closed(4999)]],
  ['F37 close 5000', closing(5000), [closed(1002)]],
  ['F38 close with bad UTF-8', hex(`8883 ${key} 3412de`), [closed(1007)]],
  ['F39 empty text', hex(`8180 ${key}`), [text('')]],
  ['F40 unsolicited pong', hex(`8a82 ${key} 4d80`), []],
  ['F41 data after close', hex(`8882 ${key} 3412 8184 ${key} 5b9b5558`), [closed(1000)]],
];

async function expectFrames(tcp, expected) {
  for (const { opcode, payload, code } of expected) {
    const got = await tcp.frame();
    assert.deepEqual([got.opcode, got.fin, got.rsv], [opcode, true, 0]);
    if (opcode === CLOSE) assert.equal(got.code, code);
    else assert.equal(got.payload.toString(), payload);
  }
  if (expected.at(-1)?.opcode === CLOSE) {
    const { how, bytes } = await tcp.closed();
    assert.deepEqual([how, bytes.length], ['fin', 0], 'the server closes TCP first, cleanly');
  } else {
    tcp.send(frame(PING, 'alive?'));
    assert.equal((await tcp.frame()).payload.toString(), 'alive?', 'the session goes on');
  }
}

describe('vectors F01 to F42', () => {
  for (const [manner, send] of Object.entries({
    'at once': (tcp, bytes) => tcp.send(bytes),
    'one byte per segment': (tcp, bytes) => tcp.dribble(bytes),
  })) {
    test(manner, async (context) => {
      const server = await context.elbow(['--max-message', '1000']);
      for (const [name, bytes, expected] of VECTORS) {
        await context.part(name, async () => {
          // A channel of its own, where nobody else is heard.
          const tcp = await context.upgraded(server.port, { target: `/ws/${name.slice(0, 3)}` });
          await send(tcp, bytes);
          await expectFrames(tcp, expected);
          tcp.socket.destroy();
        });
      }
    });
  }

  test('F42 FIN without a close frame frees the session at once', async (context) => {
    const server = await context.elbow(['--max-connections', '1']);
    const tcp = await context.upgraded(server.port);
    tcp.socket.end();
    await tcp.closed();
    await server.logged(new RegExp(`close.*:${tcp.localPort}\\b`));
    await context.client(server.port);
  });

  test('a message in 200 fragments with pings between is one message', async (context) => {
    const server = await context.elbow();
    const tcp = await context.upgraded(server.port);
    tcp.send(frame(BINARY_FRAME, 'x', { fin: false }));
    for (let count = 0; count < 198; count += 1) tcp.send(frame(0, 'x', { fin: false }));
    tcp.send(Buffer.concat([frame(PING, 'between'), frame(0, 'x')]));
    const heard = [await tcp.frame(), await tcp.frame()];
    assert.deepEqual(
      heard.map(({ opcode }) => opcode).sort((a, b) => a - b),
      [BINARY_FRAME, PONG],
    );
    assert.equal(heard.find(({ opcode }) => opcode === BINARY_FRAME).payload.length, 200);
  });

  test('larger than --max-message: 1009, and the others hear nothing of it', async (context) => {
    const server = await context.elbow(['--max-message', '1KiB']);
    const other = await context.client(server.port);
    const client = await context.client(server.port);
    client.say('x'.repeat(1_024));
    assert.equal((await other.next()).length, 1_024);
    client.say('x'.repeat(1_025));
    assert.equal((await client.closed()).code, 1009);
    other.say('next');
    assert.equal(await other.next(), 'next');
  });
});
