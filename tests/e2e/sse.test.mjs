// Server-sent events with what reads them: curl, and Chromium's EventSource, directly and through
// nginx and HAProxy as they come. Connections are cut while much is said, and the server goes and
// comes again: every event is heard once and in order, or the page is told what it cannot have.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { after, describe } from 'node:test';
import { chromium } from 'playwright-core';
import { accepting, freePort, run, test } from './elbow.mjs';
import { eventually, sleep } from './wait.mjs';

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
});
after(() => browser.close());

// --- What stands between ------------------------------------------------------------------------

/** Passes bytes on to a port, and cuts all connections when it is told to. */
async function cutter(context, to) {
  const open = new Set();
  const listener = net.createServer((here) => {
    const there = net.connect(to, '127.0.0.1');
    for (const [one, other] of [
      [here, there],
      [there, here],
    ]) {
      open.add(one);
      one.on('error', () => {});
      one.on('close', () => {
        open.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  listener.listen(0, '127.0.0.1');
  await new Promise((resolve) => {
    listener.once('listening', resolve);
  });
  const cut = () => open.forEach((socket) => socket.resetAndDestroy?.() ?? socket.destroy());
  context.defer(() => {
    listener.close();
    cut();
  });
  return { port: listener.address().port, cut };
}

/** nginx before a port. Only the version is not its default: it asks as HTTP/1.0 does. */
async function nginx(context, to) {
  const folder = context.folder();
  const port = await freePort();
  const file = path.join(folder, 'nginx.conf');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${folder}/${name};`)
    .join('\n  ');
  fs.writeFileSync(
    file,
    `
daemon off;
master_process off;
pid ${folder}/nginx.pid;
error_log stderr warn;
events {}
http {
  access_log off;
  ${temporary}
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://127.0.0.1:${to};
      proxy_http_version 1.1;
    }
    location /old/ {
      proxy_pass http://127.0.0.1:${to}/;
    }
  }
}
`,
  );
  const args = ['-p', folder, '-c', file, '-e', 'stderr'];
  await accepting(context.program('nginx', args), port);
  return port;
}

/** HAProxy before a port, in HTTP mode. */
async function haproxy(context, to) {
  const port = await freePort();
  const file = path.join(context.folder(), 'haproxy.cfg');
  fs.writeFileSync(
    file,
    `
global
  maxconn 500
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
listen balancer
  bind 127.0.0.1:${port}
  server elbow 127.0.0.1:${to}
`,
  );
  await accepting(context.program('haproxy', ['-db', '-f', file]), port);
  return port;
}

const FRONTS = {
  directly: (_, to) => to,
  'through nginx': nginx,
  'through HAProxy': haproxy,
};

/**
 * elbow with a listener that outlives it, as systemd has one: whoever connects while it is
 * restarted waits. `again()` ends it and waits for the next.
 */
async function supervised(context, args) {
  const pids = [];
  context.defer(() => {
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    }
  });
  const listener = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => {
    listener.once('listening', resolve);
  });
  const once = 'echo "process $$"; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"';
  const server = await context.elbow(args, {
    inherit: [listener._handle.fd],
    prefix: ['sh', '-c', `while timeout 120 sh -c '${once}' sh "$@"; do :; done`, 'sh'],
    unready: true,
  });
  listener.close();
  await server.listening();
  const learn = async (from) => {
    const [, pid] = await server.logged(/^process (\d+)$/, { from });
    pids.push(Number(pid));
  };
  await learn(0);
  const again = async () => {
    const from = server.lines.length;
    process.kill(pids.at(-1), 'SIGTERM');
    await learn(from);
    await server.logged(/listening on/, { from });
  };
  return { server, again };
}

// --- Who listens --------------------------------------------------------------------------------

/** A tab on `port` that listens to a stream and keeps what it hears. */
async function listen(context, port, target) {
  const tabs = await browser.newContext();
  context.defer(() => tabs.close());
  const tab = await tabs.newPage();
  await tab.goto(`http://127.0.0.1:${port}/healthz`);
  await tab.evaluate((url) => {
    const heard = { events: [], opened: 0, givenUp: false };
    const source = new EventSource(url);
    source.onopen = () => {
      heard.opened += 1;
    };
    source.onerror = () => {
      heard.givenUp = source.readyState === EventSource.CLOSED;
    };
    for (const type of ['message', 'binary', 'reset']) {
      source.addEventListener(type, ({ lastEventId, data }) => {
        heard.events.push({ type, id: lastEventId, data });
      });
    }
    Object.assign(window, { heard, source });
  }, target);
  const heard = async () => {
    const now = await tab.evaluate(() => window.heard);
    assert.ok(!now.givenUp, 'the browser comes back by itself');
    return now;
  };
  const until = async (what, is, ms = 30_000) => {
    let now;
    const probe = async () => {
      now = await heard();
      return is(now) ? now : null;
    };
    try {
      return await eventually(what, probe, ms);
    } catch (error) {
      const ids = now?.events.map(({ id }) => id) ?? [];
      error.message += `; heard ${ids.length}, the last ${ids.at(-1)}, opened ${now?.opened} times`;
      throw error;
    }
  };
  await until('the stream is open', ({ opened }) => opened > 0);
  return { tab, until };
}

const numbers = (events) => events.map(({ id }) => Number(id.split('.')[1]));
const upTo = (count) => Array.from({ length: count }, (_, at) => at + 1);

describe('EventSource', () => {
  for (const [way, front] of Object.entries(FRONTS)) {
    test(`${way}: nothing is lost or doubled, and a restart is told`, async (context) => {
      const args = ['--history', '10000', '--drain', '1s'];
      const { server, again } = await supervised(context, args);
      const between = await cutter(context, await front(context, server.port));
      const speaker = await context.client(server.port, { target: '/ws/news' });
      const { until } = await listen(context, between.port, '/sse/news');

      // Each is heard before the next is said: nothing keeps them back on their way.
      for (const [at, text] of ['hi', 'two\nlines', '', ' lead', 'id: x'].entries()) {
        speaker.say(text);
        const { events } = await until(`event ${at}`, (heard) => heard.events.length === at + 1);
        assert.equal(events[at].data, text);
      }
      speaker.say(Buffer.from([0, 255, 10]));
      const { events } = await until('binary', (heard) => heard.events.length === 6);
      assert.deepEqual(
        [events[5].type, events[5].data],
        ['binary', Buffer.from([0, 255, 10]).toString('base64')],
      );

      // Cut between two messages, and in the middle of many. What is said fits into what is kept,
      // however little of it has come by then.
      let said = 6;
      let opened = 1;
      for (const [before, behind] of [
        [0, 10],
        [500, 500],
      ]) {
        for (let left = before; left > 0; left -= 1) speaker.say(`${left} ${'x'.repeat(1_000)}`);
        if (before) await sleep(20);
        between.cut();
        for (let left = behind; left > 0; left -= 1) speaker.say(`${left} ${'y'.repeat(200)}`);
        said += before + behind;
        const heard = await until(`all ${said}`, (now) => now.events.length >= said);
        assert.deepEqual(numbers(heard.events), upTo(said));
        assert.ok(heard.opened > opened, 'it had to come again');
        opened = heard.opened;
      }

      // Another life of the server knows nothing of what was said before, and says so.
      await again();
      const reset = await until('a reset', (now) => now.events.at(-1).type === 'reset');
      assert.equal(reset.events.length, said + 1);
      const { id, data } = reset.events.at(-1);
      assert.deepEqual(JSON.parse(data), { position: id });
      const next = await context.client(server.port, { target: '/ws/news' });
      next.say('after');
      const last = await until('what is new', (now) => now.events.length === said + 2);
      const [epoch] = id.split('.');
      assert.deepEqual(last.events.at(-1), { type: 'message', id: `${epoch}.1`, data: 'after' });
    });
  }

  test('killed, and back on its port later', async (context) => {
    const first = await context.elbow();
    const { until } = await listen(context, first.port, '/sse');
    first.signal('SIGKILL');
    await first.gone();
    await sleep(1_000);
    const second = await context.elbow([], { listen: `127.0.0.1:${first.port}` });
    const speaker = await context.client(second.port);
    await until('a reset', ({ events }) => events.at(-1)?.type === 'reset');
    speaker.say('hi');
    await until('what is new', ({ events }) => events.at(-1).data === 'hi');
  });

  test('who finds no room comes back by itself when there is some', async (context) => {
    const server = await context.elbow(['--max-connections-per-ip', '1']);
    const speaker = await context.client(server.port);
    const { until } = await listen(context, server.port, '/sse');
    await server.logged(/was refused: --max-connections-per-ip/);
    speaker.socket.close(1000);
    await server.logged(/open 127\.0\.0\.1:\d+ channel default/, { from: server.lines.length });
    await until('it was put off first', ({ opened }) => opened > 1);
  });

  test('a page of another origin listens if that is listed', async (context) => {
    const page = await context.elbow();
    const origin = `http://127.0.0.1:${page.port}`;
    const server = await context.elbow(['--allow-origin', origin]);
    const speaker = await context.client(server.port);
    const { until } = await listen(context, page.port, server.url('/sse'));
    speaker.say('hi');
    await until('it is heard', ({ events }) => events.at(-1)?.data === 'hi');
  });
});

describe('curl', () => {
  /** `curl -N` on a stream: what it prints, and its end. */
  function curl(context, ...args) {
    const child = context.program('curl', ['-q', '-sSN', '--noproxy', '*', ...args]);
    const stream = { text: '', ended: child.ended };
    child.stdout.on('data', (bytes) => {
      stream.text += bytes;
    });
    return stream;
  }

  test('reads a stream line by line, to its end', async (context) => {
    const server = await context.elbow(['--ping-interval', '1s', '--drain', '1s']);
    const speaker = await context.client(server.port);
    const stream = curl(context, server.url('/sse'));
    await eventually('the stream is open', () => /^id: \w+\.0\n\n/.test(stream.text));
    const [, epoch] = stream.text.match(/^id: (\w+)/);
    speaker.say('one\ntwo');
    const event = `id: ${epoch}.1\ndata: one\ndata: two\n\n`;
    await eventually('it is heard', () => stream.text.includes(event));
    await eventually('comments come', () => stream.text.split(':\n').length > 3);
    server.signal('SIGTERM');
    const { code } = await stream.ended;
    assert.equal(code, 0, 'the stream has an end');
    assert.match(stream.text, /\nretry: \d{4}\n\n$/);
    await server.logged(/close 127\.0\.0\.1:\d+ channel default: going away after .* 0 in, 1 out/);
  });

  test('goes on where it was, and hears that it cannot', async (context) => {
    const server = await context.elbow(['--history', '2']);
    const speaker = await context.client(server.port);
    const first = curl(context, server.url('/sse'));
    await eventually('the stream is open', () => first.text.endsWith('.0\n\n'));
    for (const text of ['one', 'two', 'three']) speaker.say(text);
    await eventually('it is heard', () => /data: three\n\n/.test(first.text));
    const [, epoch] = first.text.match(/^id: (\w+)/);
    for (const [known, missed] of [
      [3, []],
      [1, ['two', 'three']],
    ]) {
      const lines = missed.map((text, at) => `id: ${epoch}.${known + at + 1}\ndata: ${text}\n\n`);
      const expected = `id: ${epoch}.${known}\n\n${lines.join('')}`;
      for (const asked of [
        [server.url(`/sse?since=${epoch}.${known}`)],
        ['-H', `Last-Event-ID: ${epoch}.${known}`, server.url('/sse?since=other.1')],
      ]) {
        const stream = curl(context, ...asked);
        await eventually('it is heard', () => stream.text === expected);
      }
    }
    const lost = curl(context, server.url(`/sse?since=${epoch}.0&last=1`));
    const at = `${epoch}.2`;
    await eventually('it is told', () => lost.text.includes('three'));
    assert.equal(
      lost.text,
      `event: reset\nid: ${at}\ndata: {"position":"${at}"}\n\n` +
        `id: ${epoch}.3\ndata: three\n\n`,
    );
  });

  test('other requests for a stream are told what is wrong', async (context) => {
    const server = await context.elbow();
    const status = async (...args) => {
      const got = await run('curl', [
        ...['-q', '-sS', '-o', '/dev/null', '-w', '%{http_code}', '--noproxy', '*', '-m', '5'],
        ...args,
      ]);
      return got.stdout;
    };
    assert.equal(await status('--http1.0', server.url('/sse')), '505');
    assert.equal(await status('-X', 'POST', server.url('/sse')), '405');
    assert.equal(await status('--head', server.url('/sse/news')), '200');
    assert.equal(await status(server.url('/sse?since=')), '400');
    assert.equal(await status(server.url('/sse?since=other.1&strict')), '410');
    assert.equal(await status('-H', 'Origin: https://b.example', server.url('/sse')), '403');
    const port = await nginx(context, server.port);
    assert.equal(await status(`http://127.0.0.1:${port}/old/sse`), '505', 'nginx as it comes');
    assert.equal((await run('curl', ['-sS', server.url('/healthz')])).stdout, 'ok');
  });
});
