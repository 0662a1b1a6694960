// A page of the shape of 2018's Socket.IO chats, unchanged, in headless Chromium, served through
// `--www`: with elbow's own client, and with the real one put in its place. And elbow's own client
// alone: all of its surface that a page of ours does not use.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, describe } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runInNewContext } from 'node:vm';
import { chromium } from 'playwright-core';
import { Cable } from './cable.mjs';
import { ROOT, test } from './elbow.mjs';
import { ask, peer } from './socketio.mjs';
import { eventually } from './wait.mjs';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const OWN = fs.readFileSync(path.join(ROOT, 'www/socket.io.js'));
const REAL = fs.readFileSync(here('node_modules/socket.io-client-4/dist/socket.io.js'));
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const ARGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'];
/** What Chromium itself prints while nobody listens; no fault of the page. */
const OUTAGE = /ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|WebSocket connection to/;

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGS });
after(() => browser.close());

/** A folder for `--www` with the page of 2018, and with `client` as its Socket.IO client. */
function seed(context, client) {
  const folder = context.folder();
  fs.copyFileSync(here('fixtures/seed/index.html'), path.join(folder, 'index.html'));
  if (client) {
    fs.mkdirSync(path.join(folder, 'socket.io'));
    fs.writeFileSync(path.join(folder, 'socket.io/socket.io.js'), client);
  }
  return folder;
}

async function openTab(context, url, faults = []) {
  const profile = await browser.newContext();
  context.defer(() => profile.close());
  const tab = await profile.newPage();
  tab.setDefaultTimeout(20_000);
  tab.on('console', (entry) => {
    if (['error', 'warning'].includes(entry.type())) faults.push(entry.text());
  });
  tab.on('pageerror', (error) => faults.push(String(error)));
  await tab.goto(url);
  return tab;
}

const state = (tab, words) => tab.locator('#state', { hasText: words }).waitFor();
const shown = (tab) => tab.locator('#messages li').allTextContents();

async function say(tab, words) {
  await tab.fill('#m', words);
  await tab.press('#m', 'Enter');
}

describe('the page of 2018', { concurrency: 2 }, () => {
  for (const [whose, client] of [
    ["elbow's own client", null],
    ['the real client of 4.8', REAL],
  ]) {
    test(`with ${whose}`, { timeout: 90_000 }, async (context) => {
      const www = seed(context, client);
      const first = await context.elbow(['--www', www, '--drain', '500ms']);
      const faults = [];
      const ann = await openTab(context, first.url('/'), faults);
      await state(ann, 'connected');
      const bob = await openTab(context, first.url('/'), faults);
      await state(bob, 'connected');
      const node = await peer(context, first.port, '2.1');
      const plain = await context.client(first.port);

      await say(ann, 'hello € 😀');
      await eventually('bob sees it', async () => (await shown(bob)).includes('hello € 😀'));
      await say(bob, '<b>back</b>');
      plain.say('from a plain client');
      await node.ask('chat message', 'from Node');
      const said = ['hello € 😀', '<b>back</b>', 'from a plain client', 'from Node'];
      await eventually('ann sees all', async () => (await shown(ann)).length === 6);
      // Two joined after ann, one after bob, and neither sees their own joining.
      const joined = 'someone joined';
      assert.deepEqual((await shown(ann)).slice(0, 3), [joined, joined, said[0]]);
      assert.deepEqual((await shown(bob)).slice(0, 2), [joined, said[0]]);
      assert.deepEqual((await shown(ann)).slice(3).sort(), said.slice(1).sort());
      assert.deepEqual((await node.until('from Node')).length + 1, 4);
      assert.deepEqual(faults, []);

      first.signal('SIGTERM');
      await state(ann, 'transport close');
      await state(bob, 'transport close');
      node.socket.disconnect();
      await first.gone();
      const listen = `127.0.0.1:${first.port}`;
      await context.elbow(['--www', www], { listen });
      await state(ann, 'connected');
      await state(bob, 'connected');
      await say(bob, 'after the restart');
      await eventually('ann sees it', async () =>
        (await shown(ann)).filter((text) => text !== joined).at(-1) === 'after the restart',
      );
      assert.deepEqual(faults.filter((fault) => !OUTAGE.test(fault)), []);
    });
  }
});

describe('/socket.io/socket.io.js', { concurrency: 4 }, () => {
  const TARGET = '/socket.io/socket.io.js';

  test('is ours, under 8 KiB, and knows what has not changed', async (context) => {
    const { port } = await context.elbow();
    assert.ok(OWN.length < 8 * 1024, `${OWN.length} bytes`);
    const whole = await ask(port, 'GET', TARGET);
    assert.equal(whole.status, 200);
    assert.ok(whole.body.equals(OWN));
    assert.match(whole.headers['content-type'], /^(text|application)\/javascript\b/);
    const { etag } = whole.headers;
    assert.match(etag, /^"[^"]+"$/);
    const head = await ask(port, 'HEAD', TARGET);
    assert.deepEqual(
      [head.status, head.headers.etag, head.headers['content-length']],
      [200, etag, String(OWN.length)],
    );
    for (const known of [etag, `W/${etag}`, `"other", ${etag}`]) {
      const { status, body } = await ask(port, 'GET', TARGET, {
        fields: [`If-None-Match: ${known}`],
      });
      assert.deepEqual([status, body.length], [304, 0], known);
    }
    const other = await ask(port, 'GET', TARGET, { fields: ['If-None-Match: "other"'] });
    assert.equal(other.status, 200);
    const versioned = await ask(port, 'GET', `${TARGET}?v=2`);
    assert.ok(versioned.body.equals(OWN));
  });

  test('is the same under the name of the original that is made small', async (context) => {
    const { port } = await context.elbow();
    const { status, body } = await ask(port, 'GET', '/socket.io/socket.io.min.js');
    assert.equal(status, 200);
    assert.ok(body.equals(OWN));
  });

  test('is a module, too', async (context) => {
    const server = await context.elbow();
    const tab = await openTab(context, server.url('/'));
    const result = await tab.evaluate(async () => {
      const module = await import('/socket.io/socket.io.esm.min.js');
      const socket = module.io();
      const connected = await new Promise((resolve) => {
        socket.on('connect', () => resolve(socket.connected));
      });
      const { connect, default: whole, io, protocol } = module;
      return [connected, connect === io, whole === io, protocol, Object.keys(module).length];
    });
    assert.deepEqual(result, [true, true, true, 5, 4]);
  });

  test('finds the server below the path that it came from', async (context) => {
    const server = await context.elbow(['--base-path', '/apps/chat']);
    const tab = await openTab(context, server.url('/apps/chat/'));
    await tab.addScriptTag({ url: '/apps/chat/socket.io/socket.io.js' });
    const result = await tab.evaluate(async () => {
      const connected = (socket) =>
        new Promise((resolve) => {
          socket.on('connect', () => resolve(socket.connected));
        });
      const byScript = [window.io.path, await connected(window.io())];
      // That of another server is the usual one, unless it is said.
      const dialled = (url, options) => {
        let address;
        const Real = window.WebSocket;
        window.WebSocket = function (url) {
          address = url.split('?')[0];
          return {};
        };
        window.io(url, options);
        window.WebSocket = Real;
        return address;
      };
      byScript.push(
        dialled('http://other.example/news'),
        dialled(`//${location.hostname}:1`),
        dialled('http://other.example:80', { path: '/a', forceNew: true }),
        dialled(location.origin, { path: '/b', forceNew: true }),
      );
      const module = await import('/apps/chat/socket.io/socket.io.esm.min.js?x=//h/socket.io/');
      return [...byScript, module.io.path, await connected(module.io({ forceNew: true }))];
    });
    const path = '/apps/chat/socket.io/';
    const others = [
      'ws://other.example/socket.io/',
      'ws://127.0.0.1:1/socket.io/',
      'ws://other.example/a/',
      `ws://127.0.0.1:${server.port}/b/`,
    ];
    assert.deepEqual(result, [path, true, ...others, path, true]);
  });

  test('is a module for pages of another origin that is listed', async (context) => {
    const page = await context.elbow();
    const listed = await context.elbow(['--allow-origin', page.url('/').slice(0, -1)]);
    const unlisted = await context.elbow(['--allow-origin', 'https://other.example']);
    // The program's own page may load nothing from elsewhere by its policy; a file of --www may.
    const tab = await openTab(context, page.url('/nothing'));
    const load = (url) =>
      tab.evaluate(async (url) => {
        const { io } = await import(url);
        const socket = io(new URL(url).origin);
        return new Promise((resolve) => {
          socket.on('connect', () => resolve(socket.connected));
        });
      }, url);
    const module = '/socket.io/socket.io.esm.min.js';
    assert.equal(await load(listed.url(module)), true);
    await assert.rejects(load(unlisted.url(module)), /module/);
  });

  test('does not take the path of a server from a query', () => {
    for (const [src, host, path] of [
      ['https://h/socket.io/socket.io.js', 'h', '/socket.io/'],
      ['https://h:1/a/socket.io/x.js?v=2', 'h:1', '/a/socket.io/'],
      ['https://h/a/socket.io/', 'h', '/a/socket.io/'],
      ['https://h/socket.io/socket.io/x.js#y', 'h', '/socket.io/socket.io/'],
      ['https://h/x.js?u=/socket.io/x.js'],
      ['https://h/x.js?u=//e/socket.io/x.js'],
      ['https://h/x.js#//e/socket.io/x.js'],
      ['https://h/socket.io/deeper/x.js'],
      ['https://h/socketxio/x.js'],
      ['blob:https://h/socket.io/x'],
      [undefined],
    ]) {
      const world = { document: { currentScript: { src } } };
      runInNewContext(String(OWN), world);
      assert.deepEqual([world.io.host, world.io.path], [host, path], src);
    }
  });

  test('comes with another --www too, unless that has one', async (context) => {
    const without = await context.elbow(['--www', seed(context)]);
    assert.ok((await ask(without.port, 'GET', TARGET)).body.equals(OWN));
    const server = await context.elbow(['--www', seed(context, REAL)]);
    const { body, headers } = await ask(server.port, 'GET', TARGET);
    const digest = (bytes) => createHash('sha256').update(bytes).digest('hex');
    assert.equal(digest(body), digest(REAL));
    const again = await ask(server.port, 'GET', TARGET, {
      fields: [`If-None-Match: ${headers.etag}`],
    });
    assert.equal(again.status, 304);
  });
});

describe("elbow's own client", { concurrency: 2 }, () => {
  /** A tab on the built-in page, under its policy, with elbow's client loaded. */
  async function clientTab(context, server) {
    const tab = await openTab(context, server.url('/'));
    await tab.addScriptTag({ url: '/socket.io/socket.io.js' });
    await tab.evaluate(() => {
      window.until = (emitter, event) =>
        new Promise((resolve) => {
          emitter.once(event, (...args) => resolve(args));
        });
    });
    return tab;
  }

  test('emits, hears and acknowledges text and binary', async (context) => {
    const server = await context.elbow();
    const tab = await clientTab(context, server);
    const other = await peer(context, server.port, '4.8');
    const result = await tab.evaluate(async () => {
      const heard = [];
      const socket = window.io();
      socket.on('chat message', (...args) => heard.push(args));
      const buffered = new Promise((resolve) => {
        socket.emit('chat message', 'before it is connected', resolve);
      });
      const before = [socket.connected, socket.disconnected, socket.id];
      await window.until(socket, 'connect');
      await buffered;
      const ask = (...args) =>
        new Promise((resolve) => {
          socket.emit('chat message', ...args, (...answer) => resolve(answer));
        });
      const answers = [
        await ask('€ 😀', { list: [1] }),
        await ask(new Uint8Array([9, 1, 2, 9]).subarray(1, 3)),
        await ask({ buffer: new Uint8Array([3, 4]).buffer, blob: new Blob(['ab']) }),
      ];
      socket.volatile.compress(false).emit('chat message', 'last');
      while (heard.length < 5) await window.until(socket, 'chat message');
      const bytes = (buffer) => [...new Uint8Array(buffer)];
      return {
        before,
        after: [socket.connected, socket.disconnected, typeof socket.id],
        answers,
        texts: [heard[0], heard[1], heard[4]],
        view: bytes(heard[2][0]),
        parts: [bytes(heard[3][0].buffer), bytes(heard[3][0].blob)],
      };
    });
    assert.deepEqual(result, {
      before: [false, true, undefined],
      after: [true, false, 'string'],
      answers: [[], [], []],
      texts: [['before it is connected'], ['€ 😀', { list: [1] }], ['last']],
      view: [1, 2],
      parts: [[3, 4], [97, 98]],
    });
    const events = await other.until('last');
    assert.deepEqual(events[0], ['hi']);
    assert.deepEqual(events[2], ['chat message', '€ 😀', { list: [1] }]);
    assert.deepEqual([...events[3][1]], [1, 2]);
  });

  test('namespaces share one transport; a refused one harms none', async (context) => {
    const server = await context.elbow();
    const tab = await clientTab(context, server);
    const news = await context.client(server.port, { target: '/ws/news' });
    const result = await tab.evaluate(async () => {
      const { io, until } = window;
      const main = io({ auth: { token: 'x' }, transports: ['polling'] });
      const news = io('/news', { auth: (give) => setTimeout(() => give({ late: true }), 10) });
      await Promise.all([until(main, 'connect'), until(news, 'connect')]);
      const bad = io('/default');
      const [error] = await until(bad, 'connect_error');
      await new Promise((resolve) => {
        news.emit('chat message', 'from the page', resolve);
      });
      const full = io(`${location.origin}/news`, { query: { a: 'b c' } });
      await until(full, 'connect');
      const left = until(news, 'disconnect');
      news.disconnect();
      return {
        shared: [news.io === main.io, full.io === main.io],
        names: [main.nsp, news.nsp, full.nsp],
        bad: [error instanceof Error, error.message, bad.active, bad.connected],
        left: await left,
        still: [main.connected, full.connected, news.connected],
      };
    });
    assert.deepEqual(result, {
      shared: [true, false],
      names: ['/', '/news', '/news'],
      bad: [true, 'Invalid namespace', false, false],
      left: ['io client disconnect'],
      still: [true, true, false],
    });
    assert.equal(await news.next(), 'from the page');
  });

  test('a server that says nothing is given up; connecting is tried so often', async (context) => {
    const server = await context.elbow(['--ping-interval', '1s', '--ping-timeout', '3s']);
    const tab = await clientTab(context, server);
    await tab.evaluate(async () => {
      window.reasons = [];
      window.tries = [];
      window.socket = window.io({
        reconnectionDelay: 50,
        reconnectionDelayMax: 100,
        reconnectionAttempts: 3,
        timeout: 300,
      });
      const { socket } = window;
      socket.on('disconnect', (reason) => window.reasons.push(reason));
      socket.on('reconnect_attempt', (number) => window.tries.push(number));
      socket.on('connect_error', (error) => window.reasons.push(error.message));
      await window.until(socket, 'connect');
    });
    await tab.waitForTimeout(5_000);
    assert.deepEqual(await tab.evaluate('[socket.connected, reasons]'), [true, []]);
    server.signal('SIGSTOP');
    context.defer(() => server.signal('SIGCONT'));
    await tab.evaluate(() => window.until(window.socket, 'reconnect_failed'));
    assert.deepEqual(await tab.evaluate('[reasons, tries, socket.connected]'), [
      ['ping timeout', 'timeout', 'timeout', 'timeout'],
      [1, 2, 3],
      false,
    ]);
    server.signal('SIGCONT');
    await tab.evaluate(() => window.until(window.socket.connect(), 'connect'));
  });
});

describe('a server that recovers', { concurrency: 2 }, () => {
  const OPEN =
    '0{"sid":"e","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":100000}';
  /** What each connection is answered, once it has asked to enter. */
  const ANSWERS = [
    ['40{"sid":"1","pid":"p"}', '42["elbow:position","a.1"]'],
    [
      '40{"sid":"2","pid":"p"}',
      '42["chat message","one","a.2"]',
      '451-["chat message",{"_placeholder":true,"num":0},"a.3"]',
      Buffer.from([7]),
      '42["chat message","two",1]',
    ],
    ['40{"sid":"3","pid":"q"}', '42["elbow:position","b.9"]'],
    ['40{"sid":"4"}', '42["chat message","three","no offset"]'],
    ['40{"sid":"5","pid":"r"}', '42["chat message","end","c.1"]'],
  ];

  /** A folder for `--www` with a page that has nothing but a client. */
  function bare(context, client) {
    const folder = seed(context, client);
    fs.writeFileSync(path.join(folder, 'bare.html'), '<script src="socket.io/socket.io.js"></script>');
    return folder;
  }

  for (const [whose, client] of [
    ["elbow's own client", OWN],
    ['the real client of 4.8', REAL],
  ]) {
    test(`sends to ${whose} what it has missed`, async (context) => {
      const args = ['--history', '100', '--recovery', 'on', '--www', bare(context, client)];
      const first = await context.elbow(args);
      const cable = await Cable.to(context, first.port);
      const tab = await openTab(context, cable.url('/bare.html'));
      await tab.evaluate(() => {
        window.heard = [];
        const socket = window.io({ transports: ['websocket'], reconnectionDelay: 10 });
        socket.on('connect', () => window.heard.push(`recovered: ${Boolean(socket.recovered)}`));
        socket.on('disconnect', () => window.heard.push('gone'));
        socket.on('chat message', (text) => window.heard.push(text));
      });
      const expected = [];
      const hears = async (...what) => {
        expected.push(...what);
        await eventually(`it hears ${what}`, async () => {
          return (await tab.evaluate('heard.length')) >= expected.length;
        });
        assert.deepEqual(await tab.evaluate('heard'), expected);
      };
      await hears('recovered: false');
      let other = await context.client(first.port);
      // Cut off before the first event, then behind some, and while nothing is said.
      for (const [before, meanwhile] of [
        [[], ['one', 'two']],
        [['three'], ['four']],
        [[], []],
        [['five'], []],
      ]) {
        for (const text of before) other.say(text);
        await hears(...before);
        cable.cut();
        await hears('gone');
        for (const text of meanwhile) other.say(text);
        for (const text of [...before, ...meanwhile]) assert.equal(await other.next(), text);
        cable.mend();
        await hears('recovered: true', ...meanwhile);
      }
      first.signal('SIGKILL');
      await first.gone();
      await hears('gone');
      await context.elbow(args, { listen: `127.0.0.1:${first.port}` });
      await hears('recovered: false');
      other = await context.client(first.port);
      other.say('six');
      await hears('six');
    });

    test(`is told by ${whose} where to go on`, async (context) => {
      const server = await context.elbow(['--www', bare(context, client)]);
      const tab = await openTab(context, server.url('/bare.html'));
      const asked = [];
      await tab.routeWebSocket(/socket\.io/, (route) => {
        route.onMessage((frame) => {
          for (const answer of ANSWERS[asked.length]) route.send(answer);
          asked.push(JSON.parse(frame.slice(2)));
          if (asked.length < ANSWERS.length) route.close();
        });
        route.send(OPEN);
      });
      await tab.reload(); // a page that is there already keeps its WebSocket
      const heard = await tab.evaluate(
        () =>
          new Promise((resolve) => {
            const heard = [];
            const options = { transports: ['websocket'], reconnectionDelay: 10 };
            const socket = window.io({ ...options, auth: { token: 't' } });
            heard.push(['before', socket.recovered]);
            socket.on('connect', () => heard.push([socket.id, Boolean(socket.recovered)]));
            socket.on('elbow:position', (...args) => heard.push(args));
            socket.on('chat message', (said, ...args) => {
              const bytes = said instanceof ArrayBuffer ? [...new Uint8Array(said)] : said;
              heard.push([bytes, ...args]);
              if (said === 'end') resolve(heard);
            });
          }),
      );
      assert.deepEqual(asked, [
        { token: 't' },
        { token: 't', pid: 'p', offset: 'a.1' },
        { token: 't', pid: 'p', offset: 'a.3' },
        { token: 't', pid: 'q', offset: 'b.9' },
        { token: 't' },
      ]);
      assert.deepEqual(heard, [
        ['before', false],
        ['1', false],
        ['a.1'],
        ['2', true],
        ['one', 'a.2'],
        [[7], 'a.3'],
        ['two', 1],
        ['3', false],
        ['b.9'],
        ['4', false],
        ['three', 'no offset'],
        ['5', false],
        ['end', 'c.1'],
      ]);
    });
  }
});
