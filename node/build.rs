//! Records what a build is made of, for `astreum --version`: commit, target and features.
//!
//! Without a repository, as from a published archive, the commit is that of `.cargo_vcs_info.json`,
//! which `cargo package` writes, or that of the variable `SOURCE_COMMIT`. If there is none, it is
//! stated to be unknown.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Digits of a commit that are shown.
const COMMIT_DIGITS: usize = 12;

fn main() {
    println!("cargo:rerun-if-env-changed=SOURCE_COMMIT");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let root = variable("CARGO_MANIFEST_DIR");
    // A development build would be compiled anew after each commit.
    let commit = match variable("PROFILE").as_str() {
        "release" => commit(Path::new(&root)),
        _ => {
            println!("cargo:rerun-if-changed=build.rs");
            env::var("SOURCE_COMMIT").ok().map(short)
        }
    };
    let commit = commit.unwrap_or_else(|| match variable("PROFILE").as_str() {
        "release" => "unknown".to_owned(),
        _ => "not recorded in development builds".to_owned(),
    });
    let mut features: Vec<String> = env::vars()
        .filter_map(|(name, _)| {
            let name = name.strip_prefix("CARGO_FEATURE_")?;
            Some(name.to_ascii_lowercase().replace('_', "-"))
        })
        .collect();
    features.sort();
    let features = match features.is_empty() {
        true => "none".to_owned(),
        false => features.join(", "),
    };
    // Not ASTREUM_: `cargo run` passes them on, and the node would take them for settings.
    println!("cargo:rustc-env=NODE_BUILD_COMMIT={commit}");
    println!("cargo:rustc-env=NODE_BUILD_TARGET={}", variable("TARGET"));
    println!("cargo:rustc-env=NODE_BUILD_FEATURES={features}");
}

fn short(commit: String) -> String {
    commit.chars().take(COMMIT_DIGITS).collect()
}

/// Returns the commit of the sources.
fn commit(root: &Path) -> Option<String> {
    if let Ok(commit) = env::var("SOURCE_COMMIT") {
        return Some(short(commit));
    }
    let info = root.join(".cargo_vcs_info.json");
    if let Ok(info) = fs::read_to_string(&info) {
        let digits = info.split("\"sha1\"").nth(1)?.split('"').nth(1)?;
        return Some(short(digits.to_owned()));
    }
    // Only a repository of these sources: not one that a tarball happens to be unpacked in.
    let tracked = git(root, &["ls-files", "--error-unmatch", "build.rs"]);
    tracked?;
    for name in [
        "HEAD",
        "index",
        &git(root, &["rev-parse", "--symbolic-full-name", "HEAD"])?,
    ] {
        let path = git(root, &["rev-parse", "--git-path", name])?;
        if root.join(&path).exists() {
            println!("cargo:rerun-if-changed={}", root.join(&path).display());
        }
    }
    for sources in [
        "build.rs",
        "src",
        "../core/src",
        "../core/script/src",
        "../core/script/std",
        "../Cargo.lock",
    ] {
        println!("cargo:rerun-if-changed={}", root.join(sources).display());
    }
    let commit = git(root, &["rev-parse", "HEAD"]).map(short)?;
    let is_clean = git(root, &["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(match is_clean {
        true => commit,
        false => format!("{commit}, with changes"),
    })
}

/// Returns the output of a command of git, or `None` if it fails or git is missing.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
