// The client's side of the wire: raw TCP, raw WebSocket frames, the client of the `ws` package, and
// PROXY headers.

import assert from 'node:assert/strict';
import net from 'node:net';
import WebSocket from 'ws';
import { SOON_MS, eventually } from './wait.mjs';

export class Tcp {
  /** Received and not yet taken. */
  bytes = Buffer.alloc(0);
  /** Whether the peer has sent its FIN. */
  finished = false;
  /** Whether the connection was reset. */
  reset = false;

  /** `from`: the source address, to tell clients apart. */
  static async connect(port, { host = '127.0.0.1', from } = {}) {
    const socket = net.connect({ port, host, localAddress: from, allowHalfOpen: true });
    const tcp = new Tcp(socket);
    await new Promise((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    // A socket forgets its port when it is closed.
    tcp.localPort = socket.localPort;
    return tcp;
  }

  constructor(socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (bytes) => {
      this.bytes = Buffer.concat([this.bytes, bytes]);
    });
    socket.on('end', () => {
      this.finished = true;
    });
    socket.on('error', () => {
      this.reset = true;
    });
  }

  send(data) {
    this.socket.write(data);
    return this;
  }

  /** Sends one byte per segment. */
  async dribble(data) {
    for (const byte of Buffer.from(data)) {
      if (this.reset) return;
      await new Promise((resolve) => {
        this.socket.write(Buffer.from([byte]), resolve);
      });
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
  }

  /** Waits until `take` finds what it wants in the bytes received: `{ value, length }`. */
  async take(what, take, ms = SOON_MS) {
    const found = await eventually(
      what,
      () => {
        const value = take(this.bytes);
        if (!value && (this.finished || this.reset)) {
          const how = this.reset ? 'reset' : 'closed';
          assert.fail(`${how} before ${what}; received: ${show(this.bytes)}`);
        }
        return value;
      },
      ms,
    );
    this.bytes = this.bytes.subarray(found.length);
    return found.value;
  }

  /** The next HTTP response, by its Content-Length. `head`: it answers HEAD. */
  async response({ head = false, ms } = {}) {
    return this.take(
      'a whole HTTP response',
      (bytes) => {
        const end = bytes.indexOf('\r\n\r\n');
        if (end < 0) return null;
        const [statusLine, ...fields] = bytes.subarray(0, end).toString('latin1').split('\r\n');
        const headers = {};
        for (const field of fields) {
          const colon = field.indexOf(':');
          headers[field.slice(0, colon).toLowerCase()] = field.slice(colon + 1).trim();
        }
        const status = Number(statusLine.split(' ')[1]);
        const bodiless = head || status < 200 || status === 204 || status === 304;
        const bodyLength = bodiless ? 0 : Number(headers['content-length']);
        if (bytes.length < end + 4 + bodyLength) return null;
        const body = bytes.subarray(end + 4, end + 4 + bodyLength);
        const text = `${statusLine}\r\n${fields.join('\r\n')}\r\n\r\n${body}`;
        return { value: { status, headers, body, text }, length: end + 4 + bodyLength };
      },
      ms,
    );
  }

  /** The next WebSocket frame from the server: `{ fin, rsv, opcode, payload, code, reason }`. */
  async frame(ms) {
    return this.take('a whole WebSocket frame', (bytes) => parseFrame(bytes), ms);
  }

  /** Waits for the end of what the peer sends: `{ how: 'fin' | 'reset', bytes }`. */
  async closed(ms = SOON_MS) {
    await eventually('the server has closed the connection', () => this.finished || this.reset, ms);
    return { how: this.reset ? 'reset' : 'fin', bytes: this.bytes };
  }

  /** Expects that the connection ends without another byte. */
  async closedSilently(ms) {
    const { bytes } = await this.closed(ms);
    assert.equal(show(bytes), '');
  }
}

/** Bytes, readable in a failure's message. */
function show(bytes) {
  const text = JSON.stringify(bytes.subarray(0, 300).toString('latin1')).slice(1, -1);
  return bytes.length > 300 ? `${text}… (${bytes.length} bytes)` : text;
}

// --- WebSocket ----------------------------------------------------------------------------------

export const TEXT = 1;
export const BINARY_FRAME = 2;
export const CLOSE = 8;
export const PING = 9;
export const PONG = 10;

/** Bytes from hexadecimal digits; spaces are for the eye. */
export const hex = (digits) => Buffer.from(digits.replace(/\s+/g, ''), 'hex');

/** The mask of every frame here, as in the frame vectors. */
const MASK = hex('37fa213d');

/** A client's frame: masked, in the shortest form. `announce`: a length other than the true one. */
export function frame(opcode, payload = '', { fin = true, announce } = {}) {
  const body = Buffer.from(payload);
  const length = announce ?? body.length;
  let head;
  if (length < 126) {
    head = Buffer.from([0, length]);
  } else if (length < 65_536) {
    head = Buffer.alloc(4);
    head[1] = 126;
    head.writeUInt16BE(length, 2);
  } else {
    head = Buffer.alloc(10);
    head[1] = 127;
    head.writeBigUInt64BE(BigInt(length), 2);
  }
  head[0] = (fin ? 0x80 : 0) | opcode;
  head[1] |= 0x80;
  return Buffer.concat([head, MASK, body.map((byte, index) => byte ^ MASK[index % 4])]);
}

/** The body of a close frame. */
export function closeBody(code, reason = '') {
  return Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]);
}

function parseFrame(bytes) {
  if (bytes.length < 2) return null;
  assert.equal(bytes[1] & 0x80, 0, 'a server must not mask');
  let length = bytes[1];
  let start = 2;
  if (length === 126) {
    if (bytes.length < 4) return null;
    length = bytes.readUInt16BE(2);
    start = 4;
  } else if (length === 127) {
    if (bytes.length < 10) return null;
    length = Number(bytes.readBigUInt64BE(2));
    start = 10;
  }
  if (bytes.length < start + length) return null;
  const payload = Buffer.from(bytes.subarray(start, start + length));
  const opcode = bytes[0] & 15;
  const value = { fin: bytes[0] >= 0x80, rsv: (bytes[0] >> 4) & 7, opcode, payload };
  if (opcode === CLOSE && length >= 2) {
    value.code = payload.readUInt16BE(0);
    value.reason = payload.subarray(2).toString();
  }
  return { value, length: start + length };
}

export function upgradeHead(target = '/ws', fields = []) {
  return [
    `GET ${target} HTTP/1.1`,
    'Host: h',
    'Upgrade: websocket',
    'Connection: Upgrade',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: ZWxib3ctdGVzdC1rZXktMQ==',
    ...fields,
    '',
    '',
  ].join('\r\n');
}

/** A client of the `ws` package that remembers what it hears. */
export class Client {
  /** Messages not yet taken: strings, or Buffers for binary ones. */
  messages = [];
  /** `{ code, reason }` once it is closed. */
  end = null;

  /** `from`: source address; `header`: bytes in front of the request; the rest is for `ws`. */
  constructor(port, { target = '/ws', host = '127.0.0.1', from, header, ...options } = {}) {
    const createConnection = (connectOptions) => {
      const socket = net.connect({ ...connectOptions, host, port, path: undefined });
      if (header) socket.write(header);
      return socket;
    };
    this.socket = new WebSocket(`ws://${host}:${port}${target}`, {
      ...(from && { localAddress: from }),
      ...(header && { createConnection }),
      ...options,
    });
    this.socket.on('message', (data, isBinary) => {
      this.messages.push(isBinary ? data : data.toString());
    });
    this.socket.on('close', (code, reason) => {
      this.end = { code, reason: reason.toString() };
    });
    this.opened = new Promise((resolve, reject) => {
      this.socket.once('open', resolve);
      this.socket.once('error', reject);
    });
    this.socket.on('error', () => {});
  }

  get localPort() {
    return this.socket._socket.localPort;
  }

  say(message) {
    this.socket.send(message);
  }

  /** The next message. */
  async next(ms = SOON_MS) {
    await eventually(
      'a message',
      () => {
        if (!this.messages.length && this.end) {
          assert.fail(`closed instead of a message: ${JSON.stringify(this.end)}`);
        }
        return this.messages.length;
      },
      ms,
    );
    return this.messages.shift();
  }

  /** Waits for its end: `{ code, reason }`. */
  async closed(ms = SOON_MS) {
    return eventually('the client is closed', () => this.end, ms);
  }
}

/** Asserts that two clients still talk at ease: a hundred messages, each back within its time. */
export async function othersTalk(...clients) {
  for (let count = 0; count < 100; count += 1) {
    const message = `ease ${count}`;
    clients[count % clients.length].say(message);
    for (const client of clients) {
      let heard = await client.next();
      while (!String(heard).startsWith('ease')) heard = await client.next();
      assert.equal(heard, message);
    }
  }
}

/** The status with which an upgrade is refused, with its fields: `{ status, headers }`. */
export async function refused(port, options = {}) {
  const client = new Client(port, options);
  return new Promise((resolve, reject) => {
    client.socket.once('unexpected-response', (_, response) => {
      resolve({ status: response.statusCode, headers: response.headers });
      client.socket.terminate();
    });
    client.opened.then(
      () => {
        client.socket.terminate();
        reject(new Error('the upgrade was accepted'));
      },
      (error) => reject(error),
    );
  });
}

// --- PROXY headers ------------------------------------------------------------------------------

export const V2_SIGNATURE = hex('0d0a0d0a000d0a515549540a');

/** A version 1 header of a TCP4 client. */
export function proxyV1(address, port, toAddress = '198.51.100.2', toPort = 80) {
  return Buffer.from(`PROXY TCP4 ${address} ${toAddress} ${port} ${toPort}\r\n`);
}

/** A version 2 header of a TCP4 client, with `tlvs` behind its addresses. */
export function proxyV2(address, port, tlvs = Buffer.alloc(0)) {
  const length = 12 + tlvs.length;
  const announced = Buffer.from([length >> 8, length & 255]);
  const head = Buffer.concat([V2_SIGNATURE, hex('2111'), announced]);
  const ports = Buffer.from([port >> 8, port & 255, 0, 80]);
  const from = Buffer.from(address.split('.').map(Number));
  return Buffer.concat([head, from, Buffer.from([198, 51, 100, 2]), ports, tlvs]);
}

/** The TLV in which an NLB names the VPC endpoint that a client came through. */
export function endpointTlv(id) {
  const length = id.length + 1;
  return Buffer.concat([Buffer.from([0xea, length >> 8, length & 255, 1]), Buffer.from(id)]);
}

/** What an NLB's health check begins with (vector C06): LOCAL, 84 bytes, none an address. */
export const NLB_PROBE = Buffer.concat([
  V2_SIGNATURE,
  hex('20110054030004bce5951f04004a'),
  Buffer.alloc(74),
]);
