//! Writer of `tests/no_std/chain.bin`: the chain that the follower on bare metal syncs.

use astreum_tests::follower_chain::follower_chain;
use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("no_std/chain.bin");
    let chain = follower_chain();
    println!(
        "{} blocks, {} bytes",
        chain.blocks.len(),
        chain.recording.len()
    );
    std::fs::write(path, chain.recording)
}
