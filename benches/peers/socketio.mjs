// Broadcast with Socket.IO 4, as its guide's chat does it.
//
// node socketio.mjs PORT

import http from 'node:http';
import { Server } from 'socket.io';

const server = http.createServer((request, response) => response.end('ok'));
const io = new Server(server, { serveClient: false });

io.on('connection', (socket) => {
  socket.on('chat message', (message) => io.emit('chat message', message));
});

server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 });
