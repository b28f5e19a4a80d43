//! Command `astreum account`.

use std::io::Write as _;

use crate::rpc::{AccountReply, request};

use super::account_history::history;
use super::chain_args::{AccountArgs, AccountCommand, AccountShowArgs};
use super::node_args::client;
use super::output::{Failure, Output, json_line};
use super::parse;
use super::table::{at_head, root, table};

pub(super) fn account(args: AccountArgs, out: &mut Output) -> Result<(), Failure> {
    match args.command {
        AccountCommand::Show(args) => show(args, out),
        AccountCommand::History(args) => history(&args, out),
    }
}

fn show(args: AccountShowArgs, out: &mut Output) -> Result<(), Failure> {
    let AccountShowArgs { account, json, at } = args;
    let account = parse::account("the account", &account)?;
    let reply = client(&at)?.request(&request::Account { account })?;
    if json {
        return json_line(out, &reply);
    }
    Ok(write!(out, "{}", text(&reply))?)
}

fn text(reply: &AccountReply) -> String {
    let rows = [
        ("account", reply.account.to_string()),
        ("balance", reply.balance.to_string()),
        ("stake", reply.stake.to_string()),
        ("counter", reply.counter.to_string()),
        ("code", root(reply.code)),
        ("data", root(reply.data)),
        ("channels", root(reply.channels)),
        ("record", reply.id.to_string()),
        ("at block", at_head(&reply.head)),
    ];
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::HeadReply;
    use astreum_core::atom::AtomId;
    use astreum_core::chain::Address;
    use astreum_core::consensus::HeadState;
    use astreum_core::integer::Natural;

    #[test]
    fn account_text_states_its_block() {
        let reply = AccountReply {
            account: Address::new([0xab; 32]),
            head: HeadReply {
                id: AtomId::new([0xcd; 32]),
                height: 7_u64.into(),
                timestamp: 1_767_225_600_u64.into(),
                state: HeadState::Verified,
            },
            id: AtomId::new([0xef; 32]),
            balance: "340282366920938463463374607431768211456".parse().unwrap(),
            counter: Natural::ZERO,
            stake: Natural::from(3_u64),
            code: AtomId::ZERO,
            data: AtomId::ZERO,
            channels: AtomId::new([0x12; 32]),
        };
        let shown = text(&reply);
        let line = |name: &str| shown.lines().find(|line| line.starts_with(name)).unwrap();
        assert_eq!(
            line("balance"),
            "balance         340282366920938463463374607431768211456"
        );
        assert_eq!(line("code"), "code            none");
        assert!(line("channels").ends_with(&"12".repeat(32)));
        let head = format!("7 (2026-01-01 00:00:00 UTC, verified), {}", "cd".repeat(32));
        assert_eq!(line("at block"), format!("at block        {head}"));
    }
}
