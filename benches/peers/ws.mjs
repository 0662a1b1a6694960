// Broadcast with Node's `ws`, as its README does it: everybody gets what anybody says. Without
// compression, like all others here.
//
// node ws.mjs PORT

import http from 'node:http';
import { WebSocket, WebSocketServer } from 'ws';

const server = http.createServer((request, response) => response.end('ok'));
const sockets = new WebSocketServer({ server, perMessageDeflate: false });

sockets.on('connection', (socket) => {
  socket.on('message', (data, isBinary) => {
    for (const client of sockets.clients) {
      if (client.readyState === WebSocket.OPEN) client.send(data, { binary: isBinary });
    }
  });
  socket.on('error', () => {});
});

server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 });
