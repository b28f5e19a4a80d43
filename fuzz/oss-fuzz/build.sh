#!/bin/bash -eu
# Build step of OSS-Fuzz: each target, its seeds and its options in $OUT. $SRC has a checkout in the
# folder `astreum`. The image sets a nightly toolchain; others need RUSTC_BOOTSTRAP=1.
cd "$SRC/astreum/fuzz"
cargo fuzz build -O
binaries=target/$(rustc -vV | sed -n 's/^host: //p')/release
for source in fuzz_targets/*.rs; do
    name=$(basename "$source" .rs)
    cp "$binaries/$name" "$OUT/"
    seeds=("corpus/$name"/*)
    [ -d "regressions/$name" ] && seeds+=("regressions/$name"/*)
    rm -f "$OUT/${name}_seed_corpus.zip"
    zip -q -j "$OUT/${name}_seed_corpus.zip" "${seeds[@]}"
    [ -f "dictionaries/$name.dict" ] && cp "dictionaries/$name.dict" "$OUT/"
done
exit 0
