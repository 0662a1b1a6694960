// What the admin listener tells whoever watches, read by the programs that read it in earnest:
// promtool, both parsers of Prometheus' library for Python, curl. And elbow doctor and elbow top
// with a server that is well, and with one that is not.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { spawn } from 'node:child_process';
import { WebSocket } from 'ws';
import { BINARY, PYTHON, ROOT, run, test } from './elbow.mjs';
import { eventually } from './wait.mjs';
import { Tcp } from './wire.mjs';

const TOKEN = 'correct horse battery staple';
const BEARER = { authorization: `Bearer ${TOKEN}` };

/** A server with an admin listener, and where that is. */
async function watched(context, args = [], options = {}) {
  const server = await context.elbow(['--admin-listen', '127.0.0.1:0', ...args], options);
  const [, port] = await server.logged(/admin requests on \S*:(\d+)/);
  return { server, url: `http://127.0.0.1:${port}` };
}

/** Runs a command of elbow; its exit code and what it has printed. */
async function elbow(args, env = {}) {
  return run(BINARY, args, { env: { PATH: process.env.PATH, ...env } });
}

async function get(url, headers = {}) {
  const answer = await fetch(url, { headers });
  const text = await answer.text();
  assert.equal(answer.status, 200, text);
  return { text, type: answer.headers.get('content-type') };
}

/** The value of a sample by its name and labels as they are written. */
const valueOf = (text, sample) => {
  const line = text.split('\n').find((line) => line.startsWith(`${sample} `));
  assert.ok(line, `${sample} is there`);
  return Number(line.slice(sample.length + 1));
};

/** Five WebSockets, each of which has heard two messages. */
async function crowd(context, port) {
  const heard = [];
  const sockets = [];
  for (let number = 0; number < 5; number++) {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`);
    context.defer(() => socket.terminate());
    socket.on('message', (data) => heard.push(data.toString()));
    await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject));
    sockets.push(socket);
  }
  sockets[0].send('one');
  sockets[1].send('two');
  await eventually('everybody has heard both', () => heard.length === 10);
  return sockets;
}

const READ = `
import sys
from prometheus_client.parser import text_string_to_metric_families as old
from prometheus_client.openmetrics.parser import text_string_to_metric_families as new
def read(parse, path):
    families = list(parse(open(path).read()))
    assert not [f.name for f in families if f.type in ('unknown', 'untyped')], families
    key = lambda s: (s.name, tuple(sorted(
        (k, float(v) if k == 'le' else v) for k, v in s.labels.items())))
    return {key(s) for f in families for s in f.samples}, len(families)
old, new = read(old, sys.argv[1]), read(new, sys.argv[2])
assert old == new, old[0] ^ new[0]
print(old[1], len(old[0]))
`;

test('both formats are read by the programs that read them, and say the same', async (context) => {
  const { server, url } = await watched(context);
  await crowd(context, server.port);
  // A scrape shows those before it: the first makes a line that the second has and it had not.
  await get(`${url}/metrics`);
  const classic = await get(`${url}/metrics`);
  assert.equal(classic.type, 'text/plain; version=0.0.4; charset=utf-8');
  const accept = 'application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5';
  const open = await get(`${url}/metrics`, { accept });
  assert.equal(open.type, 'application/openmetrics-text; version=1.0.0; charset=utf-8');
  assert.equal(valueOf(classic.text, 'elbow_connections{kind="websocket"}'), 5);
  assert.equal(valueOf(classic.text, 'elbow_messages_published_total{by="websocket"}'), 2);
  assert.equal(valueOf(classic.text, 'elbow_messages_delivered_total'), 10);
  assert.ok(valueOf(classic.text, 'process_resident_memory_bytes') > 1e6);
  assert.ok(valueOf(classic.text, 'process_open_fds') > 5);
  assert.ok(valueOf(classic.text, 'process_cpu_seconds_total') > 0);

  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'elbow-metrics-'));
  context.defer(() => fs.rmSync(folder, { recursive: true }));
  const files = [path.join(folder, 'classic'), path.join(folder, 'open')];
  fs.writeFileSync(files[0], classic.text);
  fs.writeFileSync(files[1], open.text);
  const read = await run(PYTHON, ['-c', READ, ...files]);
  assert.equal(read.status, 0, read.stderr);
  const shell = `curl -sS ${url}/metrics | promtool check metrics`;
  const checked = await run('sh', ['-c', shell]);
  assert.deepEqual([checked.status, checked.stdout, checked.stderr], [0, '', '']);
});

test('the status is JSON, and a scrape each turn is answered', async (context) => {
  const { server, url } = await watched(context, [], { env: { ELBOW_ADMIN_TOKEN: TOKEN } });
  await crowd(context, server.port);
  assert.equal((await fetch(`${url}/status`)).status, 401);
  const { text, type } = await get(`${url}/status`, BEARER);
  assert.equal(type, 'application/json');
  const status = JSON.parse(text);
  assert.deepEqual(Object.keys(status), [
    ...['version', 'build', 'uptime', 'listeners', 'limits', 'connections', 'channels', 'closes'],
    ...['proxy_headers', 'turn', 'fan_out', 'memory', 'backplane', 'findings'],
  ]);
  assert.deepEqual(status.listeners.map(({ kind }) => kind), ['public', 'admin']);
  assert.equal(status.listeners[0].address, `127.0.0.1:${server.port}`);
  assert.deepEqual(Object.keys(status.channels[0]), ['name', 'members', 'position', 'kept', 'lag']);
  assert.equal(status.channels[0].members.plain, 5);
  assert.ok(!text.includes(TOKEN));
  // As many as the listener has places for, nearly.
  const all = Array.from({ length: 100 }, () => get(`${url}/status`, BEARER));
  for (const { text } of await Promise.all(all)) assert.equal(JSON.parse(text).version, 1);
});

test('alerts are rules that promtool takes, and fire when they should', async () => {
  const deploy = path.join(ROOT, 'deploy/alerts.yml');
  const checked = await run('promtool', ['check', 'rules', deploy]);
  assert.equal(checked.status, 0, checked.stderr);
  const tested = await run('promtool', ['test', 'rules', path.join(ROOT, 'tests/rules/alerts.yml')]);
  assert.equal(tested.status, 0, tested.stdout + tested.stderr);
});

test('doctor leaves a server alone that is well, over TCP and a Unix socket', async (context) => {
  const { server, url } = await watched(context);
  await crowd(context, server.port);
  const well = await elbow(['doctor', '--url', url]);
  assert.deepEqual([well.status, well.stderr], [0, '']);
  assert.match(well.stdout, /^elbow \d+\.\d+\.\d+, up \d+ s: no findings\n$/);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'elbow-doctor-'));
  context.defer(() => fs.rmSync(folder, { recursive: true }));
  const socket = `unix:${path.join(folder, 'admin')}`;
  await context.elbow(['--admin-listen', socket]);
  const same = await elbow(['doctor', '--json'], { ELBOW_ADMIN_LISTEN: socket });
  assert.deepEqual([same.status, same.stdout, same.stderr], [0, '{"findings":[]}\n', '']);
});

test('doctor tells what is wrong, to whoever has the token', async (context) => {
  const env = { ELBOW_ADMIN_TOKEN: TOKEN };
  const { server, url } = await watched(context, ['--lb', 'nlb', '--proxy-trust', '127.0.0.0/8'], {
    env,
  });
  for (let number = 0; number < 3; number++) {
    const client = await Tcp.connect(server.port);
    client.send('GET / HTTP/1.1\r\nHost: h\r\n\r\n');
    await eventually('it is closed', () => client.finished || client.reset);
  }
  const sick = await elbow(['doctor', '--url', url], env);
  assert.deepEqual([sick.status, sick.stderr], [1, '']);
  assert.match(sick.stdout, /: 1 finding\n\nno_proxy_header\n {2}3 connections were closed/);
  assert.match(sick.stdout, /Mend it by: aws elbv2 modify-target-group-attributes/);
  const json = await elbow(['doctor', '--url', url, '--json'], env);
  assert.equal(json.status, 1);
  assert.deepEqual(JSON.parse(json.stdout).findings.map(({ id }) => id), ['no_proxy_header']);
  const stranger = await elbow(['doctor', '--url', url]);
  assert.deepEqual([stranger.status, stranger.stdout], [2, '']);
  assert.match(stranger.stderr, /^elbow: .*wants a token/);
  const wrong = await elbow(['doctor', '--url', `http://127.0.0.1:${server.port}`], env);
  assert.deepEqual([wrong.status, wrong.stdout], [2, '']);
});

test('top shows a block each second, and ends when the server does', async (context) => {
  const { server, url } = await watched(context);
  await crowd(context, server.port);
  const top = spawn(BINARY, ['top', '--url', url]);
  context.defer(() => top.kill('SIGKILL'));
  let shown = '';
  let said = '';
  top.stdout.on('data', (data) => (shown += data));
  top.stderr.on('data', (data) => (said += data));
  const ended = new Promise((resolve) => top.on('exit', resolve));
  await eventually('two blocks have come', () => shown.split('\n\n').length > 2, 10_000);
  assert.match(shown, /\nsessions +5 of \d+: 5 WebSocket, 0 Socket.IO, 0 event streams; 1 HTTP\n/);
  assert.ok(!shown.includes('\x1b'), 'this is no terminal');
  server.child.kill('SIGKILL');
  assert.equal(await ended, 2);
  assert.match(said, /^elbow: /);
});
