//! Command `astreum run`: sets up configuration, keys and log, then runs the node.

use crate::config::Source;
use crate::daemon::{ConfigSource, RunError, prepare_start, warnings};
use crate::key_file::PassphraseSource;
use crate::node::NodeError;
use std::sync::Arc;

use super::genesis::refused;
use super::node_args::RunArgs;
use super::output::{Failure, Output, complain};

pub(super) fn run<const HIDDEN: bool>(
    args: RunArgs<HIDDEN>,
    out: &mut Output,
) -> Result<(), Failure> {
    // Before the first thread.
    crate::daemon::bound_arenas();
    super::forbid_core_dumps();
    super::exit_on_bus_error();
    let options = args.options();
    let (loaded, inputs) = args.load_with_inputs()?;
    let source = ConfigSource {
        loaded: loaded.settings.clone(),
        load: Arc::new(move || inputs.clone().load().map(|loaded| loaded.settings)),
    };
    let paths = loaded.paths();
    let port_is_default = loaded.source("incoming_port") == Source::Default;
    let settings = &loaded.settings;
    let passphrases = PassphraseSource::of_or_terminal(settings);
    let keys = prepare_start(&loaded, &passphrases)?;
    let log = crate::log::init(settings, &paths).map_err(Failure::failed)?;
    for warning in warnings(settings) {
        complain(&format!("warning: {warning}"));
    }
    let mut result = crate::daemon::run(settings, &keys, &paths, &source, out);
    // If no port was configured, a port in use is not an error: the reference's README lets the
    // system pick one if the key is omitted.
    if port_is_default && result.as_ref().is_err_and(RunError::is_port_taken) {
        let port = settings.incoming_port;
        let note = format!("default UDP port {port} is in use; using an ephemeral port");
        complain(&format!("note: {note}"));
        crate::log::info!("{note}");
        let mut config = loaded.into_config();
        config.incoming_port = 0;
        result = crate::daemon::run(&config.resolve()?, &keys, &paths, &source, out);
    }
    let result = result.map_err(|error| match error {
        RunError::Node(NodeError::ChainDir(error)) => refused(&error, &options),
        error if error.is_configuration() => Failure::Usage(error.to_string()),
        error => Failure::failed(error),
    });
    if let Err(Failure::Failed(error) | Failure::Usage(error)) = &result {
        crate::log::error!("{error}");
    }
    drop(log);
    result
}
