//! Command `astreum advertise`: advertisements of the running node.

use core::num::NonZeroU64;
use std::io::Write as _;

use crate::rpc::{AdvertisementReply, request};

use super::args::{AdvertiseArgs, AdvertiseCommand};
use super::node_args::client;
use super::output::{Failure, Output, json_line};
use super::parse;
use crate::rpc::duration;

pub(super) fn advertise(args: &AdvertiseArgs, out: &mut Output) -> Result<(), Failure> {
    match &args.command {
        AdvertiseCommand::Add {
            ids,
            list,
            expires,
            at,
        } => {
            let ids = parse::ids("the object", ids)?;
            let client = client(at)?;
            for id in ids {
                let request = request::Advertise {
                    id,
                    list: *list,
                    expires_seconds: expires.map(NonZeroU64::get),
                };
                let () = client.request(&request)?;
            }
            Ok(())
        }
        AdvertiseCommand::List { json, at } => {
            let advertised = client(at)?.request(&request::Advertised {})?;
            for advertisement in &advertised {
                if *json {
                    json_line(out, advertisement)?;
                    continue;
                }
                let AdvertisementReply {
                    id,
                    list,
                    expires_seconds,
                } = advertisement;
                let kind = if *list { "list" } else { "atom" };
                let left = expires_seconds.map_or_else(
                    || "indefinite".to_owned(),
                    |seconds| format!("expires in {}", duration(seconds)),
                );
                writeln!(out, "{id}  {kind}  {left}")?;
            }
            Ok(())
        }
        AdvertiseCommand::Withdraw { ids, at } => {
            let ids = parse::ids("the object", ids)?;
            let client = client(at)?;
            let mut missing = Vec::new();
            for id in ids {
                let request = request::Withdraw { id };
                if !client.request(&request)? {
                    missing.push(id.to_string());
                }
            }
            if missing.is_empty() {
                return Ok(());
            }
            Err(Failure::Failed(format!(
                "not advertised: {}",
                missing.join(", ")
            )))
        }
    }
}
