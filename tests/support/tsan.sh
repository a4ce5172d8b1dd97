#!/bin/sh
# tsan.sh - the tests of what has threads, with ThreadSanitizer: the writer of
# files and of standard output, and the relay's loop that others wake. (Not the
# Kafka sink: librdkafka starts threads in a way that the sanitizer does not
# know.) Ends with 1 if it finds something. Started by ./dev tsan.
set -eu
cmake -S . -B build/tsan -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    "-DCMAKE_C_FLAGS=-fsanitize=thread" >/dev/null
ninja -C build/tsan sink_test_file sink_test_stdout relay_test_loop \
    relay_test_relay relay_test_script >build/tsan/log || {
    cat build/tsan/log
    exit 1
}
cd build/tsan
exec ctest -R '^(sink/test_(file|stdout)|relay/test_(loop|relay|script))$' \
    --output-on-failure --no-tests=error --timeout 600
