// Clients that people use and that nothing else here connects with: of Python, undici's WebSocket,
// `ws` with subprotocols, Socket.IO 2.x with credentials from a page of another origin; and what
// stands in front of a server and asks it in ways of its own: HAProxy's check as it comes, nginx
// before a Unix socket, curl with targets that are no paths.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { after, describe } from 'node:test';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { WebSocket as UndiciSocket } from 'undici';
import WebSocket from 'ws';
import { accepting, freePort, PYTHON, run, test } from './elbow.mjs';
import { peer, WAYS } from './socketio.mjs';
import { eventually, sleep } from './wait.mjs';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const BINARY_BYTES = [0, 1, 255];

/** What a client of Python prints at its end. */
async function python(...args) {
  const script = here('clients.py');
  const { status, stdout, stderr } = await run(PYTHON, [script, ...args], { ms: 40_000 });
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout.trim().split('\n').at(-1));
}

describe('Python', { concurrency: 2 }, () => {
  for (const [way, transports] of Object.entries(WAYS)) {
    for (const namespace of ['/', '/room/1']) {
      test(`python-socketio: ${way}, in ${namespace}`, async (context) => {
        const { port } = await context.elbow();
        const options = { namespace, heard: ['chat message'] };
        const other = await peer(context, port, '4.8', options);
        const url = `http://127.0.0.1:${port}`;
        const { heard, acknowledged, transport, on_time: isOnTime } = await python(
          'socketio', url, namespace, ...(transports ?? []),
        );
        assert.ok(isOnTime, JSON.stringify(heard));
        assert.deepEqual(heard, ['from python', BINARY_BYTES]);
        assert.equal(acknowledged, null, 'without arguments');
        assert.equal(transport, transports?.[0] ?? 'websocket');
        assert.deepEqual(await other.next(), ['chat message', 'from python']);
        assert.deepEqual([...(await other.next())[1]], BINARY_BYTES);
      });
    }
  }

  for (const target of ['/', '/ws', '/ws/room/1']) {
    test(`websocket-client at ${target}`, async (context) => {
      const { port } = await context.elbow();
      const url = `ws://127.0.0.1:${port}${target}`;
      const heard = ['from python', BINARY_BYTES];
      assert.deepEqual(await python('websocket', url), { heard, subprotocol: null });
      const chosen = await python('websocket', url, 'chat', 'superchat');
      assert.deepEqual(chosen, { heard, subprotocol: 'chat' });
    });
  }
});

/** Opens a socket of either class, says a text and a binary, and closes: what it has heard. */
async function converse(Socket, url, protocols) {
  const socket = new Socket(url, protocols);
  socket.binaryType = 'arraybuffer';
  const heard = [];
  const closed = new Promise((resolve, reject) => {
    socket.onopen = () => {
      socket.send('a text');
      socket.send(new Uint8Array(BINARY_BYTES));
    };
    socket.onmessage = ({ data }) => {
      heard.push(typeof data === 'string' ? data : [...new Uint8Array(data)]);
      if (heard.length === 2) socket.close(1000);
    };
    socket.onerror = ({ error, message }) => reject(error ?? new Error(message));
    socket.onclose = ({ code }) => resolve(code);
  });
  const code = await closed;
  return { heard, code, protocol: socket.protocol };
}

describe('subprotocols', { concurrency: 4 }, () => {
  const heard = ['a text', BINARY_BYTES];
  for (const [name, Socket] of [['undici', UndiciSocket], ['ws', WebSocket]]) {
    for (const [offered, protocol] of [
      [[], ''],
      [['chat'], 'chat'],
      [['graphql-ws', 'graphql-transport-ws'], 'graphql-ws'],
      [['token.secret', 'chat'], 'chat'],
    ]) {
      test(`${name} that offers [${offered}] gets "${protocol}"`, async (context) => {
        const { port } = await context.elbow();
        const url = `ws://127.0.0.1:${port}/ws/news`;
        assert.deepEqual(await converse(Socket, url, offered), { heard, code: 1000, protocol });
      });
    }

    test(`${name} that offers nothing but a token gives up, as it must`, async (context) => {
      const { port } = await context.elbow();
      const url = `ws://127.0.0.1:${port}/ws`;
      await assert.rejects(converse(Socket, url, ['token.secret']));
    });
  }
});

describe('Socket.IO 2.5 in Chromium, from another origin', { concurrency: 2 }, async () => {
  const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
  const args = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'];
  const browser = await chromium.launch({ executablePath: CHROMIUM, args });
  after(() => browser.close());

  /** A page of an origin of its own that has the client of 2.5; its URL. */
  async function page(context) {
    const client = fs.readFileSync(here('node_modules/socket.io-client-2-5/dist/socket.io.js'));
    const server = http.createServer((request, response) => {
      const isClient = request.url === '/client.js';
      response.setHeader('Content-Type', isClient ? 'text/javascript' : 'text/html');
      response.end(isClient ? client : '<!doctype html><script src="/client.js"></script>');
    });
    await new Promise((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    context.defer(() => {
      server.closeAllConnections?.();
      server.close();
    });
    return `http://localhost:${server.address().port}`;
  }

  /** What a page of `origin` has come to by connecting to `port` with these options. */
  async function connect(context, origin, port, options) {
    const profile = await browser.newContext();
    context.defer(() => profile.close());
    const tab = await profile.newPage();
    await tab.goto(origin);
    return tab.evaluate(async ([url, settings]) => {
      const socket = window.io(url, { reconnection: false, ...settings });
      const heard = await new Promise((resolve) => {
        for (const event of ['connect_error', 'error']) {
          socket.on(event, (error) => resolve(String(error.message ?? error)));
        }
        socket.on('chat message', resolve);
        socket.on('connect', () => socket.emit('chat message', 'from another origin'));
      });
      const { withCredentials, name } = socket.io.engine.transport;
      socket.close();
      return { heard, withCredentials, name };
    }, [`http://127.0.0.1:${port}`, options]);
  }

  const polling = { transports: ['polling'] };
  const heard = 'from another origin';
  const BELOW = 'http://*.localhost';
  for (const list of ['*', 'own', BELOW]) {
    for (const [what, options] of [
      ['as it comes', polling],
      ['with a field of its own', {
        ...polling,
        transportOptions: {
          polling: { extraHeaders: { Authorization: 'Bearer x', 'X-Own': '1' } },
        },
      }],
      ['with an upgrade', {}],
    ]) {
      test(`--allow-origin ${list}: ${what}`, async (context) => {
        const origin = await page(context);
        const below = `http://*.localhost:${new URL(origin).port}`;
        const listed = { '*': '*', own: origin, [BELOW]: below }[list];
        const { port } = await context.elbow(['--allow-origin', listed]);
        const from = list === BELOW ? origin.replace('localhost', 'app.localhost') : origin;
        const result = await connect(context, from, port, options);
        assert.equal(result.heard, heard);
        assert.equal(result.withCredentials, true, 'it polls with credentials');
      });
    }
  }

  test('a page that is not listed is refused, and the log has the flag', async (context) => {
    const origin = await page(context);
    const server = await context.elbow(['--allow-origin', 'https://else.example']);
    const result = await connect(context, origin, server.port, polling);
    assert.notEqual(result.heard, heard);
    await server.logged(new RegExp(`--allow-origin ${origin} would let them$`));
  });
});

describe('in front', { concurrency: 2 }, () => {
  for (const base of [[], ['--base-path', '/chat']]) {
    test(`HAProxy's check as it comes finds it well, ${base.join(' ')}`, async (context) => {
      const server = await context.elbow([...base, '--log-level', 'debug']);
      const folder = context.folder();
      const port = await freePort();
      const control = path.join(folder, 'control');
      const file = path.join(folder, 'haproxy.cfg');
      fs.writeFileSync(file, `
global
  maxconn 500
  stats socket ${control} mode 600 level admin
defaults
  mode http
  timeout connect 2s
  timeout client 10s
  timeout server 10s
listen balancer
  bind 127.0.0.1:${port}
  option httpchk
  server elbow 127.0.0.1:${server.port} check inter 200ms fall 1 rise 1
`);
      await accepting(context.program('haproxy', ['-db', '-f', file]), port);
      await server.logged(/"OPTIONS \/ HTTP\/1\.0" 204 0/);
      // One failed check would be enough.
      await sleep(1_000);
      const socket = net.connect(control);
      socket.write('show stat\n');
      let csv = '';
      for await (const bytes of socket) csv += bytes;
      const rows = csv.replace(/^# /, '').trim().split('\n').map((row) => row.split(','));
      const seen = rows.find((fields) => fields[1] === 'elbow');
      const column = (name) => seen[rows[0].indexOf(name)];
      // While a check is under way, HAProxy marks the outcome of the one before.
      const outcome = column('check_status').replace(/^\* /, '');
      assert.deepEqual([column('status'), outcome], ['UP', 'L7OK'], csv);
      assert.equal(column('chkfail'), '0');
    });
  }

  /** nginx before a Unix socket, with what it needs for WebSockets. */
  async function nginx(context, socket, location, to) {
    const folder = context.folder();
    const port = await freePort();
    const file = path.join(folder, 'nginx.conf');
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
      .map((name) => `${name}_temp_path ${folder}/${name};`).join('\n  ');
    fs.writeFileSync(file, `
daemon off;
master_process off;
pid ${folder}/nginx.pid;
error_log stderr warn;
events {}
http {
  access_log off;
  ${temporary}
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  server {
    listen 127.0.0.1:${port};
    location ${location} {
      proxy_pass http://unix:${socket}:${to};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_buffering off;
    }
  }
}
`);
    const args = ['-p', folder, '-c', file, '-e', 'stderr'];
    await accepting(context.program('nginx', args), port);
    return port;
  }

  for (const [what, location, to, base] of [
    ['everything', '/', '', []],
    ['a path, which is passed on', '/chat', '', ['--base-path', '/chat']],
    ['a path, which is taken away', '/chat/', '/', []],
  ]) {
    test(`nginx before a Unix socket: ${what}`, async (context) => {
      const socket = path.join(context.folder(), 'elbow.sock');
      const flags = ['--listen', `unix:${socket}`, '--unix-mode', '0600', '--lb', 'alb', ...base];
      const server = await context.elbow(flags);
      const port = await nginx(context, socket, location, to);
      const prefix = location === '/' ? '' : '/chat';
      const { heard, code } = await converse(WebSocket, `ws://127.0.0.1:${port}${prefix}/ws`, []);
      assert.deepEqual([heard, code], [['a text', BINARY_BYTES], 1000]);
      for (const version of ['4.8', '2.5']) {
        for (const way of Object.keys(WAYS)) {
          const options = { way, path: `${prefix}/socket.io`, heard: ['chat message'] };
          const ann = await peer(context, port, version, options);
          await ann.ask('chat message', `${version}, ${way}`);
          assert.deepEqual(await ann.next(), ['chat message', `${version}, ${way}`]);
          ann.socket.disconnect();
        }
      }
      await server.logged(/open 127\.0\.0\.1 channel default/);
      const page = await run('curl', ['-sSf', `http://127.0.0.1:${port}${prefix}/`]);
      assert.match(page.stdout, /elbow's built-in chat page/);
    });
  }

  for (const [target, method, status, body] of [
    ['http://h/healthz', 'GET', 200, 'ok'],
    ['ws://h/healthz', 'GET', 200, 'ok'],
    ['WSS://h/healthz', 'GET', 200, 'ok'],
    ['*', 'OPTIONS', 204, ''],
    ['*', 'GET', 400, null],
    ['ftp://h/healthz', 'GET', 400, null],
    ['/healthz?x=%2e', 'GET', 200, 'ok'],
  ]) {
    test(`curl --request-target ${target} -X ${method}: ${status}`, async (context) => {
      const server = await context.elbow();
      const { stdout, stderr } = await run('curl', [
        '-sS', '-X', method, '--request-target', target, '-w', '\n%{http_code}', server.url('/'),
      ]);
      const [said, code] = [stdout.slice(0, stdout.lastIndexOf('\n')), stdout.split('\n').at(-1)];
      assert.equal(code, String(status), stderr);
      if (body !== null) assert.equal(said, body);
    });
  }

  test('curl upgrades by a target that is the URL of a WebSocket', async (context) => {
    const server = await context.elbow();
    const { stdout } = await run('curl', [
      '-sS', '-i', '--max-time', '1', '--request-target', `ws://127.0.0.1:${server.port}/ws/news`,
      '-H', 'Connection: Upgrade', '-H', 'Upgrade: websocket', '-H', 'Sec-WebSocket-Version: 13',
      '-H', 'Sec-WebSocket-Key: ZWxib3ctdGVzdC1rZXktMQ==', server.url('/'),
    ]);
    assert.match(stdout, /^HTTP\/1\.1 101 /);
    await server.logged(/open .* channel news/);
  });
});
