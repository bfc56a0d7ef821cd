"""Hub: the link's end of its socket. The door and the fleet of one board connect here; the newest of each is heard."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
from collections.abc import Iterator
from pathlib import Path

from device.desk.wire import LONGEST_PACKET, Packet, read_packet, write_packet
from device.errors import LinkError

MOST_PEERS = 8
MOST = 64  # packets are read of one peer at a turn
SEND_BYTES = 1_000_000  # a keeper's set comes faster than it is applied
FLEET_KINDS = ("fleet", "ack")  # whoever says one of these is the fleet, else it is the door


class Hub:
    """Listen on a socket, which only this user and its group may enter."""

    def __init__(self, address: Path) -> None:
        self._address = address
        self._listener = listen(address)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._peers: dict[socket.socket, str] = {}  # "" until it said what it is

    def close(self) -> None:
        """Hang up."""
        for peer in list(self._peers):
            self._drop(peer)
        self._selector.close()
        self._listener.close()
        self._address.unlink(missing_ok=True)

    def has(self, role: str) -> bool:
        """Say whether the `door` or the `fleet` is connected."""
        return role in self._peers.values()

    def step(self, wait_s: float) -> Iterator[tuple[str, Packet]]:
        """Wait for packets, and yield each with the role of its sender."""
        for key, _ in self._selector.select(wait_s):
            if key.fileobj is self._listener:
                self._accept()
            elif isinstance(key.fileobj, socket.socket):
                yield from self._read(key.fileobj)

    def send(self, role: str, packet: Packet) -> bool:
        """Hand a packet to the door or the fleet; False where it is not there or reads nothing."""
        for peer, known in self._peers.items():
            if known == role:
                try:
                    peer.send(write_packet(packet))
                    return True
                except OSError:
                    return False
        return False

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            peer, _ = self._listener.accept()
            if len(self._peers) >= MOST_PEERS:
                peer.close()
                return
            peer.setblocking(False)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
            self._peers[peer] = ""
            self._selector.register(peer, selectors.EVENT_READ)

    def _read(self, peer: socket.socket) -> Iterator[tuple[str, Packet]]:
        for _ in range(MOST):
            try:
                data = peer.recv(LONGEST_PACKET + 1)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            packet = read_packet(data) if data else None
            if packet is None:
                self._drop(peer)
                return
            yield self._role(peer, packet), packet
            if peer not in self._peers:  # another one took its place meanwhile
                return

    def _role(self, peer: socket.socket, packet: Packet) -> str:
        if not self._peers[peer]:
            role = "fleet" if packet.get("kind") in FLEET_KINDS else "door"
            for other in [each for each, known in self._peers.items() if known == role]:
                self._drop(other)
            self._peers[peer] = role
        return self._peers[peer]

    def _drop(self, peer: socket.socket) -> None:
        del self._peers[peer]
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(peer)
        peer.close()


def is_served(address: Path) -> bool:
    """Say whether a program listens at a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.setblocking(False)  # one that accepts nobody is there as well
        try:
            probe.connect(str(address))
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True


def listen(address: Path) -> socket.socket:
    """Listen where owner and group may connect, in place of what an earlier run left."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = os.umask(0o117)
    try:
        if address.is_socket():
            if is_served(address):
                raise LinkError(
                    f"{address}: expected no other link there, found one at work: stop it first, as by systemctl stop "
                    "face-unlock-link"
                )
            address.unlink()
        listener.bind(str(address))
        listener.listen(4)
        listener.setblocking(False)
    except LinkError:
        listener.close()
        raise
    except OSError as error:
        listener.close()
        raise LinkError(
            f"{address}: cannot be listened on: {error}: check --socket and its folder"
        ) from error
    finally:
        os.umask(before)
    return listener
