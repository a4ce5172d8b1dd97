"""A TCP proxy on loopback that breaks what passes through it, by command of a
test, as networks and middlemen do. Root is needed only to make sockets deaf, and
that on few kernels.

    with FaultProxy(("127.0.0.1", 5432)) as proxy:
        connect to 127.0.0.1:proxy.port
        proxy.up.rate = 1000        # from the client on: 1 kB/s
        proxy.down.swallow = True   # to the client: nothing arrives any more
        proxy.heal()

What `up` and `down` of the proxy say holds for every connection, those of one
connection for that one. They may be set at any time from any thread."""

import asyncio
import contextlib
import ctypes
import dataclasses
import socket
import struct
import threading
from typing import Optional

import pytest
from process import free_port

# Of Linux; the module socket has no names for them.
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
PIECE = 65536
# How often what waits looks whether it still has to.
NAP = 0.01


@dataclasses.dataclass
class Faults:
    """What happens to the bytes of one direction."""

    hold: bool = False  # not read: the sender's buffers fill up
    swallow: bool = False  # read, acknowledged, and thrown away
    rate: Optional[float] = None  # bytes per second
    slice: Optional[int] = None  # bytes passed on at once, each on its own
    delay: float = 0.0  # seconds that each piece takes longer
    cut_after: Optional[int] = None  # so many bytes more, then `cut`
    cut: str = "reset"  # or "close"
    garble: int = 0  # so many bytes more arrive changed
    # Of the next piece the last so many bytes are lost, and all behind it.
    tail: Optional[int] = None

    def clear(self):
        for field in dataclasses.fields(self):
            setattr(self, field.name, field.default)


def deafen(sock, deaf=True):
    """The kernel drops what arrives for a socket before TCP sees it: nothing
    is acknowledged, no keepalive and no attempt to connect is answered."""
    if not deaf:
        with contextlib.suppress(FileNotFoundError):  # it has none
            sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        return
    # One instruction of a packet filter: keep 0 bytes.
    code = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HL", 1, ctypes.addressof(code))
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
    except PermissionError:
        pytest.skip("this kernel lets only root make a socket deaf")


class Connection:
    """One client and, once it is connected, its server."""

    def __init__(self, proxy, client):
        self.proxy, self.client, self.server = proxy, client, None
        self.up, self.down = Faults(), Faults()
        self.passed = {"up": 0, "down": 0}
        self.turns = 0  # questions: bytes up that follow an answer, or are the first
        self._last = "down"
        self.lost = False  # bytes are missing: nothing passes ever again
        self.task = None

    def faults(self, side):
        """Its own and those of all, the stricter of each."""
        own, common = getattr(self, side), getattr(self.proxy, side)
        return [own, common] if own != Faults() else [common]

    def count(self, side, size):
        self.passed[side] += size
        if (self._last, side) == ("down", "up"):
            self.turns += 1
            self.proxy.turns += 1
        self._last = side

    def any(self, side, name):
        return any(getattr(faults, name) for faults in self.faults(side))

    def least(self, side, name):
        values = [getattr(faults, name) for faults in self.faults(side)]
        return min((v for v in values if v is not None), default=None)

    def cut(self, how="reset"):
        """End it now, on both sides, by RST or by FIN."""
        self.proxy._call(self._cut, how)

    def forget(self):
        """The server's side ends, and the client is not told: as after the
        power went off on the other end."""
        self.proxy._call(self._forget)

    def deafen(self, deaf=True):
        """Nothing of the client is acknowledged any more."""
        deafen(self.client, deaf)
        self.lost = self.lost or deaf

    def _forget(self):
        self.lost = True
        self._end(self.server, "reset")

    def _close(self, how):
        self._end(self.client, how)
        self._end(self.server, how)

    def _end(self, sock, how):
        """Its number is soon another's, whom the loop shall not take for it."""
        if sock is None or sock.fileno() < 0:
            return
        self.proxy._loop.remove_reader(sock)
        self.proxy._loop.remove_writer(sock)
        close(sock, how)

    def _cut(self, how):
        self._close(how)
        self.task.cancel()


def close(sock, how):
    if sock.fileno() < 0:
        return
    with contextlib.suppress(OSError):
        if how == "reset":
            now = struct.pack("ii", 1, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
        else:
            sock.shutdown(socket.SHUT_RDWR)
    sock.close()


class FaultProxy:
    """Passes connections to `target`, which may be changed: a pair of host and
    port."""

    def __init__(self, target, port=None, host="127.0.0.1"):
        self.host = host
        self.target = target
        self.up, self.down = Faults(), Faults()
        # What happens to who connects: "pass", "hang" (taken, and never
        # answered), "reset", "close".
        self.accept = "pass"
        self.connections = []
        self.accepted = 0
        self.turns = 0  # of all connections that there were
        self._listener = None
        # One that nobody else is given while `refuse` holds.
        self.port = port or free_port()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._call(self._listen)

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self._loop.is_closed():
            return
        self.refuse()
        self.cut()
        self._call(lambda: None)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    # --- for all connections ------------------------------------------------

    def refuse(self):
        """Nobody listens: who connects is refused."""
        self._call(self._unlisten)

    def listen(self):
        """The end of `refuse`."""
        self._call(self._listen)

    def deafen(self, deaf=True):
        """The network is gone: nothing is acknowledged, not even an attempt to
        connect. What is connected now stays lost afterwards."""
        if self._listener is not None:
            deafen(self._listener, deaf)
        if deaf:
            for connection in self.living():
                connection.deafen()

    def black_hole(self, up=True, down=True):
        """Bytes are acknowledged and never arrive, in one direction or both.
        A connection that lost some stays lost after `heal`."""
        self.up.swallow, self.down.swallow = up, down

    def cut(self, how="reset"):
        """End all connections now, by RST or by FIN."""
        self._call(lambda: [one._cut(how) for one in list(self.connections)])

    def forget(self):
        self._call(lambda: [one._forget() for one in list(self.connections)])

    def heal(self):
        """No fault any more, but for what was lost."""
        self.up.clear()
        self.down.clear()
        self.accept = "pass"
        self.listen()
        self.deafen(False)

    def living(self):
        return [one for one in self.connections if one.client.fileno() >= 0]

    # --- in the thread of the loop ------------------------------------------

    def _call(self, function, *arguments):
        async def run():
            return function(*arguments)

        if self._loop.is_closed():
            return None
        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(60)

    def _listen(self):
        if self._listener is not None:
            return
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((self.host, self.port))
        sock.listen(128)
        sock.setblocking(False)
        self._listener = sock
        self._loop.add_reader(sock, self._take, sock)

    def _unlisten(self):
        if self._listener is None:
            return
        self._loop.remove_reader(self._listener)
        self._listener.close()
        self._listener = None

    def _take(self, listener):
        try:
            client, _ = listener.accept()
        except OSError:
            return  # it is gone already
        client.setblocking(False)
        deafen(client, False)  # what the listener had
        self.accepted += 1
        if self.accept in ("reset", "close"):
            close(client, self.accept)
            return
        connection = Connection(self, client)
        self.connections.append(connection)
        connection.task = self._loop.create_task(self._serve(connection))

    async def _serve(self, connection):
        how, pumps = "close", []
        try:
            if self.accept == "hang":
                connection.lost = True
                await self._pump(connection, "up")
                return
            server = connection.server = socket.socket()
            server.setblocking(False)
            await self._loop.sock_connect(server, self.target)
            for sock in (connection.client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for side in ("up", "down"):
                pumps.append(self._loop.create_task(self._pump(connection, side)))
            await asyncio.gather(*pumps)
        except OSError:
            how = "reset"  # one side did so, or is not there
        finally:
            for pump in pumps:  # the other one may still wait
                pump.cancel()
            connection._close(how)
            self.connections.remove(connection)

    async def _pump(self, connection, side):
        """One direction, until its end."""
        source, sink = connection.client, connection.server
        if side == "down":
            source, sink = sink, source
        while True:
            await self._while(connection, side, "hold")
            try:
                data = await self._loop.sock_recv(source, PIECE)
            except OSError:
                if not connection.lost:
                    raise
                data = b""
            await self._while(connection, side, "hold")
            if connection.any(side, "swallow"):
                connection.lost = True
            if connection.lost:
                if not data and side == "down":
                    # The server hung up, and nobody is told.
                    await self._forever(connection)
                if not data:
                    return
                continue
            if not data:
                sink.shutdown(socket.SHUT_WR)
                return
            tail = connection.least(side, "tail")
            if tail is not None:
                data = data[: max(0, len(data) - tail)]
            await self._pass(connection, side, sink, bytearray(data))
            connection.lost = connection.lost or tail is not None

    async def _while(self, connection, side, name):
        while connection.any(side, name) and not connection.lost:
            await asyncio.sleep(NAP)

    async def _forever(self, connection):
        while connection.client.fileno() >= 0:
            await asyncio.sleep(1)

    async def _pass(self, connection, side, sink, data):
        while data:
            delay = max(faults.delay for faults in connection.faults(side))
            rate, most = (connection.least(side, n) for n in ("rate", "slice"))
            if delay:
                await asyncio.sleep(delay)
            if rate is not None:
                # Ten times a second, as far as a byte can be divided.
                most = min(most or PIECE, max(1, int(rate / 10)))
            piece = data[: most or PIECE]
            del data[: len(piece)]
            ending = self._ending(connection, side, piece)
            self._garble(connection, side, piece)
            connection.count(side, len(piece))
            await self._loop.sock_sendall(sink, piece)
            if ending:
                connection._cut(ending)
                await asyncio.sleep(0)
            if rate is not None:
                await asyncio.sleep(len(piece) / rate)
            elif most is not None:
                await asyncio.sleep(0)  # a packet of its own

    @staticmethod
    def _ending(connection, side, piece):
        """Does the connection end within this piece? Then the piece ends
        there, and the answer is how."""
        for faults in connection.faults(side):
            if faults.cut_after is None:
                continue
            if faults.cut_after <= len(piece):
                del piece[faults.cut_after :]
                faults.cut_after = None
                return faults.cut
            faults.cut_after -= len(piece)
        return None

    @staticmethod
    def _garble(connection, side, piece):
        for faults in connection.faults(side):
            n = min(faults.garble, len(piece))
            faults.garble -= n
            for i in range(n):
                piece[i] ^= 0xFF
