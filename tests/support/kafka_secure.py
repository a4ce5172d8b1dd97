"""A Kafka that lets nobody in for nothing: TLS, logins and rights.

| listener  | what a client meets there |
|---|---|
| PLAINTEXT | plain text; whoever comes may do everything (for the tests) |
| TLS       | a valid certificate |
| EXPIRED   | one that has expired |
| STRANGER  | one for another host |
| MUTUAL    | it asks for the client's certificate as well |
| LOGIN     | TLS, and a login: PLAIN, SCRAM, OAUTHBEARER |
| PLAINLOGIN | the same login without TLS |
| AWAY      | the same, and the address of another machine to go to |

Users start without any right.
"""

import contextlib
import os

from certificates import Authority
from kafka_server import Kafka

LISTENERS = {
    "TLS": "SSL",
    "EXPIRED": "SSL",
    "STRANGER": "SSL",
    "MUTUAL": "SSL",
    "LOGIN": "SASL_SSL",
    "PLAINLOGIN": "SASL_PLAINTEXT",
    "AWAY": "SASL_PLAINTEXT",
}
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
USERS = {name: f"{name}'s seCret" for name in ("anna", "ben", "zoe")}
USERS["relay"] = "s/ecret"  # that docs/sinks.md names


class SecureKafka:
    """`ca` is the file that its clients trust; `client` (certificate, key) one
    that MUTUAL takes, of the user CN=carla."""

    def __init__(self, folder):
        self.authority = Authority(folder / "tls")
        self.ca = self.authority.file
        self.client = self.authority.sign("carla")
        self.cluster = Kafka(
            folder / "kafka", properties=self._properties(), listeners=LISTENERS
        )

    def start(self):
        self.cluster.start()
        return self

    def stop(self):
        self.cluster.stop()

    @property
    def bootstrap(self):
        return self.cluster.bootstrap

    def at(self, listener):
        return self.cluster.addresses.get(listener, self.bootstrap)

    def url(self, listener, user=None, password=None):
        from urllib.parse import quote

        login = f"{user}:{quote(password, safe='')}@" if user else ""
        return f"kafka://{login}{self.at(listener)}"

    def renew(self, listener, days=2):
        """Give a listener another certificate while the broker runs."""
        from confluent_kafka.admin import (
            AlterConfigOpType,
            ConfigEntry,
            ConfigResource,
        )

        name = listener.lower()
        file = f"{name}-{os.urandom(2).hex()}"
        renewed = self.authority.sign(file, f"/CN={name}", days=days)
        entries = [
            ConfigEntry(*line.split("="), incremental_operation=AlterConfigOpType.SET)
            for line in self._store(f"{name}.", *renewed)
            if "keystore" in line
        ]
        resource = ConfigResource(
            ConfigResource.Type.BROKER, "1", incremental_configs=entries
        )
        with self._admin() as admin:
            wait(admin.incremental_alter_configs([resource]))

    # --- rights and users ---

    @contextlib.contextmanager
    def _admin(self):
        from confluent_kafka.admin import AdminClient

        yield AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 4})

    def grant(self, user, operation, topic=None):
        """The right to a topic, or (None) to the cluster."""
        with self._admin() as admin:
            wait(admin.create_acls([right(user, operation, topic)]))

    def revoke(self, user, operation, topic=None):
        with self._admin() as admin:
            wait(admin.delete_acls([right(user, operation, topic, True)]))

    def add_user(self, name, password, mechanism="SCRAM-SHA-256"):
        """A user of SCRAM."""
        from confluent_kafka.admin import (
            ScramCredentialInfo,
            ScramMechanism,
            UserScramCredentialUpsertion,
        )

        kind = getattr(ScramMechanism, mechanism.replace("-", "_"))
        change = UserScramCredentialUpsertion(
            name, ScramCredentialInfo(kind, 4096), password.encode()
        )
        with self._admin() as admin:
            wait(admin.alter_user_scram_credentials([change]))

    # --- its configuration ---

    def _properties(self):
        users = " ".join(f'user_{u}="{p}"' for u, p in USERS.items())
        modules = "org.apache.kafka.common.security"
        logins = {
            "plain": f"{modules}.plain.PlainLoginModule required {users};",
            "scram-sha-256": f"{modules}.scram.ScramLoginModule required;",
            "scram-sha-512": f"{modules}.scram.ScramLoginModule required;",
            # Tokens that nobody signed are taken for what they say.
            "oauthbearer": f"{modules}.oauthbearer.OAuthBearerLoginModule required;",
        }
        lines = [
            "authorizer.class.name="
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users=User:ANONYMOUS",
            "auto.create.topics.enable=false",
            *self._store("", *self.authority.sign("broker")),
            *self._store("expired.", *self.authority.sign("expired", days=-1)),
            *self._store(
                "stranger.",
                *self.authority.sign("stranger", names="DNS:kafka.example.net"),
            ),
            "listener.name.mutual.ssl.client.auth=required",
        ]
        for listener in ("login", "plainlogin", "away"):
            at = f"listener.name.{listener}."
            lines.append(f"{at}sasl.enabled.mechanisms={','.join(MECHANISMS)}")
            lines += [f"{at}{m}.sasl.jaas.config={text}" for m, text in logins.items()]
            # A session ends with its token.
            lines.append(f"{at}oauthbearer.connections.max.reauth.ms=3600000")
        return "\n".join(lines) + "\n"

    def _store(self, listener, certificate, key):
        """What a listener ("": each) shows, and whom it trusts."""
        at = f"listener.name.{listener}" if listener else ""
        chain = certificate.with_suffix(".pem")
        chain.write_text(key.read_text() + certificate.read_text())
        return [
            f"{at}ssl.keystore.type=PEM",
            f"{at}ssl.keystore.location={chain}",
            f"{at}ssl.truststore.type=PEM",
            f"{at}ssl.truststore.location={self.ca}",
        ]


def right(user, operation, topic, search=False):
    from confluent_kafka.admin import (
        AclBinding,
        AclBindingFilter,
        AclOperation,
        AclPermissionType,
        ResourcePatternType,
        ResourceType,
    )

    kind = ResourceType.TOPIC if topic else ResourceType.BROKER
    return (AclBindingFilter if search else AclBinding)(
        kind,
        topic or "kafka-cluster",
        ResourcePatternType.LITERAL,
        f"User:{user}",
        "*",
        getattr(AclOperation, operation),
        AclPermissionType.ALLOW,
    )


def wait(futures):
    for future in futures.values():
        future.result(120)
