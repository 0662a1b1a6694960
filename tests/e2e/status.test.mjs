// The status page in a real browser: headless Chromium against the admin listener of the release
// binary. What it shows is what the server says under real traffic; what can only be had exactly
// with invented figures (rates, quantiles, 15 minutes, names that are markup) is shown to it in the
// place of the server's. Screenshots are kept in tests/output/e2e/ to be looked at.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after } from 'node:test';
import { chromium } from 'playwright-core';
import { OUTPUT, freePort, test } from './elbow.mjs';
import { eventually } from './wait.mjs';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const ARGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'];
const TOKEN = 'correct horse battery staple ü';
/** What Chromium itself prints for an answer that says no, or for none; no fault of the page. */
const REFUSED = /status of (401|403|500|503)|ERR_CONNECTION|ERR_EMPTY_RESPONSE|ERR_SOCKET_NOT/;

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGS });
after(() => browser.close());

/** A server with an admin listener, and where that is. */
async function administered(context, args = [], options = {}) {
  const admin = ['--admin-listen', `127.0.0.1:${options.admin ?? 0}`];
  const server = await context.elbow([...admin, ...args], options);
  const [, port] = await server.logged(/admin requests on \S*:(\d+)/);
  return { server, url: `http://127.0.0.1:${port}/` };
}

/** A tab of a profile of its own; its complaints are collected in `faults`. */
async function openTab(context, faults) {
  const profile = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  context.defer(() => profile.close());
  const tab = await profile.newPage();
  tab.setDefaultTimeout(20_000);
  tab.on('console', (entry) => {
    if (['error', 'warning'].includes(entry.type())) faults.push(entry.text());
  });
  tab.on('pageerror', (error) => faults.push(String(error)));
  tab.on('request', (request) => {
    const { hostname } = new URL(request.url());
    if (hostname !== '127.0.0.1') faults.push(`a request to ${request.url()}`);
  });
  return tab;
}

const inState = (tab, state) => tab.waitForSelector(`#state[data-state="${state}"]`);

const stateText = (tab) => tab.textContent('#state');

/** A chart by its title. */
const chart = (tab, title) => tab.locator('.chart', { has: tab.getByText(title, { exact: true }) });

/** What the legend of a chart says: a value by each name. */
const legend = (tab, title) =>
  chart(tab, title)
    .locator('.key:not([hidden])')
    .evaluateAll((rows) =>
      Object.fromEntries(rows.map(({ firstChild, lastChild }) => [
        firstChild.textContent,
        lastChild.textContent,
      ])),
    );

/** The rows of a table by its title, without its head. */
const rows = (tab, title) =>
  tab
    .locator('table', { has: tab.getByText(title, { exact: true }) })
    .locator('tbody tr')
    .evaluateAll((all) => all.map((row) => [...row.cells].map((cell) => cell.textContent)));

/** How many places of the line with this number are drawn. */
const drawn = (tab, title, line = 0) =>
  chart(tab, title)
    .locator(`.line-${line}`)
    .evaluate((path) => (path.getAttribute('d').match(/[ML]/g) ?? []).length);

const USED = (tab) => tab.locator('#use dd').allTextContents();

/** A status with figures that are made up. */
function invented(number, change = {}) {
  const times = (count) => ({
    count,
    sum: count / 1000,
    p50: 0.001,
    p99: 0.001,
    p999: 0.001,
    max: 0.5,
    // Of every ten one was between 1 and 2 ms, one longer than all bounds, the rest shorter.
    buckets: [[0.001, count * 0.8], [0.002, count * 0.9], [0.004, count * 0.9]],
  });
  return {
    version: 1,
    build: { version: '9.9.9', target: 'invented' },
    uptime: 100 + number,
    listeners: [{ kind: 'admin', address: '127.0.0.1:1' }],
    limits: { sessions: { max: 100, used: 95 }, memory_bytes: { max: 4096, used: 1024 } },
    connections: { websocket: 10 + (number % 5), socketio: 3, sse: 2, http: 1 },
    channels: [],
    closes: { peer_gone: number * 2, too_slow: 7 },
    proxy_headers: {
      1: { proxy: 4, local: 0, unknown: 0 },
      2: { proxy: 0, local: 5, unknown: 6 },
      errors: { proxy_header_missing: 8, proxy_header_invalid: 0 },
      probes: { healthz: 9, readyz: 10, connect: 11, proxy_header: 12 },
    },
    turn: times(number * 20),
    fan_out: {
      ...times(number * 10),
      published: { websocket: number * 7, socketio: number, admin: 0, backplane: 0 },
      delivered: number * 1234,
      received_bytes: number * 512,
      sent_bytes: number * 2048,
      lapped: number,
      publishers_paused: 13,
      speakers_held_back: 14,
      lag: { p50: 0, p99: 512, max: 2048 },
    },
    memory: { rings: 1024, free: 3072, resident: 2 ** 20, ceiling: 2 ** 21 },
    backplane: null,
    findings: [],
    ...change,
  };
}

/** Answers the page's looks with `status`, a function of their number, in the server's place. */
async function invent(tab, status) {
  let number = 0;
  await tab.route('**/status', (route) => {
    number += 1;
    const answer = status(number);
    return route.fulfill(answer.status === undefined || answer.version ? { json: answer } : answer);
  });
}

const SIZES = { desktop: { width: 1280, height: 900 }, phone: { width: 360, height: 800 } };

/** Screenshots at both widths, by day and by night; nothing may be wider than the window. */
async function screenshots(tab, name) {
  const grounds = new Set();
  for (const [size, viewport] of Object.entries(SIZES)) {
    for (const colorScheme of ['light', 'dark']) {
      await tab.setViewportSize(viewport);
      await tab.emulateMedia({ colorScheme });
      const file = path.join(OUTPUT, `status-${name}-${size}-${colorScheme}.png`);
      await tab.screenshot({ path: file, fullPage: true });
      assert.ok(fs.statSync(file).size > 5_000, `${file} shows something`);
      const [overflow, ground] = await tab.evaluate(() => {
        const { scrollWidth, clientWidth } = document.documentElement;
        const { backgroundColor } = getComputedStyle(document.documentElement);
        return [scrollWidth - clientWidth, backgroundColor];
      });
      assert.equal(overflow, 0, `nothing to scroll sideways at ${size} width`);
      grounds.add(ground);
    }
  }
  assert.equal(grounds.size, 2, 'light and dark differ');
  await tab.setViewportSize(SIZES.desktop);
}

test('what is shown is what the server counts, under real traffic', async (context) => {
  const { server, url } = await administered(context, ['--history', '5']);
  const faults = [];
  const tab = await openTab(context, faults);
  await tab.goto(url);
  await inState(tab, 'live');
  const clients = [];
  for (const target of ['/ws', '/ws', '/ws', '/ws/news', '/ws/news']) {
    clients.push(await context.client(server.port, { target }));
  }
  const stream = context.program('curl', ['-sN', server.url('/sse/news')]);
  await eventually('the stream is there', async () =>
    (await (await fetch(`${url}status`)).json()).connections.sse);
  for (let number = 0; number < 40; number += 1) {
    clients[number % 5].say(`message ${number} ${'x'.repeat(number * 20)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  clients[4].socket.terminate();
  for (let number = 0; number < 3; number += 1) await fetch(server.url('/healthz'));
  await fetch(server.url('/readyz'));
  await eventually('it is counted', async () =>
    (await (await fetch(`${url}status`)).json()).connections.websocket === 4);
  await eventually('four are shown', async () =>
    (await legend(tab, 'Connections')).WebSocket === '4');
  const status = await (await fetch(`${url}status`)).json();
  const { WebSocket, 'Event streams': streams } = await legend(tab, 'Connections');
  assert.deepEqual([WebSocket, streams], ['4', '1']);
  assert.deepEqual([status.connections.websocket, status.connections.sse], [4, 1]);
  const published = Object.values(status.fan_out.published).reduce((all, way) => all + way, 0);
  assert.equal(published, 40);
  await eventually('all are handed out', async () =>
    (await (await fetch(`${url}status`)).json()).fan_out.count === status.fan_out.count);
  await eventually('every fan-out since the page came is in the histogram', async () =>
    Number((await legend(tab, 'Fan-out, how long')).Counted) === status.fan_out.count);
  const channels = await rows(tab, 'Largest channels');
  assert.deepEqual(channels.map((row) => row.slice(0, 3)), [['default', '3', '5'], ['news', '2', '5']]);
  await eventually('the ends are those of the server', async () => {
    const { closes } = await (await fetch(`${url}status`)).json();
    const told = Object.entries(closes).filter(([, all]) => all > 0);
    const shown = (await rows(tab, 'Ends of connections')).map(([why, , all]) => [why, Number(all)]);
    const named = told.map(([why, all]) => [why.replaceAll('_', ' '), all]);
    return named.length > 0 && JSON.stringify(named.sort()) === JSON.stringify(shown.sort());
  });
  const probes = Object.fromEntries(await rows(tab, 'Health probes'));
  assert.deepEqual([probes['/healthz'], probes['/readyz']], ['3', '1']);
  const [sessions] = await USED(tab);
  assert.equal(sessions, `5 of ${status.limits.sessions.max.toLocaleString('en')}`);
  const memory = Object.fromEntries(await rows(tab, 'Memory'));
  assert.equal(memory.ceiling, `${Math.round(status.memory.ceiling / 2 ** 20)} MiB`);
  assert.match(await tab.textContent('#build'), /^\d+\.\d+\.\d+ for \S+, up \d+ s$/);
  assert.match(await tab.textContent('#listeners'), /^public: 127\.0\.0\.1:\d+, admin: /);
  assert.ok((await drawn(tab, 'Connections')) >= 3);
  assert.ok((await drawn(tab, 'Messages delivered, a second')) >= 2);
  await screenshots(tab, 'busy');
  stream.kill();
  assert.deepEqual(faults, []);
});

test('rates, quantiles and what was counted lately are those of the figures', async (context) => {
  const { url } = await administered(context);
  const faults = [];
  const tab = await openTab(context, faults);
  await invent(tab, (number) => invented(number));
  await tab.goto(url);
  await tab.waitForFunction(() => document.querySelectorAll('.line-0')[2]
    ?.getAttribute('d').includes('L'));
  assert.deepEqual(await legend(tab, 'Messages said, a second'), {
    WebSocket: '7',
    'Socket.IO': '1',
    Backends: '0',
  });
  assert.deepEqual(await legend(tab, 'Messages delivered, a second'), { 'To all readers': '1,234' });
  assert.deepEqual(await legend(tab, 'Bytes read, a second'), { 'From all sockets': '512 B' });
  assert.deepEqual(await legend(tab, 'Bytes sent, a second'), { 'To all sockets': '2 KiB' });
  assert.deepEqual(await legend(tab, 'Lag of readers'), { p50: '0 B', p99: '512 B', Largest: '2 KiB' });
  assert.deepEqual(await legend(tab, 'Ends of connections, a second'), { All: '2', 'Too slow': '1' });
  for (const title of ['Fan-out of a message', 'Turns of the loop']) {
    const longest = 'more than the longest bound';
    assert.deepEqual(await legend(tab, title), { p50: 'under 1 ms', p99: longest });
  }
  assert.equal((await legend(tab, 'Turns, how long'))['Longest since the start'], '500 ms');
  const [[, lately, all], slow] = await rows(tab, 'Ends of connections');
  assert.equal(Number(all) - Number(lately), 2, 'what the first look found was counted before it');
  assert.deepEqual(slow, ['too slow', '0', '7']);
  assert.deepEqual(await rows(tab, 'PROXY headers'), [
    ['a client', '4', '0'],
    ['the balancer', '0', '5'],
    ['nobody', '0', '6'],
    ['closed: proxy header missing', '8', ''],
  ]);
  const counts = (await rows(tab, 'Health probes')).map(([, number]) => number);
  assert.deepEqual(counts, ['9', '10', '11', '12']);
  const messages = (await rows(tab, 'Messages')).slice(3).map(([, number]) => number);
  assert.deepEqual(messages, ['13', '14']);
  assert.deepEqual((await USED(tab)).filter(Boolean), ['95 of 100', '1 KiB of 4 KiB', '1 MiB of 2 MiB']);
  assert.equal(await tab.locator('.use.high').count(), 1, 'what is nearly used up stands out');
  assert.ok(!(await chart(tab, 'Waiting for Redis').isVisible()), 'there is no backplane');
  assert.equal(await tab.locator('table', { hasText: 'Redis' }).count(), 0);
  assert.match(await tab.textContent('#findings'), /Nothing is wrong/);
  assert.deepEqual(faults, []);
});

test('a chart tells its values to who points at it, and to who uses the keys', async (context) => {
  const { url } = await administered(context);
  const faults = [];
  const tab = await openTab(context, faults);
  await tab.clock.install({ time: '2026-11-27T10:00:00Z' });
  await tab.clock.pauseAt('2026-11-27T10:00:01Z');
  await invent(tab, (number) => invented(number));
  await tab.goto(url);
  await inState(tab, 'live');
  for (let second = 0; second < 8; second += 1) {
    const before = await drawn(tab, 'Connections');
    await tab.clock.runFor(1_000);
    await eventually('it has looked', async () => (await drawn(tab, 'Connections')) > before);
  }
  const looks = await drawn(tab, 'Connections');
  const now = await legend(tab, 'Connections');
  const when = (title) => chart(tab, title).locator('.at').textContent();
  assert.equal(await when('Connections'), 'now');
  const plot = chart(tab, 'Connections').locator('.plot');
  const box = await plot.boundingBox();
  // The charts go through a minute: 3 s ago is at 57 of 60.
  await tab.mouse.move(box.x + box.width * (57 / 60), box.y + box.height / 2);
  const then = await legend(tab, 'Connections');
  assert.notEqual(then.WebSocket, now.WebSocket);
  assert.equal(Number(then.WebSocket), 10 + ((looks - 3) % 5));
  assert.match(await when('Connections'), /^\d\d:\d\d:\d\d$/);
  assert.equal(await when('Memory'), await when('Connections'), 'all charts show that moment');
  await tab.mouse.move(1, 1);
  assert.deepEqual(await legend(tab, 'Connections'), now);

  await plot.focus();
  await tab.keyboard.press('ArrowLeft');
  await tab.keyboard.press('ArrowLeft');
  assert.equal(Number((await legend(tab, 'Connections')).WebSocket), 10 + ((looks - 2) % 5));
  assert.match(await tab.textContent('#moment'), /^Connections, \d\d:\d\d:\d\d\. WebSocket: 1\d; /);
  assert.equal(await tab.getAttribute('#moment', 'aria-live'), 'polite');
  assert.equal(await plot.getAttribute('aria-label'), await tab.textContent('#moment'));
  await tab.keyboard.press('Home');
  assert.equal((await legend(tab, 'Connections')).WebSocket, '11');
  await tab.keyboard.press('Escape');
  assert.deepEqual(await legend(tab, 'Connections'), now);

  const bars = chart(tab, 'Fan-out, how long').locator('.plot');
  assert.equal(await bars.locator('.bar').count(), 4);
  await bars.focus();
  await tab.keyboard.press('ArrowRight');
  await tab.keyboard.press('ArrowRight');
  const counted = (looks - 1) * 10;
  const values = await legend(tab, 'Fan-out, how long');
  assert.equal(values['1 ms to 2 ms'], `${counted / 10} of ${counted}`);
  await tab.keyboard.press('End');
  assert.equal((await legend(tab, 'Fan-out, how long'))['4 ms and more'], `${counted / 10} of ${counted}`);
  assert.deepEqual(faults, []);
});

test('fifteen minutes are kept, and no more', { timeout: 120_000 }, async (context) => {
  const { url } = await administered(context);
  const faults = [];
  const tab = await openTab(context, faults);
  await tab.clock.install({ time: '2026-11-27T10:00:00Z' });
  await tab.clock.pauseAt('2026-11-27T10:00:01Z');
  // Answered within the page, so that an hour of looks is quick.
  await tab.addInitScript(() => {
    globalThis.looks = 0;
    globalThis.fetch = async () => {
      globalThis.looks += 1;
      const answer = await globalThis.answer(globalThis.looks);
      return new Response(JSON.stringify(answer));
    };
  });
  const source = invented.toString();
  await tab.addInitScript(`${source}; globalThis.answer = (number) => invented(number);`);
  await tab.goto(url);
  const span = () => tab.textContent('#span');
  assert.equal(await span(), 'minute');
  const spans = new Set();
  for (let minute = 0; minute < 17; minute += 1) {
    await tab.clock.runFor(60_000);
    spans.add(await span());
  }
  const longer = [2, 3, 5, 7, 10, 15].map((minutes) => `${minutes} minutes`);
  assert.deepEqual([...spans], ['minute', ...longer]);
  const looks = await tab.evaluate(() => globalThis.looks);
  const places = await drawn(tab, 'Connections');
  assert.ok(looks > places + 50, `${looks} looks were taken`);
  assert.ok(places > 700 && places <= 900, `${places} are kept`);
  // What was counted before that is not among what was counted lately.
  const [[, lately]] = await rows(tab, 'Ends of connections');
  assert.equal(Number(lately.replace(',', '')), places * 2);
  await screenshots(tab, 'full');
  // The machine sleeps for an hour: of what was before nothing is left.
  await tab.clock.fastForward(3_600_000);
  await eventually('it has looked', async () => (await drawn(tab, 'Connections')) <= 2);
  assert.equal(await span(), 'minute');
  assert.deepEqual(faults, []);
});

test('names and texts that are markup are shown as text', async (context) => {
  const { url } = await administered(context);
  const faults = [];
  const tab = await openTab(context, faults);
  const evil = '<img src=x onerror="document.title=1"><script>document.title=1</script>';
  const status = (number) =>
    invented(number, {
      build: { version: evil, target: evil },
      listeners: [{ kind: evil, address: evil }],
      channels: [{ name: evil, members: { [evil]: 3 }, kept: 1, lag: { max: 7 } }],
      closes: { [evil]: 5 },
      proxy_headers: { errors: { [evil]: 1 } },
      findings: [{ id: evil, text: evil, remedy: evil }],
    });
  await invent(tab, status);
  await tab.goto(url);
  await inState(tab, 'live');
  assert.deepEqual(await rows(tab, 'Largest channels'), [[evil, '3', '1', '7 B']]);
  assert.ok((await tab.textContent('#findings')).includes(evil));
  assert.ok((await tab.textContent('#build')).includes(evil));
  assert.equal(await tab.locator('main img, main script, footer img').count(), 0);
  assert.equal(await tab.title(), '(1) elbow: status');
  for (const viewport of Object.values(SIZES)) {
    await tab.setViewportSize(viewport);
    const wide = () => document.documentElement.scrollWidth - document.documentElement.clientWidth;
    assert.equal(await tab.evaluate(wide), 0);
  }
  assert.deepEqual(faults, []);
});

test('a backplane is shown where there is one', async (context) => {
  const { url } = await administered(context);
  const faults = [];
  const tab = await openTab(context, faults);
  const backplane = { connected: false, pending_bytes: 2048, resent: 4, gaps: 1 };
  const round_trip = { p99: 0.0005 };
  await invent(tab, (number) => invented(number, { backplane: { ...backplane, round_trip } }));
  await tab.goto(url);
  await inState(tab, 'live');
  assert.deepEqual(await legend(tab, 'Waiting for Redis'), { Messages: '2 KiB' });
  assert.deepEqual(await rows(tab, 'Other instances'), [
    ['state', 'away'],
    ['round trip, p99', 'under 500 µs'],
    ['waiting', '2 KiB'],
    ['sent once more', '4'],
    ['gaps', '1'],
  ]);
  assert.deepEqual(faults, []);
});

test('the token is asked for, kept in the tab, and sent to nobody else', async (context) => {
  const env = { ELBOW_ADMIN_TOKEN: TOKEN };
  const [port, admin] = [await freePort(), await freePort()];
  const options = { listen: `127.0.0.1:${port}`, admin, env };
  const { server, url } = await administered(context, ['--log-level', 'debug'], options);
  const faults = [];
  const tab = await openTab(context, faults);
  const asked = [];
  tab.on('request', (request) => asked.push(request.url()));
  await tab.goto(url);
  await inState(tab, 'locked');
  assert.ok(!(await tab.isVisible('#figures')), 'no figure without a token');
  assert.equal(await tab.textContent('#why'), '');
  assert.equal(await tab.evaluate(() => document.activeElement.id), 'token');
  await screenshots(tab, 'token');
  await tab.fill('#token', 'somebody else has this one');
  await tab.keyboard.press('Enter');
  await tab.waitForFunction(() => document.getElementById('why').textContent !== '');
  assert.equal(await tab.textContent('#why'), 'This token is wrong.');
  assert.equal(await tab.evaluate(() => sessionStorage.length), 0);
  await tab.fill('#token', 'a line\u0001 of its own');
  await tab.keyboard.press('Enter');
  await eventually('it is refused', async () => /wrong/.test(await tab.textContent('#why')));
  await tab.fill('#token', TOKEN);
  await tab.keyboard.press('Enter');
  await inState(tab, 'live');
  assert.ok(await tab.isVisible('#figures') && !(await tab.isVisible('#login')));
  await tab.reload();
  await inState(tab, 'live');
  const other = await browser.newContext();
  context.defer(() => other.close());
  const stranger = await other.newPage();
  await stranger.goto(url);
  await inState(stranger, 'locked');
  // The operator changes the token.
  server.signal('SIGKILL');
  await server.gone();
  await inState(tab, 'away');
  const again = { ...options, env: { ELBOW_ADMIN_TOKEN: 'another horse altogether' } };
  await administered(context, [], again);
  await inState(tab, 'locked');
  assert.ok(!(await tab.isVisible('#figures')));
  await tab.fill('#token', 'another horse altogether');
  await tab.keyboard.press('Enter');
  await inState(tab, 'live');
  await tab.click('#forget');
  await inState(tab, 'locked');
  assert.equal(await tab.evaluate(() => sessionStorage.length), 0);
  assert.ok(asked.every((to) => !/horse|somebody/.test(to)), 'no URL has a token');
  assert.ok(!server.lines.some((line) => /horse|somebody/.test(line)), 'no log has a token');
  assert.deepEqual(faults.filter((fault) => !REFUSED.test(fault)), []);
});

test('an answer that comes late changes nothing that was decided meanwhile', async (context) => {
  const { url } = await administered(context);
  const faults = [];
  const tab = await openTab(context, faults);
  const held = [];
  let answer = null; // null: the answer waits
  await tab.route('**/status', (route) => {
    const fulfill = answer ?? ((then) => held.push(() => then.fulfill({ json: invented(1) })));
    return fulfill(route);
  });
  const denied = (route) => route.fulfill({ status: 401, body: '' });
  let number = 10;
  const granted = (route) => route.fulfill({ json: invented((number += 1)) });
  const heldOnes = (count) => eventually(`${count} wait`, () => held.length === count);

  // A wrong token whose refusal takes long, and the right one before that has come.
  answer = denied;
  await tab.goto(url);
  await inState(tab, 'locked');
  answer = (route) => held.push(() => denied(route));
  await tab.fill('#token', 'a wrong one, slowly refused');
  await tab.keyboard.press('Enter');
  await heldOnes(1);
  answer = granted;
  await tab.fill('#token', 'the right one of them all');
  await tab.keyboard.press('Enter');
  await inState(tab, 'live');
  await held.pop()();
  const from = number;
  await eventually('it goes on', () => number > from + 2);
  assert.equal(await tab.getAttribute('#state', 'data-state'), 'live');
  assert.equal(await tab.evaluate(() => sessionStorage.length), 1);

  // A page that is shown again looks at once; what it had asked for before is older.
  answer = null;
  await heldOnes(1);
  answer = granted;
  await tab.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  const shown = number;
  await eventually('it goes on', () => number > shown + 1);
  await held.pop()();
  await eventually('it goes on', () => number > shown + 3);
  const restart = chart(tab, 'Connections').locator('.restart');
  assert.ok(!(await restart.getAttribute('d')), 'the server was not started anew');

  // Whoever forgets the token is shown nothing more that was asked for with it.
  answer = null;
  await heldOnes(1);
  await tab.click('#forget');
  await inState(tab, 'locked');
  await held.pop()();
  await tab.evaluate(() => fetch('healthz').then((ok) => ok.text()));
  assert.equal(await tab.getAttribute('#state', 'data-state'), 'locked');
  assert.ok(!(await tab.isVisible('#figures')) && (await tab.isVisible('#login')));
  assert.equal(await tab.evaluate(() => sessionStorage.length), 0);

  // No server has a longer token, and no text that somebody pastes stops the page.
  answer = denied;
  await tab.fill('#token', 'x'.repeat(300_000));
  await tab.keyboard.press('Enter');
  await eventually('it is refused', async () => /wrong/.test(await tab.textContent('#why')));
  assert.deepEqual(faults.filter((fault) => !REFUSED.test(fault)), []);
});

test('a server that goes away is said to be, and its next life counts anew', async (context) => {
  const [port, admin] = [await freePort(), await freePort()];
  const options = { listen: `127.0.0.1:${port}`, admin };
  const { server, url } = await administered(context, [], options);
  const client = await context.client(server.port);
  for (let number = 0; number < 50; number += 1) client.say(`message ${number}`);
  const faults = [];
  const tab = await openTab(context, faults);
  await tab.goto(url);
  await tab.waitForFunction(() => document.querySelectorAll('.line-0')[2]
    ?.getAttribute('d').includes('L'));
  assert.deepEqual(faults, []);
  server.signal('SIGKILL');
  await server.gone();
  await inState(tab, 'away');
  assert.match(await stateText(tab), /^The server cannot be reached since .*; trying again\. What is/);
  assert.ok(await tab.isVisible('#figures'), 'what was last known stays');
  await screenshots(tab, 'away');
  await administered(context, [], options);
  await inState(tab, 'live');
  const restarts = chart(tab, 'Connections').locator('.restart');
  await eventually('the new life is marked', async () => await restarts.getAttribute('d'));
  await eventually('it counts', async () =>
    (await legend(tab, 'Messages said, a second')).WebSocket === '0');
  const heights = await tab.locator('.line').evaluateAll((lines) =>
    lines.flatMap((line) => line.getAttribute('d')?.match(/ -?[\d.]+/g) ?? []).map(Number));
  assert.ok(heights.every((height) => height >= 0 && height <= 150), 'no line leaves its chart');
  assert.deepEqual(faults.filter((fault) => !REFUSED.test(fault)), []);
});

test('what is no status of this version is not drawn, and the page says so', async (context) => {
  const { url } = await administered(context);
  const faults = [];
  const tab = await openTab(context, faults);
  let answer = () => ({ version: 2 });
  await invent(tab, (number) => answer(number));
  await tab.goto(url);
  await inState(tab, 'strange');
  assert.match(await stateText(tab), /has version 2, and this page knows 1\. Load the page anew/);
  assert.ok(!(await tab.isVisible('#figures')));
  answer = (number) => invented(number);
  await inState(tab, 'live');
  for (const [what, words] of [
    [{ status: 200, body: '<html>' }, /answers is no status/],
    [{ status: 503, body: 'Service Unavailable' }, /too busy/],
    [{ status: 500, body: 'x' }, /answers 500/],
    [{ version: 1, channels: [null] }, /answers cannot be shown/],
    [{ status: 403, body: 'pages of <b>others</b>' }, /refuses this page \(pages of <b>others<\/b>\)/],
  ]) {
    answer = () => what;
    await eventually(String(words), async () => words.test(await stateText(tab)));
  }
  // Keys that a server lacks are no reason to show nothing.
  answer = () => ({ version: 1 });
  await inState(tab, 'live');
  const own = faults.filter((fault) => !REFUSED.test(fault));
  assert.ok(own.length > 0 && own.every((fault) => /^TypeError/.test(fault)), `${own}`);
});
