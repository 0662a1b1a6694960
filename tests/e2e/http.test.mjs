// HTTP/1.1 over real sockets: curl on the page and its files, a folder of one's own (`--www`) with
// a reload, attempts to leave it, and every vector of tests/http.rs, H01 to H52, with what becomes
// of the connection. What no resource here can show (a body that is read: H26, H44) the decoder's
// own tests show; here those requests must be refused once and not be taken for two.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe } from 'node:test';
import { run, test } from './elbow.mjs';
import { eventually, sleep } from './wait.mjs';
import { upgradeHead } from './wire.mjs';

/** curl, quietly, without the settings of whoever runs it: `{ status, headers, body }`. */
async function curl(...args) {
  const got = await run('curl', ['-q', '-sS', '-i', '--noproxy', '*', ...args]);
  assert.equal(got.status, 0, got.stderr);
  const end = got.stdout.indexOf('\r\n\r\n');
  const [statusLine, ...fields] = got.stdout.slice(0, end).split('\r\n');
  const headers = Object.fromEntries(
    fields.map((field) => {
      const colon = field.indexOf(':');
      return [field.slice(0, colon).toLowerCase(), field.slice(colon + 1).trim()];
    }),
  );
  return { status: Number(statusLine.split(' ')[1]), headers, body: got.stdout.slice(end + 4) };
}

describe('curl', () => {
  test('gets the page, and each file that the page asks for', async (context) => {
    const server = await context.elbow();
    const page = await curl(server.url('/'));
    assert.equal(page.status, 200);
    assert.match(page.headers['content-type'], /^text\/html; ?charset=utf-8$/i);
    assert.match(page.headers.date, /^\w{3}, \d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2} GMT$/);
    assert.match(page.headers['cache-control'], /no-cache/);
    assert.match(page.headers.etag, /^"[^"]+"$/);
    assert.equal(Number(page.headers['content-length']), Buffer.byteLength(page.body));
    // Relative, since the page may lie below a path that it does not know.
    const files = [...page.body.matchAll(/(?:href|src)="([\w.-]+)"/g)].map(([, name]) => `/${name}`);
    assert.ok(files.length >= 3, 'it asks for some');
    const types = { js: /javascript/, css: /^text\/css/, svg: /^image\/svg\+xml/ };
    for (const file of files) {
      const got = await curl(server.url(file));
      assert.equal(got.status, 200, file);
      assert.match(got.headers['content-type'], types[file.split('.').pop()], file);
    }
  });

  test('gets 304 for what it has already', async (context) => {
    const server = await context.elbow();
    const {
      headers: { etag },
    } = await curl(server.url('/'));
    for (const known of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
      const again = await curl('-H', `If-None-Match: ${known}`, server.url('/'));
      assert.equal(again.status, 304, known);
      assert.equal(again.headers.etag, etag);
      assert.equal(again.body, '');
    }
    assert.equal((await curl('-H', 'If-None-Match: "other"', server.url('/'))).status, 200);
  });

  test('HEAD has the fields of GET and no body', async (context) => {
    const server = await context.elbow();
    const get = await curl(server.url('/'));
    const head = await curl('--head', server.url('/'));
    assert.equal(head.status, 200);
    assert.equal(head.body, '');
    for (const field of ['content-length', 'content-type', 'etag', 'cache-control']) {
      assert.equal(head.headers[field], get.headers[field], field);
    }
  });

  test('404 for what is not there, 405 for what may not be done', async (context) => {
    const server = await context.elbow();
    assert.equal((await curl(server.url('/no-such-file'))).status, 404);
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH']) {
      const got = await curl('-X', method, server.url('/'));
      assert.equal(got.status, 405, method);
      assert.equal(got.headers.allow, 'GET, HEAD, OPTIONS');
    }
    assert.equal((await curl('-d', 'a body of a form', server.url('/'))).status, 405);
  });

  test('a query does not make another file of it', async (context) => {
    const server = await context.elbow();
    const plain = await curl(server.url('/'));
    const query = await curl(server.url('/?channel=news'));
    assert.equal(query.status, 200);
    assert.equal(query.headers.etag, plain.headers.etag);
  });

  test('probes: healthz and readyz', async (context) => {
    const server = await context.elbow();
    for (const target of ['/healthz', '/readyz']) {
      const got = await curl(server.url(target));
      assert.deepEqual([got.status, got.body.trim()], [200, 'ok'], target);
      assert.equal((await curl('--head', server.url(target))).status, 200);
    }
  });

  test('two transfers use one connection', async (context) => {
    const server = await context.elbow();
    const got = await run('curl', [
      '-q',
      '-sS',
      '--noproxy',
      '*',
      '-o',
      '/dev/null',
      '-o',
      '/dev/null',
      '-w',
      '%{http_code} %{num_connects}\n',
      server.url('/'),
      server.url('/healthz'),
    ]);
    assert.equal(got.stdout, '200 1\n200 0\n');
  });

  test('one access line per request, with what belongs in it', async (context) => {
    const server = await context.elbow();
    const page = await curl('--interface', '127.0.0.6', '-A', 'an "agent"\t', server.url('/'));
    const bytes = page.headers['content-length'];
    const [line] = await server.logged(/.*127\.0\.0\.6:\d+.*GET \/ HTTP\/1\.1.*/);
    assert.match(line, new RegExp(`\\b200\\b.*\\b${bytes}\\b.*an .*agent`));
    assert.ok(!line.includes('\t'), 'what comes from outside is escaped');
  });
});

test('--host: another name gets 421, but for probes', async (context) => {
  const server = await context.elbow(['--host', 'chat.example', '--host', '127.0.0.1,[::1]']);
  const status = async (target, ...args) => (await curl(...args, server.url(target))).status;
  const named = (host) => ['-H', `Host: ${host}`];
  for (const host of ['chat.example', 'CHAT.EXAMPLE.:8080', '[0:0::1]:1', `127.0.0.1`]) {
    assert.equal(await status('/', ...named(host)), 200, host);
  }
  assert.equal(await status('/'), 200, 'the port is no part of it');
  for (const host of ['evil.example', 'chat.example.evil.example', 'localhost', '127.0.0.2']) {
    assert.equal(await status('/', ...named(host)), 421, host);
    assert.equal(await status('/socket.io/?EIO=4&transport=polling', ...named(host)), 421, host);
    assert.equal(await status('/healthz', ...named(host)), 200, host);
    assert.equal(await status('/readyz', ...named(host)), 200, host);
  }
  assert.equal(await status('/', '--http1.0', '-H', 'Host:'), 421, 'no name at all');
  const tcp = await context.tcp(server.port);
  tcp.send(upgradeHead('/ws', ['Origin: http://h']));
  assert.equal((await tcp.response()).status, 421);
  await context.client(server.port);
});

describe('--www', () => {
  test('serves a folder from memory, and reads it again on SIGHUP', async (context) => {
    const www = context.folder();
    fs.mkdirSync(path.join(www, 'sub'));
    fs.writeFileSync(path.join(www, 'index.html'), '<p>first');
    fs.writeFileSync(path.join(www, 'sub/data.json'), '{"a":1}');
    const server = await context.elbow(['--www', www]);
    const first = await curl(server.url('/'));
    assert.equal(first.body, '<p>first');
    const json = await curl(server.url('/sub/data.json'));
    assert.match(json.headers['content-type'], /^application\/json/);
    const reader = await context.client(server.port);

    fs.writeFileSync(path.join(www, 'index.html'), '<p>second');
    fs.writeFileSync(path.join(www, 'new.css'), 'p{}');
    fs.rmSync(path.join(www, 'sub/data.json'));
    assert.equal((await curl(server.url('/'))).body, '<p>first', 'not before it is told');

    server.signal('SIGHUP');
    for (let tries = 0; tries < 100; tries += 1) {
      if ((await curl(server.url('/'))).body === '<p>second') break;
      await sleep(50);
    }
    const second = await curl('-H', `If-None-Match: ${first.headers.etag}`, server.url('/'));
    assert.deepEqual([second.status, second.body], [200, '<p>second']);
    assert.match((await curl(server.url('/new.css'))).headers['content-type'], /^text\/css/);
    assert.equal((await curl(server.url('/sub/data.json'))).status, 404);
    reader.say('not even noticed');
    assert.equal(await reader.next(), 'not even noticed');
  });

  test('a large folder is read again between turns', async (context) => {
    const www = context.folder();
    const bytes = 24 << 20;
    fs.writeFileSync(path.join(www, 'large.bin'), Buffer.alloc(bytes, 'a'));
    fs.writeFileSync(path.join(www, 'z.txt'), 'first');
    const server = await context.elbow(['--www', www]);
    fs.writeFileSync(path.join(www, 'z.txt'), 'second');
    const from = await server.nextLine();
    server.signal('SIGHUP');
    await server.logged(/INFO.*--www: 5 files, \d+ bytes on top of the ceiling/, { from });
    assert.equal((await curl(server.url('/z.txt'))).body, 'second');
    server.signal('SIGTERM');
    await server.gone();
    const [, turns] = await server.logged(/turns: (\d+),/);
    assert.ok(Number(turns) >= bytes / (256 << 10), `${turns} turns`);
  });

  /** A server of a large file, of which a reader who has paused is sent the first generation. */
  async function withPausedReader(context) {
    const www = context.folder();
    const large = path.join(www, 'large.bin');
    const bytes = 16 << 20;
    const write = (letter) => fs.writeFileSync(large, Buffer.alloc(bytes, letter));
    write('a');
    const server = await context.elbow(['--www', www]);
    const reader = await context.tcp(server.port);
    reader.send('GET /large.bin HTTP/1.1\r\nHost: h\r\n\r\n');
    await eventually('it has begun', () => reader.bytes.length > 0);
    reader.socket.pause();
    const served = async () => {
      const tcp = await context.tcp(server.port);
      tcp.send('GET /large.bin HTTP/1.1\r\nHost: h\r\n\r\n');
      const { body } = await tcp.response();
      tcp.socket.destroy();
      return body.subarray(-1).toString();
    };
    const reload = async (letter) => {
      write(letter);
      const from = await server.nextLine();
      server.signal('SIGHUP');
      return from;
    };
    const from = await reload('b');
    await server.logged(/--www: .* on top of the ceiling, and \d+ of the files of before/, { from });
    assert.equal(await served(), 'b', 'two generations are held at a time');
    const third = await reload('c');
    await server.logged(/SIGHUP: files from before the last reload are still being sent/, {
      from: third,
    });
    assert.equal(await served(), 'b', 'the third waits');
    return { server, reader, served, third, bytes };
  }

  test('a third generation waits for who still reads the first', async (context) => {
    const { server, reader, served, third, bytes } = await withPausedReader(context);
    reader.socket.resume();
    const { status, body } = await reader.response();
    assert.deepEqual([status, body.length], [200, bytes]);
    assert.ok(body.equals(Buffer.alloc(bytes, 'a')), 'nothing of another generation');
    await server.logged(/--www: .* on top of the ceiling, and/, { from: third });
    assert.equal(await served(), 'c');
  });

  test('who still reads the first after a while is cut for the third', async (context) => {
    const { server, reader, served, third, bytes } = await withPausedReader(context);
    await server.logged(/--www: .* on top of the ceiling, and/, { from: third });
    assert.equal(await served(), 'c');
    reader.socket.resume();
    // What had arrived before the reset is read first, and the reset is sometimes not told then.
    assert.ok((await reader.closed()).bytes.length < bytes, 'it is cut');
  });

  test('a folder that cannot be read on SIGHUP changes nothing', async (context) => {
    const www = context.folder();
    fs.writeFileSync(path.join(www, 'index.html'), '<p>kept');
    const server = await context.elbow(['--www', www]);
    fs.renameSync(www, `${www}-gone`);
    context.defer(() => fs.rmSync(`${www}-gone`, { recursive: true, force: true }));
    const from = await server.nextLine();
    server.signal('SIGHUP');
    await server.logged(/WARN|ERROR/, { from });
    assert.equal((await curl(server.url('/'))).body, '<p>kept');
  });

  test('no way leads out of it, nor to dot files', async (context) => {
    const folder = context.folder();
    const www = path.join(folder, 'www');
    fs.mkdirSync(path.join(www, '.git'), { recursive: true });
    fs.writeFileSync(path.join(folder, 'secret'), 'SECRET');
    fs.writeFileSync(path.join(www, 'index.html'), '<p>page');
    fs.writeFileSync(path.join(www, '.env'), 'SECRET');
    fs.writeFileSync(path.join(www, '.git/config'), 'SECRET');
    fs.symlinkSync('../secret', path.join(www, 'link'));
    fs.symlinkSync('/etc', path.join(www, 'etc'));
    fs.symlinkSync('index.html', path.join(www, 'inside'));
    const server = await context.elbow(['--www', www]);
    await server.logged(/WARN.*--www: 2 links that leave it are not served: .*\/www\/etc/);
    for (const target of [
      '/../secret',
      '/..%2fsecret',
      '/%2e%2e/secret',
      '/%2e%2e%2fsecret',
      '/..%5csecret',
      '/./../secret',
      '//../secret',
      '/x/../../secret',
      '/..;/secret',
      '/%252e%252e/secret',
      '/.env',
      '/%2eenv',
      '/.git/config',
      '/link',
      '/etc/passwd',
      '/index.html%00.txt',
      '/%c0%ae%c0%ae/secret',
    ]) {
      const tcp = await context.tcp(server.port);
      tcp.send(`GET ${target} HTTP/1.1\r\nHost: h\r\n\r\n`);
      const { status, body } = await tcp.response();
      assert.ok([400, 404].includes(status), `${target}: ${status}`);
      assert.doesNotMatch(body.toString(), /SECRET|root:/, target);
    }
    assert.equal((await curl(server.url('/inside'))).body, '<p>page', 'a link inside is a file');
  });
});

const H = 'Host: h\r\n';
const CHUNKED = 'Transfer-Encoding: chunked\r\n';
const get = (fields) => `GET / HTTP/1.1\r\n${fields}\r\n`;
const post = (fields, body) => `POST / HTTP/1.1\r\n${H}${fields}\r\n${body}`;

/** What happens to the connection after the last answer. */
const CLOSES = 'closes';
const STAYS = 'stays';

/** [id, request, expected statuses (a list of allowed ones per answer), then]. */
const VECTORS = [
  ['H01 plain', get(H), [200], STAYS],
  ['H02 1.1 without Host', get(''), [400], CLOSES],
  ['H03 1.0 without Host', 'GET / HTTP/1.0\r\n\r\n', [200], CLOSES],
  ['H04 two Host fields', get(H + H), [400], CLOSES],
  ['H05 empty Host', get('Host:\r\n'), [400], CLOSES],
  ['H06 Host with a space', get('Host: a b\r\n'), [400], CLOSES],
  ['H07 space before the colon', get('Host : h\r\n'), [400], CLOSES],
  ['H08 folded field', get(`${H}X-A: 1\r\n 2\r\n`), [400], CLOSES],
  ['H09 first field line begins with a space', get(` ${H}`), [400], CLOSES],
  ['H10 bare LF', get(H).replaceAll('\r\n', '\n'), [400], CLOSES],
  ['H11 bare CR in a value', get(`${H}X: a\rb\r\n`), [400], CLOSES],
  ['H12 NUL in a value', get(`${H}X: a\0b\r\n`), [400], CLOSES],
  [
    'H13 Content-Length and chunked',
    post(`Content-Length: 3\r\n${CHUNKED}`, '0\r\n\r\n'),
    [400],
    CLOSES,
  ],
  ['H14 two lengths', post('Content-Length: 3\r\nContent-Length: 4\r\n', 'abcd'), [400], CLOSES],
  [
    'H15 one length twice',
    post('Content-Length: 3\r\nContent-Length: 3\r\n', 'abc'),
    [400],
    CLOSES,
  ],
  ['H16 a list of lengths', post('Content-Length: 3, 3\r\n', 'abc'), [400], CLOSES],
  ['H17 length +3', post('Content-Length: +3\r\n', 'abc'), [400], CLOSES],
  ['H18 length -1', post('Content-Length: -1\r\n', ''), [400], CLOSES],
  ['H19 length 0x3', post('Content-Length: 0x3\r\n', 'abc'), [400], CLOSES],
  ['H20 length 2^64+3', post('Content-Length: 18446744073709551619\r\n', 'abc'), [400], CLOSES],
  ['H21 coding identity', post('Transfer-Encoding: identity\r\n', ''), [[400, 501]], CLOSES],
  ['H22 coding xchunked', post('Transfer-Encoding: xchunked\r\n', ''), [501], CLOSES],
  ['H23 chunked, identity', post('Transfer-Encoding: chunked, identity\r\n', ''), [400], CLOSES],
  ['H24 chunked twice', post(CHUNKED + CHUNKED, '0\r\n\r\n'), [400], CLOSES],
  ['H25 chunked with 1.0', `POST / HTTP/1.0\r\n${H}${CHUNKED}\r\n0\r\n\r\n`, [400], CLOSES],
  ['H27 chunk size ends in LF', post(CHUNKED, '3\nabc\r\n0\r\n\r\n'), [[400, 405]], CLOSES],
  ['H28 chunk size 0x3', post(CHUNKED, '0x3\r\nabc\r\n0\r\n\r\n'), [[400, 405]], CLOSES],
  ['H29 chunk longer than said', post(CHUNKED, '3\r\nabcX\r\n0\r\n\r\n'), [[400, 405]], CLOSES],
  ['H30 chunk of 2^64+3', post(CHUNKED, '10000000000000003\r\nabc\r\n'), [[400, 405]], CLOSES],
  ['H31 unknown method', `BREW / HTTP/1.1\r\n${H}\r\n`, [501]],
  ['H32 lower-case method', `get / HTTP/1.1\r\n${H}\r\n`, [501]],
  ['H33 preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', [[400, 505]], CLOSES],
  ['H34 HTTP/1.2', `GET / HTTP/1.2\r\n${H}\r\n`, [200], STAYS],
  ['H35 no version', 'GET /\r\n\r\n', [400], CLOSES],
  ['H36 absolute form', `GET http://x/ HTTP/1.1\r\n${H}\r\n`, [200], STAYS],
  ['H36 absolute form, another path', `GET http://x/y HTTP/1.1\r\n${H}\r\n`, [404], STAYS],
  ['H37 OPTIONS *', `OPTIONS * HTTP/1.1\r\n${H}\r\n`, [204]],
  ['H38 CONNECT', 'CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n', [[405, 501]], CLOSES],
  ['H39 two spaces', `GET  / HTTP/1.1\r\n${H}\r\n`, [400], CLOSES],
  ['H40 an empty line before', `\r\n${get(H)}`, [200], STAYS],
  ['H41 two at once', get(H) + get(H), [200, 200], STAYS],
  ['H42 1.0 with Host', `GET / HTTP/1.0\r\n${H}\r\n`, [200], CLOSES],
  ['H43 Connection: close', get(`${H}Connection: close\r\n`), [200], CLOSES],
  ['H45 a field of 9,000 bytes', get(`${H}X: ${'x'.repeat(9_000)}\r\n`), [200], STAYS],
  ['H46 a field of 40,000 bytes', get(`${H}X: ${'x'.repeat(40_000)}\r\n`), [431], CLOSES],
  [
    'H47 a target of 20,000 bytes',
    `GET /${'x'.repeat(20_000)} HTTP/1.1\r\n${H}\r\n`,
    [414],
    CLOSES,
  ],
  ['H48 200 fields', get(H + 'X: y\r\n'.repeat(200)), [431], CLOSES],
  ['H49 a line without a colon', get(`${H}garbage\r\n`), [400], CLOSES],
  ['H50 an empty name', get(`${H}: v\r\n`), [400], CLOSES],
  [
    'H51 a raw byte in the target',
    Buffer.from(`GET /\x80 HTTP/1.1\r\n${H}\r\n`, 'latin1'),
    [400],
    CLOSES,
  ],
  ['H52 GET with a body', `${get(`${H}Content-Length: 3\r\n`)}abc${get(H)}`, [200, 200], STAYS],
];

/** Reads the answers that `statuses` expects, then sees what becomes of the connection. */
async function expectAnswers(tcp, statuses, then) {
  for (const expected of statuses) {
    const { status, headers, text } = await tcp.response();
    assert.ok([expected].flat().includes(status), text);
    assert.ok(headers.date, 'every response has a Date');
    if (status === 405) assert.ok(headers.allow, 'a 405 has an Allow');
  }
  if (then === CLOSES) {
    const { how, bytes } = await tcp.closed();
    assert.deepEqual([how, bytes.toString()], ['fin', ''], 'closed, and no second answer');
  } else if (then === STAYS) {
    tcp.send(get(H));
    assert.equal((await tcp.response()).status, 200, 'the connection goes on');
  }
}

describe('vectors H01 to H52', () => {
  for (const [manner, send] of Object.entries({
    'at once': (tcp, request) => tcp.send(request),
    'one byte per segment': (tcp, request) => tcp.dribble(request),
  })) {
    test(manner, { timeout: 120_000 }, async (context) => {
      const server = await context.elbow();
      for (const [name, request, statuses, then] of VECTORS) {
        await context.part(name, async () => {
          const tcp = await context.tcp(server.port);
          await send(tcp, request);
          await expectAnswers(tcp, statuses, then);
        });
      }
    });
  }

  test('H26, H44: bodies are refused, and not taken for requests', async (context) => {
    const server = await context.elbow();
    const smuggled = get(H);
    for (const request of [
      post(CHUNKED, `${smuggled.length.toString(16)};x=y\r\n${smuggled}\r\n0\r\nX: y\r\n\r\n`),
      post(`Content-Length: ${smuggled.length}\r\n`, smuggled),
      post(`Content-Length: ${smuggled.length}\r\nExpect: 100-continue\r\n`, smuggled),
    ]) {
      const tcp = await context.tcp(server.port);
      tcp.send(request);
      let { status } = await tcp.response();
      if (status === 100) ({ status } = await tcp.response());
      assert.equal(status, 405);
      await sleep(200);
      assert.equal(tcp.bytes.length, 0, 'one answer');
    }
  });

  test('other expectations are refused with 417', async (context) => {
    const server = await context.elbow();
    const tcp = await context.tcp(server.port);
    tcp.send(post('Content-Length: 3\r\nExpect: the-unexpected\r\n', 'abc'));
    assert.equal((await tcp.response()).status, 417);
  });
});

describe('connections', { concurrency: 4 }, () => {
  test('a hundred pipelined requests are answered in order', async (context) => {
    const server = await context.elbow();
    const tcp = await context.tcp(server.port);
    const targets = Array.from({ length: 100 }, (_, index) => (index % 3 ? '/' : `/none-${index}`));
    tcp.send(targets.map((target) => `GET ${target} HTTP/1.1\r\n${H}\r\n`).join(''));
    for (const target of targets) {
      assert.equal((await tcp.response()).status, target === '/' ? 200 : 404, target);
    }
  });

  test('an upgrade behind pipelined requests comes last', async (context) => {
    const server = await context.elbow();
    const tcp = await context.tcp(server.port);
    tcp.send(get(H) + upgradeHead('/ws'));
    assert.equal((await tcp.response()).status, 200);
    assert.equal((await tcp.response()).status, 101);
  });

  test('Connection: keep-alive keeps a 1.0 connection, and is echoed', async (context) => {
    const server = await context.elbow();
    const tcp = await context.tcp(server.port);
    for (let round = 0; round < 2; round += 1) {
      tcp.send('GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n');
      const { status, headers } = await tcp.response();
      assert.deepEqual([status, headers.connection?.toLowerCase()], [200, 'keep-alive']);
    }
  });

  test('an idle connection is closed after its time, without a word', async (context) => {
    const server = await context.elbow();
    const tcp = await context.tcp(server.port);
    tcp.send(get(H));
    assert.equal((await tcp.response()).status, 200);
    await tcp.closedSilently(40_000);
  });

  test('a FIN behind a request still gets its answer', async (context) => {
    const server = await context.elbow();
    const tcp = await context.tcp(server.port);
    tcp.send(get(H));
    tcp.socket.end();
    assert.equal((await tcp.response()).status, 200);
    await tcp.closedSilently();
  });
});
