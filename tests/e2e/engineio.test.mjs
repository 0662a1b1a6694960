// Engine.IO and Socket.IO byte by byte: handshakes, refusals, polling's rules, upgrades, origins,
// captured transcripts of real clients (ids masked, the application's own events left out), and
// clients that mean harm. The 3 and 4 before a test's name are Engine.IO's protocols.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { test } from './elbow.mjs';
import {
  ask,
  bodyOf,
  connectedSocket,
  ended,
  engineSocket,
  packetsOf,
  peer,
  Poller,
  RECORD_SEPARATOR,
  requestHead,
  sayBinary,
  sayText,
  text,
  UNKNOWN_SID,
} from './socketio.mjs';
import { eventually, sleep } from './wait.mjs';
import { BINARY_FRAME, CLOSE, frame, hex, TEXT, upgradeHead } from './wire.mjs';

const BOTH = [3, 4];
const SID = /"sid":"[A-Za-z0-9_-]{16,}"/;
const masked = (packet) => packet.replace(/"sid":"[^"]+"/, '"sid":"…"');
const polling = (rest = '') => `/socket.io/?EIO=4&transport=polling${rest}`;

describe('handshakes', { concurrency: 4 }, () => {
  test('protocol 4, polling', async (context) => {
    const { port } = await context.elbow();
    const { status, headers, body } = await ask(port, 'GET', polling('&t=ovlmq7iu'));
    assert.equal(status, 200);
    assert.equal(headers['content-type'], 'text/plain; charset=UTF-8');
    assert.equal(headers['cache-control'], 'no-store');
    assert.match(body.toString(), SID);
    assert.equal(
      masked(body.toString()),
      '0{"sid":"…","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,' +
        '"maxPayload":65536}',
    );
  });

  test('protocol 3, polling', async (context) => {
    const { port } = await context.elbow();
    const { status, headers, body } = await ask(
      port,
      'GET',
      '/socket.io/?EIO=3&transport=polling&t=Q82o72D&b64=1',
    );
    assert.equal(status, 200);
    assert.equal(headers['content-type'], 'text/plain; charset=UTF-8');
    assert.match(body.toString(), SID);
    assert.deepEqual(packetsOf(body, 3).map(masked), [
      '0{"sid":"…","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}',
      '40',
    ]);
  });

  test('websocket: the open packet is the first frame', async (context) => {
    const { port } = await context.elbow();
    const four = await engineSocket(context, port, 4);
    assert.equal(
      masked(await text(four)),
      '0{"sid":"…","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":65536}',
    );
    sayText(four, '40');
    assert.equal(masked(await text(four)), '40{"sid":"…"}');
    const three = await engineSocket(context, port, 3);
    assert.equal(
      masked(await text(three)),
      '0{"sid":"…","upgrades":[],"pingInterval":25000,"pingTimeout":20000}',
    );
    assert.equal(await text(three), '40');
  });

  test('they say what the flags say', async (context) => {
    const { port } = await context.elbow([
      ...['--ping-interval', '10s', '--ping-timeout', '5s', '--max-message', '4KiB'],
    ]);
    const { handshake } = await Poller.open(port, 4);
    const { pingInterval, pingTimeout, maxPayload } = handshake;
    assert.deepEqual([pingInterval, pingTimeout, maxPayload], [10_000, 5_000, 4_096]);
  });

  test('no id comes twice, and the one that others see is another', async (context) => {
    const { port } = await context.elbow();
    const ids = new Set();
    for (let count = 0; count < 20; count += 1) {
      const poller = await Poller.open(port, 4);
      await poller.say('40');
      ids.add(poller.sid).add(JSON.parse((await poller.next()).slice(2)).sid);
    }
    assert.equal(ids.size, 40);
  });

  test('one session too many is refused with 503', async (context) => {
    const { port } = await context.elbow(['--max-connections', '2']);
    await context.client(port);
    const second = await Poller.connected(port, 4);
    const { status, headers } = await ask(port, 'GET', polling());
    assert.equal(status, 503);
    assert.match(headers['retry-after'], /^\d+$/);
    await second.say('41', '1');
    await eventually('there is room again', async () => {
      const late = await ask(port, 'GET', polling());
      return late.status === 200;
    });
  });
});

describe('refusals', { concurrency: 4 }, () => {
  const REFUSALS = [
    ['no transport', 'GET', '?EIO=4', 400, 0, 'Transport unknown'],
    ['another transport', 'GET', '?EIO=4&transport=webtransport', 400, 0, 'Transport unknown'],
    ['an unknown sid', 'GET', '?EIO=4&transport=polling&sid=nope', 400, 1, 'Session ID unknown'],
    ['an unknown sid of the right shape', 'POST',
      '?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA', 400, 1, 'Session ID unknown'],
    ['an unknown sid, protocol 3', 'GET', '?EIO=3&transport=polling&sid=nope', 400, 1,
      'Session ID unknown'],
    ['a POST without a session', 'POST', '?EIO=4&transport=polling', 400, 2,
      'Bad handshake method'],
    ['websocket without its fields', 'GET', '?EIO=4&transport=websocket', 400, 3, 'Bad request'],
  ];
  for (const [what, method, query, status, code, message] of REFUSALS) {
    test(what, async (context) => {
      const { port } = await context.elbow();
      const answer = await ask(port, method, `/socket.io/${query}`);
      assert.equal(answer.status, status);
      assert.equal(answer.headers['content-type'], 'application/json');
      assert.equal(answer.body.toString(), JSON.stringify({ code, message }));
    });
  }

  test("another transport or protocol than the session's", async (context) => {
    const { port } = await context.elbow();
    const tcp = await engineSocket(context, port, 4);
    const { sid } = JSON.parse((await text(tcp)).slice(1));
    const polled = await ask(port, 'GET', polling(`&sid=${sid}`));
    assert.equal(polled.status, 400);
    assert.equal(polled.body.toString(), '{"code":3,"message":"Bad request"}');
    const poller = await Poller.connected(port, 4);
    const three = await ask(port, 'GET', poller.target.replace('EIO=4', 'EIO=3'));
    assert.deepEqual([three.status, JSON.parse(three.body).code], [400, 3]);
    await poller.say('42["chat message","on"]');
    assert.equal(await poller.next(), '42["chat message","on"]', 'the session goes on');
  });

  test('an upgrade for a session that is not here', async (context) => {
    const { port } = await context.elbow();
    const tcp = await context.tcp(port);
    tcp.send(upgradeHead('/socket.io/?EIO=4&transport=websocket&sid=AAAAAAAAAAAAAAAAAAAA'));
    assert.equal((await tcp.response()).status, 400);
  });
});

describe('origins', { concurrency: 4 }, () => {
  const APP = 'https://app.example';
  const from = (origin) => ({ fields: [`Origin: ${origin}`] });

  test('without --allow-origin: the same origin only', async (context) => {
    const { port } = await context.elbow();
    const same = await ask(port, 'GET', polling(), from('http://h'));
    assert.deepEqual([same.status, same.headers['access-control-allow-origin']], [200, undefined]);
    const other = await ask(port, 'GET', polling(), from(APP));
    assert.equal(other.status, 403);
    assert.equal(other.body.toString(), '{"code":4,"message":"Forbidden"}');
    const asked = await ask(port, 'OPTIONS', polling(), {
      fields: [`Origin: ${APP}`, 'Access-Control-Request-Method: POST'],
    });
    assert.equal(asked.status, 400);
    assert.equal(asked.body.toString(), '{"code":2,"message":"Bad handshake method"}');
  });

  test('what a foreign page fetches without an Origin is refused', async (context) => {
    const { port } = await context.elbow(['--allow-origin', APP]);
    const foreign = 'Sec-Fetch-Site: cross-site';
    const image = { fields: [foreign, 'Sec-Fetch-Dest: image', 'Sec-Fetch-Mode: no-cors'] };
    for (const query of ['EIO=3&transport=polling', 'EIO=4&transport=polling']) {
      const { status, body } = await ask(port, 'GET', `/socket.io/?${query}`, image);
      assert.deepEqual([status, `${body}`], [403, '{"code":4,"message":"Forbidden"}']);
    }
    for (const target of ['/ws', '/', '/socket.io/?EIO=4&transport=websocket']) {
      const tcp = await context.tcp(port);
      tcp.send(upgradeHead(target, [foreign]));
      assert.equal((await tcp.response()).status, 403, target);
    }
    const listed = await ask(port, 'GET', polling(), { fields: [foreign, `Origin: ${APP}`] });
    assert.equal(listed.status, 200);
    const own = await ask(port, 'GET', polling(), { fields: ['Sec-Fetch-Site: same-origin'] });
    assert.equal(own.status, 200);
  });

  test('a listed one may read the answers', async (context) => {
    const { port } = await context.elbow(['--allow-origin', APP]);
    const { status, headers, body } = await ask(port, 'GET', polling(), from(APP));
    assert.equal(status, 200);
    assert.equal(headers['access-control-allow-origin'], APP);
    assert.equal(headers['access-control-allow-credentials'], 'true');
    assert.match(headers.vary, /\bOrigin\b/);
    const { sid } = JSON.parse(body.toString().slice(1));
    const posted = await ask(port, 'POST', polling(`&sid=${sid}`), { body: '40', ...from(APP) });
    assert.deepEqual([posted.status, posted.body.toString()], [200, 'ok']);
    assert.equal(posted.headers['access-control-allow-origin'], APP);
    const unknown = await ask(port, 'GET', polling('&sid=nope'), from(APP));
    assert.deepEqual([unknown.status, unknown.headers['access-control-allow-origin']], [400, APP]);
    const other = await ask(port, 'GET', polling(), from('https://evil.example'));
    assert.equal(other.status, 403);
    assert.equal(other.headers['access-control-allow-origin'], undefined);
  });

  test('a preflight is answered', async (context) => {
    const { port } = await context.elbow(['--allow-origin', APP]);
    const { status, headers, body } = await ask(port, 'OPTIONS', polling(), {
      fields: [
        `Origin: ${APP}`,
        'Access-Control-Request-Method: POST',
        'Access-Control-Request-Headers: content-type, authorization',
      ],
    });
    assert.deepEqual([status, body.length], [204, 0]);
    assert.equal(headers['access-control-allow-origin'], APP);
    assert.equal(headers['access-control-allow-methods'], 'POST');
    assert.equal(headers['access-control-allow-headers'], 'content-type, authorization');
    assert.equal(headers['access-control-allow-credentials'], 'true');
    assert.match(headers.vary, /\bOrigin\b/);
  });

  test('* allows any, with credentials, by its own name', async (context) => {
    const { port } = await context.elbow(['--allow-origin', '*']);
    for (const origin of ['https://any.example', 'null', 'http://h']) {
      const { status, headers } = await ask(port, 'GET', polling(), from(origin));
      assert.deepEqual([status, headers['access-control-allow-origin']], [200, origin]);
      assert.equal(headers['access-control-allow-credentials'], 'true');
    }
  });
});

describe('polling', { concurrency: 4 }, () => {
  for (const protocol of BOTH) {
    const framed = (...packets) => bodyOf(packets, protocol);

    test(`${protocol}: a POST is answered ok, as text/html`, async (context) => {
      const { port } = await context.elbow();
      const poller = await Poller.connected(port, protocol);
      const { status, headers, body } = await poller.post(framed('42["chat message","x"]'));
      assert.deepEqual([status, headers['content-type'], `${body}`], [200, 'text/html', 'ok']);
      assert.equal(await poller.next(), '42["chat message","x"]');
    });

    test(`${protocol}: a GET is held until there is something to say`, async (context) => {
      const { port } = await context.elbow();
      const plain = await context.client(port);
      const poller = await Poller.connected(port, protocol);
      let answered = false;
      const held = poller.get().then((response) => {
        answered = true;
        return response;
      });
      await sleep(500);
      assert.equal(answered, false);
      plain.say('now');
      assert.equal((await held).body.toString(), framed('42["chat message","now"]'));
    });

    test(`${protocol}: what came meanwhile is one body, in order`, async (context) => {
      const { port } = await context.elbow();
      const plain = await context.client(port);
      const poller = await Poller.connected(port, protocol);
      for (let count = 0; count < 100; count += 1) plain.say(`${count} €😀`);
      plain.say(Buffer.from([1, 2, 3]));
      await eventually('all is said', () => plain.messages.length === 101);
      const { body } = await poller.get();
      const attachment = protocol === 4 ? 'bAQID' : 'b4AQID';
      const expected = [
        ...Array.from({ length: 100 }, (_, count) => `42["chat message","${count} €😀"]`),
        '451-["chat message",{"_placeholder":true,"num":0}]',
        attachment,
      ];
      const packets = packetsOf(body, protocol);
      while (packets.length < expected.length) {
        packets.push(...packetsOf((await poller.get()).body, protocol));
      }
      assert.deepEqual(packets, expected);
    });

    test(`${protocol}: a body may bring many packets, binary ones too`, async (context) => {
      const { port } = await context.elbow();
      const plain = await context.client(port);
      const poller = await Poller.connected(port, protocol);
      await poller.say(
        '42["chat message","one"]',
        '451-7["chat message",{"_placeholder":true,"num":0}]',
        protocol === 4 ? 'bAQIe/w==' : 'b4AQIe/w==',
        '42["chat message","two"]',
      );
      assert.equal(await plain.next(), 'one');
      assert.deepEqual(await plain.next(), hex('01021eff'));
      assert.equal(await plain.next(), 'two');
      const packets = [];
      while (packets.length < 5) packets.push(await poller.next());
      assert.ok(packets.includes('437[]'), `${packets}`);
      assert.deepEqual(packets.filter((packet) => packet !== '437[]'), [
        '42["chat message","one"]',
        '451-["chat message",{"_placeholder":true,"num":0}]',
        protocol === 4 ? 'bAQIe/w==' : 'b4AQIe/w==',
        '42["chat message","two"]',
      ]);
    });

    test(`${protocol}: a second GET ends the session, and the held one`, async (context) => {
      const { port } = await context.elbow();
      const poller = await Poller.connected(port, protocol);
      const held = await context.tcp(port);
      held.send(requestHead('GET', poller.target));
      await sleep(200);
      const second = await poller.get();
      assert.ok([400, 500].includes(second.status), second.text);
      const first = await held.response();
      assert.deepEqual([first.status, first.body.toString()], [200, framed('1')]);
      await poller.over();
    });

    test(`${protocol}: a second POST at once ends the session`, async (context) => {
      const { port } = await context.elbow();
      const poller = await Poller.connected(port, protocol);
      const slow = await context.tcp(port);
      slow.send(`${requestHead('POST', poller.target, 10)}4`);
      await sleep(200);
      const second = await poller.post(framed('42["chat message","x"]'));
      assert.ok([400, 500].includes(second.status), second.text);
      await poller.over();
    });

    test(`${protocol}: a POST over --max-message is 413, and not heard`, async (context) => {
      const { port } = await context.elbow(['--max-message', '1KiB']);
      const plain = await context.client(port);
      const poller = await Poller.connected(port, protocol);
      const large = framed(`42["chat message","${'x'.repeat(1_024)}"]`);
      const { status, body } = await poller.post(large);
      assert.deepEqual([status, body.length], [413, 0]);
      const chunked = await context.tcp(port);
      chunked.send(
        `POST ${poller.target} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n` +
          `${large.length.toString(16)}\r\n${large}\r\n0\r\n\r\n`,
      );
      assert.ok([413, 400].includes((await chunked.response()).status));
      plain.say('next');
      assert.equal(await plain.next(), 'next');
    });

    test(`${protocol}: a client that goes away while its GET is held`, async (context) => {
      const server = await context.elbow();
      const poller = await Poller.connected(server.port, protocol);
      const held = await context.tcp(server.port);
      held.send(requestHead('GET', poller.target));
      await sleep(200);
      held.socket.destroy();
      await server.logged(/\bclose\b/);
      const { status, body } = await poller.get();
      assert.deepEqual([status, body.toString()], [400, UNKNOWN_SID]);
    });

    test(`${protocol}: the client closes`, async (context) => {
      const { port } = await context.elbow();
      const poller = await Poller.connected(port, protocol);
      const held = poller.get();
      await sleep(200);
      await poller.say('1');
      assert.equal((await held).body.toString(), framed('6'));
      await poller.over();
    });
  }

  test('4: a binary body is refused', async (context) => {
    const { port } = await context.elbow();
    const poller = await Poller.connected(port, 4);
    const tcp = await context.tcp(port);
    tcp.send(
      `POST ${poller.target} HTTP/1.1\r\nHost: h\r\nContent-Type: application/octet-stream\r\n` +
        'Content-Length: 2\r\n\r\n40',
    );
    assert.equal((await tcp.response()).status, 400);
  });

  test('3: a binary body, as browsers send it', async (context) => {
    const { port } = await context.elbow();
    const plain = await context.client(port);
    const poller = await Poller.connected(port, 3);
    const event = Buffer.from('451-["chat message",{"_placeholder":true,"num":0}]');
    const length = [...String(event.length)].map(Number);
    const body = Buffer.concat([
      Buffer.from([0, ...length, 0xff]),
      event,
      hex('0105ff 04 01021eff'),
    ]);
    const tcp = await context.tcp(port);
    tcp.send(
      `POST ${poller.target} HTTP/1.1\r\nHost: h\r\nContent-Type: application/octet-stream\r\n` +
        `Content-Length: ${body.length}\r\n\r\n`,
    );
    tcp.send(body);
    const answer = await tcp.response();
    assert.deepEqual([answer.status, answer.body.toString()], [200, 'ok']);
    assert.deepEqual(await plain.next(), hex('01021eff'));
  });

  test('3: binary goes out as text even to who could take it as it is', async (context) => {
    const { port } = await context.elbow();
    const plain = await context.client(port);
    const { body } = await ask(port, 'GET', '/socket.io/?EIO=3&transport=polling');
    const { sid } = JSON.parse(packetsOf(body, 3)[0].slice(1));
    plain.say(Buffer.from([1, 2, 3]));
    await plain.next();
    const polled = await ask(port, 'GET', `/socket.io/?EIO=3&transport=polling&sid=${sid}`);
    assert.equal(polled.headers['content-type'], 'text/plain; charset=UTF-8');
    assert.deepEqual(packetsOf(polled.body, 3), [
      '451-["chat message",{"_placeholder":true,"num":0}]',
      'b4AQID',
    ]);
  });

  test('3: lengths count UTF-16 code units', async (context) => {
    const { port } = await context.elbow();
    const plain = await context.client(port);
    const poller = await Poller.connected(port, 3);
    const { body } = await poller.post('24:42["chat message","😀€"]1:2');
    assert.equal(body.toString(), 'ok');
    assert.equal(await plain.next(), '😀€');
    const packets = [await poller.next(), await poller.next()].sort();
    assert.deepEqual(packets, ['3', '42["chat message","😀€"]']);
  });
});

describe('the upgrade', { concurrency: 4 }, () => {
  for (const protocol of BOTH) {
    test(`${protocol}: step by step`, async (context) => {
      const { port } = await context.elbow();
      const plain = await context.client(port);
      const poller = await Poller.connected(port, protocol);
      const held = poller.get();
      const tcp = await engineSocket(context, port, protocol, poller.sid);
      sayText(tcp, '2probe');
      assert.equal(await text(tcp), '3probe');
      assert.equal((await held).body.toString(), bodyOf(['6'], protocol));
      await poller.say('42["chat message","posted before 5"]');
      assert.equal(await plain.next(), 'posted before 5');
      plain.say('between');
      await plain.next();
      sayText(tcp, '5');
      assert.equal(await text(tcp), '42["chat message","posted before 5"]');
      assert.equal(await text(tcp), '42["chat message","between"]');
      sayText(tcp, '42["chat message","by websocket"]');
      assert.equal(await text(tcp), '42["chat message","by websocket"]');
      assert.equal((await poller.get()).status, 400, 'polling is over');
    });

    test(`${protocol}: without a probe, and with a poll that is held`, async (context) => {
      const { port } = await context.elbow();
      const poller = await Poller.connected(port, protocol);
      const held = poller.get();
      const tcp = await engineSocket(context, port, protocol, poller.sid);
      sayText(tcp, '5');
      assert.equal((await held).body.toString(), bodyOf(['6'], protocol));
      sayText(tcp, '42["chat message","by websocket"]');
      assert.equal(await text(tcp), '42["chat message","by websocket"]');
      assert.equal((await poller.get()).status, 400, 'polling is over');
    });

    test(`${protocol}: a second one is closed, before and after`, async (context) => {
      const { port } = await context.elbow();
      const poller = await Poller.connected(port, protocol);
      const first = await engineSocket(context, port, protocol, poller.sid);
      sayText(first, '2probe');
      assert.equal(await text(first), '3probe');
      const closedWithoutTaking = async () => {
        const other = await context.tcp(port);
        const target = `/socket.io/?EIO=${protocol}&transport=websocket&sid=${poller.sid}`;
        other.send(upgradeHead(target));
        const { status } = await other.response();
        if (status === 101) sayText(other, '2probe');
        else assert.equal(status, 400);
        assert.deepEqual(await ended(other), [], 'not even a probe is answered');
      };
      await closedWithoutTaking();
      sayText(first, '5');
      sayText(first, '42["chat message","first"]');
      assert.equal(await text(first), '42["chat message","first"]');
      await closedWithoutTaking();
      sayText(first, '42["chat message","still first"]');
      assert.equal(await text(first), '42["chat message","still first"]');
    });

    test(`${protocol}: anything but a probe: the session stays on polling`, async (context) => {
      const { port } = await context.elbow();
      const poller = await Poller.connected(port, protocol);
      const tcp = await engineSocket(context, port, protocol, poller.sid);
      sayText(tcp, '42["chat message","too early"]');
      assert.deepEqual(await ended(tcp), []);
      await poller.say('42["chat message","on"]');
      assert.equal(await poller.next(), '42["chat message","on"]');
    });

    test(`${protocol}: a WebSocket that dies after its probe`, async (context) => {
      const { port } = await context.elbow();
      const poller = await Poller.connected(port, protocol);
      const tcp = await engineSocket(context, port, protocol, poller.sid);
      sayText(tcp, '2probe');
      assert.equal(await text(tcp), '3probe');
      tcp.socket.resetAndDestroy();
      await sleep(100);
      await poller.say('42["chat message","on"]');
      let packet;
      do packet = await poller.next();
      while (packet === '6');
      assert.equal(packet, '42["chat message","on"]');
    });

    test(`${protocol}: a probe without an upgrade is given up`, async (context) => {
      const { port } = await context.elbow();
      const poller = await Poller.connected(port, protocol);
      const tcp = await engineSocket(context, port, protocol, poller.sid);
      sayText(tcp, '2probe');
      assert.equal(await text(tcp), '3probe');
      assert.deepEqual(await ended(tcp, 20_000), []);
      await poller.say('42["chat message","on"]');
      let packet;
      do packet = await poller.next();
      while (packet === '6');
      assert.equal(packet, '42["chat message","on"]');
    });
  }
});

describe('heartbeat', { concurrency: 4 }, () => {
  // So long a timeout that a machine which stops for a while ends nobody who answers.
  const PINGS = ['--ping-interval', '1s', '--ping-timeout', '4s'];

  test('4: the server pings, whatever the client says', async (context) => {
    const { port } = await context.elbow(PINGS);
    const tcp = await connectedSocket(context, port, 4);
    let pings = 0;
    for (const end = Date.now() + 4_500; Date.now() < end; ) {
      sayText(tcp, '42["ignored"]');
      await sleep(100);
      while (tcp.bytes.length) {
        assert.equal(await text(tcp), '2');
        pings += 1;
        sayText(tcp, '3');
      }
    }
    assert.ok(pings >= 3 && pings <= 5, `${pings} pings in 4.5 s`);
  });

  test('3: the client pings, the server never does', async (context) => {
    const { port } = await context.elbow(PINGS);
    const tcp = await connectedSocket(context, port, 3);
    for (let count = 0; count < 4; count += 1) {
      sayText(tcp, '2');
      assert.equal(await text(tcp), '3');
      await sleep(1_000);
      assert.equal(tcp.bytes.length, 0);
    }
  });

  test('4: a poll is answered with the ping', async (context) => {
    const { port } = await context.elbow(PINGS);
    const poller = await Poller.connected(port, 4);
    for (let count = 0; count < 3; count += 1) {
      assert.equal((await poller.get()).body.toString(), '2');
      await poller.say('3');
    }
  });

  for (const protocol of BOTH) {
    test(`${protocol}: who vanished is gone after interval and timeout`, async (context) => {
      const server = await context.elbow(PINGS);
      const { port } = server;
      const ann = await peer(context, port, '4.8');
      const from = await server.nextLine();
      const vanished = await connectedSocket(context, port, protocol);
      const poller = await Poller.connected(port, protocol);
      const said = (await ended(vanished)).map(({ payload }) => payload.toString());
      const pings = protocol === 4 ? ['2'] : [];
      assert.deepEqual(said.filter((packet) => packet !== '42["hi"]'), pings);
      // In protocol 3 every packet is a sign of life, so the session is asked for only once.
      await sleep(3_000);
      const answer = await ask(port, 'POST', poller.target, { body: bodyOf(['6'], protocol) });
      assert.equal(answer.status, 400, 'the polling one is gone');
      await eventually('the log tells of both', () => {
        const closes = server.lines.slice(from).filter((line) => /\bclose\b/.test(line));
        return closes.length >= 2;
      });
      assert.deepEqual(ann.ends, []);
    });
  }
});

describe('transcripts', { concurrency: 4 }, () => {
  /** The frames of an event's answers: its record, whole, and its ack, in either order. */
  async function answers(tcp, record, ack) {
    const frames = [];
    while (frames.length < record.length + 1) frames.push(await tcp.frame());
    const shown = frames.map(({ opcode, payload }) =>
      opcode === TEXT ? payload.toString() : payload.toString('hex'),
    );
    const at = shown.indexOf(ack);
    assert.ok([0, record.length].includes(at), `${shown}`);
    shown.splice(at, 1);
    assert.deepEqual(shown, record);
  }

  const EVENT = '42["chat message","héllo €"]';
  const BINARY = '451-["chat message",{"_placeholder":true,"num":0}]';
  const ASKED = '451-1["chat message",{"_placeholder":true,"num":0}]';

  test('4.8.4, io() as it comes', async (context) => {
    const { port } = await context.elbow();
    const first = await ask(port, 'GET', polling('&t=ovlmq7iu'));
    const { sid } = JSON.parse(first.body.toString().slice(1));
    const posted = await ask(port, 'POST', polling(`&t=ovlnlt50&sid=${sid}`), { body: '40' });
    assert.deepEqual([posted.headers['content-type'], `${posted.body}`], ['text/html', 'ok']);

    const tcp = await context.tcp(port);
    tcp.send(
      [
        `GET /socket.io/?EIO=4&transport=websocket&sid=${sid} HTTP/1.1`,
        `Host: 127.0.0.1:${port}`,
        'Upgrade: websocket',
        'Connection: Upgrade',
        'Sec-WebSocket-Version: 13',
        'Sec-WebSocket-Key: okrcDgz1GgZKMUpCrzL3/g==',
        'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits',
        '\r\n',
      ].join('\r\n'),
    );
    const second = await ask(port, 'GET', polling(`&t=ovlnp0b7&sid=${sid}`));
    assert.equal(masked(second.body.toString()), '40{"sid":"…"}');
    const upgrade = await tcp.response();
    assert.equal(upgrade.status, 101);
    assert.equal(upgrade.headers['sec-websocket-accept'], 'GnJ5EuRl5TmW1JduGpAG/qkSVeI=');

    const held = ask(port, 'GET', polling(`&t=ovlohur0&sid=${sid}`));
    await sleep(50);
    sayText(tcp, '2probe');
    assert.equal(await text(tcp), '3probe');
    assert.equal((await held).body.toString(), '6');
    sayText(tcp, '5');
    sayText(tcp, EVENT);
    await eventually('the echo', () => tcp.bytes.length >= 2);
    assert.equal(tcp.bytes.subarray(0, 2).toString('hex'), '811f');
    assert.equal(await text(tcp), EVENT);
    sayText(tcp, '420["chat message",2,3]');
    await answers(tcp, ['42["chat message",2,3]'], '430[]');
    sayText(tcp, ASKED);
    sayBinary(tcp, hex('01021eff'));
    await answers(tcp, [BINARY, '01021eff'], '431[]');

    await peer(context, port, '4.8', { way: 'websocket only' });
    assert.equal(await text(tcp), '42["hi"]');
    sayText(tcp, '40/priv,{"token":"no"}');
    assert.equal(masked(await text(tcp)), '40/priv,{"sid":"…"}');
    sayText(tcp, '42/priv,["chat message","x"]');
    assert.equal(await text(tcp), '42/priv,["chat message","x"]');
    sayText(tcp, '40/default,{"token":"no"}');
    assert.equal(await text(tcp), '44/default,{"message":"Invalid namespace"}');
    sayText(tcp, '41/priv,');
    sayText(tcp, '41');
    tcp.send(frame(CLOSE));
    const end = await tcp.frame();
    assert.deepEqual([end.opcode, end.payload.length], [CLOSE, 0]);
    assert.equal((await tcp.closed()).how, 'fin');
  });

  test('4.8.4, polling only', async (context) => {
    const { port } = await context.elbow();
    const poller = await Poller.connected(port, 4);
    const held = poller.get();
    await poller.say(EVENT);
    assert.equal((await held).body.toString(), EVENT);
    assert.equal((await poller.post(ASKED)).body.toString(), 'ok');
    assert.equal((await poller.post('bAQIe/w==')).body.toString(), 'ok');
    const packets = [];
    while (packets.length < 3) packets.push(await poller.next());
    packets.splice(packets.indexOf('431[]'), 1);
    assert.deepEqual(packets, [BINARY, 'bAQIe/w==']);
    const last = poller.get();
    assert.equal((await poller.post('41')).body.toString(), 'ok');
    assert.equal((await poller.post('1')).body.toString(), 'ok');
    assert.equal((await last).body.toString(), '6');
  });

  test('2.1.1, io() as it comes', async (context) => {
    const { port } = await context.elbow();
    const poller = await Poller.connected(port, 3);
    const tcp = await engineSocket(context, port, 3, poller.sid);
    const held = poller.get();
    await sleep(50);
    sayText(tcp, '2probe');
    assert.equal(await text(tcp), '3probe');
    assert.equal((await held).body.toString(), '1:6');
    sayText(tcp, '5');
    sayText(tcp, EVENT);
    assert.equal(await text(tcp), EVENT);
    sayText(tcp, '420["chat message",2,3]');
    await answers(tcp, ['42["chat message",2,3]'], '430[]');
    sayText(tcp, ASKED);
    sayBinary(tcp, hex('0401021eff'));
    await answers(tcp, [BINARY, '0401021eff'], '431[]');
    await peer(context, port, '2.1', { way: 'websocket only' });
    assert.equal(await text(tcp), '42["hi"]');
    sayText(tcp, '40/priv?token=no,');
    assert.equal(await text(tcp), '40/priv,');
    sayText(tcp, '40/default,');
    assert.equal(await text(tcp), '44/default,"Invalid namespace"');
    sayText(tcp, '41');
    sayText(tcp, '42/priv,["chat message","still in priv"]');
    assert.equal(await text(tcp), '42/priv,["chat message","still in priv"]');
    sayText(tcp, '2');
    assert.equal(await text(tcp), '3');
  });

  test('2.1.1, polling only', async (context) => {
    const { port } = await context.elbow();
    const poller = await Poller.connected(port, 3);
    const held = poller.get();
    assert.equal((await poller.post(`28:${EVENT}`)).body.toString(), 'ok');
    assert.equal((await held).body.toString(), `28:${EVENT}`);
    assert.equal((await poller.post(`${ASKED.length}:${ASKED}`)).body.toString(), 'ok');
    assert.equal((await poller.post('10:b4AQIe/w==')).body.toString(), 'ok');
    const packets = [];
    while (packets.length < 3) packets.push(await poller.next());
    packets.splice(packets.indexOf('431[]'), 1);
    assert.deepEqual(packets, [BINARY, 'b4AQIe/w==']);
    const last = poller.get();
    assert.equal((await poller.post('2:41')).body.toString(), 'ok');
    assert.equal((await poller.post('1:1')).body.toString(), 'ok');
    assert.equal((await last).body.toString(), '1:6');
  });
});

describe('harm', { concurrency: 4 }, () => {
  /** Checks that who was there before is served as before, and heard nothing of it. */
  async function bystanders(context, port) {
    const plain = await context.client(port);
    const four = await peer(context, port, '4.8', { way: 'websocket only' });
    const two = await peer(context, port, '2.5', { way: 'websocket only' });
    assert.deepEqual(await four.next(), ['hi']);
    return async (what) => {
      const said = (events) => events.filter(([name]) => name !== 'hi');
      const on = `on, in spite of ${what}`;
      plain.say(on);
      await eventually(on, () => plain.messages.includes(on));
      const heard = [plain.messages.splice(0, plain.messages.indexOf(on))];
      plain.messages.shift();
      for (const each of [four, two]) heard.push(said(await each.until(on)));
      assert.deepEqual(heard, [[], [], []], what);
      assert.deepEqual([...four.ends, ...two.ends], [], what);
    };
  }

  const MALFORMED = {
    4: ['', 'x', '9', '4', '47', '4x', `42["a"]${RECORD_SEPARATOR}`, RECORD_SEPARATOR, 'b!'],
    3: ['x', ':4', '0:', '9:4hi', '1:42["a"]', '-1:4', '1.5:4h', '99999999999999999999:4', '1:9'],
  };
  for (const protocol of BOTH) {
    test(`${protocol}: malformed payloads end the session, answered ok`, async (context) => {
      const { port } = await context.elbow();
      const unharmed = await bystanders(context, port);
      for (const body of MALFORMED[protocol]) {
        const shown = JSON.stringify(body);
        await context.part(shown, async () => {
          const poller = await Poller.connected(port, protocol);
          const answer = await poller.post(body);
          assert.deepEqual([answer.status, answer.body.toString()], [200, 'ok']);
          await poller.over();
          await unharmed(shown);
        });
      }
    });
  }

  const MALICE = [
    ['a list for CONNECT', ['0[]']],
    ['no name', ['2[]']],
    ['an object for an event', ['2{}']],
    ['null as a name', ['2[null]']],
    ['JSON that ends early', ['2["chat message"']],
    ['JSON with more behind', ['2["chat message","x"]x']],
    ['reserved names', ['2["connect"]']],
    ['another reserved name', ['2["disconnecting"]']],
    ['a control character in a string', ['2["chat message","\u0001"]']],
    ['no dash', ['5["chat message"]']],
    ['letters for a count', ['5x-["chat message"]']],
    ['a thousand attachments', ['51000-["chat message",{"_placeholder":true,"num":0}]']],
    ['10^30 attachments', [`5${'9'.repeat(30)}-["chat message",{"_placeholder":true,"num":0}]`]],
    ['an ack id of 10,000 digits', [`2${'7'.repeat(10_000)}["chat message","x"]`]],
    ['text while attachments are owed', [
      '51-["chat message",{"_placeholder":true,"num":0}]',
      '2["chat message","x"]',
    ]],
    ['an attachment nobody announced', [Buffer.from('x')]],
    ['a placeholder out of range', [
      '51-["chat message",{"_placeholder":true,"num":7}]',
      Buffer.from('x'),
    ]],
    ['a negative placeholder', [
      '51-["chat message",{"_placeholder":true,"num":-1}]',
      Buffer.from('x'),
    ]],
    ['an unknown type', ['7']],
    ['a letter for a type', ['x']],
    ['arrays 30,000 deep', [`2["chat message",${'['.repeat(30_000)}${']'.repeat(30_000)}]`]],
    ['objects 10,000 deep', [
      `2["chat message",${'{"":'.repeat(10_000)}1${'}'.repeat(10_000)}]`,
    ]],
  ];
  for (const protocol of BOTH) {
    test(`${protocol}: packets that are none end the connection`, async (context) => {
      const { port } = await context.elbow();
      const unharmed = await bystanders(context, port);
      for (const [what, messages] of MALICE) {
        await context.part(what, async () => {
          const tcp = await connectedSocket(context, port, protocol);
          for (const message of messages) {
            if (typeof message === 'string') sayText(tcp, `4${message}`);
            else sayBinary(tcp, Buffer.concat([Buffer.from(protocol === 3 ? [4] : []), message]));
          }
          await ended(tcp);
          await unharmed(what);
        });
      }
    });
  }

  test('4: an event before CONNECT ends the connection', async (context) => {
    const { port } = await context.elbow();
    const unharmed = await bystanders(context, port);
    const tcp = await engineSocket(context, port, 4);
    await text(tcp);
    sayText(tcp, '42["chat message","not in yet"]');
    await ended(tcp);
    await unharmed('an event before CONNECT');
  });

  for (const protocol of BOTH) {
    test(`${protocol}: 100,000 packets in one POST`, { timeout: 120_000 }, async (context) => {
      const server = await context.elbow(['--max-message', '2MiB', '--log-level', 'warn']);
      const { port } = server;
      const unharmed = await bystanders(context, port);
      const before = server.residentBytes();
      for (const packet of [protocol === 4 ? '3' : '2', '6', '42["x"]', '42["x",1,2,3]']) {
        const poller = await Poller.connected(port, protocol);
        const began = Date.now();
        const flood = poller.post(bodyOf(Array(100_000).fill(packet), protocol), { ms: 30_000 });
        await unharmed(`100,000 times ${packet}`);
        const { status } = await flood;
        assert.ok([200, 400, 413].includes(status), `${status}`);
        assert.ok(Date.now() - began < 20_000);
      }
      await unharmed('all of it');
      const grown = server.residentBytes() - before;
      assert.ok(grown < 32 << 20, `${grown} bytes more`);
    });

    test(`${protocol}: 2,000 messages in one POST are all heard, in order`, async (context) => {
      const { port } = await context.elbow();
      const plain = await context.client(port);
      const poller = await Poller.connected(port, protocol);
      const packets = Array.from({ length: 2_000 }, (_, count) => `42["chat message","${count}"]`);
      const { status, body } = await poller.post(bodyOf(packets, protocol));
      assert.deepEqual([status, body.toString()], [200, 'ok']);
      await eventually('all are heard', () => plain.messages.length === 2_000);
      assert.deepEqual(plain.messages, Array.from({ length: 2_000 }, (_, count) => `${count}`));
      const heard = [];
      while (heard.length < 2_000) heard.push(await poller.next());
      assert.deepEqual(heard, packets);
    });
  }

  test('a flood of POSTs slows nobody else', { timeout: 90_000 }, async (context) => {
    const server = await context.elbow(['--log-level', 'warn']);
    const unharmed = await bystanders(context, server.port);
    const flooders = await Promise.all(
      Array.from({ length: 20 }, () => Poller.connected(server.port, 4)),
    );
    let going = true;
    const floods = flooders.map(async (poller) => {
      while (going) await poller.say('42["x"]', '42["y",1]', '3');
    });
    for (let round = 0; round < 20; round += 1) {
      const began = Date.now();
      await unharmed(`round ${round} of the flood`);
      assert.ok(Date.now() - began < 2_000);
      await sleep(100);
    }
    going = false;
    await Promise.all(floods);
  });

  test('sessions that are opened and left are bounded, and go', async (context) => {
    const server = await context.elbow([
      ...['--max-connections', '100', '--ping-interval', '6s', '--ping-timeout', '2s'],
    ]);
    const { port } = server;
    const open = async (target) => {
      const statuses = {};
      for (let count = 0; count < 150; count += 1) {
        const { status } = await ask(port, 'GET', target);
        statuses[status] = (statuses[status] ?? 0) + 1;
      }
      return statuses;
    };
    // In no namespace: of those an eighth may be there, and the oldest gives way.
    assert.deepEqual(await open(polling()), { 200: 150 });
    await server.logged(/without a channel: gave way/);
    // Protocol 3 puts everybody into one, and what is there stays.
    const three = '/socket.io/?EIO=3&transport=polling';
    assert.deepEqual(await open(three), { 200: 88, 503: 62 });
    await eventually('they are gone', async () => {
      const { status } = await ask(port, 'GET', three);
      return status === 200;
    }, 20_000);
    assert.equal((await fetch(server.url('/healthz'))).status, 200);
  });

  test('a binary frame on a WebSocket of 3 with another type byte', async (context) => {
    const { port } = await context.elbow();
    const unharmed = await bystanders(context, port);
    for (const bytes of [Buffer.alloc(0), hex('09 01'), hex('ff')]) {
      const tcp = await connectedSocket(context, port, 3);
      tcp.send(frame(BINARY_FRAME, bytes));
      await ended(tcp);
      await unharmed(bytes.toString('hex'));
    }
  });
});
