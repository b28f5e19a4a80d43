//! Requests to the node, on a thread of their own: a node that does not answer must not stop the
//! screen.

use core::time::Duration;
use std::thread;
use std::time::Instant;

use super::model::{Sample, Update};
use crate::rpc::{Client, ClientError, ErrorKind, request};

/// Maximum interval between attempts to reach a node that is gone.
const RETRY: Duration = Duration::from_secs(1);

/// Requests a sample.
///
/// # Errors
/// Fails if the node does not answer a request for its status.
pub(super) fn sample(client: &Client) -> Result<Box<Sample>, ClientError> {
    let status = client.request(&request::Status {})?;
    let peers = client.request(&request::Peers {});
    let warnings = client.request(&request::RecentWarnings {});
    Ok(Box::new(Sample {
        status,
        peers: peers.map_err(|error| error.to_string()),
        warnings: warnings.map_err(|error| match error {
            ClientError::Refused(error) if error.kind == ErrorKind::UnknownMethod => {
                "the node has an older version, which does not report its log".to_owned()
            }
            error => error.to_string(),
        }),
    }))
}

/// Requests a sample at each interval, and passes the results on until `pass` returns `false`.
pub(super) fn run(client: &Client, interval: Duration, mut pass: impl FnMut(Update) -> bool) {
    loop {
        let start = Instant::now();
        let update = sample(client).map_err(|error| error.to_string());
        let pause = match &update {
            Ok(_) => interval,
            Err(_) => interval.min(RETRY),
        };
        if !pass(update) {
            return;
        }
        thread::sleep(pause.saturating_sub(start.elapsed()));
    }
}
