"""Certificates for tests, made by openssl: valid, expired, for another host,
of another authority."""

import pathlib
import subprocess

NAMES = "DNS:localhost,IP:127.0.0.1"


def openssl(*arguments):
    done = subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr}")


class Authority:
    """One that signs certificates; `file` is what its clients trust."""

    def __init__(self, folder, name="authority"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / f"{name}.crt"
        self.key = self.folder / f"{name}.key"
        make_key(self.key)
        openssl(
            *("req", "-x509", "-key", self.key, "-out", self.file, "-days", 2),
            *("-subj", f"/CN=outtray test {name}"),
        )

    def sign(self, name, subject=None, names=NAMES, days=2):
        """(certificate, key) files; days=-1 makes one that has expired."""
        key, request, certificate, more = (
            self.folder / f"{name}.{end}" for end in ("key", "csr", "crt", "ext")
        )
        make_key(key)
        subject = subject or f"/CN={name}"
        openssl("req", "-new", "-key", key, "-out", request, "-subj", subject)
        more.write_text(f"subjectAltName={names}\n")
        openssl(
            *("x509", "-req", "-in", request, "-out", certificate, "-days", days),
            *("-CA", self.file, "-CAkey", self.key, "-CAcreateserial"),
            *("-extfile", more),
        )
        return certificate, key


def make_key(path):
    openssl(
        *("genpkey", "-algorithm", "EC", "-out", path),
        *("-pkeyopt", "ec_paramgen_curve:P-256"),
    )
    path.chmod(0o600)
