//! `astreum run`: configuration, keys and log; then the node itself.

use super::args::RunArgs;
use super::output::{Failure, Output};

pub(super) fn run<const HIDDEN: bool>(
    args: RunArgs<HIDDEN>,
    out: &mut Output,
) -> Result<(), Failure> {
    let loaded = args.into_inputs().load()?;
    let paths = loaded.paths();
    let mut config = loaded.config;
    config
        .read_key_files()
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let log = crate::log::init(&config, &paths).map_err(Failure::failed)?;
    let result = crate::run::run(config, &paths, out).map_err(Failure::failed);
    if let Err(Failure::Failed(error)) = &result {
        crate::log::error!("{error}");
    }
    drop(log);
    result
}
