// Peers that do not keep the rules, while others must not notice: a reader that stops reading, a
// peer that vanishes without a FIN, floods, descriptors that run out, memory that is used up,
// everything that one stranger can take from the others. Slow senders are in slow.test.mjs.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { ROOT, freePort, run, test } from './elbow.mjs';
import { eventually, sleep } from './wait.mjs';
import {
  BINARY_FRAME,
  frame,
  othersTalk,
  proxyV1,
  refused,
  Tcp,
  TEXT,
  upgradeHead,
} from './wire.mjs';

describe('peers that do not read, or not all', { concurrency: 6 }, () => {
  test('a reader that stops reading is too slow; the others get all', async (context) => {
    const server = await context.elbow();
    const publisher = await context.client(server.port);
    const readers = [await context.client(server.port), await context.client(server.port)];
    const stuck = await context.upgraded(server.port);
    stuck.socket.pause();
    const count = 400;
    for (let index = 0; index < count; index += 1) {
      publisher.say(`${index} ${'x'.repeat(16_384)}`);
      // The echo paces it, as a flood would slow only itself.
      assert.match(await publisher.next(), new RegExp(`^${index} `));
    }
    for (const reader of readers) {
      for (let index = 0; index < count; index += 1) {
        assert.match(await reader.next(), new RegExp(`^${index} `));
      }
    }
    await server.logged(new RegExp(`close.*:${stuck.localPort}\\b.*too slow`));
    stuck.socket.resume();
    const { bytes } = await stuck.closed(20_000);
    const reason = bytes.subarray(-'too slow'.length).toString();
    assert.ok(stuck.reset || reason === 'too slow' || bytes.length, 'closed with 1008, or cut');
  });

  test('a crowd that refuses to read cannot silence a room', async (context) => {
    const server = await context.elbow();
    const ann = await context.client(server.port);
    const bob = await context.client(server.port);
    for (let count = 0; count < 10; count += 1) {
      (await context.upgraded(server.port)).socket.pause();
    }
    for (let index = 0; index < 200; index += 1) {
      ann.say(`${index} ${'x'.repeat(16_384)}`);
      assert.match(await bob.next(20_000), new RegExp(`^${index} `));
    }
  });

  test('who publishes without reading its echo throttles itself, not the room', async (context) => {
    const server = await context.elbow();
    const ann = await context.client(server.port);
    const bob = await context.client(server.port);
    const flooder = await context.upgraded(server.port, { target: '/ws/flood' });
    flooder.socket.pause();
    const message = frame(BINARY_FRAME, Buffer.alloc(60_000));
    for (let count = 0; count < 500; count += 1) flooder.send(message);
    await othersTalk(ann, bob);
    assert.ok(server.residentBytes() < 96 * 2 ** 20, 'and costs bounded memory');
  });

  test('a half-closed session is over', async (context) => {
    const server = await context.elbow();
    const tcp = await context.upgraded(server.port);
    tcp.socket.end();
    await tcp.closed();
    await server.logged(new RegExp(`close.*:${tcp.localPort}\\b`));
  });

  test('who answers no ping is closed after interval and timeout', async (context) => {
    const server = await context.elbow(['--ping-interval', '500ms', '--ping-timeout', '3s']);
    const healthy = await context.client(server.port);
    const mute = await context.upgraded(server.port);
    await server.logged(new RegExp(`close.*:${mute.localPort}\\b`), { ms: 20_000 });
    await mute.closed();
    healthy.say('pongs are enough');
    assert.equal(await healthy.next(), 'pongs are enough');
  });

  test('a page that is asked for and never read is cut', async (context) => {
    const server = await context.elbow();
    const before = server.descriptors();
    const tcp = await context.tcp(server.port);
    tcp.socket.pause();
    await eventually('it is accepted', () => server.descriptors() > before);
    const page = 'GET / HTTP/1.1\r\nHost: h\r\n\r\n';
    for (let count = 0; count < 20; count += 1) tcp.send(page.repeat(500));
    await eventually('its descriptor is free again', () => server.descriptors() <= before, 40_000);
  });
});

// A vanished peer sends no FIN: its network is gone. Two network namespaces with a cable between
// them, made and removed here, have such a network; the ordinary one is not touched.
describe('a vanished peer', () => {
  const CLIENT = `
    import { Tcp, upgradeHead } from '${ROOT}tests/e2e/wire.mjs';
    const tcp = await Tcp.connect(Number(process.argv[2]), { host: '10.99.7.1' });
    tcp.send(upgradeHead('/ws'));
    await tcp.response();
    console.log('open');
    setInterval(() => {}, 1000);
  `;

  test('is gone after interval and timeout', async (context) => {
    const here = `elbow-a-${process.pid}`;
    const there = `elbow-b-${process.pid}`;
    const ip = async (...args) => {
      const { status, stderr } = await run('ip', args);
      if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${stderr}`);
    };
    try {
      for (const name of [here, there]) {
        await ip('netns', 'add', name);
        context.defer(() => run('ip', ['netns', 'del', name]));
      }
      await ip('-n', here, 'link', 'add', 'cable', 'type', 'veth', 'peer', 'cable', 'netns', there);
    } catch (error) {
      console.error(
        `NOT TESTED here: a vanished peer needs network namespaces (root): ${error.message}`,
      );
      context.t.skip('no permission to make network namespaces');
      return;
    }
    await ip('-n', here, 'addr', 'add', '10.99.7.1/24', 'dev', 'cable');
    await ip('-n', there, 'addr', 'add', '10.99.7.2/24', 'dev', 'cable');
    for (const name of [here, there]) await ip('-n', name, 'link', 'set', 'cable', 'up');

    const server = await context.elbow(['--ping-interval', '1s', '--ping-timeout', '2s'], {
      prefix: ['ip', 'netns', 'exec', here],
      listen: '10.99.7.1:0',
    });
    const client = context.program('ip', [
      'netns',
      'exec',
      there,
      process.execPath,
      '--input-type=module',
      '-e',
      CLIENT,
      '--',
      '-',
      String(server.port),
    ]);
    let said = '';
    for (const stream of [client.stdout, client.stderr])
      stream.on('data', (bytes) => {
        said += bytes;
      });
    await eventually('the client is open', () => said.includes('open')).catch((error) =>
      assert.fail(`${error.message}; it said: ${said}`),
    );
    await server.logged(/open.*10\.99\.7\.2/);
    await ip('-n', there, 'link', 'set', 'cable', 'down');
    const [line] = await server.logged(/.*close.*10\.99\.7\.2.*/, { ms: 20_000 });
    assert.match(line, /timeout|timed out|no answer|vanished|ping/i, 'the reason tells');
  });
});

describe('what runs out', () => {
  test('descriptors: accepting waits, sessions go on, no spin, it recovers', async (context) => {
    const server = await context.elbow([], {
      prefix: ['sh', '-c', 'ulimit -n 128; exec "$@"', 'sh'],
    });
    const ann = await context.client(server.port);
    const bob = await context.client(server.port);
    // More connections than there are places, on which a body is owed, so that none gives way; the
    // kernel's backlog takes the rest.
    const crowd = [];
    for (let count = 0; count < 200; count += 1) {
      const tcp = await context.tcp(server.port);
      crowd.push(tcp.send('POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhal'));
    }
    await eventually('its places are used up', () => server.descriptors() >= 80);
    assert.ok(server.descriptors() <= 128);
    await othersTalk(ann, bob);
    const before = server.cpuSeconds();
    await sleep(2_000);
    const spent = server.cpuSeconds() - before;
    assert.ok(spent < 1, `${spent} s of processor time in 2 s of waiting`);
    for (const tcp of crowd) tcp.socket.destroy();
    const late = await context.client(server.port);
    late.say('back to normal');
    assert.equal(await ann.next(), 'back to normal');
  });

  test('sessions: as many as descriptors allow, one too many gets 503', async (context) => {
    const server = await context.elbow([], {
      prefix: ['sh', '-c', 'ulimit -n 128; exec "$@"', 'sh'],
    });
    const sessions = [];
    let refusal = null;
    while (!refusal && sessions.length < 128) {
      const tcp = await context.tcp(server.port);
      tcp.send(upgradeHead('/ws'));
      const response = await tcp.response();
      if (response.status === 101) sessions.push(tcp);
      else refusal = response;
    }
    assert.equal(refusal?.status, 503);
    assert.match(refusal.headers['retry-after'], /^\d+$/);
    assert.ok(sessions.length >= 16, `${sessions.length} sessions of 128 descriptors`);
    assert.equal((await fetch(server.url('/healthz'))).status, 200, 'probes are still answered');
    sessions[0].send(frame(TEXT, 'all here'));
    for (const tcp of sessions) assert.equal((await tcp.frame()).payload.toString(), 'all here');
  });

  test('memory: what needs a buffer is closed with 1013, the rest stays', async (context) => {
    // A feed of 4 MiB for each dialect must fit, and only the plain one is in use.
    const server = await context.elbow(['--max-message', '1MiB', '--memory', '25MiB']);
    const ann = await context.client(server.port);
    const bob = await context.client(server.port);
    const half = frame(BINARY_FRAME, Buffer.alloc(900_000), { announce: 1_000_000 });
    const hoarders = [];
    for (let count = 0; count < 20; count += 1) {
      const tcp = await context.upgraded(server.port);
      tcp.send(half);
      hoarders.push(tcp);
    }
    const codes = [];
    await eventually(
      'some are closed',
      () => hoarders.some((tcp) => tcp.finished || tcp.reset),
      20_000,
    );
    for (const tcp of hoarders.filter(({ finished }) => finished)) {
      codes.push((await tcp.frame()).code);
    }
    assert.ok(codes.length > 0 && codes.every((code) => code === 1013), `codes: ${codes}`);
    assert.ok(server.residentBytes() < 32 * 2 ** 20, `${server.residentBytes()} bytes resident`);
    await othersTalk(ann, bob);
    for (const tcp of hoarders) tcp.socket.destroy();
    await othersTalk(ann, bob);
  });

  test('a thousand connections that come and go leave nothing behind', async (context) => {
    const server = await context.elbow(['--log-level', 'warn']);
    assert.equal(
      (await fetch(server.url('/healthz'), { headers: { connection: 'close' } })).status,
      200,
    );
    const before = server.descriptors();
    for (let round = 0; round < 10; round += 1) {
      const batch = await Promise.all(Array.from({ length: 100 }, () => Tcp.connect(server.port)));
      for (const [index, tcp] of batch.entries()) {
        if (index % 3 === 0) tcp.send('GET / HT');
        if (index % 3 === 1) tcp.send(upgradeHead('/ws'));
        if (index % 2) tcp.socket.resetAndDestroy();
        else tcp.socket.destroy();
      }
    }
    await eventually(
      'its descriptors are free again',
      () => server.descriptors() <= before,
      20_000,
    );
    assert.equal((await refused(server.port, { target: '/ws/no%20such' })).status >= 400, true);
  });
});

/** A raw WebSocket of Socket.IO from a foreign address, past its open packet. */
async function foreigner(context, server, address, version) {
  const tcp = await context.upgraded(server.port, {
    target: `/socket.io/?EIO=${version}&transport=websocket`,
    header: proxyV1(address, 5000),
  });
  assert.match(String((await tcp.frame()).payload), /^0\{"sid"/);
  return tcp;
}

/** Enters a namespace: what is said to that, 40 or 44 and what comes behind it. */
async function enter(tcp, namespace) {
  if (namespace !== '/') tcp.send(frame(TEXT, `40${namespace},`));
  const name = namespace === '/' ? '' : namespace;
  for (;;) {
    const said = String((await tcp.frame()).payload);
    if (said.startsWith(`40${name}`) || said.startsWith(`44${name}`)) return said;
  }
}

describe('what one stranger can take', { concurrency: 3 }, () => {
  for (const [who, address] of [
    ['one address', () => '203.0.113.9'],
    ['an address each', (number) => `203.0.113.${10 + number}`],
  ]) {
    test(`rings of eight sockets in eight namespaces, from ${who}`, async (context) => {
      const server = await context.elbow(['--proxy-protocol', 'required']);
      const answers = [];
      for (let number = 0; number < 8; number += 1) {
        const version = number < 4 ? 4 : 3;
        const tcp = await foreigner(context, server, address(number), version);
        if (version === 3) answers.push(await enter(tcp, '/'));
        for (let space = version === 3 ? 1 : 0; space < 8; space += 1) {
          answers.push(await enter(tcp, `/room-${number % 4}-${space}`));
        }
      }
      assert.equal(answers.length, 64);
      assert.ok(answers.some((answer) => answer.startsWith('44')), 'not all of them get in');
      // Others are let into the default channel, and hear each other there.
      const from = (last) => ({ header: proxyV1(`198.51.100.${last}`, 6000) });
      const plain = await context.client(server.port, from(1));
      for (const version of [4, 3]) {
        const tcp = await foreigner(context, server, `198.51.100.${version}`, version);
        if (version === 4) tcp.send(frame(TEXT, '40'));
        assert.match(await enter(tcp, '/'), /^40/);
        plain.say(`for ${version}`);
        const expected = `42["chat message","for ${version}"]`;
        while (String((await tcp.frame()).payload) !== expected);
      }
      if (who === 'one address') {
        const room = await context.client(server.port, { target: '/ws/room', ...from(9) });
        room.say('room for others');
        assert.equal(await room.next(), 'room for others');
        await server.logged(/203\.0\.113\.9:5000 .*a quarter of --max-channels/);
      }
      const probe = await context.tcp(server.port);
      const ready = (await probe.send('GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n').response()).text;
      assert.match(ready, /^HTTP\/1\.1 200 /);
    });
  }

  test('sixty-four connections that ask now and then keep no probe out', async (context) => {
    const health = await freePort();
    const args = ['--max-connections', '8', '--health-listen', `127.0.0.1:${health}`];
    const server = await context.elbow([...args, '--log-level', 'debug']);
    const sessions = [];
    for (let count = 0; count < 8; count += 1) sessions.push(await context.client(server.port));
    const ask = 'GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n';
    // Whoever is sent away comes again at once.
    const strangers = await Promise.all(
      Array.from({ length: 64 }, async () => [await context.tcp(server.port)]),
    );
    let answers = 0;
    const timer = setInterval(() => {
      for (const stranger of strangers) {
        const [tcp] = stranger;
        if (!tcp) continue;
        answers += tcp.bytes.length > 0;
        tcp.bytes = Buffer.alloc(0);
        if (!tcp.finished && !tcp.reset) {
          tcp.send(ask);
          continue;
        }
        stranger[0] = null;
        context.tcp(server.port).then((again) => {
          stranger[0] = again;
        });
      }
    }, 200);
    context.defer(() => clearInterval(timer));
    await eventually('each has asked and been answered', () => answers > 128);
    const late = [];
    for (let round = 0; round < 20; round += 1) {
      for (const port of [health, server.port]) {
        const probe = async () => {
          const tcp = await context.tcp(port);
          const { status } = await tcp.send(ask).response({ ms: 2_000 });
          tcp.socket.destroy();
          return status;
        };
        // On a busy machine this process may connect and ask so late that it is the idlest.
        const status = await probe().catch((error) => {
          late.push(error);
          return probe();
        });
        assert.equal(status, 200, `on ${port}`);
      }
      await sleep(50);
    }
    assert.ok(late.length <= 2, `${late.length} probes of 40 were not answered at once`);
    await othersTalk(sessions[0], sessions[7]);
    await server.logged(/gave way/);
  });

  test('nineteen thousand handshakes that lead nowhere', async (context) => {
    const server = await context.elbow(['--max-connections', '2000', '--log-level', 'warn']);
    const handshake = 'GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: h\r\n\r\n';
    let tcp = await context.tcp(server.port);
    for (let asked = 0; asked < 19_000; asked += 100) {
      if (tcp.finished || tcp.reset) tcp = await context.tcp(server.port);
      tcp.send(handshake.repeat(100));
      await eventually('a hundred answers, or the last one', () => {
        const answers = tcp.bytes.toString('latin1').split('HTTP/1.1 ').length - 1;
        return answers >= 100 || tcp.finished || tcp.reset;
      });
      tcp.bytes = Buffer.alloc(0);
    }
    const ann = await context.client(server.port);
    const bob = await context.client(server.port);
    await othersTalk(ann, bob);
    const { status } = await fetch(server.url('/readyz'));
    assert.equal(status, 200);
  });
});
