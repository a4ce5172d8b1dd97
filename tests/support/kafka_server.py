"""A scratch Kafka (KRaft) of one or more nodes, from the jars that Maven
brings. Node 1 is controller and broker, the others are brokers."""

import base64
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import process
from fault_proxy import FaultProxy
from pg_server import cache, maven
from process import Process

POM = pathlib.Path(__file__).parent / "kafka/pom.xml"
STARTED = "Kafka Server started"

PROPERTIES = """\
node.id={node}
process.roles={roles}
listeners={listeners}
advertised.listeners={advertised}
controller.listener.names=CONTROLLER
listener.security.protocol.map={protocols}
controller.quorum.voters=1@127.0.0.1:{controller}
log.dirs={data}
num.partitions=6
default.replication.factor={replicas}
min.insync.replicas=1
offsets.topic.num.partitions=3
offsets.topic.replication.factor={replicas}
transaction.state.log.num.partitions=3
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=6000
log.cleaner.dedupe.buffer.size=8388608
"""


def version():
    return re.search("<kafka.version>(.*)<", POM.read_text())[1]


def fetch_jars(number=None):
    """The folder with the jars, by default of version(); asks Maven once."""
    number = number or version()
    folder = cache() / f"kafka-{number}"
    if not folder.exists():
        print(f"Fetching Kafka {number} for the tests into {folder}", flush=True)
        work = folder.with_name(f"{folder.name}.{os.getpid()}")
        maven(
            "copy-dependencies",
            "-f",
            str(POM),
            f"-Dkafka.version={number}",
            "-DincludeScope=runtime",
            f"-DoutputDirectory={work}",
        )
        if folder.exists():
            shutil.rmtree(work)
        else:
            work.rename(folder)
    return folder


def random_uuid():
    # The first byte keeps it from beginning with a dash.
    return base64.urlsafe_b64encode(b"\1" + os.urandom(15)).decode()[:22]


class Node:
    """One node of a Kafka. Its files are in `folder`."""

    def __init__(self, folder, heap="512m", version=None):
        self.folder = folder
        self.heap = heap
        self.version = version

    @property
    def process(self):
        return Process.load(self.folder / "pid")

    def launch(self, bound=True):
        command = ["java", f"-Xms{self.heap}", f"-Xmx{self.heap}"]
        command += ["-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"]
        command += ["-XX:-UsePerfData"]
        log = "org.slf4j.simpleLogger"
        command += [
            "-Djava.awt.headless=true",
            f"-D{log}.defaultLogLevel=warn",
            f"-D{log}.log.kafka.server.KafkaRaftServer=info",
            f"-D{log}.showDateTime=true",
            f"-D{log}.dateTimeFormat=HH:mm:ss.SSS",
            "-cp",
            f"{fetch_jars(self.version)}/*",
            "kafka.Kafka",
            str(self.folder / "server.properties"),
        ]
        with open(self.folder / "log", "ab") as log_file:
            child = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "LOG_DIR": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,
                preexec_fn=process.end_with_parent if bound else None,
            )
        child.returncode = 0  # looked after through Process, not Popen
        Process(child.pid).save(self.folder / "pid")

    def wait(self, starts):
        """Until it has said for the `starts`th time that it is up: that its
        port is open says too little."""
        running = self.process
        end = time.monotonic() + 180
        while self.starts() < starts:
            if not running.alive() or time.monotonic() > end:
                running.stop(signal.SIGKILL)
                raise RuntimeError(f"Kafka did not start:\n{self.log()[-2000:]}")
            time.sleep(0.02)

    def boot(self, bound=True):
        """Start a node that was halted or killed, and wait for it."""
        starts = self.starts()
        self.launch(bound)
        self.wait(starts + 1)

    def halt(self):
        """A clean stop."""
        if self.process:
            self.process.stop(signal.SIGTERM)

    def kill(self):
        if self.process:
            self.process.send(signal.SIGKILL)
            self.process.wait(60)

    def pause(self):
        if self.process:
            self.process.send(signal.SIGSTOP)

    def resume(self):
        if self.process:
            self.process.send(signal.SIGCONT)

    def log(self):
        try:
            return (self.folder / "log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def starts(self):
        return self.log().count(STARTED)


class Kafka:
    """A cluster of `count` nodes under `folder`; nodes[0] is node 1. So many
    further listeners of each node as `proxied` says tell their clients the
    ports of proxies, see `proxies`. Others are `listeners` ({name: protocol}),
    found in `addresses`; AWAY sends its clients to another machine. Of another
    version than that of the tests if one is given."""

    def __init__(
        self,
        folder,
        count=1,
        properties="",
        heap="512m",
        proxied=0,
        listeners=None,
        version=None,
    ):
        self.folder = pathlib.Path(folder)
        self.properties = properties
        self.listeners = listeners or {}
        self.addresses = {}
        self.proxied = [[] for _ in range(proxied)]
        self.nodes = [
            Node(self.folder / f"n{i + 1}", heap, version) for i in range(count)
        ]
        self.bootstrap = None

    @classmethod
    def load(cls, folder):
        """The cluster that was started under `folder`."""
        folder = pathlib.Path(folder)
        try:
            bootstrap = (folder / "bootstrap").read_text().strip()
        except FileNotFoundError:
            raise RuntimeError(f"no Kafka was started in {folder}") from None
        self = cls(folder, len(bootstrap.split(",")))
        self.bootstrap = bootstrap
        return self

    def start(self, bound=True):
        """Start all nodes and wait until each is ready."""
        if (self.folder / "bootstrap").exists():
            raise RuntimeError(f"{self.folder} is in use")
        controller, *ports = process.free_ports(len(self.nodes) + 1)
        cluster = random_uuid()
        for index, port in enumerate(ports):
            self._write(index, port, controller, cluster)
        self.bootstrap = ",".join(f"127.0.0.1:{port}" for port in ports)
        (self.folder / "bootstrap").write_text(self.bootstrap + "\n")
        for node in self.nodes:
            node.launch(bound)
        for node in self.nodes:
            try:
                node.wait(1)
            except RuntimeError:
                self.stop()
                raise
        return self

    def stop(self):
        # The controller last, so that the others can say goodbye.
        for node in reversed(self.nodes):
            node.halt()
        (self.folder / "bootstrap").unlink(missing_ok=True)

    def proxies(self, number):
        """Proxies before all nodes, for the clients of one listener: `url`
        goes into --sink."""
        made = [
            FaultProxy(("127.0.0.1", listener), port)
            for listener, port in self.proxied[number]
        ]
        return made, "kafka://" + ",".join(proxy.address for proxy in made)

    def _further(self):
        """Listeners of a node, what they advertise, and their protocols."""
        listeners, advertised, protocols = "", "", ""
        for name, protocol in self.listeners.items():
            port = process.free_port()
            address = f"127.0.0.1:{port}"
            others = self.addresses.get(name)
            self.addresses[name] = f"{others},{address}" if others else address
            listeners += f",{name}://{address}"
            # No machine has an address of that network (RFC 5737).
            host = "192.0.2.1" if name == "AWAY" else "127.0.0.1"
            advertised += f",{name}://{host}:{port}"
            protocols += f",{name}:{protocol}"
        for number, ports in enumerate(self.proxied):
            ports.append(process.free_ports(2))
            listeners += f",PROXY{number}://127.0.0.1:{ports[-1][0]}"
            advertised += f",PROXY{number}://127.0.0.1:{ports[-1][1]}"
            protocols += f",PROXY{number}:PLAINTEXT"
        return listeners, advertised, protocols

    def _write(self, index, port, controller, cluster):
        folder = self.nodes[index].folder
        data = folder / "data"
        data.mkdir(parents=True)
        listeners = advertised = f"PLAINTEXT://127.0.0.1:{port}"
        more, away, protocols = self._further()
        listeners += more
        roles = "broker"
        if index == 0:
            listeners += f",CONTROLLER://127.0.0.1:{controller}"
            roles = "broker,controller"
        text = PROPERTIES.format(
            node=index + 1,
            roles=roles,
            listeners=listeners,
            advertised=advertised + away,
            protocols="CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT" + protocols,
            controller=controller,
            data=data,
            replicas=min(3, len(self.nodes)),
        )
        (folder / "server.properties").write_text(text + self.properties)
        # What Kafka's own format command writes, without a Java start.
        (data / "meta.properties").write_text(
            f"version=1\ncluster.id={cluster}\nnode.id={index + 1}\n"
            f"directory.id={random_uuid()}\n"
        )
