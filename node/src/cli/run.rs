//! `astreum run`: configuration, keys and log; then the node itself.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::io;
use std::net::UdpSocket;

use crate::config::{Config, Source};

use super::args::RunArgs;
use super::output::{Failure, Output, complain};

pub(super) fn run<const HIDDEN: bool>(
    args: RunArgs<HIDDEN>,
    out: &mut Output,
) -> Result<(), Failure> {
    let loaded = args.into_inputs().load()?;
    let paths = loaded.paths();
    let port_is_default = loaded.source("incoming_port") == Source::Default;
    let mut config = loaded.config;
    if port_is_default && is_taken(&config) {
        let port = config.incoming_port;
        complain(&format!(
            "note: UDP port {port} is taken and none was asked for, so the system picks one"
        ));
        config.incoming_port = 0;
    }
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

/// Whether somebody has the configured port. Where nobody asked for it, that is no error: the
/// reference's README lets the system pick a port when the key is omitted.
fn is_taken(config: &Config) -> bool {
    let any: IpAddr = if config.use_ipv6 {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    let bound = UdpSocket::bind((any, config.incoming_port));
    bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}
