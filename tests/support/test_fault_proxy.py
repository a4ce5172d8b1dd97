"""The proxy does to a connection what it says, and nothing else."""

import contextlib
import socket
import struct
import threading
import time

import pytest
from fault_proxy import FaultProxy

TCP_USER_TIMEOUT = 18


class Echo:
    """A server that sends back what it gets, and counts who came."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.connections = []
        self.ended = threading.Event()
        threading.Thread(target=self._take, daemon=True).start()

    @property
    def address(self):
        return self.listener.getsockname()

    def _take(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                self.connections.append(sock)
                threading.Thread(target=self._serve, args=[sock], daemon=True).start()

    def _serve(self, sock):
        with contextlib.suppress(OSError):
            while data := sock.recv(65536):
                sock.sendall(data)
        sock.close()
        self.ended.set()

    def close(self):
        self.listener.close()
        for sock in self.connections:
            sock.close()


@pytest.fixture
def echo():
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo):
    with FaultProxy(echo.address) as proxy:
        yield proxy


def dial(proxy, seconds=120):
    sock = socket.create_connection(("127.0.0.1", proxy.port), timeout=seconds)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def take(sock, n):
    found = b""
    while len(found) < n:
        data = sock.recv(n - len(found))
        assert data, f"the end after {len(found)} of {n} bytes"
        found += data
    return found


def ask(sock, data=b"ping"):
    sock.sendall(data)
    return take(sock, len(data))


def silent(sock, seconds=0.5):
    sock.settimeout(seconds)
    with pytest.raises(socket.timeout):
        sock.recv(1)
    sock.settimeout(120)
    return True


def test_it_passes_everything_on(proxy):
    data = bytes(range(256)) * 8000
    with dial(proxy) as one, dial(proxy) as two:
        sender = threading.Thread(target=one.sendall, args=[data])
        sender.start()
        assert take(one, len(data)) == data
        sender.join()
        assert ask(two) == b"ping"
        one.shutdown(socket.SHUT_WR)
        assert one.recv(1) == b""
        assert ask(two) == b"ping"
        assert proxy.living()[-1].turns == 2
    assert proxy.accepted == 2
    assert proxy.turns > 2  # and those of the other one


def test_refuse_and_listen_again_on_the_same_port(proxy):
    with dial(proxy) as old:
        ask(old)
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            dial(proxy)
        assert ask(old) == b"ping"  # only newcomers are refused
        proxy.listen()
        with dial(proxy) as new:
            assert ask(new) == b"ping"


@pytest.mark.parametrize("how", ["reset", "close"])
def test_cut_all(proxy, echo, how):
    with dial(proxy) as sock:
        ask(sock)
        proxy.cut(how)
        if how == "reset":
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        else:
            assert sock.recv(1) == b""
        assert echo.ended.wait(120)
    with dial(proxy) as sock:
        assert ask(sock) == b"ping"


def test_cut_in_the_middle_of_a_message(proxy):
    proxy.down.cut_after, proxy.down.cut = 7, "close"
    with dial(proxy) as sock:
        assert ask(sock) == b"ping"
        sock.sendall(b"message")
        assert take(sock, 3) == b"mes"
        assert sock.recv(1) == b""
    with dial(proxy) as sock:  # once
        assert ask(sock, b"message") == b"message"


@pytest.mark.parametrize("side", ["up", "down"])
def test_a_black_hole_in_one_direction(proxy, echo, side):
    with dial(proxy) as sock:
        ask(sock)
        getattr(proxy, side).swallow = True
        sock.sendall(b"lost")
        assert silent(sock)
        proxy.heal()
        sock.sendall(b"more")  # bytes are missing: it stays lost
        assert silent(sock)
        with dial(proxy) as new:
            assert ask(new) == b"ping"


def test_what_is_held_arrives_later(proxy):
    with dial(proxy) as sock:
        ask(sock)
        proxy.down.hold = True
        sock.sendall(b"late")
        assert silent(sock)
        proxy.heal()
        assert take(sock, 4) == b"late"


def test_who_is_not_read_cannot_send_for_ever(proxy):
    with dial(proxy) as sock:
        ask(sock)
        proxy.up.hold = True
        sock.settimeout(0.5)
        with pytest.raises(socket.timeout):
            for _ in range(1000):
                sock.sendall(b"x" * 65536)


def test_a_half_open_connection(proxy, echo):
    with dial(proxy) as sock:
        ask(sock)
        proxy.forget()
        assert echo.ended.wait(120)
        sock.sendall(b"anybody")
        assert silent(sock)


def test_nothing_is_acknowledged(proxy):
    with dial(proxy) as sock:
        ask(sock)
        proxy.deafen()
        sock.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, 700)
        sock.sendall(b"ping")
        with pytest.raises(OSError, match="timed out"):
            sock.recv(1)
        with pytest.raises(socket.timeout):
            dial(proxy, 0.5)
        proxy.heal()
        with dial(proxy) as new:
            assert ask(new) == b"ping"


def test_slow_and_sliced(proxy):
    with dial(proxy) as sock:
        ask(sock)
        proxy.up.rate = 1000
        begin = time.monotonic()
        assert ask(sock, b"x" * 400) == b"x" * 400
        assert time.monotonic() - begin > 0.3
        proxy.heal()
        proxy.down.slice = 1
        begin_count = proxy.living()[0].passed["down"]
        sock.sendall(b"one by one")
        assert take(sock, 10) == b"one by one"
        assert proxy.living()[0].passed["down"] == begin_count + 10


def test_delay(proxy):
    with dial(proxy) as sock:
        ask(sock)
        proxy.up.delay = proxy.down.delay = 0.2
        begin = time.monotonic()
        ask(sock)
        assert time.monotonic() - begin > 0.39


def test_a_changed_greeting(proxy):
    proxy.down.garble = 2
    with dial(proxy) as sock:
        assert ask(sock, b"\0\1\2\3") == b"\xff\xfe\2\3"
        assert ask(sock) == b"ping"


@pytest.mark.parametrize("how", ["hang", "reset", "close"])
def test_who_connects(proxy, echo, how):
    proxy.accept = how
    with contextlib.suppress(ConnectionError), dial(proxy) as sock:
        if how == "hang":
            sock.sendall(b"hello")
            assert silent(sock)
        elif how == "reset":
            with pytest.raises(ConnectionError):
                sock.recv(1)
        else:
            assert sock.recv(1) == b""
    assert not echo.connections
    proxy.heal()
    with dial(proxy) as sock:
        assert ask(sock) == b"ping"


def test_a_fault_of_one_connection(proxy):
    with dial(proxy) as sick, dial(proxy) as well:
        ask(sick)
        ask(well)
        proxy.living()[0].up.swallow = True
        sick.sendall(b"ping")
        assert silent(sick)
        assert ask(well) == b"ping"
        proxy.living()[1].cut()
        with pytest.raises(ConnectionResetError):
            well.recv(1)


def test_another_target(proxy):
    other = Echo()
    with dial(proxy) as old:
        ask(old)
        proxy.target = other.address
        with dial(proxy) as new:
            assert ask(new) == b"ping"
        assert len(other.connections) == 1
        assert ask(old) == b"ping"
    other.close()


def test_nobody_behind_it():
    unused = socket.create_server(("127.0.0.1", 0))
    address = unused.getsockname()
    unused.close()
    with FaultProxy(address) as proxy:
        with pytest.raises(ConnectionResetError):
            dial(proxy).recv(1)


def test_a_client_that_resets(proxy, echo):
    sock = dial(proxy)
    ask(sock)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    assert echo.ended.wait(120)
    with dial(proxy) as sock:
        assert ask(sock) == b"ping"


@pytest.mark.parametrize("how", ["client", "proxy"])
def test_numbers_of_sockets_that_are_gone(proxy, echo, how):
    """Those who come next have them, and are not taken for the dead."""
    newcomers = [socket.socket() for _ in range(6)]
    gone = dial(proxy)
    ask(gone)
    if how == "client":
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.close()
    else:
        proxy.forget()
    assert echo.ended.wait(120)
    for sock in newcomers:
        sock.settimeout(120)
        sock.connect(("127.0.0.1", proxy.port))
        assert ask(sock) == b"ping"
    for sock in (*newcomers, gone):
        sock.close()
