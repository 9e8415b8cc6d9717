"""A QUIC server that counts bytes, and a client that counts its datagrams.

server PORT DIRECTORY       answers each stream with the number of its bytes
client ADDRESS PORT BYTES   sends one stream, says `exchanged`, and ends the connection on SIGTERM;
                            then says how many datagrams it sent, and their bytes with IPv4 headers
"""

import asyncio
import datetime
import signal
import ssl
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.quic.configuration import QuicConfiguration
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PROTOCOLS = ["tier"]
HEADERS = 28


def write_certificate(directory):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tier.example")])
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - day).not_valid_after(now + day)
    certificate = builder.sign(key, hashes.SHA256())
    with open(directory + "/certificate.pem", "wb") as file:
        file.write(certificate.public_bytes(serialization.Encoding.PEM))
    with open(directory + "/key.pem", "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )


async def server(port, directory):
    write_certificate(directory)
    configuration = QuicConfiguration(is_client=False, alpn_protocols=PROTOCOLS)
    configuration.load_cert_chain(directory + "/certificate.pem", directory + "/key.pem")

    async def answer(reader, writer):
        received = await reader.read()
        writer.write(str(len(received)).encode())
        writer.write_eof()

    def stream(reader, writer):
        asyncio.ensure_future(answer(reader, writer))

    await serve("0.0.0.0", port, configuration=configuration, stream_handler=stream)
    await asyncio.Event().wait()


class Counting(QuicConnectionProtocol):
    """Counts the datagrams that the client sends."""

    datagrams = 0
    bytes = 0

    def connection_made(self, transport):
        send = transport.sendto

        def counted(data, address=None):
            Counting.datagrams += 1
            Counting.bytes += len(data) + HEADERS
            send(data, address)

        transport.sendto = counted
        super().connection_made(transport)


async def client(address, port, length):
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=PROTOCOLS, verify_mode=ssl.CERT_NONE, server_name="tier.example"
    )
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with connect(address, port, configuration=configuration, create_protocol=Counting) as connection:
        reader, writer = await connection.create_stream()
        writer.write(b"x" * length)
        writer.write_eof()
        answer = await reader.read()
        assert answer == str(length).encode(), answer
        print("exchanged", flush=True)
        await ended.wait()
    print(f"sent {Counting.datagrams} {Counting.bytes}", flush=True)


if __name__ == "__main__":
    role, *words = sys.argv[1:]
    if role == "server":
        asyncio.run(server(int(words[0]), words[1]))
    else:
        asyncio.run(client(words[0], int(words[1]), int(words[2])))
