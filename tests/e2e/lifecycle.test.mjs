// The process: how it starts and refuses to start, what signals do, what becomes of it when nobody
// takes its log, `elbow check` and `elbow health`, and clients that come back after a SIGKILL.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { describe } from 'node:test';
import { BINARY, freePort, run, test } from './elbow.mjs';
import { connectedSocket, sayText } from './socketio.mjs';
import { eventually, sleep } from './wait.mjs';
import { CLOSE, endpointTlv, frame, proxyV2, refused, TEXT } from './wire.mjs';

const status = async (server, target) => {
  const response = await fetch(server.url(target), { headers: { connection: 'close' } });
  return response.status;
};

/** Runs the binary with a clean environment. */
const elbow = (args, env = {}) => run(BINARY, args, { env: { PATH: process.env.PATH, ...env } });

describe('drain', { concurrency: 4 }, () => {
  test('SIGTERM: probes tell, closes are spread, late ones get 503, exit 0', async (context) => {
    const server = await context.elbow(['--drain', '3s']);
    const clients = [];
    for (let count = 0; count < 40; count += 1) clients.push(await context.client(server.port));
    const kept = await context.tcp(server.port);
    kept.send('GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n');
    assert.equal((await kept.response()).status, 200);

    const ends = clients.map(async (client) => {
      const end = await client.closed(20_000);
      return { ...end, at: Date.now() };
    });
    server.signal('SIGTERM');
    await eventually('readyz turns', async () => (await status(server, '/readyz')) === 503, 2_000);
    assert.equal(await status(server, '/healthz'), 200);
    const { status: refusal, headers } = await refused(server.port);
    assert.equal(refusal, 503);
    assert.match(headers['retry-after'], /^\d+$/);
    kept.send('GET / HTTP/1.1\r\nHost: h\r\n\r\n');
    const late = await kept.response();
    assert.deepEqual([late.status, late.headers.connection?.toLowerCase()], [200, 'close']);

    const closes = await Promise.all(ends);
    assert.deepEqual(new Set(closes.map(({ code }) => code)), new Set([1001]));
    const times = closes.map(({ at }) => at);
    const spread = Math.max(...times) - Math.min(...times);
    assert.ok(spread > 1_000, `all within ${spread} ms is no spreading`);
    assert.deepEqual(await server.gone(), { code: 0, signal: null });
  });

  test('SIGINT drains as well, and nobody there means at once', async (context) => {
    const server = await context.elbow(['--drain', '30s']);
    server.signal('SIGINT');
    assert.deepEqual(await server.gone(5_000), { code: 0, signal: null });
  });

  test('a second signal ends it at once', async (context) => {
    const server = await context.elbow(['--drain', '30s']);
    for (let count = 0; count < 20; count += 1) await context.client(server.port);
    server.signal('SIGTERM');
    await sleep(500);
    assert.equal(server.ended, null, 'one signal drains');
    server.signal('SIGTERM');
    await server.gone(5_000);
  });

  test('clients that answer no close are cut: gone 3 s after the drain', async (context) => {
    const server = await context.elbow(['--drain', '1s']);
    const deaf = await context.upgraded(server.port);
    deaf.socket.pause();
    server.signal('SIGTERM');
    assert.deepEqual(await server.gone(15_000), { code: 0, signal: null });
  });

  test('what was said before the drain is heard before the 1001', async (context) => {
    const server = await context.elbow(['--drain', '200ms']);
    const reader = await context.upgraded(server.port);
    const writer = await context.upgraded(server.port);
    for (let count = 0; count < 50; count += 1) writer.send(frame(TEXT, `last words ${count}`));
    while ((await writer.frame()).payload.toString() !== 'last words 49');
    server.signal('SIGTERM');
    for (let count = 0; count < 50; count += 1) {
      assert.equal((await reader.frame()).payload.toString(), `last words ${count}`);
    }
    const end = await reader.frame();
    assert.deepEqual([end.opcode, end.code], [CLOSE, 1001]);
  });
});

describe('restart', () => {
  test('SIGKILL, a new process on the same port: clients come back', async (context) => {
    const first = await context.elbow();
    const before = [];
    for (let count = 0; count < 20; count += 1) before.push(await context.client(first.port));
    before[0].say('before');
    for (const client of before) assert.equal(await client.next(), 'before');
    first.signal('SIGKILL');
    await first.gone();
    for (const client of before) await client.closed();

    const second = await context.elbow([], { listen: `127.0.0.1:${first.port}` });
    const after = [];
    for (let count = 0; count < 20; count += 1) after.push(await context.client(second.port));
    after[0].say('after');
    for (const client of after) assert.equal(await client.next(), 'after');
  });
});

describe('the log', { concurrency: 4 }, () => {
  /** Serves on as if nothing were: a thousand requests, then two clients talk. */
  async function servesOn(context, server) {
    const tcp = await context.tcp(server.port);
    for (let round = 0; round < 100; round += 1) {
      tcp.send(`GET /${'x'.repeat(100)} HTTP/1.1\r\nHost: h\r\n\r\n`.repeat(20));
      for (let count = 0; count < 20; count += 1) {
        assert.equal((await tcp.response()).status, 404);
      }
    }
    const ann = await context.client(server.port);
    const bob = await context.client(server.port);
    ann.say('hi');
    assert.equal(await bob.next(), 'hi');
    server.signal('SIGTERM');
    assert.deepEqual(await server.gone(), { code: 0, signal: null });
  }

  /** Starts it with `stdout` in the place of our pipe, on a port chosen beforehand. */
  async function withStdout(context, options) {
    const listen = `127.0.0.1:${await freePort()}`;
    const args = ['--drain', '500ms', ...(options.args ?? [])];
    const server = await context.elbow(args, { ...options, listen, unready: true });
    await server.answering();
    assert.equal(await status(server, '/healthz'), 200);
    return server;
  }

  test('a full disk does not stop it', async (context) => {
    const full = fs.openSync('/dev/full', 'w');
    context.defer(() => fs.closeSync(full));
    await servesOn(context, await withStdout(context, { stdout: full }));
  });

  test('a closed stdout does not stop it', async (context) => {
    const prefix = ['sh', '-c', 'exec "$@" >&-', 'sh'];
    await servesOn(context, await withStdout(context, { prefix }));
  });

  test('a pipe whose reader has gone does not stop it', async (context) => {
    const fifo = path.join(context.folder(), 'fifo');
    await run('mkfifo', [fifo]);
    const both = fs.openSync(fifo, 'r+');
    const writer = fs.openSync(fifo, 'w');
    const server = await withStdout(context, { stdout: writer });
    fs.closeSync(both);
    fs.closeSync(writer);
    await servesOn(context, server);
  });

  test('a pipe that nobody reads does not stall it', async (context) => {
    const fifo = path.join(context.folder(), 'fifo');
    await run('mkfifo', [fifo]);
    const both = fs.openSync(fifo, 'r+');
    context.defer(() => fs.closeSync(both));
    await servesOn(context, await withStdout(context, { stdout: both }));
  });

  /** What clients that are connected already say comes to the server in one turn. */
  async function inOneTurn(server, say) {
    server.signal('SIGSTOP');
    await say();
    await sleep(50);
    server.signal('SIGCONT');
  }

  const longHead = `GET /${'x'.repeat(247)}?q HTTP/1.1\r\nHost: h\r\nUser-Agent: ${'y'.repeat(40)}\r\n\r\n`;
  const probe = 'GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n';

  // The log's pipe has 16 pages, of which the lines of a busy turn left one.
  for (const [where, trust] of [
    ['the public listener', '127.0.0.0/8'],
    ['the health listener, from whoever comes', '10.0.0.0/8'],
  ]) {
    test(`a VPC endpoint's id of 4 KiB in a busy turn does not end it: ${where}`, async (context) => {
      const isPublic = trust === '127.0.0.0/8';
      const endpoint = Buffer.concat([
        proxyV2('192.0.2.1', 1234, endpointTlv('A'.repeat(4064))),
        Buffer.from(probe),
      ]);
      for (const count of [160, 169, 178, 187, 196]) {
        const health = await freePort();
        const folder = context.folder();
        const stdout = fs.openSync(path.join(folder, 'log'), 'w');
        context.defer(() => fs.closeSync(stdout));
        const server = await withStdout(context, {
          stdout,
          args: [
            ...['--proxy-protocol', 'optional', '--proxy-trust', trust],
            ...['--health-listen', `127.0.0.1:${health}`],
          ],
        });
        const connect = (port) => context.tcp(port);
        const crowd = await Promise.all(Array.from({ length: count }, () => connect(server.port)));
        const port = isPublic ? server.port : health;
        const named = await Promise.all(Array.from({ length: 3 }, () => connect(port)));
        await inOneTurn(server, async () => {
          for (const tcp of crowd) tcp.send(longHead);
          await sleep(20);
          for (const tcp of named) tcp.send(endpoint);
        });
        for (const tcp of named) assert.equal((await tcp.response()).status, 200);
        for (const tcp of crowd) assert.equal((await tcp.response()).status, 404);
        server.signal('SIGTERM');
        server.signal('SIGTERM');
        assert.equal((await server.gone()).code, 0);
        const lines = fs.readFileSync(path.join(folder, 'log'), 'utf8').split('\n');
        const told = lines.filter((line) => line.includes('AAAA'));
        assert.equal(told.length, isPublic ? 3 : 0);
        for (const line of told) assert.match(line, / 192\.0\.2\.1:1234 came through A{256}$/);
        // A file is never the reason for a line that is missing.
        assert.equal(lines.filter((line) => /"GET \/x+\? HTTP\/1\.1" 404/.test(line)).length, count);
        for (const line of lines) assert.ok(line.length < 1_000 && !line.includes('were dropped'));
      }
    });
  }

  test('a file as its log has every line of a turn', async (context) => {
    const log = path.join(context.folder(), 'log');
    const stdout = fs.openSync(log, 'w');
    context.defer(() => fs.closeSync(stdout));
    const server = await withStdout(context, { stdout });
    const sockets = [];
    for (let count = 0; count < 4; count += 1) {
      sockets.push(await connectedSocket(context, server.port, 4));
    }
    const rounds = 2_000;
    await inOneTurn(server, () => {
      for (const tcp of sockets) {
        for (let round = 0; round < rounds; round += 1) {
          sayText(tcp, '40/x,');
          sayText(tcp, '41/x,');
        }
      }
    });
    const count = (word) => fs.readFileSync(log, 'utf8').split(`${word} 127.`).length - 1;
    const all = sockets.length * (rounds + 1);
    await eventually('all have come and gone', () => count('open') === all);
    assert.equal(count('close'), sockets.length * rounds);
    assert.ok(!fs.readFileSync(log, 'utf8').includes('were dropped'));
  });

  test('a pipe that nobody reads loses lines, whole ones, and says how many', async (context) => {
    const fifo = path.join(context.folder(), 'fifo');
    await run('mkfifo', [fifo]);
    const both = fs.openSync(fifo, fs.constants.O_RDWR | fs.constants.O_NONBLOCK);
    context.defer(() => fs.closeSync(both));
    const writer = fs.openSync(fifo, 'w');
    const server = await withStdout(context, { stdout: writer });
    fs.closeSync(writer);
    const tcp = await context.tcp(server.port);
    const requests = 2_000;
    for (let count = 0; count < requests; count += 1) {
      tcp.send(longHead);
      assert.equal((await tcp.response()).status, 404);
    }
    let text = '';
    const read = () => {
      try {
        const piece = Buffer.alloc(65_536);
        text += piece.subarray(0, fs.readSync(both, piece)).toString();
      } catch (error) {
        assert.equal(error.code, 'EAGAIN');
      }
    };
    await eventually('it is told', () => {
      read();
      return /\d+ log lines were dropped.*\n/.test(text);
    });
    const lines = text.split('\n').slice(0, -1);
    for (const line of lines) assert.match(line, /^\S+Z (INFO|WARN) {1,2}\[elbow\] \S.*$/);
    const told = lines.filter((line) => line.includes('"GET /x')).length;
    const dropped = lines.map((line) => Number(line.match(/(\d+) log lines/)?.[1] ?? 0));
    assert.equal(told + dropped.reduce((sum, one) => sum + one), requests);
    server.signal('SIGTERM');
    await server.gone();
  });

  test('--log-level warn is silent while all is well', async (context) => {
    const listen = `127.0.0.1:${await freePort()}`;
    const server = await context.elbow(['--log-level', 'warn'], { listen, unready: true });
    await eventually('it listens', () => status(server, '/healthz').catch(() => 0));
    const client = await context.client(server.port);
    client.say('hi');
    await client.next();
    assert.equal(await status(server, '/'), 200);
    server.signal('SIGTERM');
    await server.gone();
    assert.deepEqual(server.lines, []);
  });
});

describe('the command line', { concurrency: 4 }, () => {
  test('a bad value: exit 2 and one line with flag, value and what is allowed', async () => {
    for (const [flag, value] of [
      ['--listen', 'nowhere'],
      ['--lb', 'elb'],
      ['--proxy-protocol', 'yes'],
      ['--proxy-trust', '10.0.0.0/33'],
      ['--ping-interval', '25'],
      ['--ping-interval', '0s'],
      ['--ping-timeout', 'soon'],
      ['--max-connections', '-1'],
      ['--max-connections', '0'],
      ['--max-message', '64KB'],
      ['--feed', '1.5MiB'],
      ['--memory', ''],
      ['--drain', '5 s'],
      ['--log-level', 'loud'],
      ['--allow-origin', 'not an origin'],
      ['--max-channels', '0'],
    ]) {
      const got = await elbow([`${flag}=${value}`]);
      const what = `${flag}=${value}: ${JSON.stringify(got)}`;
      assert.deepEqual([got.status, got.signal], [2, null], what);
      assert.equal(got.stderr.trimEnd().split('\n').length, 1, what);
      assert.ok(got.stderr.includes(flag) && got.stderr.includes(value), what);
      assert.equal(got.stdout, '', what);
    }
  });

  test('a bad value in the environment names the variable', async () => {
    const got = await elbow([], { ELBOW_PING_INTERVAL: 'often' });
    assert.equal(got.status, 2);
    assert.match(got.stderr, /^[^\n]*ELBOW_PING_INTERVAL[^\n]*often[^\n]*\n$/);
  });

  test('what is wrong is one short line, whatever was given', async () => {
    const forged = `\r\n2026-01-01T00:00:00.000Z INFO  [elbow] forged \x1b[2J${'x'.repeat(90_000)}`;
    for (const [args, env, status] of [
      [[`--ping-interval=${forged}`], {}, 2],
      [[`--${forged}`], {}, 2],
      [[forged], {}, 2],
      [['--listen', '127.0.0.1:0', `--allow-origin=${forged}`], {}, 2],
      [['--listen', '127.0.0.1:0', `--www=/nowhere${forged.slice(0, 3_000)}`], {}, 78],
      [['check', `--www=/nowhere${forged}`], {}, 78],
      [['health', `--url=http://127.0.0.1:1/${forged}`], {}, 2],
      [['health', `--url=http://127.0.0.1:1/a?token=secret&${'x'.repeat(90_000)}`], {}, 1],
      [[], { ELBOW_LISTEN: forged }, 2],
      [[], { LISTEN_FDS: forged }, 78],
    ]) {
      const got = await elbow(args, env);
      const what = `${args} ${Object.keys(env)}`.slice(0, 60);
      assert.equal(got.status, status, `${what}: ${got.stderr.slice(0, 500)}`);
      assert.match(got.stderr, /^elbow: [^\p{Cc}]+\n$/u, what);
      assert.ok(got.stderr.length < 2_100 && !got.stderr.includes('secret'), what);
    }
  });

  test('an unknown flag: exit 2, one line, and a guess', async () => {
    const got = await elbow(['--ping-intervall', '5s']);
    assert.equal(got.status, 2);
    assert.equal(got.stderr.trimEnd().split('\n').length, 1, got.stderr);
    assert.match(got.stderr, /--ping-intervall.*--ping-interval\b/);
  });

  test('values that contradict each other: exit 78 and one line', async () => {
    for (const args of [
      ['--lb', 'clb', '--ping-interval', '30s'],
      ['--lb', 'nlb', '--ping-interval', '175s'],
      ['--feed', '128KiB', '--max-message', '64KiB'],
      ['--memory', '1MiB', '--feed', '4MiB'],
    ]) {
      for (const command of [[], ['check']]) {
        const got = await elbow([...command, ...args]);
        const what = `${[...command, ...args].join(' ')}: ${JSON.stringify(got)}`;
        assert.equal(got.status, 78, what);
        assert.equal(got.stderr.trimEnd().split('\n').length, 1, what);
      }
    }
  });

  test('check prints every value with its origin, the ceiling and the capacity', async () => {
    const env = { ELBOW_PING_TIMEOUT: '7s', ELBOW_DRAIN: '', ELBOW_LB: 'clb' };
    const got = await elbow(['check', '--max-message', '4KiB', '--max-connections', '1000'], env);
    assert.equal(got.status, 0, got.stderr);
    const line = (name) => got.stdout.split('\n').find((text) => text.includes(name)) ?? '';
    assert.match(line('max-message'), /4 ?KiB.*flag/);
    assert.match(line('ping-timeout'), /7s.*env/);
    assert.match(line('proxy-protocol'), /required.*preset/);
    assert.match(line('ping-interval'), /25s.*default/);
    assert.match(line('drain'), /5s.*default/, 'an empty variable is as if unset');
    assert.match(got.stdout, /1000/);
    assert.match(got.stdout, /ceiling|memory/i);
  });

  test('a flag wins over the environment', async () => {
    const got = await elbow(['check', '--drain', '2s'], { ELBOW_DRAIN: '9s' });
    assert.match(got.stdout, /drain\s.*2s.*flag/);
  });

  test('--help lists the flags, --version the version', async () => {
    const help = await elbow(['--help']);
    assert.equal(help.status, 0);
    for (const flag of ['--listen', '--lb', '--proxy-trust', '--www', '--feed', '--drain']) {
      assert.ok(help.stdout.includes(flag), flag);
    }
    assert.match((await elbow(['--version'])).stdout, /^elbow \d+\.\d+\.\d+\n$/);
  });

  test('a port in use: one line and a failure', async (context) => {
    const server = await context.elbow();
    const got = await elbow(['--listen', `127.0.0.1:${server.port}`]);
    assert.ok(got.status > 0, JSON.stringify(got));
    assert.match(got.stderr, new RegExp(`^[^\\n]*127\\.0\\.0\\.1:${server.port}[^\\n]*\\n$`));
  });

  test('health: 0 while it answers, 1 when it does not', async (context) => {
    const server = await context.elbow();
    assert.equal((await elbow(['health', '--url', server.url('/healthz')])).status, 0);
    assert.equal((await elbow(['health'], { ELBOW_LISTEN: `0.0.0.0:${server.port}` })).status, 0);
    assert.equal((await elbow(['health', '--url', server.url('/none')])).status, 1);
    const nobody = `http://127.0.0.1:${await freePort()}/healthz`;
    assert.equal((await elbow(['health', '--url', nobody])).status, 1);
  });

  test('a listener handed over by systemd takes the place of --listen', async (context) => {
    const listener = net.createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => {
      listener.on('listening', resolve);
    });
    const { port } = listener.address();
    // The protocol names the process that it is meant for, which only the shell knows in time.
    const server = await context.elbow([], {
      inherit: [listener._handle.fd],
      prefix: ['sh', '-c', 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"', 'sh'],
      unready: true,
    });
    listener.close();
    await server.listening();
    assert.equal(server.port, port);
    const client = await context.client(port);
    client.say('hi');
    assert.equal(await client.next(), 'hi');
  });

  test('two listeners serve one room', async (context) => {
    const port = await freePort();
    const server = await context.elbow(['--listen', `127.0.0.1:${port}`]);
    const here = await context.client(server.port);
    const there = await context.client(port);
    here.say('hi');
    assert.equal(await there.next(), 'hi');
  });
});
