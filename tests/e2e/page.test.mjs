// The built-in page in a real browser: headless Chromium against the release binary. Two tabs talk,
// one reloads, the server is killed and comes back on its port. Screenshots at desktop and phone
// width are kept in tests/output/e2e/ to be looked at.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after } from 'node:test';
import { chromium } from 'playwright-core';
import { BINARY, OUTPUT, run, test } from './elbow.mjs';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const ARGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
/** What Chromium itself prints while nobody listens; no fault of the page. */
const OUTAGE = /ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|WebSocket connection to/;

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGS });
after(() => browser.close());

/** A profile of its own, whose tabs share what tabs share. */
async function profile(context) {
  const opened = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  context.defer(() => opened.close());
  return opened;
}

/** A tab on the page, connected; its complaints are collected in `faults`. */
async function openTab(tabs, server, faults, target = '/') {
  const tab = await tabs.newPage();
  tab.setDefaultTimeout(20_000);
  tab.on('console', (entry) => {
    if (['error', 'warning'].includes(entry.type())) faults.push(entry.text());
  });
  tab.on('pageerror', (error) => faults.push(String(error)));
  tab.on('request', (request) => {
    const { hostname } = new URL(request.url());
    if (hostname !== '127.0.0.1') faults.push(`a request to ${request.url()}`);
  });
  await tab.goto(server.url(target));
  await connected(tab);
  return tab;
}

const connected = (tab) => tab.waitForSelector('#state[data-state="connected"]');

async function say(tab, text) {
  await tab.fill('#message', text);
  await tab.press('#message', 'Enter');
}

/** Waits until the tab shows `text` as said by `who`: `own` (and echoed) or `other`. */
const shows = (tab, who, text) =>
  tab
    .locator(who === 'own' ? '.message.own[data-state="sent"] .text' : '.message.other .text', {
      hasText: text,
    })
    .first()
    .waitFor();

const shown = (tab) => tab.locator('.message .text').allTextContents();

async function screenshot(tab, name) {
  const file = path.join(OUTPUT, `page-${name}.png`);
  await tab.screenshot({ path: file });
  assert.ok(fs.statSync(file).size > 5_000, `${file} shows something`);
}

test('two tabs talk, and one that reloads goes on talking', async (context) => {
  const server = await context.elbow();
  const tabs = await profile(context);
  const faults = [];
  const ann = await openTab(tabs, server, faults);
  const bob = await openTab(tabs, server, faults);

  await say(ann, 'hello from one tab');
  await shows(ann, 'own', 'hello from one tab');
  await shows(bob, 'other', 'hello from one tab');
  await say(bob, 'and back, <b>as text</b> & nothing else');
  await shows(ann, 'other', 'and back, <b>as text</b> & nothing else');

  await bob.reload();
  await connected(bob);
  assert.deepEqual(await shown(bob), [], 'who comes anew starts at the head of the feed');
  await say(bob, 'here again');
  await shows(ann, 'other', 'here again');
  await say(ann, 'welcome');
  await shows(bob, 'other', 'welcome');
  assert.deepEqual(await shown(ann), [
    'hello from one tab',
    'and back, <b>as text</b> & nothing else',
    'here again',
    'welcome',
  ]);
  assert.deepEqual(faults, []);
});

test('a name behind # is a channel of its own', async (context) => {
  const server = await context.elbow();
  const tabs = await profile(context);
  const faults = [];
  const everyone = await openTab(tabs, server, faults);
  const news = await openTab(tabs, server, faults, '/#news');
  const alsoNews = await openTab(tabs, server, faults, '/?channel=news');

  await say(news, 'only for news');
  await shows(alsoNews, 'other', 'only for news');
  await say(everyone, 'only for default');
  await shows(everyone, 'own', 'only for default');
  assert.deepEqual(await shown(alsoNews), ['only for news']);
  assert.deepEqual(await shown(everyone), ['only for default']);
  assert.deepEqual(faults, []);
});

test('below a path the page finds what belongs to it, and its server', async (context) => {
  const server = await context.elbow(['--base-path', '/apps/chat']);
  const tabs = await profile(context);
  const faults = [];
  const everyone = await openTab(tabs, server, faults, '/apps/chat');
  const alsoEveryone = await openTab(tabs, server, faults, '/apps/chat/index.html');
  const news = await openTab(tabs, server, faults, '/apps/chat/#room/news');
  const alsoNews = await openTab(tabs, server, faults, '/apps/chat/?channel=room/news');
  assert.equal(new URL(everyone.url()).pathname, '/apps/chat/');
  await say(news, 'only for news');
  await shows(alsoNews, 'other', 'only for news');
  await say(everyone, 'only for default');
  await shows(alsoEveryone, 'other', 'only for default');
  assert.deepEqual(await shown(news), ['only for news']);
  assert.deepEqual(faults, []);
  const probe = await run(BINARY, ['health'], {
    env: { PATH: process.env.PATH, ELBOW_LISTEN: `127.0.0.1:${server.port}` },
  });
  assert.equal(probe.status, 0, probe.stderr);
});

test('killed and restarted: what was typed offline arrives, once', async (context) => {
  const first = await context.elbow();
  const tabs = await profile(context);
  const faults = [];
  const ann = await openTab(tabs, first, faults);
  const bob = await openTab(tabs, first, faults);
  await say(ann, 'before');
  await shows(bob, 'other', 'before');
  assert.deepEqual(faults, []);

  first.signal('SIGKILL');
  await first.gone();
  await ann.waitForSelector('#state[data-state="offline"], #state[data-state="connecting"]');
  await say(ann, 'typed while nobody listened');
  await ann.waitForSelector('.message.own[data-state="waiting"]');
  await screenshot(ann, 'desktop-offline');

  const listen = `127.0.0.1:${first.port}`;
  const second = await context.elbow(['--log-level', 'debug'], { listen });
  await connected(ann);
  await shows(ann, 'own', 'typed while nobody listened');
  await connected(bob);
  await say(ann, 'after');
  await shows(bob, 'other', 'after');

  const relayed = (await second.settled()).filter((line) => /message: typed while/.test(line));
  assert.equal(relayed.length, 1, 'the server has heard it once');
  assert.deepEqual(
    faults.filter((fault) => !OUTAGE.test(fault)),
    [],
  );
});

test('desktop and phone width, by day and by night', async (context) => {
  const server = await context.elbow();
  const tabs = await profile(context);
  const faults = [];
  const ann = await openTab(tabs, server, faults);
  const bob = await openTab(tabs, server, faults);
  await bob.fill('#name', 'Bob');
  await bob.press('#name', 'Enter');
  await say(ann, 'Is the balancer healthy again?');
  await shows(bob, 'other', 'Is the balancer healthy again?');
  await say(
    bob,
    'Yes. It asked /healthz all night and never got a PROXY header wrong, which is more ' +
      `than can be said of the one before it. ${'A-word-too-long-for-any-phone'.repeat(3)}`,
  );
  await say(bob, '👍 مرحبا שלום 你好');
  await shows(ann, 'other', '你好');

  const sizes = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };
  for (const [size, viewport] of Object.entries(sizes)) {
    for (const colorScheme of ['light', 'dark']) {
      await ann.setViewportSize(viewport);
      await ann.emulateMedia({ colorScheme });
      await screenshot(ann, `${size}-${colorScheme}`);
      const overflow = await ann.evaluate(() => {
        const { scrollWidth, clientWidth } = document.documentElement;
        return scrollWidth - clientWidth;
      });
      assert.equal(overflow, 0, `nothing to scroll sideways at ${size} width`);
    }
  }
  assert.deepEqual(faults, []);
});

test('a page of another site says hi to nobody, whatever it is made of', async (context) => {
  const server = await context.elbow();
  const member = await context.client(server.port);
  const target = `http://127.0.0.1:${server.port}/socket.io/?EIO=3&transport=polling`;
  const foreign = http.createServer((request, response) => {
    response.setHeader('Content-Type', 'text/html');
    response.end(
      `<link rel="stylesheet" href="${target}&by=link"><script src="${target}&j=0"></script>` +
        `<img src="${target}"><iframe src="${target}"></iframe><a href="${target}">come</a>`,
    );
  });
  await new Promise((listening) => {
    foreign.listen(0, '127.0.0.1', listening);
  });
  context.defer(() => foreign.close());
  const tabs = await profile(context);
  const tab = await tabs.newPage();
  // Another name, and so another site, of the same machine.
  await tab.goto(`http://localhost:${foreign.address().port}/`);
  await tab.evaluate((url) => fetch(url, { mode: 'no-cors' }), target);
  await tab.click('a');
  await tab.waitForURL(target);
  // Nobody was greeted: the first thing to be heard is what is said now.
  member.say('alone');
  assert.equal(await member.next(), 'alone');
  const lines = await server.settled();
  const asked = lines.filter((line) => /GET \/socket\.io\/\? /.test(line));
  assert.equal(asked.length, 6, 'stylesheet, script, image, frame, fetch and link');
  for (const line of asked) assert.match(line, /" 403 /);
  assert.equal(lines.filter((line) => /\bopen\b/.test(line)).length, 1, 'the member itself');
});

test('the page says what it may load, and that is only itself', async (context) => {
  const server = await context.elbow();
  const response = await fetch(server.url('/'));
  assert.match(response.headers.get('content-security-policy'), /connect-src 'self' ws: wss:/);
});
