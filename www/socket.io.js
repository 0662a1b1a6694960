// elbow's own Socket.IO client: `io()` as pages use it.
//
// Protocol 5 over WebSocket alone, whatever `transports` says. The surprise: `reconnect*` events
// come to the socket, as in 2.x, and to its manager, as in 4.x.
(() => {
const [CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR] = [0, 1, 2, 3, 4];
const BINARY = 3; // more, with attachments
const PACKET = /^4([0-6])(?:(\d+)-)?(?:(\/[^,]*),?)?(\d*)(.*)$/s;
const RESERVED = /^(connect(_error)?|disconnect(ing)?)$/;

class Emitter {
  #list = [];
  removeListener = this.off;
  removeAllListeners = this.off;

  on(event, listener, once) {
    this.#list.push([event, listener, once]);
    return this;
  }

  once(event, listener) {
    return this.on(event, listener, true);
  }

  off(event, listener) {
    const stays = ([name, each]) => name !== (event ?? name) || each !== (listener ?? each);
    this.#list = this.#list.filter(stays);
    return this;
  }

  fire(event, ...args) {
    for (const [, listener, once] of this.#list.filter(([name]) => name === event)) {
      if (once) this.off(event, listener);
      listener.apply(this, args);
    }
  }
}

/** One transport, for several sockets. */
function createManager(url, {
  reconnection = true, reconnectionAttempts = Infinity, reconnectionDelay = 1000,
  reconnectionDelayMax = 5000, randomizationFactor: spread = 0.5, timeout = 20000,
}) {
  let transport, timer, patience, partial;
  let tried = 0;
  const sockets = {};
  const active = () => Object.values(sockets).filter((socket) => socket.active);
  const tell = (...event) => [manager, ...active()].forEach((each) => each.fire(...event));

  function within(ms, action) {
    clearTimeout(timer);
    timer = ms && setTimeout(action, ms);
  }

  function open() {
    if (transport || timer) return;
    const mine = transport = new WebSocket(url);
    mine.binaryType = "arraybuffer";
    mine.onmessage = ({ data }) => mine === transport && heard(data);
    mine.onerror = mine.onclose = ({ type }) => mine === transport && lost(`transport ${type}`);
    within(timeout, () => lost("timeout"));
  }

  function close() {
    within(0);
    transport?.close();
    transport = manager.isOpen = undefined;
    tried = 0;
  }

  function lost(reason) {
    const retried = tried;
    const again = reconnection && tried < reconnectionAttempts;
    close();
    if (again) tryLater(retried); // first: a listener's connect() waits too
    active().forEach((socket) => socket.lost(reason));
    if (retried) tell(again ? "reconnect_error" : "reconnect_failed", new Error(reason));
  }

  function tryLater(retried) {
    tried = retried + 1;
    // Capped before the jitter, or after an outage all come at one moment.
    const capped = reconnectionDelayMax / (1 + spread);
    const jitter = 1 + spread * (2 * Math.random() - 1);
    within(1 + Math.min(reconnectionDelay * 2 ** retried, capped) * jitter, () => {
      timer = 0;
      tell("reconnect_attempt", tried);
      if (active().length) open();
    });
  }

  function heard(data) {
    const late = () => lost("ping timeout");
    if (data[0] === "0") {
      const { pingInterval, pingTimeout } = JSON.parse(data.slice(1));
      within(patience = pingInterval + pingTimeout, late);
      manager.isOpen = true;
      active().forEach((socket) => socket.join());
      if (tried) tell("reconnect", tried);
      tried = 0;
    } else if (data === "2") {
      within(patience, late);
      transport.send("3");
    } else {
      partial = typeof data === "string" ? [PACKET.exec(data)] : [...partial, data];
      const [[, type, owed = 0, nsp = "/", id, json], ...binary] = partial;
      if (binary.length < owed) return;
      const fill = (_, value) => value?._placeholder ? binary[value.num] : value;
      const body = json && JSON.parse(json, owed && fill);
      if (sockets[nsp]?.active) sockets[nsp].heard(type - (owed && BINARY), id, body);
    }
  }

  function send(type, nsp, data, id = "") {
    const binary = [];
    const json = JSON.stringify(data, function (key, value) {
      const raw = this[key]; // `value` has been through toJSON
      return ArrayBuffer.isView(raw) || raw instanceof ArrayBuffer || raw instanceof Blob
        ? { _placeholder: true, num: binary.push(raw) - 1 } : value;
    });
    const head = binary.length ? `${type + BINARY}${binary.length}-` : type;
    const text = `4${head}${nsp === "/" ? "" : nsp + ","}${id}${json ?? ""}`;
    for (const frame of [text, ...binary]) transport.send(frame);
  }

  const manager = Object.assign(new Emitter(), { sockets, active, open, close, send });
  return manager;
}

/** One namespace, over its manager's transport. */
function createSocket(io, nsp, auth) {
  const waiting = [];
  let acks = [];
  let pid, offset; // for a server that recovers

  const turn = (connected, id, recovered = false) =>
    Object.assign(socket, { connected, disconnected: !connected, id, recovered });

  function connect() {
    if (io.isOpen && !socket.active) join();
    socket.active = true;
    io.open();
    return socket;
  }

  function join() {
    const ask = (data) => io.isOpen && io.send(CONNECT, nsp, { pid, offset: pid && offset, ...data });
    if (typeof socket.auth === "function") socket.auth(ask);
    else ask(socket.auth);
  }

  function disconnect() {
    if (socket.connected) io.send(DISCONNECT, nsp);
    leave("io client disconnect");
    return socket;
  }

  function leave(reason) {
    socket.active = false;
    if (!io.active().length) io.close();
    if (socket.connected) lost(reason);
  }

  function lost(reason) {
    if (!socket.connected) return socket.fire("connect_error", new Error(reason));
    acks = [];
    turn(false).fire("disconnect", reason);
  }

  function emit(...event) {
    if (RESERVED.test(event[0])) throw new Error(`${event[0]} is reserved`);
    let id;
    if (typeof event.at(-1) === "function") id = acks.push(event.pop()) - 1;
    if (socket.connected) io.send(EVENT, nsp, event, id);
    else waiting.push([EVENT, nsp, event, id]);
    return socket;
  }

  function heard(type, id, data) {
    if (type === CONNECT) {
      turn(true, data.sid, pid && pid === data.pid);
      pid = data.pid;
      waiting.splice(0).forEach((packet) => io.send(...packet));
      socket.fire("connect");
    } else if (type === DISCONNECT) {
      leave("io server disconnect");
    } else if (type === CONNECT_ERROR) {
      leave();
      socket.fire("connect_error", Object.assign(new Error(), data));
    } else if (type === ACK) {
      acks[id]?.(...data);
      delete acks[id];
    } else {
      const last = data.at(-1);
      if (pid && typeof last === "string") offset = last;
      if (id) data.push((...args) => socket.connected && io.send(ACK, nsp, args, id));
      socket.fire(...data);
    }
  }

  const socket = Object.assign(new Emitter(), {
    io, nsp, auth, connect, open: connect, disconnect, close: disconnect, emit, join, lost, heard,
    send: (...args) => emit("message", ...args),
    compress: () => socket,
  });
  socket.volatile = socket;
  return turn(false);
}

const managers = {};

/** A socket for the namespace that is the path of `url`. */
function io(url = "/", opts = {}) {
  if (typeof url === "object") return io("/", url);
  const full = new URL(/^(\w+:)?\//.test(url) ? url : `//${url}`, location.href);
  const nsp = full.pathname;
  const { path = full.host === io.host ? io.path : "/socket.io" } = opts;
  const place = `${full.protocol.replace("http", "ws")}//${full.host}${path.replace(/\/?$/, "/")}`;
  let manager = managers[place];
  if (!manager || opts.forceNew || manager.sockets[nsp]) {
    const query = new URLSearchParams(opts.query ?? full.search);
    manager = managers[place] = createManager(`${place}?EIO=4&transport=websocket&${query}`, opts);
  }
  const socket = manager.sockets[nsp] = createSocket(manager, nsp, opts.auth);
  return opts.autoConnect === false ? socket : socket.connect();
}

/** Learns a server's path from its script. */
io.learn = (src) =>
  [, io.host, io.path] = /^\w+:\/\/([^/]+)([^?#]*\/socket\.io\/)[^/?#]*([?#]|$)/.exec(src) ?? [];
io.learn(globalThis.document?.currentScript?.src);
globalThis.io = io.connect = io;
})();
