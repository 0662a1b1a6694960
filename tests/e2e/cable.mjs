// A cable between clients and a server, which a test cuts and mends.

import net from 'node:net';

/**
 * The way from clients to a server, as a listener of its own. `cut` ends every connection and
 * takes none until `mend`; after `deafen` nothing that the server says arrives any more.
 */
export class Cable {
  #sockets = new Set();
  #isCut = false;
  #isDeaf = false;

  /** A cable to a port of this machine, for as long as the test lasts. */
  static async to(context, port) {
    const cable = new Cable();
    cable.listener = net.createServer((near) => cable.#join(near, port));
    await new Promise((listening) => {
      cable.listener.listen(0, '127.0.0.1', listening);
    });
    context.defer(() => {
      cable.cut();
      cable.listener.close();
    });
    return cable;
  }

  #join(near, port) {
    if (this.#isCut) {
      near.destroy();
      return;
    }
    const far = net.connect(port, '127.0.0.1');
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ]) {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
      socket.on('data', (bytes) => {
        if (socket === near || !this.#isDeaf) other.write(bytes);
      });
    }
  }

  deafen() {
    this.#isDeaf = true;
  }

  cut() {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend() {
    this.#isCut = false;
    this.#isDeaf = false;
  }

  get port() {
    return this.listener.address().port;
  }

  url(target = '/') {
    return `http://127.0.0.1:${this.port}${target}`;
  }
}
