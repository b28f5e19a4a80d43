//! The committed header is the one that cbindgen generates.

#![expect(
    clippy::unwrap_used,
    reason = "files that cannot be read fail the test"
)]

use std::path::{Path, PathBuf};

/// Modules with exported items, in the order of the header.
const MODULES: [&str; 14] = [
    "version",
    "error",
    "memory",
    "buffer",
    "value",
    "text",
    "env",
    "limits",
    "machine",
    "host",
    "store",
    "outcome",
    "suspension",
    "serialize",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn generated() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for module in MODULES {
        builder = builder.with_src(root().join(format!("src/{module}.rs")));
    }
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    String::from_utf8(header).unwrap()
}

#[test]
fn header_is_up_to_date() {
    let path = root().join("include/astreum.h");
    let header = generated();
    if std::env::var_os("ASTREUM_WRITE_HEADER").is_some() {
        std::fs::write(&path, &header).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == header,
        "include/astreum.h is out of date; generate it again with: \
         ASTREUM_WRITE_HEADER=1 cargo test -p astreum-ffi --test header"
    );
}

/// Every exported function of the sources is in the header.
#[test]
fn header_declares_every_exported_function() {
    let header = generated();
    let mut count = 0;
    for entry in std::fs::read_dir(root().join("src")).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("wasm.rs") || path.ends_with("playground.rs") {
            // Their functions belong to the JavaScript wrapper and the playground.
            continue;
        }
        let source = std::fs::read_to_string(path).unwrap();
        for rest in source.split("extern \"C\" fn astreum_").skip(1) {
            let name = rest.split('(').next().unwrap();
            assert!(header.contains(&format!("astreum_{name}(")), "{name}");
            count += 1;
        }
    }
    assert!(count > 80, "{count} functions");
}
