// Socket.IO's side: the real clients of three versions, as peers that remember what they hear, and
// Engine.IO sessions by hand, over polling and over WebSocket.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { SOON_MS, eventually } from './wait.mjs';
import { BINARY_FRAME, CLOSE, frame, Tcp, TEXT, upgradeHead } from './wire.mjs';

const require = createRequire(import.meta.url);

/** `io` of each version that is tested: 2.x speaks Engine.IO 3, 4.x Engine.IO 4. */
export const CLIENTS = {
  4.8: require('socket.io-client-4'),
  2.5: require('socket.io-client-2-5'),
  2.1: require('socket.io-client-2-1'),
};

/** The option `transports` for each way to connect; the first is the default. */
export const WAYS = {
  'polling, then upgrade': undefined,
  'websocket only': ['websocket'],
  'polling only': ['polling'],
};

// --- Real clients -------------------------------------------------------------------------------

/** A real client that remembers what it hears. */
export class Peer {
  /** Events not yet taken: `[name, ...arguments]`. */
  events = [];
  /** The reasons of its disconnects. */
  ends = [];

  /** `heard`: names of the events to listen to; the rest is for the client. */
  constructor(port, version, options = {}) {
    const { way, namespace = '', heard = ['hi', 'chat message'], ...rest } = options;
    assert.ok(way === undefined || way in WAYS, way);
    this.socket = CLIENTS[version](`http://127.0.0.1:${port}${namespace}`, {
      forceNew: true,
      reconnection: false,
      ...(WAYS[way] && { transports: WAYS[way] }),
      ...rest,
    });
    for (const name of heard) {
      this.socket.on(name, (...args) => this.events.push([name, ...args]));
    }
    this.socket.on('disconnect', (reason) => this.ends.push(reason));
    this.connected = new Promise((resolve, reject) => {
      this.socket.once('connect', resolve);
      // 4.x says `connect_error`, 2.x says `error` when a namespace is refused.
      this.socket.once('connect_error', reject);
      this.socket.once('error', reject);
    });
    this.connected.catch(() => {});
  }

  /** What carries it now: `polling` or `websocket`. */
  get transport() {
    return this.socket.io.engine?.transport?.name;
  }

  /** Waits until it has moved to WebSocket. */
  async upgraded() {
    await eventually('the client is on websocket', () => this.transport === 'websocket');
  }

  emit(...event) {
    this.socket.emit(...event);
  }

  /** Emits with an acknowledgement, and returns its arguments. */
  async ask(...event) {
    let answer;
    this.socket.emit(...event, (...args) => {
      answer = args;
    });
    return eventually(`${event[0]} is acknowledged`, () => answer);
  }

  /** The next event: `[name, ...arguments]`. */
  async next(ms = SOON_MS) {
    await eventually('an event', () => this.events.length, ms);
    return this.events.shift();
  }

  /** The next events up to the chat message `last`, which is left out. */
  async until(last, ms = SOON_MS) {
    const isLast = ([name, text]) => name === 'chat message' && text === last;
    await eventually(`the chat message ${last}`, () => this.events.some(isLast), ms);
    const events = this.events.splice(0, this.events.findIndex(isLast));
    this.events.shift();
    return events;
  }

  async reconnected(ms = 20_000) {
    await eventually('the client is connected again', () => this.socket.connected, ms);
  }
}

/** A peer that is connected, for as long as the test lasts. */
export async function peer(context, port, version, options) {
  const made = new Peer(port, version, options);
  context.defer(() => made.socket.disconnect());
  await made.connected;
  return made;
}

/** Waits for the refusal of a namespace, and returns what it says. */
export async function refusal(context, port, version, options) {
  const made = new Peer(port, version, options);
  context.defer(() => made.socket.disconnect());
  let error;
  made.connected.catch((reason) => {
    error = reason;
  });
  await eventually('the namespace is refused', () => error);
  assert.ok(!made.socket.connected);
  return error.message ?? error;
}

// --- By hand ------------------------------------------------------------------------------------

export const RECORD_SEPARATOR = '\x1e';

/** What a poll says of its protocol: Node's clients of 3 ask for text bodies. */
const POLLING = { 4: 'EIO=4&transport=polling', 3: 'EIO=3&transport=polling&b64=1' };

/** One HTTP request on a connection of its own: `{ status, headers, body, text }`. */
export async function ask(port, method, target, { body = '', fields = [], ms } = {}) {
  const tcp = await Tcp.connect(port);
  try {
    tcp.send(requestHead(method, target, Buffer.byteLength(body), fields));
    tcp.send(body);
    return await tcp.response({ head: method === 'HEAD', ms });
  } finally {
    tcp.socket.destroy();
  }
}

export function requestHead(method, target, length, fields = []) {
  const lines = [`${method} ${target} HTTP/1.1`, 'Host: h', ...fields];
  if (method === 'POST') {
    lines.push('Content-Type: text/plain;charset=UTF-8', `Content-Length: ${length}`);
  }
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/** The packets of a polling body. Protocol 3 counts UTF-16 code units, as JavaScript does. */
export function packetsOf(body, protocol) {
  const text = body.toString();
  if (protocol === 4) return text.split(RECORD_SEPARATOR);
  const packets = [];
  for (let at = 0; at < text.length; ) {
    const colon = text.indexOf(':', at);
    const length = Number(text.slice(at, colon));
    assert.ok(length > 0 && colon + length < text.length, `framing of ${text}`);
    packets.push(text.slice(colon + 1, colon + 1 + length));
    at = colon + 1 + length;
  }
  return packets;
}

/** A polling body of these packets. */
export function bodyOf(packets, protocol) {
  if (protocol === 4) return packets.join(RECORD_SEPARATOR);
  return packets.map((packet) => `${packet.length}:${packet}`).join('');
}

/** A session that polls. */
export class Poller {
  /** Packets not yet taken. */
  packets = [];

  static async open(port, protocol) {
    const poller = new Poller();
    Object.assign(poller, { port, protocol });
    poller.target = `/socket.io/?${POLLING[protocol]}`;
    const { status, body, text } = await ask(port, 'GET', poller.target);
    assert.equal(status, 200, text);
    const [open, ...rest] = packetsOf(body, protocol);
    assert.equal(open[0], '0');
    poller.handshake = JSON.parse(open.slice(1));
    poller.sid = poller.handshake.sid;
    poller.target += `&sid=${poller.sid}`;
    poller.packets.push(...rest);
    return poller;
  }

  /** A session that is in the default channel. */
  static async connected(port, protocol) {
    const poller = await Poller.open(port, protocol);
    if (protocol === 4) await poller.say('40');
    assert.match(await poller.next(), protocol === 4 ? /^40\{"sid":"[^"]+"\}$/ : /^40$/);
    return poller;
  }

  async post(body, options) {
    return ask(this.port, 'POST', this.target, { body, ...options });
  }

  async get(options) {
    return ask(this.port, 'GET', this.target, options);
  }

  /** Posts packets, and expects that they are taken. */
  async say(...packets) {
    const { status, body, text } = await this.post(bodyOf(packets, this.protocol));
    assert.deepEqual([status, body.toString()], [200, 'ok'], text);
  }

  /** The next packet, polled for if need be. Pings of the server are answered. */
  async next() {
    for (;;) {
      while (!this.packets.length) {
        const { status, body, text } = await this.get();
        assert.equal(status, 200, text);
        this.packets.push(...packetsOf(body, this.protocol));
      }
      const packet = this.packets.shift();
      if (packet !== '2') return packet;
      await this.say('3');
    }
  }

  /** Expects that the session has been closed: its id is not known any more. */
  async over() {
    await eventually('the session is over', async () => {
      const { status, body } = await this.get();
      if (status !== 200) {
        assert.equal(status, 400);
        if (body.length) assert.equal(body.toString(), UNKNOWN_SID);
        return true;
      }
      const packets = packetsOf(body, this.protocol);
      assert.deepEqual(packets.filter((packet) => !['1', '6'].includes(packet)), []);
      return packets.includes('1');
    });
    const { status, body } = await this.get();
    assert.deepEqual([status, body.toString()], [400, UNKNOWN_SID]);
  }
}

export const UNKNOWN_SID = '{"code":1,"message":"Session ID unknown"}';

/** A WebSocket at `/socket.io/`: of a session of its own, or for the session `sid`. */
export async function engineSocket(context, port, protocol, sid) {
  const target = `/socket.io/?EIO=${protocol}&transport=websocket${sid ? `&sid=${sid}` : ''}`;
  const tcp = await context.tcp(port);
  tcp.send(upgradeHead(target));
  const response = await tcp.response();
  assert.equal(response.status, 101, response.text);
  return tcp;
}

/** The next text frame. */
export async function text(tcp, ms) {
  const { opcode, fin, rsv, payload } = await tcp.frame(ms);
  assert.deepEqual([opcode, fin, rsv], [TEXT, true, 0], `not text: ${payload.toString('latin1')}`);
  return payload.toString();
}

export const sayText = (tcp, packet) => tcp.send(frame(TEXT, packet));
export const sayBinary = (tcp, bytes) => tcp.send(frame(BINARY_FRAME, bytes));

/** Waits until the server closes a WebSocket, politely or not: the frames before. */
export async function ended(tcp, ms = SOON_MS) {
  const frames = [];
  for (;;) {
    const over = () => tcp.finished || tcp.reset;
    await eventually('the server closes', () => over() || tcp.bytes.length, ms);
    if (!tcp.bytes.length) return frames;
    const each = await tcp.frame(ms);
    if (each.opcode === CLOSE) {
      tcp.send(frame(CLOSE, each.payload));
      return frames;
    }
    frames.push(each);
  }
}

/** A WebSocket session in the default channel. */
export async function connectedSocket(context, port, protocol) {
  const tcp = await engineSocket(context, port, protocol);
  const open = await text(tcp);
  assert.equal(open[0], '0');
  tcp.handshake = JSON.parse(open.slice(1));
  if (protocol === 4) sayText(tcp, '40');
  assert.match(await text(tcp), protocol === 4 ? /^40\{"sid":"[^"]+"\}$/ : /^40$/);
  return tcp;
}
