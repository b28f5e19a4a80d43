//! Command `astreum backup`: a copy of the running node's cold storage and chain.

use core::time::Duration;
use std::io::Write as _;

use serde_json::json;

use crate::rpc::{BackupReply, request};

use super::args::BackupArgs;
use super::output::{Failure, Output, json_line};

/// Maximum time to wait for the copy of a large store.
const MAX_WAIT: Duration = Duration::from_secs(7 * 24 * 3_600);

pub(super) fn backup(args: &BackupArgs, out: &mut Output) -> Result<(), Failure> {
    let directory = std::path::absolute(&*args.directory).map_err(Failure::failed)?;
    let directory = directory.into_os_string().into_string().map_err(|path| {
        let shown = path.to_string_lossy();
        Failure::Usage(format!(
            "the path {shown} is not UTF-8; choose another directory"
        ))
    })?;
    let client = args.at.client(MAX_WAIT)?;
    let request = request::BackUp { directory };
    let BackupReply { files, bytes } = client.request(&request)?;
    let directory = request.directory;
    if args.json {
        let written = json!({"directory": directory, "files": files, "bytes": bytes});
        return json_line(out, &written);
    }
    Ok(writeln!(out, "{directory}: {files} files, {bytes} bytes")?)
}
