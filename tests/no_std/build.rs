//! Build script that passes the location of the memory layout to the linker: the nearest folder that
//! has `memory.x`, so that all programs for the boards share one.

use std::path::Path;

fn main() {
    let package = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let folders = Path::new(&package).ancestors();
    let Some(layout) = folders
        .map(|folder| folder.join("memory.x"))
        .find(|layout| layout.exists())
    else {
        panic!("no folder above {package} has memory.x");
    };
    let folder = layout.parent().unwrap_or(&layout).display();
    println!("cargo:rustc-link-arg-bins=-L{folder}");
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    println!("cargo:rerun-if-changed={}", layout.display());
}
