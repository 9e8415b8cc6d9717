"""Serves the listening socket that its starter passes as descriptor 3. Answers every request with `ok`."""

import os
import socket

assert os.environ["LISTEN_FDS"] == "1"
listener = socket.socket(fileno=3)
listener.setblocking(True)
while True:
    connection, _ = listener.accept()
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    connection.close()
