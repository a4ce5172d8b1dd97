#!/bin/sh
# analyze.sh - clang-tidy (.clang-tidy) and gcc's analyzer over the library.
# Some minutes; prints findings and ends with 1 if there are any.
# Started by ./dev analyze.
set -u
cmake -S . -B build/analyze -G Ninja -DCMAKE_C_COMPILER=clang \
    -DOUTTRAY_SANITIZE=ON -DOUTTRAY_TESTS=OFF -DOUTTRAY_WERROR=OFF \
    -DCMAKE_EXPORT_COMPILE_COMMANDS=ON >/dev/null &&
    ninja -C build/analyze schema.c >/dev/null || exit 1
found=0
git ls-files 'libcore/src/*.c' |
    xargs -P "$(nproc)" -n 4 clang-tidy -p build/analyze --quiet \
        2>/dev/null >build/analyze/tidy.log || found=1
grep -E '(warning|error): ' build/analyze/tidy.log
cmake -S . -B build/analyze-gcc -G Ninja -DCMAKE_C_COMPILER=gcc \
    -DOUTTRAY_TESTS=OFF -DOUTTRAY_WERROR=OFF -DCMAKE_C_COMPILER_LAUNCHER= \
    -DCMAKE_C_FLAGS="-fanalyzer" >/dev/null &&
    ninja -C build/analyze-gcc outtray_objects >build/analyze-gcc/log 2>&1 ||
    exit 1
if grep -E 'warning: .*Wanalyzer' build/analyze-gcc/log; then
    found=1
fi
[ $found = 0 ] && echo "analyze: no findings"
exit $found
