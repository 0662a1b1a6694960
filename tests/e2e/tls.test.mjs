// Encrypted connections to Redis: elbow with the feature `tls`, and a redis-server that speaks TLS.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe } from 'node:test';
import { ROOT, run, test } from './elbow.mjs';
import { Redis } from './redis.mjs';
import { agree, everyKind, instance, socket, talk } from './room.mjs';
import { eventually, sleep } from './wait.mjs';

/** elbow with the feature `tls`. */
const TLS_BINARY = process.env.ELBOW_TLS_BIN ?? path.join(ROOT, 'target/tls/release/elbow');

describe('TLS', { concurrency: 2, skip: !fs.existsSync(TLS_BINARY) && 'there is no build with it' }, () => {
  /** A certificate of `name` for these names or addresses, by somebody whom nobody knows. */
  async function certificate(folder, name, names) {
    const at = (end) => path.join(folder, `${name}.${end}`);
    const openssl = async (...args) => {
      const { status: code, stderr } = await run('openssl', args);
      assert.equal(code, 0, stderr);
    };
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    const subject = ['-subj', `/CN=${name}`];
    await openssl(
      ...['req', '-x509', ...key, '-keyout', at('ca.key'), '-out', at('ca.pem'), '-days', '2'],
      ...['-subj', `/CN=${name} authority`],
    );
    await openssl('req', ...key, '-keyout', at('key'), '-out', at('csr'), ...subject);
    fs.writeFileSync(at('ext'), `subjectAltName=${names}\n`);
    await openssl(
      ...['x509', '-req', '-in', at('csr'), '-CA', at('ca.pem'), '-CAkey', at('ca.key')],
      ...['-CAcreateserial', '-days', '2', '-extfile', at('ext'), '-out', at('pem')],
    );
    return { ca: at('ca.pem'), key: at('key'), certificate: at('pem') };
  }

  const options = ({ ca, key, certificate: own }) => [
    ...['--tls-cert-file', own, '--tls-key-file', key, '--tls-ca-cert-file', ca],
    ...['--tls-auth-clients', 'no'],
  ];
  const encrypted = (context, url, args, more = {}) =>
    instance(context, url, args, { ...more, binary: TLS_BINARY });

  test('an encrypted connection by name and by address, with large messages', async (context) => {
    const files = await certificate(context.folder(), 'redis', 'DNS:localhost,IP:127.0.0.1');
    const redis = await Redis.start(context, { tls: options(files) });
    const ca = ['--redis-ca', files.ca, '--max-message', '1MiB'];
    const a = await encrypted(context, `rediss://localhost:${redis.port}`, ca);
    const b = await encrypted(context, `rediss://127.0.0.1:${redis.port}`, ca);
    const readers = [...(await everyKind(context, a)), ...(await everyKind(context, b))];
    const speakers = readers.filter((reader) => reader.say);
    const said = await talk(speakers, { ms: 500 });
    for (const [index, speaker] of speakers.entries()) {
      const text = `${index}`.repeat(200_000);
      said.push(text);
      speaker.say(text);
    }
    await agree(readers, said);
    // Killed connections are made again.
    await redis.tell('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    said.push(...(await talk(speakers, { ms: 300 })));
    await agree(readers, said);
  });

  test('whoever the system trusts may vouch for it', async (context) => {
    const files = await certificate(context.folder(), 'redis', 'DNS:localhost');
    const redis = await Redis.start(context, { tls: options(files) });
    const env = { SSL_CERT_FILE: files.ca };
    const server = await encrypted(context, `rediss://localhost:${redis.port}`, [], { env });
    const reader = await socket(context, server.port);
    reader.say('trusted');
    await eventually('it is heard', () => reader.texts.length);
  });

  test('who shows no certificate for the name is not spoken to', async (context) => {
    const folder = context.folder();
    const files = await certificate(folder, 'redis', 'DNS:other.example');
    const redis = await Redis.start(context, { tls: options(files) });
    const url = `rediss://localhost:${redis.port}`;
    const misnamed = await encrypted(context, url, ['--redis-ca', files.ca], { away: true });
    await misnamed.logged(/cannot be reached: localhost:\d+ .*certificate.*/i);
    const foreign = await encrypted(context, url, [], { away: true });
    await foreign.logged(/cannot be reached: localhost:\d+ .*(certificate|UnknownIssuer).*/i);
    await sleep(300);
    for (const server of [misnamed, foreign]) {
      assert.ok(!server.lines.some((line) => /Redis: everything works/.test(line)));
    }
  });

  test('a server that speaks in the clear is none', async (context) => {
    const redis = await Redis.start(context);
    const url = `rediss://localhost:${redis.port}`;
    const server = await encrypted(context, url, [], { away: true });
    await server.logged(/Redis: the writer's server cannot be reached/);
  });

  test('certificates that cannot be read are said at start', async (context) => {
    const file = path.join(context.folder(), 'ca.pem');
    const args = ['--listen', '127.0.0.1:0', '--redis', 'rediss://localhost', '--redis-ca', file];
    const missing = await run(TLS_BINARY, args);
    assert.equal(missing.status, 78);
    assert.match(missing.stderr, /--redis-ca .*: No such file/);
    fs.writeFileSync(file, 'nothing');
    const empty = await run(TLS_BINARY, args);
    assert.equal(empty.status, 78);
    assert.match(empty.stderr, /no certificate in it that can be used/);
  });
});
