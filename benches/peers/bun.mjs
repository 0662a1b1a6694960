// Broadcast with Bun's own server, which is uWebSockets inside, by its publish and subscribe.
//
// bun bun.mjs PORT

const server = Bun.serve({
  port: Number(process.argv[2]),
  hostname: '127.0.0.1',
  fetch(request, server) {
    if (server.upgrade(request)) return undefined;
    return new Response('ok');
  },
  websocket: {
    open(socket) {
      socket.subscribe('all');
    },
    message(socket, message) {
      server.publish('all', message);
    },
  },
});
