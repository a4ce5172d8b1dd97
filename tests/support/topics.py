"""Topics of a Kafka, seen by a client that is not ours."""

import contextlib
import os
import time

from lateness import Patience


class Topics:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap

    @property
    def url(self):
        """What goes into --sink."""
        return f"kafka://{self.bootstrap}"

    def topic(self, partitions=6, replicas=1, name=None, **settings):
        """Make a topic; returns its name, which no other test has."""
        from confluent_kafka.admin import NewTopic

        name = name or f"t{os.getpid()}.{os.urandom(4).hex()}"
        config = {key.replace("_", "."): str(v) for key, v in settings.items()}
        new = NewTopic(name, partitions, replicas, config=config)
        admin = self.admin()  # lives until the futures are done
        for future in admin.create_topics([new]).values():
            future.result(120)
        return name

    def ready(self, topic, seconds=60):
        """Wait until each partition has a leader that knows it is one."""
        from confluent_kafka import Consumer, KafkaException, TopicPartition

        settings = {"bootstrap.servers": self.bootstrap, "group.id": "ready"}
        consumer = Consumer(settings)
        patience = Patience(seconds)
        while not patience.broken():
            try:
                known = consumer.list_topics(topic, 10).topics[topic].partitions
                for number in known:
                    consumer.get_watermark_offsets(TopicPartition(topic, number), 5)
                if known:
                    consumer.close()
                    return
            except KafkaException:
                pass
            time.sleep(0.1)
        raise AssertionError(f"topic {topic} is not ready")

    def leaders(self, topic):
        """The node that leads each partition (-1: none), as node 1 knows it: a
        new client asks whom it is told of first."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        first = {"bootstrap.servers": self.bootstrap.split(",")[0], "log_level": 2}
        while True:
            with contextlib.suppress(KafkaException):
                known = AdminClient(first).list_topics(topic, 5).topics[topic]
                if known.partitions:
                    return [part.leader for part in known.partitions.values()]
            time.sleep(0.1)

    def admin(self):
        from confluent_kafka.admin import AdminClient

        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 4})

    def read(self, topic, count=None, seconds=20):
        """The messages of a topic, in the order of each partition: all that
        are there now, or the first `count` that arrive in time."""
        from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

        patience = Patience(seconds)
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": os.urandom(8).hex(),
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
        )
        try:
            known = consumer.list_topics(topic, 120).topics[topic].partitions
            parts = [TopicPartition(topic, p, OFFSET_BEGINNING) for p in known]
            if count is None:
                count = sum(self._length(consumer, part, patience) for part in parts)
            consumer.assign(parts)
            found = []
            while len(found) < count and not patience.broken():
                for message in consumer.consume(min(count - len(found), 10000), 0.2):
                    assert message.error() is None, message.error()
                    found.append(message)
            return found
        finally:
            consumer.close()

    def values(self, topic, count=None, seconds=20):
        """The values of `read`."""
        return [message.value() for message in self.read(topic, count, seconds)]

    @staticmethod
    def _length(consumer, part, patience):
        """Messages in a partition; a new one has no leader for a moment."""
        from confluent_kafka import KafkaException

        while True:
            try:
                low, high = consumer.get_watermark_offsets(part, 5)
                return high - low
            except KafkaException:
                if patience.broken():
                    raise
                time.sleep(0.1)
