"""A Kafka with TLS, logins and rights, and a newer client of it."""

import pathlib

import pytest
from kafka_secure import SecureKafka
from topics import Topics


@pytest.fixture(scope="session")
def secure(tmp_path_factory):
    kafka = SecureKafka(tmp_path_factory.mktemp("secure")).start()
    yield kafka
    kafka.stop()


@pytest.fixture(scope="session")
def newer_client(tmp_path_factory):
    """Variables by which the program takes the librdkafka that the Python
    client of the tests brings: newer than most systems', and with OIDC."""
    import confluent_kafka

    place = pathlib.Path(confluent_kafka.__file__).parent
    (library,) = (place.parent / "confluent_kafka.libs").glob("librdkafka*.so*")
    folder = tmp_path_factory.mktemp("librdkafka")
    (folder / "librdkafka.so.1").symlink_to(library)
    return {"LD_LIBRARY_PATH": str(folder)}


@pytest.fixture
def topic(secure):
    return Topics(secure.bootstrap).topic(partitions=1)
