"""A device: joins standard input and output to a TLS connection.

usage: tls-device.py PORT CA-FILE
"""

import os
import select
import socket
import ssl
import sys

port, ca_file = sys.argv[1:]
context = ssl.create_default_context(cafile=ca_file)
raw = socket.create_connection(("127.0.0.1", int(port)))
device = context.wrap_socket(raw, server_hostname="localhost")
device.setblocking(False)

unsent = b""
while True:
    reading = [device] + ([sys.stdin] if len(unsent) < 65536 else [])
    readable, _, _ = select.select(reading, [device] if unsent else [], [])
    if sys.stdin in readable:
        chunk = os.read(0, 65536)
        if not chunk:
            break
        unsent += chunk
    try:
        if unsent:
            unsent = unsent[device.send(unsent) :]
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        pass
    try:
        # What is decrypted already does not make the socket readable: read until nothing is left.
        while chunk := device.recv(65536):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
        break  # The gateway has closed the connection.
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        pass
