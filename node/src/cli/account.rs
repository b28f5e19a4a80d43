//! Command `astreum account`.

use std::io::Write as _;

use crate::rpc::{AccountReply, HeadReply, request};

use super::block::time;
use super::chain_args::{AccountArgs, AccountCommand, AccountShowArgs};
use super::eval_session::client;
use super::output::{Failure, Output, json_line};
use super::parse;

pub(super) fn account(args: AccountArgs, out: &mut Output) -> Result<(), Failure> {
    let AccountCommand::Show(AccountShowArgs { account, json, at }) = args.command;
    let named = parse::account("the account", &account)?;
    let request = request::Account {
        account: named.word(),
    };
    let reply: AccountReply = client(&at)?.request(&request)?;
    if json {
        return json_line(out, &reply);
    }
    Ok(write!(out, "{}", text(&reply))?)
}

fn text(reply: &AccountReply) -> String {
    let root = |id: &str| match id.bytes().all(|digit| digit == b'0') {
        true => "none".to_owned(),
        false => id.to_owned(),
    };
    let rows = [
        ("account", reply.account.clone()),
        ("balance", reply.balance.clone()),
        ("stake", reply.stake.clone()),
        ("counter", reply.counter.clone()),
        ("code", root(&reply.code)),
        ("data", root(&reply.data)),
        ("channels", root(&reply.channels)),
        ("record", reply.id.clone()),
        ("as of block", at_head(&reply.head)),
    ];
    table(&rows)
}

/// Formats names and values in two columns.
pub(super) fn table(rows: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (name, value) in rows {
        text.push_str(format!("{name:<15} {value}").trim_end());
        text.push('\n');
    }
    text
}

/// Formats a head on one line.
pub(super) fn at_head(head: &HeadReply) -> String {
    let HeadReply {
        id,
        height,
        timestamp,
        state,
    } = head;
    format!("{height} of {}, {state}, {id}", time(timestamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_shown_with_the_block_that_it_is_of() {
        let reply = AccountReply {
            account: "ab".repeat(32),
            head: HeadReply {
                id: "cd".repeat(32),
                height: "7".to_owned(),
                timestamp: "1767225600".to_owned(),
                state: "verified".to_owned(),
            },
            id: "ef".repeat(32),
            balance: "340282366920938463463374607431768211456".to_owned(),
            counter: "0".to_owned(),
            stake: "3".to_owned(),
            code: "00".repeat(32),
            data: "00".repeat(32),
            channels: "12".repeat(32),
        };
        let shown = text(&reply);
        let line = |name: &str| shown.lines().find(|line| line.starts_with(name)).unwrap();
        assert_eq!(
            line("balance"),
            "balance         340282366920938463463374607431768211456"
        );
        assert_eq!(line("code"), "code            none");
        assert!(line("channels").ends_with(&"12".repeat(32)));
        let head = format!(
            "7 of 2026-01-01 00:00:00 UTC, verified, {}",
            "cd".repeat(32)
        );
        assert_eq!(line("as of"), format!("as of block     {head}"));
    }
}
