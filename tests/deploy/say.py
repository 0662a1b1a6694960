"""Two readers of the channel `default`, of which one says something: ends once the other has heard it.
Run as a program of its own, since it may have to run in the network of another machine.

    say.py PORT [nlb]

With `nlb` each connection begins with the PROXY header that a Network Load Balancer sends."""

import base64
import os
import socket
import struct
import sys
import time

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def connect(port, balancer):
    """A WebSocket, or None while nobody answers."""
    try:
        it = socket.create_connection(("127.0.0.1", port), timeout=10)
    except OSError:
        return None
    if balancer == "nlb":
        addresses = socket.inet_aton("203.0.113.7") + socket.inet_aton("127.0.0.1")
        it.sendall(SIGNATURE + struct.pack(">BBH4s4sHH", 0x21, 0x11, 12, addresses[:4],
                                           addresses[4:], 50000, port))
    key = base64.b64encode(os.urandom(16)).decode()
    it.sendall(f"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
               f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = it.recv(1)
        if not byte:
            return None
        head += byte
    assert head.startswith(b"HTTP/1.1 101 "), head
    return it


def main():
    port, balancer = int(sys.argv[1]), "".join(sys.argv[2:])
    while not (reader := connect(port, balancer)):
        time.sleep(0.02)
    speaker = connect(port, balancer)
    # Masked with zeros, which masks nothing.
    speaker.sendall(b"\x81\x85\0\0\0\0hello")
    heard = b""
    while len(heard) < 7:
        heard += reader.recv(7 - len(heard))
    assert heard == b"\x81\x05hello", heard


if __name__ == "__main__":
    main()
