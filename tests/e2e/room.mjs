// Several instances as one room: readers and speakers of every dialect, who talk all at once, and
// what they must have heard: each message once, all in one order.

import assert from 'node:assert/strict';
import http from 'node:http';
import { WebSocket } from 'ws';
import { peer } from './socketio.mjs';
import { eventually, sleep } from './wait.mjs';

export const HISTORY = ['--history', '10000', '--history-age', '10m'];

/** elbow, with a connection to Redis that works. */
export async function instance(context, url, args = [], options = {}) {
  const { greeting = 'off' } = options;
  const all = ['--redis', url, '--greeting', greeting, '--drain', '500ms', ...args];
  const server = await context.elbow(all, options);
  if (!options.unready && !options.away) await works(server);
  return server;
}

export const works = (server, from = 0) => server.logged(/Redis: everything works/, { from });

/** A reader that notes what it hears: texts, and what it was told of gaps. */
export class Reader {
  texts = [];
  /** Positions of the texts, where they are told. */
  positions = [];
  /** What it was told of gaps. */
  gaps = [];
  /** How often its connection has ended. */
  ends = 0;
}

/** A WebSocket that speaks `elbow.v1`, or a plain one. */
export async function socket(context, port, { target = '/ws', isV1 = true } = {}) {
  const reader = new Reader();
  const url = `ws://127.0.0.1:${port}${target}`;
  const made = new WebSocket(url, isV1 ? ['elbow.v1'] : []);
  context.defer(() => made.terminate());
  made.on('message', (bytes) => {
    const text = bytes.toString();
    if (!isV1) {
      reader.texts.push(text);
    } else if (text.startsWith('\n')) {
      const told = JSON.parse(text);
      if (told.lost) reader.gaps.push(told.position);
      else reader.began = told;
    } else {
      const end = text.indexOf('\n');
      reader.positions.push(text.slice(0, end));
      reader.texts.push(text.slice(end + 1));
    }
  });
  made.on('close', (code, reason) => {
    reader.ends += 1;
    reader.end = [code, reason.toString()];
  });
  await new Promise((resolve, reject) => {
    made.once('open', resolve);
    made.on('error', reject);
  });
  if (isV1) await eventually('it is greeted', () => reader.began);
  reader.say = (text) => made.send(text);
  return reader;
}

/** An event stream. */
export async function stream(context, port, target = '/sse') {
  const reader = new Reader();
  const request = http.get({ host: '127.0.0.1', port, path: target });
  context.defer(() => request.destroy());
  request.on('error', () => {});
  const response = await new Promise((resolve, reject) => {
    request.once('response', resolve);
    request.once('error', reject);
  });
  reader.status = response.statusCode;
  let rest = '';
  response.on('close', () => {
    reader.ends += 1;
  });
  response.on('data', (bytes) => {
    const events = (rest + bytes).split('\n\n');
    rest = events.pop();
    for (const event of events) {
      const field = (name) => event.match(new RegExp(`^${name}: ?(.*)$`, 'm'))?.[1];
      if (field('event') === 'reset') reader.gaps.push(field('id'));
      else if (field('data') !== undefined) {
        reader.texts.push(field('data'));
        reader.positions.push(field('id'));
      }
    }
  });
  return reader;
}

/** A real Socket.IO client. */
export async function client(context, port, options = {}) {
  const reader = new Reader();
  const made = await peer(context, port, '4.8', options);
  made.socket.on('chat message', (text) => reader.texts.push(text));
  made.socket.on('disconnect', (why) => {
    reader.ends += 1;
    reader.end = why;
  });
  reader.say = (text) => made.emit('chat message', text);
  reader.ask = (text) => made.ask('chat message', text);
  reader.peer = made;
  return reader;
}

/** One reader of every dialect. */
export async function everyKind(context, { port }) {
  const readers = {
    v1: await socket(context, port),
    plain: await socket(context, port, { isV1: false }),
    sse: await stream(context, port),
    websocket: await client(context, port, { way: 'websocket only' }),
    polling: await client(context, port, { way: 'polling only' }),
  };
  for (const [kind, reader] of Object.entries(readers)) reader.name = `${kind} at ${port}`;
  return Object.values(readers);
}

/** Waits until every reader has heard as many texts as were said, and compares what they heard. */
export async function agree(readers, said, ms = 30_000) {
  const counts = () => readers.map(({ name, texts }) => `${name}: ${texts.length}`).join(', ');
  try {
    const isWhole = () => readers.every(({ texts }) => texts.length >= said.length);
    await eventually('everybody has heard everything', isWhole, ms);
  } catch (error) {
    error.message += ` (of ${said.length}: ${counts()})`;
    throw error;
  }
  const [first, ...others] = readers;
  assert.deepEqual([...first.texts].sort(), [...said].sort(), 'each message once');
  for (const { name, texts } of others) {
    assert.deepEqual(texts, first.texts, `${name} has heard another order than ${first.name}`);
  }
}

/** How often somebody has talked, so that no text is said twice. */
let rounds = 0;

/** Has each of `speakers` say texts for so long; returns what was said. */
export async function talk(speakers, { ms, pauseMs = 5 }) {
  const said = [];
  rounds += 1;
  const end = Date.now() + ms;
  for (let number = 0; Date.now() < end; number += 1) {
    for (const [index, speaker] of speakers.entries()) {
      const text = `${rounds}.${index}.${number}`;
      said.push(text);
      speaker.say(text);
    }
    await sleep(pauseMs);
  }
  return said;
}

export const status = async (server, target) => {
  const response = await fetch(server.url(target));
  return [response.status, (await response.text()).trim()];
};
