// Tokens with real clients: who is let in by which of them, where it may speak, and when it has to
// go. The tokens are made here with node's own cryptography, so another implementation has the
// last word on what is a good signature.

import assert from 'node:assert/strict';
import { createHmac, createSign, generateKeyPairSync, sign } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, describe } from 'node:test';
import { chromium } from 'playwright-core';
import { io as io4 } from 'socket.io-client-4';
import io2 from 'socket.io-client-2-5';
import WebSocket from 'ws';
import { BINARY, ROOT, run, test } from './elbow.mjs';
import { eventually } from './wait.mjs';

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
});
after(() => browser.close());

const SECRET = 'a secret of the tests, long enough for HMAC';
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const ed25519 = generateKeyPairSync('ed25519');

const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A token for the claims; `seconds` from now it has expired. */
function token(claims, { alg = 'HS256', seconds = 60, kid } = {}) {
  const exp = Math.floor(Date.now() / 1000) + seconds;
  const text = `${encode({ alg, typ: 'JWT', kid })}.${encode({ exp, aud: 'chat', ...claims })}`;
  const signature = {
    HS256: () => createHmac('sha256', SECRET).update(text).digest(),
    ES256: () =>
      createSign('sha256').update(text).sign({ key: p256.privateKey, dsaEncoding: 'ieee-p1363' }),
    EdDSA: () => sign(null, Buffer.from(text), ed25519.privateKey),
  }[alg]();
  return `${text}.${signature.toString('base64url')}`;
}

/** A server with keys of every kind in files. */
async function guarded(context, args = []) {
  const folder = context.folder();
  const write = (name, text) => {
    fs.writeFileSync(path.join(folder, name), text);
    return path.join(folder, name);
  };
  const pem = { type: 'spki', format: 'pem' };
  const jwk = { ...ed25519.publicKey.export({ format: 'jwk' }), kid: 'one' };
  const other = { kty: 'RSA', n: 'AQAB', e: 'AQAB', kid: 'two' };
  const server = await context.elbow([
    '--token-key', `hs256:${write('secret', `${SECRET}\n`)}`,
    '--token-key', `es256:${write('es256.pem', p256.publicKey.export(pem))}`,
    '--token-key', `jwks:${write('jwks.json', JSON.stringify({ keys: [jwk, other] }))}`,
    '--token-audience', 'chat',
    ...args,
  ]);
  return { server, folder };
}

/** The pieces of code in what the document says of tokens, by their language. */
function examples(language) {
  const text = fs.readFileSync(path.join(ROOT, 'docs', 'CLIENTS.md'), 'utf8');
  const [section] = text.split('\n## Tokens\n')[1].split('\n## ');
  const pieces = [...section.matchAll(/```(\w+)\n([^]*?)```/g)];
  return pieces.filter(([, name]) => name === language).map(([, , code]) => code);
}

/** A tab in which scripts of the server's own origin run, with elbow's small client. */
async function tabAt(context, server) {
  const tab = await browser.newPage();
  context.defer(() => tab.close());
  await tab.goto(`http://127.0.0.1:${server.port}/socket.io/`).catch(() => {});
  await tab.addScriptTag({ url: `http://127.0.0.1:${server.port}/socket.io/socket.io.js` });
  return tab;
}

/** What a handshake comes to: the status, or an open socket. */
function open(url, protocols, headers = {}) {
  return new Promise((resolve) => {
    const socket = new WebSocket(url, protocols, { headers });
    socket.messages = [];
    socket.on('message', (data) => socket.messages.push(data.toString()));
    socket.closed = new Promise((done) => {
      socket.on('close', (code, reason) => done(`${code} ${reason}`));
    });
    socket.on('open', () => resolve({ status: 101, socket }));
    socket.on('unexpected-response', (request, response) => {
      resolve({ status: response.statusCode, fields: response.headers });
      request.destroy();
    });
    socket.on('error', () => {});
  });
}

describe('tokens', { concurrency: 4 }, () => {
  test('ws: each way, each algorithm, each refusal', async (context) => {
    const { server } = await guarded(context);
    const url = `ws://127.0.0.1:${server.port}/ws/news`;
    for (const alg of ['HS256', 'ES256', 'EdDSA']) {
      const kid = alg === 'EdDSA' ? 'one' : undefined;
      const good = token({ join: ['news'], sub: 'ann' }, { alg, kid });
      const ways = [
        open(`${url}?token=${good}`),
        open(url, undefined, { Authorization: `Bearer ${good}` }),
        open(url, ['chat', `token.${good}`]),
      ];
      for (const [number, way] of ways.entries()) {
        const { status, socket } = await way;
        assert.equal(status, 101, `${alg}, way ${number}`);
        assert.equal(socket.protocol, number === 2 ? 'chat' : '');
        socket.close();
      }
      const elsewhere = await open(`${url}?token=${token({ join: ['others'] }, { alg, kid })}`);
      assert.equal(elsewhere.status, 403);
      const expired = token({ join: ['news'] }, { alg, kid, seconds: 0 });
      assert.equal((await open(`${url}?token=${expired}`)).status, 401);
      const forged = `${good.slice(0, -4)}AAAA`;
      assert.equal((await open(`${url}?token=${forged}`)).status, 401);
      const foreign = token({ join: ['news'], aud: 'shop' }, { alg, kid });
      assert.equal((await open(`${url}?token=${foreign}`)).status, 401);
    }
    const bare = await open(url);
    assert.equal(bare.status, 401);
    assert.match(bare.fields['www-authenticate'], /^Bearer/);
    const unknown = token({ join: ['news'] }, { alg: 'EdDSA', kid: 'three' });
    assert.equal((await open(`${url}?token=${unknown}`)).status, 401);
    await server.logged(/open 127\.0\.0\.1:\d+ channel news as ann/);
    await server.logged(/was refused: token: expired/);
    await server.logged(/was refused: token: no token/);
    assert.doesNotMatch(server.lines.join('\n'), /eyJ/);
  });

  test('ws: who may only listen, and who has to go', async (context) => {
    const { server } = await guarded(context);
    const url = `ws://127.0.0.1:${server.port}/ws/news`;
    const talks = await open(`${url}?token=${token({ join: ['news'] })}`);
    const listens = await open(`${url}?token=${token({ join: ['news'], say: [] })}`);
    talks.socket.send('hello');
    await eventually('the listener hears', () => listens.socket.messages.length > 0);
    assert.deepEqual(listens.socket.messages, ['hello']);
    listens.socket.send('psst');
    assert.equal(await listens.socket.closed, '1008 may not speak');
    assert.deepEqual(talks.socket.messages, ['hello']);
    const brief = await open(`${url}?token=${token({ join: ['news'] }, { seconds: 2 })}`);
    assert.equal(await brief.socket.closed, '1008 token expired');
    talks.socket.close();
  });

  test('socket.io-client 4: a token of the handshake, and one for a namespace', async (context) => {
    const { server } = await guarded(context);
    const url = `http://127.0.0.1:${server.port}`;
    const wide = token({ join: ['default', 'news'], say: ['news'] });
    for (const transports of [['polling'], ['websocket'], ['polling', 'websocket']]) {
      const connect = (options, namespace = '') =>
        new Promise((resolve) => {
          const socket = io4(`${url}${namespace}`, {
            transports, forceNew: true, reconnection: false, ...options,
          });
          context.defer(() => socket.disconnect());
          socket.on('connect', () => resolve(socket));
          socket.on('connect_error', (error) => resolve(error.message));
        });
      const socket = await connect({ query: { token: wide } }, '/news');
      assert.equal(socket.connected, true);
      await socket.timeout(5000).emitWithAck('chat message', 'heard');
      const quiet = await connect({ query: { token: wide } });
      await assert.rejects(quiet.timeout(300).emitWithAck('chat message', 'not heard'));
      const asked = await connect({ auth: (tell) => tell({ token: wide }) }, '/news');
      assert.equal(asked.connected, true);
      assert.equal(await connect({}, '/news'), 'unauthorized');
      assert.equal(await connect({ auth: { token: `${wide}x` } }, '/news'), 'unauthorized');
      assert.equal(await connect({ auth: { token: wide } }, '/others'), 'forbidden');
      const brief = await connect({ auth: { token: token({ join: ['*'] }, { seconds: 2 }) } });
      const reason = await new Promise((resolve) => {
        brief.on('disconnect', resolve);
      });
      assert.match(reason, /transport (close|error)|server/);
    }
  });

  test('socket.io-client 2: the token of the query', async (context) => {
    const { server } = await guarded(context);
    const good = token({ join: ['default', 'news'] });
    const connect = (query, namespace = '') =>
      new Promise((resolve) => {
        const socket = io2(`http://127.0.0.1:${server.port}${namespace}`, {
          query, forceNew: true, reconnection: false,
        });
        context.defer(() => socket.disconnect());
        socket.on('connect', () => resolve('connected'));
        socket.on('error', (error) => resolve(error));
        socket.on('connect_error', () => resolve('refused'));
      });
    assert.equal(await connect({ token: good }), 'connected');
    assert.equal(await connect({ token: good }, '/news'), 'connected');
    assert.equal(await connect({ token: `${good}x` }), 'refused');
    assert.equal(await connect({}), 'unauthorized');
  });

  test('socket.io-client 2: a namespace on a shared connection shows its own', async (context) => {
    const { server } = await guarded(context);
    const url = `http://127.0.0.1:${server.port}`;
    const news = token({ join: ['news'], sub: 'ann' });
    const enter = (namespace, query) =>
      new Promise((resolve) => {
        const socket = io2(`${url}${namespace}`, { query, reconnection: false });
        context.defer(() => socket.disconnect());
        socket.on('connect', () => resolve(socket));
        socket.on('error', resolve);
      });
    assert.equal(await enter('/'), 'unauthorized');
    const socket = await enter('/news', { token: news });
    assert.equal(socket.connected, true);
    assert.equal(await enter('/others', { token: news }), 'forbidden');
    assert.equal(await enter('/more', { token: 'x' }), 'unauthorized');
    await server.logged(/open 127\.0\.0\.1:\d+ channel news as ann/);
    assert.doesNotMatch(server.lines.join('\n'), /eyJ|token=/);
  });

  test('curl: an event stream', async (context) => {
    const { server } = await guarded(context);
    const url = `http://127.0.0.1:${server.port}/sse/news`;
    const good = token({ join: ['news'] }, { seconds: 3 });
    const code = ['-s', '-o', '/dev/null', '-w', '%{http_code}', '-m', '10'];
    assert.equal((await run('curl', [...code, url])).stdout, '401');
    const bearer = (text) => ['-H', `Authorization: Bearer ${text}`];
    const other = token({ join: ['others'] });
    assert.equal((await run('curl', [...code, ...bearer(other), url])).stdout, '403');
    // The stream ends by itself when the token has expired.
    assert.equal((await run('curl', [...code, ...bearer(good), url])).stdout, '200');
  });

  test('Chromium: the page takes its token out of the address', async (context) => {
    const { server } = await guarded(context, ['--www', path.join(ROOT, 'www')]);
    const good = token({ join: ['news'] });
    const tab = await browser.newPage();
    context.defer(() => tab.close());
    const asked = [];
    tab.on('request', (request) => asked.push(`${request.url()} ${request.headers().referer}`));
    await tab.goto(`http://127.0.0.1:${server.port}/#news&token=${good}`);
    await tab.waitForFunction(() => document.body.textContent.includes('Connected'));
    assert.equal(new URL(tab.url()).hash, '#news');
    // Neither where the tab goes back to nor what it asks for has it.
    await tab.goBack();
    assert.doesNotMatch(tab.url(), /token/);
    await tab.goForward();
    assert.doesNotMatch(tab.url(), /token/);
    await tab.waitForFunction(() => document.body.textContent.includes('Connected'));
    assert.ok(asked.length > 2);
    assert.doesNotMatch(asked.slice(1).join('\n'), /token|eyJ/);
    const shown = await tab.evaluate(() => document.documentElement.outerHTML);
    assert.doesNotMatch(shown, /eyJ/);
    await tab.reload();
    await tab.waitForFunction(() => document.body.textContent.includes('Connected'));
    assert.doesNotMatch(server.lines.join('\n'), /eyJ/);
  });

  test('the examples of the document: JavaScript, Socket.IO, curl', async (context) => {
    const { server, folder } = await guarded(context);
    const origin = `127.0.0.1:${server.port}`;
    const [plain, socketio] = examples('js');
    const [curl, make] = examples('sh');
    const tab = await tabAt(context, server);
    const jwt = token({ join: ['news'], sub: 'ann' });

    assert.match(plain, /new WebSocket\('wss:\/\/chat\.example\//);
    const script = plain.replace('wss://chat.example', `ws://${origin}`);
    const greeting = await tab.evaluate(`new Promise((heard, refused) => {
      const jwt = ${JSON.stringify(jwt)};
      ${script}
      socket.onmessage = ({ data }) => heard([socket.protocol, data]);
      socket.onerror = refused;
    })`);
    assert.equal(greeting[0], 'elbow.v1');
    assert.match(greeting[1], /^\n\{"channel":"news"/);

    // Asked at every connection: the first token expires, the second comes back with it.
    const tokens = [token({ join: ['news'] }, { seconds: 2 }), jwt];
    const asked = await tab.evaluate(`new Promise((done) => {
      const tokens = ${JSON.stringify(tokens)};
      let asked = 0;
      const fetchToken = async () => tokens[asked++];
      ${socketio}
      socket.on('connect', () => { if (asked === 2) done(asked); });
      socket.on('connect_error', (error) => done(error.message));
    })`);
    assert.equal(asked, 2);
    const same = socketio.replace("io('/news'", `io('http://${origin}/news'`).replace('const ', '');
    const connected = new Function('io', 'fetchToken', `let socket; ${same}; return socket;`);
    const socket = connected(io4, async () => jwt);
    context.defer(() => socket.disconnect());
    await eventually('socket.io-client is in', () => socket.connected);

    const shell = (code, variables) =>
      run('sh', ['-c', code], { env: { ...process.env, ...variables } });
    const line = curl.trim().replace('https://chat.example', `http://${origin}`);
    assert.notEqual(line, curl.trim());
    const heard = await shell(`${line} -s -m 2; true`, { JWT: jwt });
    assert.match(heard.stdout, /^id: /);

    const bin = `${path.dirname(BINARY)}:${process.env.PATH}`;
    const made = await shell(`cd '${folder}' && ${make.trim()} --audience chat`, { PATH: bin });
    const { status, socket: other } = await open(`ws://${origin}/ws/room/7?token=${made.stdout.trim()}`);
    assert.equal(status, 101);
    other.close();
  });

  test('Chromium: an EventSource shows its token in the query', async (context) => {
    const { server } = await guarded(context);
    const tab = await tabAt(context, server);
    const read = (text) =>
      tab.evaluate(`new Promise((done) => {
        const source = new EventSource('/sse/news?token=${text}');
        source.onopen = () => { done('open'); source.close(); };
        source.onerror = () => done(source.readyState === 2 ? 'refused' : 'cut');
      })`);
    assert.equal(await read(token({ join: ['news'] })), 'open');
    assert.equal(await read(token({ join: ['others'] })), 'refused');
    assert.equal(await read('x'), 'refused');
  });

  test('nothing of a token is seen: lines of every level, metrics, status', async (context) => {
    const args = ['--admin-listen', '127.0.0.1:0', '--log-level', 'trace', '--greeting', 'off'];
    const { server } = await guarded(context, args);
    const [, admin] = await server.logged(/admin requests on \S*:(\d+)/);
    const url = `ws://127.0.0.1:${server.port}/ws/news`;
    const good = token({ join: ['news', 'default'], sub: 'ann' });
    const bad = [
      good.slice(0, -3), `${good}A`, token({ join: ['news'] }, { seconds: -1 }),
      token({ join: ['news'], aud: 'else' }), token({ join: ['none'] }, { alg: 'ES256' }),
      token({}, { alg: 'EdDSA', kid: 'two' }),
    ];
    for (const text of [good, ...bad]) {
      for (const [target, protocols, headers] of [
        [`${url}?token=${text}`],
        [url, undefined, { Authorization: `Bearer ${text}` }],
        [url, ['chat', `token.${text}`]],
        [`${url}?token=${text}`, [`token.${text}`]],
      ]) {
        const { socket } = await open(target, protocols, headers);
        socket?.terminate();
      }
      const polling = `/socket.io/?EIO=4&transport=polling&token=${text}`;
      for (const path of [`/sse/news?token=${text}`, `/none?token=${text}`, polling]) {
        await run('curl', ['-s', '-m', '1', `http://127.0.0.1:${server.port}${path}`]);
      }
      const socket = io4(`http://127.0.0.1:${server.port}`, {
        auth: { token: text }, forceNew: true, reconnection: false, transports: ['websocket'],
      });
      await new Promise((done) => {
        socket.on('connect', done);
        socket.on('connect_error', done);
      });
      const figures = await Promise.all(
        ['/status', '/metrics'].map((path) => fetch(`http://127.0.0.1:${admin}${path}`)),
      );
      for (const answer of figures) {
        assert.equal(answer.status, 200);
        const shown = await answer.text();
        for (const part of text.split('.')) assert.ok(!shown.includes(part.slice(0, 12)));
      }
      socket.disconnect();
    }
    await server.logged(/was refused: token: unknown key/);
    const lines = server.lines.join('\n');
    for (const text of [good, ...bad]) {
      for (const part of text.split('.')) assert.ok(!lines.includes(part.slice(0, 12)), part);
    }
  });

  test('SIGHUP: keys are read again, or those of before stay', async (context) => {
    const { server, folder } = await guarded(context);
    const url = `ws://127.0.0.1:${server.port}/ws/news`;
    const good = token({ join: ['news'] });
    fs.writeFileSync(path.join(folder, 'secret'), 'short');
    server.signal('SIGHUP');
    await server.logged(/SIGHUP: --token-key hs256:\S+: a secret has at least 32 bytes; the keys/);
    assert.equal((await open(`${url}?token=${good}`)).status, 101);
    fs.writeFileSync(path.join(folder, 'secret'), 'another secret that is long enough too');
    server.signal('SIGHUP');
    await eventually('the key is another', async () => {
      return (await open(`${url}?token=${good}`)).status === 401;
    });
    assert.doesNotMatch(server.lines.join('\n'), /short\b|another secret/);
  });

  test('elbow token makes what elbow takes', async (context) => {
    const { server, folder } = await guarded(context);
    const made = (...args) =>
      String(execFileSync(BINARY, ['token', '--key', `hs256:${folder}/secret`, ...args])).trim();
    const url = `ws://127.0.0.1:${server.port}/ws/news`;
    const good = made('--audience', 'chat', '--join', 'news', '--expires', '1h');
    assert.equal((await open(`${url}?token=${good}`)).status, 101);
    const nameless = made('--join', 'news');
    assert.equal((await open(`${url}?token=${nameless}`)).status, 401);
  });
});
