# shellcheck shell=sh
# needs.sh - what ./dev needs of the machine: one case per need, how to see
# that it is there and which Debian or Ubuntu packages bring it.
# Read by ./dev; PYTHON is set.

# shellcheck disable=SC2034 # used by ./dev
NEEDS_BUILD="cc cmake ninja pkg-config libuv inih jansson sqlite3 libpq rdkafka"
# shellcheck disable=SC2034
NEEDS_SERVERS="python postgres pgbouncer psql sqlite3-shell java mvn kcat curl openssl"
# shellcheck disable=SC2034
NEEDS_LUA="swig lua5.4 luajit lua-dev lua-libs lsqlite3 busted luarocks nginx"

# shellcheck disable=SC2034
NEEDS_BENCH="valgrind strace wrk $NEEDS_LUA"

# have NEED: is it here?
have() {
    case $1 in
    cc | cmake | ninja | mvn | shellcheck | psql | kcat | curl | openssl | clang-tidy | \
        debootstrap | gcovr | swig | lua5.4 | luajit | busted | luarocks | valgrind | \
        strace | wrk | luacheck)
        command -v "$1"
        ;;
    pgbouncer) command -v pgbouncer || [ -x /usr/sbin/pgbouncer ] ;;
    pkg-config) command -v pkg-config ;;
    sqlite3-shell) command -v sqlite3 ;;
    libuv | inih | jansson | sqlite3 | libpq | cmocka)
        pkg-config --exists "$1"
        ;;
    lua-dev)
        # luarocks looks for Lua 5.1 by its own name.
        pkg-config --exists lua5.4 && pkg-config --exists luajit &&
            pkg-config --exists lua5.1 && command -v lua5.1
        ;;
    nginx)
        PATH=$PATH:/usr/sbin command -v nginx &&
            [ -e /usr/lib/nginx/modules/ngx_http_lua_module.so ]
        ;;
    lua-libs)
        for lua in lua5.4 luajit; do
            $lua -e 'require "socket" require "cjson" require "luv"
                     require "cqueues" require "luasql.postgres"
                     require "luasql.sqlite3" require "dbd.postgresql"
                     require "dbd.sqlite3"' || return 1
        done
        lua5.1 -e 'require "bit"' # for the real pgmoon
        ;;
    lsqlite3) # Debian has it from 13 on
        lua5.4 -e 'require "lsqlite3"' || ! apt-cache show lua-lsqlite3
        ;;
    pgq) # an extension of the newest PostgreSQL here, where apt has it
        ls "/usr/share/postgresql/$(postgres_major)/extension/pgq.control" ||
            ! apt-cache show "postgresql-$(postgres_major)-pgq3"
        ;;
    lua-nginx-kafka) [ -e /usr/share/lua/5.1/nginx/kafka/producer.lua ] ;;
    rdkafka) pkg-config --atleast-version=2.0.2 rdkafka ;;
    python) "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 9))' ;;
    venv) "$PYTHON" -c 'import venv, ensurepip' ;;
    python-dev)
        [ -e "$("$PYTHON" -c 'import sysconfig
print(sysconfig.get_path("include"))')/Python.h" ]
        ;;
    java) [ "$(java_major)" -ge 17 ] ;;
    fuzzer)
        echo "int LLVMFuzzerTestOneInput(void) { return 0; }" |
            clang -fsanitize=fuzzer,address -x c - -o /dev/null
        ;;
    postgres)
        command -v initdb || ls /usr/lib/postgresql/*/bin/initdb
        ;;
    esac >/dev/null 2>&1
}

postgres_major() {
    for program in /usr/lib/postgresql/*/bin/initdb; do
        major=${program#/usr/lib/postgresql/}
        echo "${major%%/*}"
    done | sort -n | tail -1
}

java_major() {
    java -XX:-UsePerfData -version 2>&1 |
        sed -n '1s/[^"]*"\(1\.\)\{0,1\}\([0-9]*\).*/\2/p'
}

# describe NEED: sets title, for people, and packages, for apt.
describe() {
    case $1 in
    cc) title="a C11 compiler (cc)" packages="gcc libc6-dev" ;;
    cmake) title="CMake 3.18 or newer" packages=cmake ;;
    ninja) title="Ninja" packages=ninja-build ;;
    pkg-config) title="pkg-config" packages=pkg-config ;;
    libuv) title="libuv with headers" packages=libuv1-dev ;;
    inih) title="inih with headers" packages=libinih-dev ;;
    jansson) title="Jansson with headers" packages=libjansson-dev ;;
    sqlite3) title="SQLite with headers" packages=libsqlite3-dev ;;
    libpq) title="libpq with headers" packages=libpq-dev ;;
    rdkafka)
        title="librdkafka 2.0.2 or newer with headers"
        packages=librdkafka-dev
        ;;
    cmocka) title="cmocka with headers" packages=libcmocka-dev ;;
    python) title="Python 3.9 or newer at $PYTHON" packages=python3 ;;
    venv)
        title="Python 3.9 or newer at $PYTHON with the modules venv and ensurepip"
        packages=python3-venv
        ;;
    python-dev) title="the headers of Python" packages=python3-dev ;;
    postgres) title="a PostgreSQL server (initdb)" packages=postgresql ;;
    pgbouncer) title="pgbouncer (the suites relay and crash use it)" packages=pgbouncer ;;
    psql) title="psql" packages=postgresql-client ;;
    kcat) title="kcat (examples of the docs use it)" packages=kcat ;;
    curl) title="curl (examples of the docs use it)" packages=curl ;;
    openssl) title="openssl (certificates for tests)" packages=openssl ;;
    sqlite3-shell) title="the shell of SQLite (sqlite3)" packages=sqlite3 ;;
    clang-tidy) title="clang-tidy" packages="clang clang-tidy" ;;
    debootstrap) title=debootstrap packages=debootstrap ;;
    gcovr) title="gcovr" packages=gcovr ;;
    valgrind) title="Valgrind" packages=valgrind ;;
    strace) title="strace" packages=strace ;;
    wrk) title="wrk" packages=wrk ;;
    lsqlite3) title="lsqlite3 for Lua" packages=lua-lsqlite3 ;;
    pgq)
        title="PgQ (the benchmark drain)"
        packages="postgresql-$(postgres_major)-pgq3"
        ;;
    lua-nginx-kafka)
        title="lua-resty-kafka as lua-nginx-kafka (the benchmark gateway)"
        packages="lua-nginx-kafka"
        ;;
    fuzzer) title="clang with libFuzzer" packages=$(fuzzer_packages) ;;
    java) title="Java 17 or newer" packages=$(java_package) ;;
    mvn) title="Maven (mvn)" packages=maven ;;
    swig) title=SWIG packages=swig ;;
    lua5.4) title="Lua 5.4" packages=lua5.4 ;;
    luajit) title=LuaJIT packages=luajit$(openresty_branch) ;;
    nginx)
        title="nginx with its Lua module"
        packages="nginx libnginx-mod-http-lua"
        ;;
    lua-dev)
        title="the headers of Lua 5.4 and LuaJIT"
        packages="liblua5.4-dev libluajit$(openresty_branch)-5.1-dev
                  liblua5.1-0-dev lua5.1"
        ;;
    lua-libs)
        title="libraries of Lua for the tests"
        packages="lua-socket lua-cjson lua-luv lua-cqueues lua-sql-postgres
                  lua-sql-sqlite3 lua-dbi-postgresql lua-dbi-sqlite3
                  lua-bitop"
        ;;
    busted) title=busted packages=lua-busted ;;
    luarocks) title=LuaRocks packages=luarocks ;;
    shellcheck) title="ShellCheck" packages=shellcheck ;;
    luacheck) title="luacheck" packages=lua-check ;;
    esac
}

# libFuzzer comes with clang's headers, or in a package of its own.
fuzzer_packages() {
    major=$(apt-cache policy clang 2>/dev/null |
        sed -n 's/.*Candidate: \([0-9]*:\)\{0,1\}\([0-9]*\).*/\2/p')
    if apt-cache policy "libclang-rt-$major-dev" 2>/dev/null |
        grep -q 'Candidate: [^(]'; then
        echo "clang libclang-rt-$major-dev"
    else
        echo clang
    fi
}

# The Lua module of nginx brings OpenResty's branch of LuaJIT where the system has
# it, and that cannot stand beside the other.
openresty_branch() {
    if apt-cache policy luajit2 2>/dev/null | grep -q 'Candidate: [^(]'; then
        echo 2
    fi
}

# The default Java where it is new enough, else the first that is.
java_package() {
    major=$(apt-cache policy default-jre-headless 2>/dev/null |
        sed -n 's/.*Candidate: [0-9]*:1\.\([0-9]*\).*/\1/p')
    if [ "${major:-17}" -ge 17 ]; then
        echo default-jre-headless
    else
        echo openjdk-17-jre-headless
    fi
}

# lacking NEED...: sets missing and wanted (packages).
lacking() {
    missing=
    wanted=
    for need; do
        have "$need" && continue
        describe "$need"
        missing="$missing
  $title"
        wanted="$wanted $packages"
    done
}

# require NEED...: installs what is not here, or says what to do and exits 3.
require() {
    lacking "$@"
    [ -n "$missing" ] || return 0
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "dev: please install these, then run ./dev again:$missing" >&2
        exit 3
    fi
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif sudo -n true 2>/dev/null; then
        as_root="sudo -n"
    elif [ -t 0 ] && command -v sudo >/dev/null 2>&1; then
        as_root=sudo
    else
        echo "dev: not root and no sudo. As root, run this line, then ./dev" \
            "again:" >&2
        echo "apt-get install -y --no-install-recommends$wanted"
        exit 3
    fi
    echo "dev: installing with apt:$wanted"
    case $wanted in
    *postgresql* | *default-jre* | *openjdk*)
        echo "dev: no service will be started and no database cluster created"
        ;;
    esac
    # shellcheck disable=SC2086 # lists of words
    $as_root sh tests/support/apt.sh $wanted || {
        echo "dev: apt failed, see above" >&2
        exit 3
    }
    hash -r
    lacking "$@"
    [ -n "$missing" ] || return 0
    echo "dev: the packages of this system do not bring:$missing" >&2
    exit 3
}

# virtualenv: makes or renews .venv when tests/requirements.txt changed.
virtualenv() {
    state=$("$PYTHON" -V 2>&1 && cat tests/requirements.txt)
    if [ -f .venv/made-of ] && [ "$(cat .venv/made-of)" = "$state" ]; then
        return 0
    fi
    echo "dev: making .venv from $PYTHON"
    rm -rf .venv
    "$PYTHON" -m venv .venv
    .venv/bin/pip install -q --disable-pip-version-check \
        -r tests/requirements.txt || {
        rm -rf .venv
        echo "dev: pip could not install tests/requirements.txt" >&2
        exit 1
    }
    echo "$state" >.venv/made-of
}
