// The static binary for Arm, run by qemu's user emulation where the machine is another. Goal: what
// is built for the cheapest instances starts and does each thing once: the page, a WebSocket, real
// Socket.IO clients of both protocols, the PROXY protocol with its checksum, tokens, metrics, a
// drain. Method: the other files test behaviour, and with the code of this machine; what can differ
// here is what was compiled (atomics, sizes, instructions for checksums and hashes, system calls),
// so one path through each of these is enough.
//
// Whoever has not built it is told, and the test is skipped: ELBOW_ARM_BIN names the binary.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { ROOT, run, test } from './elbow.mjs';
import { peer } from './socketio.mjs';
import { proxyV1, proxyV2 } from './wire.mjs';

const TARGET = process.env.CARGO_TARGET_DIR ?? path.join(ROOT, 'target');
const BINARY =
  process.env.ELBOW_ARM_BIN ?? path.join(TARGET, 'aarch64-unknown-linux-musl/release/elbow');

/** What runs the binary: nothing, on Arm itself. */
const PREFIX = os.arch() === 'arm64' ? [] : ['qemu-aarch64-static'];

const skip = fs.existsSync(BINARY)
  ? false
  : `there is no binary for Arm at ${BINARY}: cargo build --release --target \
aarch64-unknown-linux-musl`;

const arm = (context, args, options = {}) =>
  context.elbow(args, { prefix: PREFIX, binary: BINARY, ...options });

/** Runs a command to its end. */
function elbow(args) {
  const [command, ...rest] = [...PREFIX, BINARY, ...args];
  return run(command, rest, { env: { PATH: process.env.PATH } });
}

test('it is an ELF file for aarch64 without an interpreter', { skip }, async () => {
  const head = fs.readFileSync(BINARY).subarray(0, 64);
  assert.equal(head.subarray(0, 4).toString('latin1'), '\x7fELF');
  // elf(5): EM_AARCH64.
  assert.equal(head.readUInt16LE(18), 183);
  assert.match((await elbow(['--version'])).stdout, /^elbow \d+\.\d+\.\d+\n$/);
  const checked = await elbow(['check', '--lb', 'nlb', '--max-connections', '1000']);
  assert.equal(checked.status, 0, checked.stderr);
  assert.match(checked.stdout, /^memory ceiling, total: /m);
});

test('page, WebSocket, Socket.IO, metrics, drain', { skip }, async (context) => {
  const args = ['--admin-listen', '127.0.0.1:0', '--drain', '200ms', '--greeting', 'off'];
  const server = await arm(context, args);
  const page = await fetch(server.url());
  assert.equal(page.status, 200);
  assert.match(await page.text(), /<title>/);
  assert.equal(await (await fetch(server.url('/healthz'))).text(), 'ok');

  const plain = await context.client(server.port);
  const peers = [
    await peer(context, server.port, '4.8'),
    await peer(context, server.port, '2.5', { way: 'polling only' }),
  ];
  plain.say('from a WebSocket');
  assert.equal(await plain.next(), 'from a WebSocket');
  for (const each of peers) {
    assert.deepEqual(await each.next('chat message'), ['chat message', 'from a WebSocket']);
  }
  peers[0].emit('chat message', 'from Socket.IO');
  assert.equal(await plain.next(), 'from Socket.IO');

  const [, admin] = await server.logged(/admin requests on \S*:(\d+)/);
  const metrics = await (await fetch(`http://127.0.0.1:${admin}/metrics`)).text();
  assert.match(metrics, /aarch64-linux-musl/);

  server.signal('SIGTERM');
  assert.deepEqual(await server.gone(), { code: 0, signal: null });
  assert.equal((await plain.closed()).code, 1001);
});

/** A header of version 2 whose last TLV is its CRC-32C (PP2_TYPE_CRC32C), bit by bit. */
function withChecksum(address, port) {
  const header = proxyV2(address, port, Buffer.from([0x03, 0, 4, 0, 0, 0, 0]));
  let crc = 0xffffffff;
  for (const byte of header) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  header.writeUInt32BE(~crc >>> 0, header.length - 4);
  return header;
}

test('both versions of the PROXY protocol', { skip }, async (context) => {
  const server = await arm(context, ['--proxy-protocol', 'required']);
  const right = withChecksum('203.0.113.11', 4713);
  const wrong = Buffer.from(right);
  wrong[wrong.length - 1] ^= 1;
  for (const [header, client] of [
    [proxyV1('203.0.113.9', 4711), '203.0.113.9:4711 '],
    [proxyV2('203.0.113.10', 4712), '203.0.113.10:4712 '],
    [right, '203.0.113.11:4713 '],
    [wrong],
  ]) {
    const tcp = await context.tcp(server.port);
    const head = Buffer.from('GET /page HTTP/1.1\r\nHost: h\r\n\r\n');
    tcp.send(Buffer.concat([Buffer.from(header), head]));
    if (client) {
      assert.equal((await tcp.response()).status, 404);
      await server.logged(new RegExp(`${client.replaceAll('.', '\\.')}.*GET /page`));
    } else {
      await tcp.closed();
      await server.logged(/a PROXY header that breaks the protocol/);
    }
  }
});

test('a token is signed and checked', { skip }, async (context) => {
  const secret = path.join(context.folder(), 'secret');
  fs.writeFileSync(secret, 'a secret of at least thirty-two bytes');
  const token = await elbow(['token', '--key', `hs256:${secret}`, '--join', 'default']);
  assert.equal(token.status, 0, token.stderr);
  const server = await arm(context, ['--token-key', `hs256:${secret}`]);
  const target = `/ws?token=${token.stdout.trim()}`;
  const client = await context.client(server.port, { target });
  client.say('let in');
  assert.equal(await client.next(), 'let in');
  assert.equal((await fetch(server.url('/sse'))).status, 401);
});
