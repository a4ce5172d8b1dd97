#!/bin/sh
# apt.sh PACKAGE... - installs packages as root, and lets none of them start a
# service or create a database cluster: while it runs, policy-rc.d forbids
# services and a file in createcluster.d forbids clusters. Both are put back
# as they were, whatever happens.
# APT_ROOT is a folder to use instead of / for those two files (tests).
set -eu
root=${APT_ROOT:-}
log=
status=0
policy=$root/usr/sbin/policy-rc.d
kept=$policy.before-outtray
mark="outtray: while its tests install packages"
cluster_dir=$root/etc/postgresql-common/createcluster.d
cluster=$cluster_dir/zz-outtray-tests.conf

restore() {
    if [ -e "$kept" ] || [ -L "$kept" ]; then
        mv -f "$kept" "$policy"
    elif grep -qsF "$mark" "$policy"; then
        rm -f "$policy"
    fi
    rm -f "$cluster" "$log"
    # The folder was made for nothing if no package came to own it.
    if [ ! -e "${cluster_dir%/*}/createcluster.conf" ]; then
        rmdir "$cluster_dir" "${cluster_dir%/*}" 2>/dev/null || true
    fi
}

restore # what a killed run left
trap restore EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -e "$policy" ] || [ -L "$policy" ]; then
    mv "$policy" "$kept"
fi
mkdir -p "$cluster_dir" "${policy%/*}"
printf '#!/bin/sh\n# %s\nexit 101\n' "$mark" >"$policy"
chmod 755 "$policy"
echo "create_main_cluster = false" >"$cluster"

export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
apt-get -qq update || echo "apt.sh: apt-get update failed, going on" >&2
log=$(mktemp)
apt-get -q install -y --no-install-recommends -o DPkg::Lock::Timeout=300 \
    -o Dpkg::Use-Pty=0 "$@" </dev/null >"$log" 2>&1 || status=$?
[ "$status" = 0 ] || cat "$log" >&2
exit "$status"
