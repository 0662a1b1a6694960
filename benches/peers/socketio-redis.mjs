// Broadcast with Socket.IO 4, as its guide's chat does it, on several nodes that share a Redis by
// the streams adapter, as the adapter's page sets it up.
//
// node socketio-redis.mjs PORT SOCKET, where SOCKET is the Unix socket of Redis.

import http from 'node:http';
import { createAdapter } from '@socket.io/redis-streams-adapter';
import { createClient } from 'redis';
import { Server } from 'socket.io';

const redis = createClient({ socket: { path: process.argv[3] } });
// While Redis is away each attempt is an error; the client makes the next by itself.
redis.on('error', () => {});
await redis.connect();

const server = http.createServer((request, response) => response.end('ok'));
const io = new Server(server, { serveClient: false, adapter: createAdapter(redis) });

io.on('connection', (socket) => {
  socket.on('chat message', (message) => io.emit('chat message', message));
});

server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 });
