// A client in ten lines: shows what a channel says, and says what is typed, until Ctrl-D.
//
//   node examples/client.mjs ws://localhost:3000/ws/news
//
// It needs the WebSocket that browsers have, and Node.js from version 22 on (with version 20 behind
// --experimental-websocket).

import { createInterface } from 'node:readline';

const socket = new WebSocket(process.argv[2] ?? 'ws://localhost:3000/ws');
socket.onopen = () => {
  const typed = createInterface({ input: process.stdin });
  typed.on('line', (line) => socket.send(line));
  typed.on('close', () => socket.close());
};
socket.onmessage = ({ data }) => console.log(data);
socket.onclose = ({ code, reason }) => {
  console.log(`closed: ${code} ${reason}`);
  process.exit();
};
