#!/bin/bash -eu
# Build step of OSS-Fuzz: each target, its seeds, its dictionary and its options in $OUT. $SRC has a
# checkout in the folder `astreum`. The image sets a nightly toolchain; others need RUSTC_BOOTSTRAP=1.
if [ "${FUZZING_ENGINE:-libfuzzer}" != libfuzzer ]; then
    echo "cargo-fuzz builds for libfuzzer only, not for $FUZZING_ENGINE" >&2
    exit 1
fi
cd "$SRC/astreum/fuzz"
sanitizer=${SANITIZER:-address}
triple=$(rustc -vV | sed -n 's/^host: //p')
mapfile -t untraced < <(grep -v '^#' untraced.txt)
if [ "$sanitizer" = coverage ]; then
    # The image has a command `cargo` that builds for its coverage reports.
    untraced=()
    cargo fuzz build -O
else
    cargo fuzz build -O --sanitizer "$sanitizer"
    for name in "${untraced[@]}"; do
        cargo fuzz build -O --sanitizer "$sanitizer" --no-trace-compares \
            --target-dir target/untraced "$name"
    done
fi
for source in fuzz_targets/*.rs; do
    name=$(basename "$source" .rs)
    binaries=target
    if [[ " ${untraced[*]} " == *" $name "* ]]; then binaries=target/untraced; fi
    cp "$binaries/$triple/release/$name" "$OUT/"
    seeds=("corpus/$name"/*)
    if [ -d "regressions/$name" ]; then
        seeds+=("regressions/$name"/*)
    fi
    rm -f "$OUT/${name}_seed_corpus.zip"
    zip -q -j "$OUT/${name}_seed_corpus.zip" "${seeds[@]}"
    cp libfuzzer.options "$OUT/$name.options"
    if [ -f "dictionaries/$name.dict" ]; then
        cp "dictionaries/$name.dict" "$OUT/"
        echo "dict=$name.dict" >>"$OUT/$name.options"
    fi
done
