"""Calls a TCP port from an address that no interface has, as a client on another node would: this machine has no socket for it.

Usage: remote_client.py INTERFACE OWN_MAC PEER_MAC FROM TO PORT COUNT. Each connection is opened, waits for the peer's FIN, and is reset.
Prints how many connections came to that end. One that gets no answer within a second has failed. After ten of these in a row, no
more are made.
"""

import socket
import struct
import sys

FIN, SYN, RST, ACK = 1, 2, 4, 16
ETH_P_IP = 0x0800
MAX_FAILED_IN_A_ROW = 10


def mac(text):
    return bytes(int(part, 16) for part in text.split(":"))


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Client:
    def __init__(self, interface, own_mac, peer_mac, source, target, port):
        self.link = mac(peer_mac) + mac(own_mac) + struct.pack("!H", ETH_P_IP)
        self.source, self.target = socket.inet_aton(source), socket.inet_aton(target)
        self.port = port
        self.packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP))
        self.packets.bind((interface, ETH_P_IP))
        self.packets.settimeout(1)

    def send(self, own_port, sequence, acknowledged, flags):
        header = struct.pack(
            "!HHIIBBHHH", own_port, self.port, sequence, acknowledged, 0x50, flags, 65535, 0, 0
        )
        pseudo = self.source + self.target + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(header))
        header = header[:16] + struct.pack("!H", checksum(pseudo + header)) + header[18:]
        network = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(header), 0, 0x4000, 64, socket.IPPROTO_TCP, 0)
        network += self.source + self.target
        network = network[:10] + struct.pack("!H", checksum(network)) + network[12:]
        self.packets.send(self.link + network + header)

    def receive(self, own_port):
        """Returns sequence number and flags of the next segment for this port."""
        while True:
            frame = self.packets.recv(2048)
            if frame[30:34] != self.source or frame[23] != socket.IPPROTO_TCP:
                continue
            at = 14 + (frame[14] & 15) * 4
            _, port, sequence, _, _, flags = struct.unpack("!HHIIBB", frame[at : at + 14])
            if port == own_port:
                return sequence, flags

    def call(self, own_port):
        """Makes one connection. Returns whether it came to its end."""
        try:
            return self.exchange(own_port)
        except socket.timeout:
            return False

    def exchange(self, own_port):
        self.send(own_port, 1000, 0, SYN)
        sequence, flags = self.receive(own_port)
        if flags & (SYN | ACK) != SYN | ACK:
            return False
        self.send(own_port, 1001, sequence + 1 & 0xFFFFFFFF, ACK)
        while not flags & FIN:
            sequence, flags = self.receive(own_port)
        self.send(own_port, 1001, sequence + 1 & 0xFFFFFFFF, ACK)
        self.send(own_port, 1001, sequence + 1 & 0xFFFFFFFF, RST | ACK)
        return True


def main():
    interface, own_mac, peer_mac, source, target, port, count = sys.argv[1:]
    client = Client(interface, own_mac, peer_mac, source, target, int(port))
    done = failed_in_a_row = 0
    for n in range(int(count)):
        if client.call(20000 + n % 40000):
            done += 1
            failed_in_a_row = 0
        else:
            failed_in_a_row += 1
        if failed_in_a_row == MAX_FAILED_IN_A_ROW:
            break
    print(done)


main()
