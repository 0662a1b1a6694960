// A reader that misses nothing: shows what a channel says, and after a cut what was said meanwhile.
//
//   node examples/resume.mjs ws://localhost:3000/ws/news
//
// The server keeps messages with --history N. It needs the WebSocket that browsers have, and
// Node.js from version 22 on (with version 20 behind --experimental-websocket).

const url = process.argv[2] ?? 'ws://localhost:3000/ws';
let position;

function connect() {
  const socket = new WebSocket(position ? `${url}?since=${position}` : url, 'elbow.v1');
  socket.onmessage = ({ data }) => {
    if (typeof data !== 'string') return; // binary: the next text says where we are
    const end = data.indexOf('\n');
    if (end > 0) {
      position = data.slice(0, end);
      console.log(data.slice(end + 1));
      return;
    }
    const told = JSON.parse(data); // the server itself speaks
    if (told.channel || told.lost) position = told.position;
    if (told.recovered === false || told.lost) console.log('(something may be missing here)');
  };
  socket.onclose = () => setTimeout(connect, 1000 + 4000 * Math.random());
}

connect();
