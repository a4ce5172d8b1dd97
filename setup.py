"""Builds the extension module: the C core of libcore/SOURCES and the wrapper
that SWIG makes of bindings/, in one file that exports one name.

An sdist carries what SWIG made (bindings/generated), so it needs no SWIG.
OUTTRAY_POSTGRES=OFF or OUTTRAY_KAFKA=OFF in the environment leaves that part
out; OUTTRAY_CFLAGS adds flags, e.g. those of a sanitizer.
"""

import concurrent.futures
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import zlib

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = pathlib.Path(__file__).resolve().parent
os.chdir(ROOT)
LIBRARIES = {  # pkg-config's name: (part of the core, package of Debian)
    "libuv": ("", "libuv1-dev"),
    "inih": ("", "libinih-dev"),
    "jansson": ("", "libjansson-dev"),
    "libpq": ("postgres", "libpq-dev"),
    "rdkafka": ("kafka", "librdkafka-dev"),
}
HEADERS_ONLY = {"sqlite3": "libsqlite3-dev"}  # the interpreter's copy is used
SHIPPED = pathlib.Path("bindings/generated")
LIMITED_API = "0x030b0000"


def version():
    text = pathlib.Path("libcore/include/outtray/types.h").read_text()
    return re.search(r'OUTTRAY_VERSION "(.*?)"', text)[1]


def parts():
    """The optional parts of the core that are built."""
    off = ("OFF", "0", "NO", "FALSE")
    names = ("postgres", "kafka")
    return {
        n
        for n in names
        if os.environ.get(f"OUTTRAY_{n.upper()}", "").upper() not in off
    }


def core_sources():
    found = []
    for line in pathlib.Path("libcore/SOURCES").read_text().splitlines():
        path, *needs = line.split("#")[0].split() or [None]
        if path and set(needs) <= parts():
            found.append(f"libcore/{path}")
    return found


def pkg_config(*arguments):
    program = os.environ.get("PKG_CONFIG", "pkg-config")
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    return shlex.split(done.stdout) if done.returncode == 0 else None


def library_flags():
    """(flags of the compiler, flags of the linker), or an end with the names
    of what is missing."""
    wanted = {n: deb for n, (part, deb) in LIBRARIES.items() if part in {"", *parts()}}
    cflags, libs, missing = [], [], []
    for name, package in {**wanted, **HEADERS_ONLY}.items():
        found = pkg_config("--cflags", name)
        if found is None:
            missing.append(package)
            continue
        cflags += found
        if name in wanted:
            libs += pkg_config("--libs", name)
    if missing or not shutil.which(os.environ.get("PKG_CONFIG", "pkg-config")):
        sys.exit(
            "outtray: to build it, install pkg-config and the headers of its "
            f"libraries:\n    apt-get install gcc pkg-config {' '.join(missing)}\n"
            "(OUTTRAY_KAFKA=OFF or OUTTRAY_POSTGRES=OFF leaves a part out)"
        )
    return cflags, libs


def schema_c():
    """The twin of libcore/schema/embed.cmake."""
    rows = []
    for path in sorted(pathlib.Path("libcore/schema").glob("*/*.sql")):
        number, name = re.fullmatch(r"0*(\d+)_(.*)\.sql", path.name).groups()
        data = "".join(
            ("\n        " if i % 8 == 0 and i else "") + f"0x{byte:02x},"
            for i, byte in enumerate(path.read_bytes())
        )
        rows.append(
            f'    {{"{path.parent.name}", {number}, "{name}",\n'
            f"     (const char[]){{\n        {data}0}}}},\n"
        )
    return (
        "/* Made from libcore/schema; do not edit. */\n"
        '#include "store/schema.h"\n\n'
        "const struct ot_migration ot_migrations[] = {\n"
        f"{''.join(rows)}    {{0, 0, 0, 0}},\n}};\n"
    )


def swig():
    """The command: SWIG of PyPI where it is installed, else the system's;
    empty: there is none."""
    if os.environ.get("SWIG"):
        return [os.environ["SWIG"]]
    try:
        import swig  # noqa: F401
    except ImportError:
        return [found] if (found := shutil.which("swig")) else []
    return [sys.executable, "-c", "import sys, swig; sys.exit(swig.swig())"]


def swig_version():
    done = subprocess.run([*swig(), "-version"], capture_output=True, text=True)
    return tuple(
        map(int, re.search(r"Version (\d+)\.(\d+)\.(\d+)", done.stdout).groups())
    )


def generate(folder):
    """Write schema.c, outtray_wrap.c and _core.py into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schema.c").write_text(schema_c())
    made, inputs = folder / "outtray_wrap.c", pathlib.Path("bindings").glob("**/*.i")
    if modified(made) > max(map(modified, [*inputs, "setup.py"])):
        return
    if not swig():
        sys.exit("outtray: SWIG is missing: pip install 'swig>=4.4.1'")
    command = [*swig(), "-python", "-Wall", "-Werror", "-interface", "_native"]
    command += ["-Ibindings", "-Ilibcore/include", "-outdir", str(folder)]
    command += ["-o", str(folder / "outtray_wrap.c"), "bindings/outtray.i"]
    subprocess.run(command, check=True)


def modified(name):
    return os.path.getmtime(name) if os.path.exists(name) else 0


def abi3():
    """May one file serve all versions of CPython? SWIG writes such code since
    4.4.1; the sdist was made with one that does."""
    return SHIPPED.exists() or not swig() or swig_version() >= (4, 4, 1)


class BuildExtension(build_ext):
    def run(self):
        self.generated = SHIPPED
        if not SHIPPED.exists():
            self.generated = pathlib.Path(self.build_temp) / "generated"
            generate(self.generated)
        extension = self.extensions[0]
        extension.sources += [
            str(self.generated / n) for n in ("schema.c", "outtray_wrap.c")
        ]
        cflags, libs = library_flags()
        extra = shlex.split(os.environ.get("OUTTRAY_CFLAGS", ""))
        extension.extra_compile_args = [
            "-std=c11",
            "-fvisibility=hidden",
            *cflags,
            *extra,
        ]
        extension.extra_link_args = [
            "-Wl,-Bsymbolic",
            *libs,
            "-lpthread",
            "-ldl",
            *extra,
        ]
        super().run()
        package = pathlib.Path(self.build_lib) / "outtray"
        if self.inplace:
            package = pathlib.Path("python/outtray")
        package.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.generated / "_core.py", package)

    def build_extension(self, extension):
        """Compile on all processors, and only what changed."""
        compile_list = self.compiler.compile
        headers = [n for n in extension.depends if not n.endswith(".c")]
        newest = max(map(modified, headers))

        def compile_one(source, options):
            (name,) = self.compiler.object_filenames(
                [source], output_dir=options["output_dir"]
            )
            if max(newest, modified(source)) < modified(name):
                return name
            return compile_list([source], **options)[0]

        def compile_parallel(sources, **options):
            with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
                return list(pool.map(lambda one: compile_one(one, options), sources))

        self.compiler.compile = compile_parallel
        super().build_extension(extension)


class BuildPython(build_py):
    """_core.py is made with the extension."""

    def run(self):
        self.run_command("build_ext")
        super().run()


class SourceDistribution(sdist):
    def run(self):
        shipped = SHIPPED.exists()
        if not shipped:
            if not abi3():
                sys.exit("outtray: an sdist needs SWIG 4.4.1 or newer")
            generate(SHIPPED)
        try:
            super().run()
        finally:
            if not shipped:
                shutil.rmtree(SHIPPED)


def extension():
    macros = [("_POSIX_C_SOURCE", "200809L"), ("_DEFAULT_SOURCE", None)]
    macros += [("OUTTRAY_API", "")]
    macros += [(f"OUTTRAY_WITH_{part.upper()}", None) for part in sorted(parts())]
    if abi3():
        macros += [("Py_LIMITED_API", LIMITED_API)]
    patterns = (
        "libcore/**/*.[ch]",
        "libcore/**/*.def",
        "libcore/**/*.sql",
        "bindings/**/*.[hi]",
    )
    depends = [
        str(path) for pattern in patterns for path in pathlib.Path().glob(pattern)
    ]
    return Extension(
        "outtray._native",
        core_sources(),
        include_dirs=["libcore/include", "libcore/src", "bindings"],
        define_macros=macros,
        depends=[*depends, "libcore/SOURCES", "setup.py"],
        py_limited_api=abi3(),
    )


def options():
    """Of the commands of setuptools."""
    found = {"bdist_wheel": {"py_limited_api": "cp311"}} if abi3() else {}
    if flags := os.environ.get("OUTTRAY_CFLAGS"):
        # What was compiled otherwise must not be taken for it, nor it for that.
        found["build"] = {"build_base": f"build/flags-{zlib.crc32(flags.encode()):08x}"}
    return found


setup(
    version=version(),
    # Asked for before the build, where the sdist has not brought the result.
    setup_requires=[] if SHIPPED.exists() else ["swig>=4.4.1"],
    ext_modules=[extension()],
    cmdclass={
        "build_ext": BuildExtension,
        "build_py": BuildPython,
        "sdist": SourceDistribution,
    },
    options=options(),
)
