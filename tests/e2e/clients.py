"""Clients of Python, for clients.test.mjs: each says something, and prints what it has heard.

usage: clients.py socketio URL NAMESPACE TRANSPORT...   python-socketio
       clients.py websocket URL [SUBPROTOCOL...]        websocket-client

The last line of the output is JSON.
"""

import json
import sys
import threading

LIMIT_S = 15


def socketio(url, namespace, *transports):
    import socketio as library

    client = library.Client(reconnection=False)
    heard, done = [], threading.Event()
    # Each message would be handled by a thread of its own, in an order that nobody knows.
    trigger = client.eio._trigger_event

    def trigger_in_order(*args, **options):
        return trigger(*args, **{**options, "run_async": False})

    client.eio._trigger_event = trigger_in_order

    @client.on("chat message", namespace=namespace)
    def on_chat_message(said):
        heard.append(said if isinstance(said, str) else list(said))
        if len(heard) == 2:
            done.set()

    client.connect(url, namespaces=[namespace], transports=list(transports) or None,
                   wait_timeout=LIMIT_S)
    acknowledged = client.call("chat message", "from python", namespace=namespace,
                               timeout=LIMIT_S)
    client.emit("chat message", b"\x00\x01\xff", namespace=namespace)
    on_time = done.wait(LIMIT_S)
    transport = client.transport()
    client.disconnect()
    return {"heard": heard, "acknowledged": acknowledged, "transport": transport,
            "on_time": on_time}


def websocket(url, *subprotocols):
    import websocket as library

    connection = library.create_connection(url, timeout=LIMIT_S,
                                           subprotocols=list(subprotocols) or None)
    connection.send("from python")
    text = connection.recv()
    connection.send_binary(b"\x00\x01\xff")
    binary = list(connection.recv())
    connection.ping("?")
    chosen = connection.getsubprotocol()
    connection.close(timeout=LIMIT_S)
    return {"heard": [text, binary], "subprotocol": chosen}


if __name__ == "__main__":
    KINDS = {"socketio": socketio, "websocket": websocket}
    print(json.dumps(KINDS[sys.argv[1]](*sys.argv[2:])))
