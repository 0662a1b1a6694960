"""A reader that misses nothing: shows what a channel says, and after a cut what was said meanwhile.

    pip install websocket-client
    python3 examples/resume.py ws://localhost:3000/ws/news

The server keeps messages with --history N.
"""

import json
import random
import sys
import time

import websocket

url = sys.argv[1] if len(sys.argv) > 1 else "ws://localhost:3000/ws"
position = None
while True:
    try:
        since = f"?since={position}" if position else ""
        # The server pings every 25 s: after a minute of silence the connection is dead.
        connection = websocket.create_connection(
            url + since, subprotocols=["elbow.v1"], timeout=60)
        while frame := connection.recv():
            if isinstance(frame, bytes):
                continue  # binary: the next text says where we are
            place, text = frame.split("\n", 1)
            if place:
                position = place
                print(text, flush=True)
                continue
            told = json.loads(text)  # the server itself speaks
            if "channel" in told or "lost" in told:
                position = told["position"]
            if told.get("recovered") is False or "lost" in told:
                print("(something may be missing here)", flush=True)
    except (OSError, websocket.WebSocketException):
        pass
    time.sleep(random.uniform(1, 5))
