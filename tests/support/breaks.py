"""What breaks a connection through a proxy, whoever is at its other end. Each
is a generator: it takes the connection away, and yields as soon as it has given
it back."""


def reset(case):
    case.proxy.cut("reset")
    yield


def closed(case):
    case.proxy.cut("close")
    yield


def half_open(case):
    """The other end lost its power and is back."""
    case.proxy.forget()
    yield


def hole(case, **sides):
    case.proxy.black_hole(**sides)
    case.notices()
    case.stands(1)
    case.proxy.heal()
    yield


def black_hole(case):
    yield from hole(case)


def requests_lost(case):
    yield from hole(case, down=False)


def answers_lost(case):
    """Events are written, and nobody is told."""
    yield from hole(case, up=False)


def cable_cut(case):
    """Nothing is acknowledged, not even an attempt to connect."""
    case.proxy.deafen()
    case.notices()
    case.stands(1)
    case.proxy.heal()
    yield


def one_connection_lost(case):
    """A middleman forgot it; a new one would work."""
    for connection in case.proxy.living():
        connection.up.swallow = True
    yield


def sliced(case):
    case.proxy.up.slice = case.proxy.down.slice = 1
    case.flows(4, most=40)  # byte by byte: as slow as the machine is
    case.proxy.heal()
    yield


def standing_still(case):
    """The network pauses, and then delivers all."""
    case.proxy.up.hold = case.proxy.down.hold = True
    case.stands(2)
    case.proxy.heal()
    yield
