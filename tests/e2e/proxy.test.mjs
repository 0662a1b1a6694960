// The PROXY protocol with the programs that speak it: Debian's HAProxy and nginx before the binary,
// real WebSocket clients through them; then, from raw sockets, whom it believes and what AWS'
// health checks look like, as AWS documents them and as its users have captured them.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { describe } from 'node:test';
import { accepting, freePort, run, test } from './elbow.mjs';
import { eventually, sleep } from './wait.mjs';
import {
  frame,
  hex,
  NLB_PROBE,
  proxyV1,
  proxyV2,
  Tcp,
  TEXT,
  upgradeHead,
  V2_SIGNATURE,
} from './wire.mjs';

const REQUIRED = ['--proxy-protocol', 'required'];
const NGINX_STREAM = '/usr/lib/nginx/modules/ngx_stream_module.so';

/** HAProxy in TCP mode before `server`; `send` is how it introduces clients. */
async function haproxy(context, server, send, idleTimeout = '60s') {
  const folder = context.folder();
  const port = await freePort();
  const control = path.join(folder, 'control');
  fs.writeFileSync(
    path.join(folder, 'haproxy.cfg'),
    `
global
  maxconn 500
  stats socket ${control} mode 600 level admin
defaults
  mode tcp
  timeout connect 2s
  timeout check 2s
  timeout client ${idleTimeout}
  timeout server ${idleTimeout}
listen balancer
  bind 127.0.0.1:${port}
  option httpchk GET /healthz
  http-check expect status 200
  server elbow 127.0.0.1:${server.port} ${send} check check-send-proxy inter 200ms fall 1 rise 1
`,
  );
  const child = context.program('haproxy', ['-db', '-f', path.join(folder, 'haproxy.cfg')]);
  await accepting(child, port);
  // It takes its name only after that.
  await eventually('its control socket is there', () => fs.existsSync(control));
  return { port, control };
}

/** nginx' stream module before `server`, with `proxy_protocol on` (version 1). */
async function nginx(context, server) {
  const folder = context.folder();
  const port = await freePort();
  fs.writeFileSync(
    path.join(folder, 'nginx.conf'),
    `
load_module ${NGINX_STREAM};
daemon off;
master_process off;
pid ${folder}/nginx.pid;
error_log stderr warn;
events {}
stream {
  server {
    listen 127.0.0.1:${port};
    proxy_pass 127.0.0.1:${server.port};
    proxy_protocol on;
  }
}
`,
  );
  const args = ['-p', folder, '-c', path.join(folder, 'nginx.conf'), '-e', 'stderr'];
  await accepting(context.program('nginx', args), port);
  return { port };
}

/** The line HAProxy's statistics have about the server: an object by column. */
async function healthSeenBy(balancer) {
  const socket = net.connect(balancer.control);
  socket.write('show stat\n');
  let csv = '';
  for await (const bytes of socket) csv += bytes;
  const [head, ...rows] = csv
    .replace(/^# /, '')
    .trim()
    .split('\n')
    .map((row) => row.split(','));
  const row = rows.find((fields) => fields[1] === 'elbow');
  return Object.fromEntries(head.map((name, index) => [name, row[index]]));
}

/** Two clients from addresses of their own talk, and the log knows them by those. */
async function talkThrough(context, server, port) {
  const ann = await context.client(port, { from: '127.0.0.2' });
  const bob = await context.client(port, { from: '127.0.0.3' });
  ann.say('through the balancer');
  for (const client of [ann, bob]) assert.equal(await client.next(), 'through the balancer');
  bob.say(Buffer.from([0, 255, 1]));
  for (const client of [ann, bob]) assert.deepEqual(await client.next(), Buffer.from([0, 255, 1]));
  await server.logged(new RegExp(`open.*127\\.0\\.0\\.2:${ann.localPort}\\b`));
  await server.logged(new RegExp(`open.*127\\.0\\.0\\.3:${bob.localPort}\\b`));
  ann.socket.close(1000);
  await server.logged(new RegExp(`close.*127\\.0\\.0\\.2:${ann.localPort}\\b`));
}

describe('HAProxy', () => {
  const ways = {
    'version 1': 'send-proxy',
    'version 2': 'send-proxy-v2',
    'version 2 with a checksum': 'send-proxy-v2 proxy-v2-options crc32c',
  };
  for (const [way, send] of Object.entries(ways)) {
    test(`${way}: clients talk under their real addresses`, async (context) => {
      const server = await context.elbow(REQUIRED);
      const balancer = await haproxy(context, server, send);
      await talkThrough(context, server, balancer.port);
    });
  }

  test('its health checks pass, quietly, and fail when we are gone', async (context) => {
    const server = await context.elbow(REQUIRED);
    const start = await server.nextLine();
    for (const send of ['send-proxy', 'send-proxy-v2']) {
      const balancer = await haproxy(context, server, send);
      await eventually('HAProxy finds it healthy', async () => {
        const health = await healthSeenBy(balancer);
        return health.status === 'UP' && health.check_status === 'L7OK';
      });
    }
    await sleep(1_000);
    const balancer = await haproxy(context, server, 'send-proxy');
    assert.deepEqual(await server.settled(start), []);
    server.signal('SIGKILL');
    await eventually('HAProxy notices', async () => {
      return (await healthSeenBy(balancer)).status.startsWith('DOWN');
    });
  });

  test('pings keep a quiet client through an idle timeout that would cut it', async (context) => {
    const quiet = async (interval, ms) => {
      const server = await context.elbow([...REQUIRED, '--ping-interval', interval]);
      const balancer = await haproxy(context, server, 'send-proxy', '3s');
      const client = await context.client(balancer.port);
      const cut = await Promise.race([
        client.closed(ms * 2).then(() => true),
        sleep(ms).then(() => false),
      ]);
      if (!cut) {
        client.say('still here');
        assert.equal(await client.next(), 'still here');
      }
      return cut;
    };
    const [pinged, silent] = await Promise.all([quiet('1s', 11_000), quiet('25s', 11_000)]);
    assert.equal(pinged, false, 'pinged each second: alive after 11 s');
    assert.equal(silent, true, 'never pinged: cut by the balancer');
  });
});

describe('nginx stream', () => {
  test('clients talk under their real addresses', async (context) => {
    const server = await context.elbow(REQUIRED);
    const balancer = await nginx(context, server);
    await talkThrough(context, server, balancer.port);
  });

  test('curl gets the page through it, and the log names curl', async (context) => {
    const server = await context.elbow(REQUIRED);
    const balancer = await nginx(context, server);
    const got = await run('curl', [
      '-sS',
      '--interface',
      '127.0.0.9',
      '-A',
      'curl-in-a-test',
      `http://127.0.0.1:${balancer.port}/`,
    ]);
    assert.equal(got.status, 0, got.stderr);
    assert.match(got.stdout, /<!doctype html>/i);
    await server.logged(/127\.0\.0\.9.*GET \/ .*200.*curl-in-a-test/);
  });
});

describe('whom it believes', { concurrency: 4 }, () => {
  test('a header in single bytes, of either version, counts the same', async (context) => {
    const server = await context.elbow(REQUIRED);
    for (const [header, address] of [
      [proxyV1('192.0.2.11', 1111), '192.0.2.11:1111'],
      [proxyV2('192.0.2.12', 2222), '192.0.2.12:2222'],
    ]) {
      const tcp = await context.tcp(server.port);
      await tcp.dribble(
        Buffer.concat([header, Buffer.from(upgradeHead('/ws')), frame(TEXT, 'hi')]),
      );
      assert.equal((await tcp.response()).status, 101);
      assert.equal((await tcp.frame()).payload.toString(), 'hi');
      await server.logged(new RegExp(`open.*${address.replaceAll('.', '\\.')}\\b`));
    }
  });

  test('header, request and frame in one segment count the same', async (context) => {
    const server = await context.elbow(REQUIRED);
    const tcp = await context.tcp(server.port);
    tcp.send(
      Buffer.concat([
        proxyV2('192.0.2.13', 3333),
        Buffer.from(upgradeHead('/ws')),
        frame(TEXT, 'at once'),
      ]),
    );
    assert.equal((await tcp.response()).status, 101);
    assert.equal((await tcp.frame()).payload.toString(), 'at once');
  });

  test('an AWS VPC endpoint (vector C12) is named in the log', async (context) => {
    const server = await context.elbow(REQUIRED);
    const header = Buffer.concat([
      V2_SIGNATURE,
      hex('21110054c0000201c633640204d20050'),
      hex('030004d2b030baea001701767063652d3031323334353637383961626364656630040024'),
      Buffer.alloc(36),
    ]);
    const tcp = await context.tcp(server.port);
    tcp.send(Buffer.concat([header, Buffer.from(upgradeHead('/ws'))]));
    assert.equal((await tcp.response()).status, 101);
    await server.logged(/192\.0\.2\.1:1234/);
    await server.logged(/vpce-0123456789abcdef0/);
  });

  test("a second header, the client's own, is a bad request", async (context) => {
    const server = await context.elbow(REQUIRED);
    const tcp = await context.tcp(server.port);
    tcp.send(
      Buffer.concat([
        proxyV1('192.0.2.1', 1),
        proxyV1('203.0.113.9', 9),
        Buffer.from(upgradeHead('/ws')),
      ]),
    );
    assert.equal((await tcp.response()).status, 400);
    const { bytes } = await tcp.closed();
    assert.equal(bytes.length, 0, 'one answer, and nothing after it');
  });

  test('a header from who is not trusted closes, and the log says which flag', async (context) => {
    for (const mode of ['required', 'optional']) {
      const server = await context.elbow(['--proxy-protocol', mode, '--proxy-trust', '10.0.0.0/8']);
      const tcp = await context.tcp(server.port);
      tcp.send(Buffer.concat([proxyV1('192.0.2.1', 1), Buffer.from(upgradeHead('/ws'))]));
      await tcp.closedSilently();
      await server.logged(/127\.0\.0\.1.*--proxy-trust/);
    }
  });

  test('no header, a bad one, a wrong checksum: closed without a byte', async (context) => {
    const server = await context.elbow(REQUIRED);
    const bad = {
      'no header': Buffer.from('GET / HTTP/1.1\r\nHost: h\r\n\r\n'),
      'an upgrade without one': Buffer.from(upgradeHead('/ws')),
      'a port too high': Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.2 65536 80\r\n'),
      'a line without end': Buffer.from(`PROXY UNKNOWN ${'x'.repeat(120)}`),
      'CRC32C off by a bit (D11)': Buffer.concat([
        V2_SIGNATURE,
        hex('21110013c0000201c633640204d20050030004717959b0'),
      ]),
      'too long (D13)': Buffer.concat([V2_SIGNATURE, hex('2111ffffc0000201c633640204d20050')]),
    };
    for (const [what, bytes] of Object.entries(bad)) {
      const tcp = await context.tcp(server.port);
      tcp.send(bytes);
      const { bytes: answer } = await tcp.closed();
      assert.equal(answer.toString('latin1'), '', what);
    }
  });

  test('a probe without a header is never upgraded, whatever it asks', async (context) => {
    const server = await context.elbow(REQUIRED);
    const tcp = await context.tcp(server.port);
    tcp.send(upgradeHead('/healthz'));
    const { status, headers } = await tcp.response();
    assert.deepEqual([status, headers.connection, headers.upgrade], [200, 'close', undefined]);
    tcp.send(frame(TEXT, 'is anybody there?'));
    await tcp.closedSilently();
  });

  test('half a header is given up after its deadline', async (context) => {
    const server = await context.elbow(REQUIRED);
    const tcp = await context.tcp(server.port);
    tcp.send('PROXY TCP4 192.0.2.1');
    const begun = Date.now();
    await tcp.closedSilently(20_000);
    assert.ok(Date.now() - begun > 3_000, 'but never sooner than one TCP retransmission');
  });

  test('optional: with a header or without', async (context) => {
    const server = await context.elbow(['--proxy-protocol', 'optional']);
    const header = proxyV2('192.0.2.77', 7777);
    const named = await context.client(server.port, { header });
    const plain = await context.client(server.port, { from: '127.0.0.8' });
    await server.logged(/open.*192\.0\.2\.77:7777/);
    await server.logged(new RegExp(`open.*127\\.0\\.0\\.8:${plain.localPort}`));
    named.say('hi');
    assert.equal(await plain.next(), 'hi');
  });

  test('off: a header is a bad request', async (context) => {
    const server = await context.elbow();
    const tcp = await context.tcp(server.port);
    tcp.send(Buffer.concat([proxyV1('192.0.2.1', 1), Buffer.from(upgradeHead('/ws'))]));
    assert.equal((await tcp.response()).status, 400);
    await tcp.closed();
  });

  test('behind an ALB: the rightmost X-Forwarded-For not itself trusted', async (context) => {
    const alb = await context.elbow(['--lb', 'alb']);
    const none = await context.elbow();
    const headers = { 'X-Forwarded-For': '203.0.113.9, 192.0.2.55:4711, 10.0.0.3' };
    await context.client(alb.port, { headers });
    await context.client(none.port, { headers });
    await alb.logged(/open.*192\.0\.2\.55\b/);
    await none.logged(/open.*127\.0\.0\.1:\d+/);
  });

  test('a flood of bad headers is logged a few times, and then counted', async (context) => {
    const server = await context.elbow([
      '--proxy-protocol',
      'required',
      '--proxy-trust',
      '10.0.0.0/8',
    ]);
    for (let count = 0; count < 200; count += 1) {
      const tcp = await context.tcp(server.port);
      tcp.send(proxyV1('192.0.2.1', 1));
      await tcp.closedSilently();
    }
    await server.logged(/--proxy-trust/);
    const warnings = server.lines.filter((line) => /--proxy-trust/.test(line)).length;
    assert.ok(warnings < 50, `${warnings} lines for 200 refusals`);
  });
});

describe('AWS health checks', { concurrency: 4 }, () => {
  const from = Buffer.from('PROXY TCP4 10.0.0.9 10.0.0.9 28225 32004\r\n');
  const get = (extra = '') =>
    Buffer.from(`GET /healthz HTTP/1.1\r\nHost: 10.0.0.9:80\r\n${extra}\r\n`);

  /** Sends `bytes` as one probe and ends as told; the statuses and bytes that came back. */
  async function probe(context, server, bytes, ending) {
    const tcp = await context.tcp(server.port);
    if (bytes.length) tcp.send(bytes);
    if (ending === 'answer') {
      const { status, body } = await tcp.response();
      return { status, body: body.toString().trim() };
    }
    await sleep(50);
    if (ending === 'fin') {
      tcp.socket.end();
      await tcp.closedSilently();
    } else {
      tcp.socket.resetAndDestroy();
    }
    return null;
  }

  test('each shape of probe is answered, and leaves no trace at info', async (context) => {
    const server = await context.elbow(REQUIRED);
    const start = await server.nextLine();
    const empty = Buffer.alloc(0);
    for (const ending of ['fin', 'reset']) {
      await probe(context, server, empty, ending); // NLB's TLS connectivity test, a browser's guess
      await probe(context, server, from, ending); // CLB TCP:port
      await probe(context, server, NLB_PROBE, ending); // NLB TCP
    }
    const ok = { status: 200, body: 'ok' };
    for (const [what, bytes] of Object.entries({
      'CLB HTTP, without a header': get(),
      'CLB HTTP/1.0, without a header': Buffer.from('GET /healthz HTTP/1.0\r\n\r\n'),
      'NLB HTTP: LOCAL': Buffer.concat([NLB_PROBE, get('User-Agent: ELB-HealthChecker/2.0\r\n')]),
      'HTTP behind version 1': Buffer.concat([from, get()]),
    })) {
      assert.deepEqual(await probe(context, server, bytes, 'answer'), ok, what);
    }
    assert.deepEqual(await server.settled(start), []);
  });

  test('a probe without a header gets a constant reply and no more', async (context) => {
    const server = await context.elbow(REQUIRED);
    const head = await context.tcp(server.port);
    head.send('HEAD /readyz HTTP/1.1\r\nHost: x\r\n\r\n');
    assert.equal((await head.response({ head: true })).status, 200);
    await head.closedSilently();
    const twice = await context.tcp(server.port);
    twice.send(Buffer.concat([get(), get()]));
    assert.equal((await twice.response()).status, 200);
    await twice.closedSilently();
  });

  test('a probe without a header from who is not trusted gets nothing', async (context) => {
    const server = await context.elbow([...REQUIRED, '--proxy-trust', '10.0.0.0/8']);
    const tcp = await context.tcp(server.port);
    tcp.send(get());
    await tcp.closedSilently();
  });

  test('--health-listen takes any header or none, and answers only probes', async (context) => {
    const port = await freePort();
    const server = await context.elbow([...REQUIRED, '--health-listen', `127.0.0.1:${port}`]);
    const headers = {
      none: Buffer.alloc(0),
      v1: from,
      local: NLB_PROBE,
      v2: proxyV2('192.0.2.1', 1),
    };
    for (const [what, header] of Object.entries(headers)) {
      const tcp = await context.tcp(port);
      await tcp.dribble(Buffer.concat([header, get()]));
      assert.equal((await tcp.response()).status, 200, what);
    }
    for (const target of ['/', '/ws', '/chat.js']) {
      const tcp = await context.tcp(port);
      tcp.send(upgradeHead(target));
      assert.equal((await tcp.response()).status, 404, target);
    }
    assert.deepEqual(
      (await server.settled()).filter((line) => line.includes('/healthz')),
      [],
    );
  });
});
