// The built-in page in a real browser: headless Chromium against the release binary. Two tabs talk,
// one reloads, the server is killed and comes back on its port; a connection is cut and nothing is
// lost, or it is said that something may be. Screenshots at desktop and phone width are kept in
// tests/output/e2e/ to be looked at.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after } from 'node:test';
import { chromium } from 'playwright-core';
import { Cable } from './cable.mjs';
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

/** What stands in the log, line by line: notices, days and messages. */
const lines = (tab) =>
  tab.locator('.messages > li').evaluateAll((rows) =>
    rows.map((row) => {
      const text = row.querySelector('.text')?.textContent ?? row.textContent;
      return row.className.includes('day') ? 'a day' : text.replace(/\d+:\d+( [AP]M)?/gu, 'T');
    }),
  );

const disconnected = (tab) => tab.waitForSelector('#state:not([data-state="connected"])');

const SIZES = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };

/** Screenshots at both widths, by day and by night; nothing may be wider than the window. */
async function screenshots(tab, name) {
  for (const [size, viewport] of Object.entries(SIZES)) {
    for (const colorScheme of ['light', 'dark']) {
      await tab.setViewportSize(viewport);
      await tab.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      await screenshot(tab, [name, size, colorScheme].filter(Boolean).join('-'));
      const overflow = await tab.evaluate(() => {
        const { scrollWidth, clientWidth } = document.documentElement;
        return scrollWidth - clientWidth;
      });
      assert.equal(overflow, 0, `nothing to scroll sideways at ${size} width`);
    }
  }
}

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

  await screenshots(ann);
  assert.deepEqual(faults, []);
});

test('cut off and back: what was missed stands in its place, once', async (context) => {
  const server = await context.elbow(['--history', '100']);
  const cable = await Cable.to(context, server.port);
  const other = await context.client(server.port);
  const tabs = await profile(context);
  const faults = [];
  const ann = await openTab(tabs, cable, faults);
  await ann.fill('#name', 'Ann');
  await ann.press('#name', 'Enter');
  await say(ann, 'before');
  await shows(ann, 'own', 'before');
  assert.deepEqual(faults, []);

  // Two messages are delivered, and the connection is gone before their echoes come.
  cable.deafen();
  await say(ann, 'did you get that?');
  await say(ann, 'and that?');
  const heard = ['<Ann> before', '<Ann> did you get that?', '<Ann> and that?'];
  for (const text of heard) assert.equal(await other.next(), text);
  cable.cut();
  await disconnected(ann);
  await ann.waitForSelector('.message.own[data-state="unknown"] .again');
  other.say('<Bob> yes');
  other.say(Buffer.from([0, 10, 200]));
  other.say('<Bob> \nonly you are gone');
  other.say('typed offline');
  await say(ann, 'typed offline');
  cable.mend();
  await connected(ann);
  await shows(ann, 'own', 'typed offline');
  other.say('<Bob> there you are');
  await shows(ann, 'other', 'there you are');
  const expected = [
    'a day',
    'before',
    'Not connected since T (connection lost), back at T. What was said meanwhile:',
    'did you get that?',
    'and that?',
    'yes',
    'binary, 3 bytes',
    '\nonly you are gone',
    'typed offline',
    'typed offline',
    'there you are',
  ];
  assert.deepEqual(await lines(ann), expected);
  assert.equal(await ann.locator('.message.own[data-state="sent"]').count(), 4);
  assert.equal(await ann.locator('.again').count(), 0, 'no doubt is left');
  const untimed = await ann.locator('.message.past .text').allTextContents();
  assert.deepEqual(untimed, ['yes', '\nonly you are gone', 'typed offline'], 'nobody knows when');
  await screenshots(ann, 'back');

  // Cut off again while nobody says anything: as if it had not been.
  cable.cut();
  await disconnected(ann);
  cable.mend();
  await connected(ann);
  await say(ann, 'still here');
  await shows(ann, 'own', 'still here');
  assert.deepEqual(await lines(ann), [...expected, 'still here']);

  // In another channel, and back.
  await ann.evaluate(() => {
    location.hash = 'news';
  });
  await ann.waitForFunction(() => document.getElementById('channel').textContent === '#news');
  await connected(ann);
  assert.deepEqual(await shown(ann), []);
  other.say('<Bob> meanwhile');
  await ann.goBack();
  await shows(ann, 'other', 'meanwhile');
  assert.deepEqual((await lines(ann)).slice(-2), [
    'Not connected since T (in another channel), back at T. What was said meanwhile:',
    'meanwhile',
  ]);
  assert.deepEqual(
    faults.filter((fault) => !OUTAGE.test(fault)),
    [],
  );
});

test('a newcomer is shown the last 50, and they are not read aloud', async (context) => {
  const server = await context.elbow(['--history', '100', '--base-path', '/chat']);
  const other = await context.client(server.port, { target: '/chat/ws/news' });
  const texts = Array.from({ length: 60 }, (_, number) => `<Bob> message ${number}`);
  for (const text of texts) {
    other.say(text);
    assert.equal(await other.next(), text);
  }
  const tabs = await profile(context);
  const faults = [];
  // What a screen reader would have been told of the log, and what of it was not to be read.
  await tabs.addInitScript(() => {
    globalThis.additions = { aloud: 0, silent: 0 };
    addEventListener('DOMContentLoaded', () => {
      const log = document.getElementById('log');
      new MutationObserver((records) => {
        const kind = log.getAttribute('aria-live') === 'off' ? 'silent' : 'aloud';
        for (const { addedNodes } of records) {
          for (const node of addedNodes) {
            if (node.matches?.('.message')) globalThis.additions[kind] += 1;
          }
        }
      }).observe(log, { childList: true, subtree: true });
    });
  });
  const ann = await openTab(tabs, server, faults, '/chat/#news');
  await shows(ann, 'other', 'message 59');
  const last = texts.slice(-50).map((text) => text.replace('<Bob> ', ''));
  assert.deepEqual(await lines(ann), ['Said before you came', ...last]);
  assert.equal(await ann.title(), 'elbow #news');
  assert.deepEqual(await ann.evaluate(() => globalThis.additions), { aloud: 0, silent: 50 });
  await ann.waitForSelector('#log:not([aria-live])');
  other.say('<Bob> and now');
  await shows(ann, 'other', 'and now');
  assert.deepEqual(await lines(ann), ['Said before you came', ...last, 'a day', 'and now']);
  assert.deepEqual(await ann.evaluate(() => globalThis.additions), { aloud: 1, silent: 50 });
  await ann.reload();
  await shows(ann, 'other', 'and now');
  assert.deepEqual(await lines(ann), ['Said before you came', ...last.slice(1), 'and now']);
  other.say('<Bob> and on');
  await shows(ann, 'other', 'and on');
  await screenshots(ann, 'newcomer');
  await ann.locator('#log').press('Home');
  await ann.waitForFunction(() => document.getElementById('log').scrollTop === 0);
  await screenshots(ann, 'newcomer-above');
  assert.deepEqual(faults, []);
});

test('the server began anew: the page says that something may be lost', async (context) => {
  const first = await context.elbow(['--history', '100']);
  const cable = await Cable.to(context, first.port);
  const tabs = await profile(context);
  const faults = [];
  const ann = await openTab(tabs, cable, faults);
  const bob = await openTab(tabs, first, faults);
  await say(ann, 'before');
  await shows(bob, 'other', 'before');
  cable.cut();
  first.signal('SIGKILL');
  await first.gone();
  const listen = `127.0.0.1:${first.port}`;
  await context.elbow(['--history', '100'], { listen });
  await connected(bob);
  await say(bob, 'first again');
  await shows(bob, 'own', 'first again');
  cable.mend();
  await connected(ann);
  await shows(ann, 'other', 'first again');
  await say(bob, 'and on');
  await shows(ann, 'other', 'and on');
  assert.deepEqual(await lines(ann), [
    'a day',
    'before',
    'Not connected since T (connection lost), back at T. Some messages may be lost.',
    'first again',
    'and on',
  ]);
  await screenshots(ann, 'lost');
  assert.deepEqual(
    faults.filter((fault) => !OUTAGE.test(fault)),
    [],
  );
});

test('without history the page knows whether it has missed anything', async (context) => {
  const server = await context.elbow();
  const cable = await Cable.to(context, server.port);
  const other = await context.client(server.port);
  const tabs = await profile(context);
  const ann = await openTab(tabs, cable, []);
  other.say('one');
  await shows(ann, 'other', 'one');
  cable.cut();
  await disconnected(ann);
  cable.mend();
  await connected(ann);
  other.say('two');
  await shows(ann, 'other', 'two');
  assert.deepEqual(await lines(ann), ['a day', 'one', 'two'], 'it has not');
  cable.cut();
  await disconnected(ann);
  other.say('three');
  while ((await other.next()) !== 'three');
  cable.mend();
  await connected(ann);
  other.say('four');
  await shows(ann, 'other', 'four');
  const gap = 'Not connected since T (connection lost), back at T. Some messages may be lost.';
  assert.deepEqual(await lines(ann), ['a day', 'one', 'two', gap, 'four']);
});

test('the page ignores what it does not know, and shows a loss in between', async (context) => {
  const server = await context.elbow();
  const other = await context.client(server.port);
  const tabs = await profile(context);
  const faults = [];
  let wire;
  await tabs.routeWebSocket(/\/ws/, (route) => {
    wire = route;
    route.connectToServer().onMessage((frame) => {
      route.send(String(frame).replace(/^\n\{/, '\n{"motto":["new"],'));
    });
  });
  const ann = await openTab(tabs, server, faults);
  wire.send('\n{"weather":"fine","position":"never.1"}');
  other.say('one');
  await shows(ann, 'other', 'one');
  wire.send('\n{"lost":true,"position":"abc.7","how":"trimmed"}');
  other.say('two');
  await shows(ann, 'other', 'two');
  assert.deepEqual(await lines(ann), ['a day', 'one', 'Some messages were lost here.', 'two']);
  assert.deepEqual(faults, []);
});

test('where the newest entries were lost, nothing is shown twice', async (context) => {
  const server = await context.elbow();
  const tabs = await profile(context);
  const faults = [];
  // What instances with one order say before and after a failover that has lost `two`.
  const begins = (position, more) => `\n${JSON.stringify({ channel: 'default', position, ...more })}`;
  const visits = [
    [begins('9-0.0', { missed: 0 }), '9-1.0\none', '9-2.0\ntwo'],
    [begins('9-0.0', { recovered: false, missed: 2 }), '9-1.0\none', '9-3.0\nthree'],
  ];
  const asked = [];
  await tabs.routeWebSocket(/\/ws/, (route) => {
    asked.push(new URL(route.url()).search);
    for (const frame of visits[asked.length - 1]) route.send(frame);
    if (asked.length === 1) setTimeout(() => route.close({ code: 1012, reason: 'lost' }), 500);
  });
  const ann = await openTab(tabs, server, faults);
  await shows(ann, 'other', 'two');
  await shows(ann, 'other', 'three');
  assert.deepEqual(asked, ['?last=50', '?since=9-2.0&last=50']);
  const [day, one, two, gap, ...rest] = await lines(ann);
  assert.deepEqual([day, one, two, ...rest], ['a day', 'one', 'two', 'three']);
  assert.match(gap, /Some messages may be lost\.$/);
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
