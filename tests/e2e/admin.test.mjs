// The admin listener with what backends and operators use: curl, fetch, undici, sockets by hand.
// What is published is heard by real clients of every kind; who is disconnected learns why, by
// each transport; pages and strangers get nothing.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { Agent, request } from 'undici';
import { WebSocket } from 'ws';
import { BINARY, freePort, run, test } from './elbow.mjs';
import { CLIENTS, peer } from './socketio.mjs';
import { eventually } from './wait.mjs';
import { refused, Tcp } from './wire.mjs';

const TOKEN = 'correct horse battery staple';
const BEARER = { authorization: `Bearer ${TOKEN}` };

/** A server with an admin listener, and where that is. */
async function administered(context, args = [], options = {}) {
  const server = await context.elbow(['--admin-listen', '127.0.0.1:0', ...args], options);
  const [, port] = await server.logged(/admin requests on \S*:(\d+)/);
  return { server, port: Number(port), url: `http://127.0.0.1:${port}` };
}

/** Publishes, and returns the answer with its body. */
async function publish(url, channel, body, headers = {}) {
  const answer = await fetch(`${url}/publish/${channel}`, { method: 'POST', body, headers });
  const text = await answer.text();
  return { status: answer.status, text, headers: answer.headers };
}

const positionOf = (answer) => {
  assert.equal(answer.status, 202, answer.text);
  assert.match(answer.text, /^\{"position":"[0-9a-z]+\.[0-9]+"\}$/);
  return JSON.parse(answer.text).position;
};

test('curl publishes what every kind of client hears', async (context) => {
  const { server, url } = await administered(context);
  const plain = await context.client(server.port);
  const positioned = [];
  const socket = new WebSocket(`ws://127.0.0.1:${server.port}/ws`, 'elbow.v1');
  context.defer(() => socket.terminate());
  socket.on('message', (data) => positioned.push(data.toString()));
  await eventually('it is greeted', () => positioned.length);
  const peers = [];
  for (const version of Object.keys(CLIENTS)) {
    for (const way of ['websocket only', 'polling only']) {
      const heard = ['chat message', 'price'];
      peers.push(await peer(context, server.port, version, { way, heard }));
    }
  }
  const curl = async (...args) => {
    const { status, stdout, stderr } = await run('curl', ['-sS', '--fail', ...args]);
    assert.equal(status, 0, stderr);
    return JSON.parse(stdout).position;
  };
  const to = `${url}/publish/default`;
  const first = await curl('-d', 'grüß', to);
  assert.equal(await plain.next(), 'grüß');
  await eventually('it is heard with its position', () => positioned[1] === `${first}\ngrüß`);
  for (const each of peers) assert.deepEqual(await each.next(), ['chat message', 'grüß']);

  await curl('-H', 'Transfer-Encoding: chunked', '-d', 'in chunks', to);
  assert.equal(await plain.next(), 'in chunks');
  for (const each of peers) assert.deepEqual(await each.next(), ['chat message', 'in chunks']);

  const file = path.join(context.folder(), 'large');
  fs.writeFileSync(file, 'x'.repeat(60_000));
  // curl asks first whether it may send a body of this size.
  await curl('-H', 'Expect: 100-continue', '--data-binary', `@${file}`, to);
  assert.equal((await plain.next()).length, 60_000);
  for (const each of peers) assert.equal((await each.next())[1].length, 60_000);

  const third = await curl('-d', '["ELB", 7, {"up": true}]', `${to}?event=price`);
  for (const each of peers) {
    assert.deepEqual(await each.next(), ['price', 'ELB', 7, { up: true }]);
  }
  await curl('-H', 'Content-Type: application/octet-stream', '--data-binary', '\x01', to);
  assert.deepEqual([...(await plain.next())], [1]);
  for (const each of peers) assert.equal((await each.next())[0], 'chat message');
  assert.notEqual(first, third);
});

test('what is published in one connection, or in many at a time, is heard in order', async (context) => {
  const { server, port, url } = await administered(context);
  const plain = await context.client(server.port);
  // All requests of the one are sent before the first answer.
  const tcp = await context.tcp(port);
  const count = 500;
  let all = '';
  for (let number = 0; number < count; number += 1) {
    const body = `pipelined ${number}`;
    all +=
      `POST /publish/default HTTP/1.1\r\nHost: localhost\r\n` +
      `Content-Length: ${body.length}\r\n\r\n${body}`;
  }
  tcp.send(all);
  const seen = [];
  for (let number = 0; number < count; number += 1) {
    const answer = await tcp.response();
    assert.equal(answer.status, 202);
    seen.push(Number(/\.(\d+)"/.exec(answer.text)[1]));
  }
  assert.deepEqual(seen, [...seen].sort((one, other) => one - other));
  for (let number = 0; number < count; number += 1) {
    assert.equal(await plain.next(), `pipelined ${number}`);
  }
  const agent = new Agent({ connections: 64 });
  context.defer(() => agent.destroy());
  const positions = await Promise.all(
    Array.from({ length: 2_000 }, async (_, number) => {
      const options = { method: 'POST', body: `parallel ${number}`, dispatcher: agent };
      const { statusCode, body } = await request(`${url}/publish/default`, options);
      assert.equal(statusCode, 202);
      const { position } = await body.json();
      return [Number(position.split('.')[1]), `parallel ${number}`];
    }),
  );
  positions.sort(([one], [other]) => one - other);
  for (const [, text] of positions) assert.equal(await plain.next(), text);
});

test('a token is asked for, wherever it comes from, and told to nobody', async (context) => {
  const folder = context.folder();
  const file = path.join(folder, 'token');
  fs.writeFileSync(file, `${TOKEN}\n`);
  fs.writeFileSync(path.join(folder, 'admin-token'), TOKEN);
  const wrong = 'somebody else has this one';
  const sources = [
    [['--admin-token-file', file], { ELBOW_ADMIN_TOKEN: wrong }],
    [[], { ELBOW_ADMIN_TOKEN: TOKEN, CREDENTIALS_DIRECTORY: '/nowhere' }],
    [[], { CREDENTIALS_DIRECTORY: folder }],
  ];
  for (const [args, env] of sources) {
    const { server, url } = await administered(context, [...args, '--log-level', 'debug'], { env });
    assert.equal((await publish(url, 'a', 'x')).status, 401);
    const answer = await publish(url, 'a', 'x', { authorization: `Bearer ${wrong}` });
    assert.equal(answer.status, 401);
    assert.equal(answer.headers.get('www-authenticate'), 'Bearer');
    assert.equal((await publish(url, 'a', 'x', BEARER)).text, '{"position":null}');
    assert.equal((await fetch(`${url}/healthz`)).status, 200);
    assert.equal((await fetch(`${url}/readyz`)).status, 200);
    await eventually('it is logged', () => server.lines.some((line) => line.includes(' 202 ')));
    assert.ok(!server.lines.some((line) => line.includes(TOKEN) || line.includes(wrong)));
    assert.ok(server.lines.some((line) => line.includes('token: (set)')));
  }
});

test('an admin listener that anybody could reach is refused, with one line', async (context) => {
  const port = await freePort();
  const short = path.join(context.folder(), 'short');
  fs.writeFileSync(short, 'too short\n');
  for (const [args, env] of [
    [['--admin-listen', `0.0.0.0:${port}`], {}],
    [['--admin-listen', `:${port}`], {}],
    [['--admin-listen', `127.0.0.1:${port}`, '--admin-token-file', short], {}],
    [['--admin-listen', `127.0.0.1:${port}`, '--admin-token-file', '/no/such/file'], {}],
    [['--admin-listen', `127.0.0.1:${port}`], { ELBOW_ADMIN_TOKEN: '' }],
    [['--admin-listen', `127.0.0.1:${port}`], { ELBOW_ADMIN_TOKEN: 'fifteen letters' }],
  ]) {
    for (const command of [[], ['check']]) {
      const all = [...command, '--listen', '127.0.0.1:0', ...args];
      const { status, stderr } = await run(BINARY, all, { env });
      assert.equal(status, 78, all.join(' '));
      assert.match(stderr, /^elbow: .*\n$/);
      assert.ok(!stderr.includes('too short') && !stderr.includes('fifteen letters'), stderr);
    }
  }
  const args = ['--admin-listen', `0.0.0.0:${port}`];
  const { server } = await administered(context, args.slice(2), { env: { ELBOW_ADMIN_TOKEN: TOKEN } });
  assert.equal(server.ended, null);
});

test('over a Unix socket, which is its owner alone', async (context) => {
  const socket = path.join(context.folder(), 'admin.sock');
  const args = ['--admin-listen', `unix:${socket}`, '--unix-mode', '0666', '--history', '5'];
  const server = await context.elbow(args);
  assert.equal(fs.statSync(socket).mode & 0o777, 0o600);
  const curl = ['-sS', '--unix-socket', socket, '-d', 'kept', 'http://localhost/publish/news'];
  const { stdout } = await run('curl', curl);
  assert.match(stdout, /\.1"\}$/);
  const plain = await context.client(server.port, { target: '/ws/news?last=1' });
  assert.equal(await plain.next(), 'kept');
});

test('a page cannot use the admin listener, also from this machine', async (context) => {
  const { server, url, port } = await administered(context);
  const plain = await context.client(server.port);
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
  });
  context.defer(() => browser.close());
  const page = await browser.newPage();
  const site = http.createServer((_, answer) => {
    answer.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>a</title>');
  });
  site.listen(0, '127.0.0.1');
  context.defer(() => site.close().closeAllConnections());
  await eventually('the page is served', () => site.address());
  await page.goto(`http://127.0.0.1:${site.address().port}/`, { waitUntil: 'networkidle' });
  const status = await page.evaluate(async (to) => {
    const send = (path, mode) =>
      fetch(`${to}${path}`, { method: 'POST', body: 'evil', mode }).then(
        (answer) => answer.type,
        () => 'refused',
      );
    return [
      await send('/publish/default', 'no-cors'),
      await send('/publish/default', 'cors'),
      await send('/disconnect?channel=default', 'no-cors'),
      await send('/healthz', 'no-cors'),
    ];
  }, url);
  // What is opaque was refused, too: the page is not even told that.
  assert.deepEqual(status, ['opaque', 'refused', 'opaque', 'opaque']);
  await eventually('the refusals are logged', () => {
    const lines = server.lines.filter((line) => / 403 \d+ "/.test(line));
    return lines.length === 3;
  });
  // A name that was made to lead here is told by itself.
  const misled = await new Promise((resolve, reject) => {
    const headers = { host: `evil.example:${port}` };
    const asked = http.request({ port, method: 'POST', path: '/publish/default', headers });
    asked.on('response', (answer) => resolve(answer.resume().statusCode)).on('error', reject);
    asked.end('evil');
  });
  assert.equal(misled, 403);
  positionOf(await publish(url, 'default', 'good'));
  assert.equal(await plain.next(), 'good');
});

test('who repeats a request with its key says it once', async (context) => {
  const { server, url } = await administered(context);
  const plain = await context.client(server.port);
  const headers = { 'idempotency-key': 'order 4711' };
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => publish(url, 'default', 'once', headers)),
  );
  const positions = new Set(answers.map(positionOf));
  assert.equal(positions.size, 1);
  positionOf(await publish(url, 'default', 'last'));
  assert.deepEqual([await plain.next(), await plain.next()], ['once', 'last']);
});

test('disconnected are those that match, by each transport, and are told', async (context) => {
  const { server, url } = await administered(context);
  const disconnect = async (query) => {
    const answer = await fetch(`${url}/disconnect?${query}`, { method: 'POST' });
    return [answer.status, await answer.text()];
  };
  const plain = await context.client(server.port, { target: '/ws/a' });
  const away = await context.client(server.port, { target: '/ws/a', from: '127.0.0.9' });
  const other = await context.client(server.port, { target: '/ws/b' });
  const peers = [];
  for (const way of ['websocket only', 'polling only']) {
    peers.push(await peer(context, server.port, '4.8', { way, namespace: '/a' }));
  }
  const stream = context.program('curl', ['-sN', `http://127.0.0.1:${server.port}/sse/a`]);
  let heard = '';
  stream.stdout.on('data', (bytes) => {
    heard += bytes;
  });
  await eventually('the stream begins', () => heard.includes('id: '));
  assert.deepEqual(await disconnect('channel=a&address=127.0.0.9'), [200, '{"closed":1}']);
  assert.deepEqual(await away.closed(), { code: 1008, reason: 'disconnected' });
  assert.equal(plain.end, null);
  assert.deepEqual(await disconnect('channel=a'), [200, '{"closed":4}']);
  assert.deepEqual(await plain.closed(), { code: 1008, reason: 'disconnected' });
  for (const each of peers) await eventually('it is disconnected', () => each.ends.length);
  await stream.ended;
  assert.equal(other.end, null);
  assert.deepEqual(await disconnect('subject=nobody'), [200, '{"closed":0}']);
  assert.equal((await disconnect(''))[0], 400);
  assert.equal((await disconnect('addres=127.0.0.1'))[0], 400);
});

test('the admin listener is served while the public one is full', async (context) => {
  const { server, url } = await administered(context, ['--max-connections', '4']);
  const members = [];
  for (let number = 0; number < 4; number += 1) members.push(await context.client(server.port));
  assert.equal((await refused(server.port)).status, 503);
  const crowd = [];
  for (let number = 0; number < 200; number += 1) {
    const tcp = await Tcp.connect(server.port).catch(() => null);
    if (tcp) {
      tcp.send('GET / HTTP/1.1\r\nHost: slow');
      crowd.push(tcp);
    }
  }
  context.defer(() => crowd.forEach((tcp) => tcp.socket.destroy()));
  positionOf(await publish(url, 'default', 'through'));
  for (const member of members) assert.equal(await member.next(), 'through');
  assert.equal((await fetch(`${url}/readyz`)).status, 503);
});
