//! Command `astreum account history`.

use std::io::Write as _;

use crate::rpc::{
    AccountName, Hex, HistoryEntryReply, HistoryReply, MAX_HISTORY_REPLY, TransactionStanding,
    request,
};

use crate::daemon::quoted;
use crate::transaction_index::{Cursor, MAX_PREFIX_BYTES};

use super::chain_args::{AccountHistoryArgs, DEFAULT_LIMIT};
use super::node_args::client;
use super::output::{Failure, Output, json_line};
use super::parse;
use super::table::time;

pub(super) fn history(args: &AccountHistoryArgs, out: &mut Output) -> Result<(), Failure> {
    let account = match args.account.as_str() {
        "any" if args.sender || args.recipient => {
            let why = "--sender and --recipient need an account, and `any` is every account";
            return Err(Failure::Usage(why.to_owned()));
        }
        "any" => None,
        text => Some(parse::account("the account", text)?),
    };
    check(args)?;
    let prefix = args.data_prefix.as_deref().map(data_prefix).transpose()?;
    let of = |is_wanted: bool| account.filter(|_| is_wanted);
    let client = client(&args.at)?;
    let mut left = args.limit.get();
    let mut request = request::History {
        account: of(!args.sender && !args.recipient),
        sender: of(args.sender),
        recipient: of(args.recipient),
        from_height: args.from_height,
        to_height: args.to_height,
        data_prefix: prefix,
        limit: None,
        after: args.after.clone(),
    };
    let mut all: Option<HistoryReply> = None;
    loop {
        request.limit = Some(left.min(MAX_HISTORY_REPLY));
        let mut page = client.request(&request)?;
        let found = u32::try_from(page.transactions.len()).unwrap_or(u32::MAX);
        left = left.saturating_sub(found);
        request.after.clone_from(&page.next);
        if let Some(all) = all.take() {
            let mut transactions = all.transactions;
            transactions.append(&mut page.transactions);
            // Each page continues below the one before it.
            page.to_height = all.to_height;
            page.to_block = all.to_block;
            page.transactions = transactions;
        }
        let is_over = left == 0 || page.next.is_none();
        let page = all.insert(page);
        if is_over {
            return match args.json {
                true => json_line(out, page),
                false => Ok(write!(out, "{}", text(page, account, args))?),
            };
        }
    }
}

/// Checks arguments that the node would refuse.
fn check(args: &AccountHistoryArgs) -> Result<(), Failure> {
    if let (Some(from), Some(to)) = (args.from_height, args.to_height)
        && from > to
    {
        return Err(Failure::Usage(format!(
            "invalid value \"{from}\" for --from-height: it is above --to-height {to}"
        )));
    }
    if let Some(text) = &args.after
        && let Err(error) = text.parse::<Cursor>()
    {
        let shown: String = text.chars().take(80).collect();
        return Err(Failure::Usage(format!(
            "invalid value {shown:?} for --after: {error}"
        )));
    }
    Ok(())
}

fn data_prefix(text: &str) -> Result<Hex, Failure> {
    let bytes = parse::bytes("--data-prefix", text, "")?;
    let len = bytes.len();
    match len <= MAX_PREFIX_BYTES {
        true => Ok(Hex(bytes)),
        false => Err(Failure::Usage(format!(
            "invalid value for --data-prefix: it has {len} bytes, and the index has the first \
             {MAX_PREFIX_BYTES} bytes of data"
        ))),
    }
}

fn text(page: &HistoryReply, account: Option<AccountName>, args: &AccountHistoryArgs) -> String {
    let (Some(from), Some(to)) = (&page.from_height, &page.to_height) else {
        return "the index has no block yet\n".to_owned();
    };
    let mut text = String::new();
    for entry in &page.transactions {
        text.push_str(&entry_text(entry, account));
    }
    if page.transactions.is_empty() {
        text.push_str("no transactions\n");
    }
    let older = match page.complete {
        true => "",
        false => "; older ones are not indexed yet, or not kept here",
    };
    text.push_str(&format!("index: blocks {from} to {to}{older}\n"));
    if let Some(next) = &page.next {
        text.push_str(&format!("more: {}\n", command_after(args, next)));
    }
    text
}

/// Returns the command for the page after the cursor `next`.
fn command_after(args: &AccountHistoryArgs, next: &str) -> String {
    let mut command = format!("astreum account history {}", quoted(&args.account));
    for (name, is_given) in [("sender", args.sender), ("recipient", args.recipient)] {
        if is_given {
            command.push_str(&format!(" --{name}"));
        }
    }
    let limit = Some(args.limit).filter(|&limit| limit != DEFAULT_LIMIT);
    for (name, value) in [
        ("from-height", args.from_height.map(|it| it.to_string())),
        ("to-height", args.to_height.map(|it| it.to_string())),
        ("data-prefix", args.data_prefix.clone()),
        ("limit", limit.map(|it| it.to_string())),
        ("after", Some(next.to_owned())),
    ] {
        if let Some(value) = value {
            command.push_str(&format!(" --{name} {}", quoted(&value)));
        }
    }
    command + &args.at.options()
}

fn entry_text(entry: &HistoryEntryReply, account: Option<AccountName>) -> String {
    let HistoryEntryReply {
        id,
        height,
        timestamp,
        sender,
        recipient,
        ..
    } = entry;
    let amount = entry.amount.as_ref();
    let amount = amount.map_or_else(|| "?".to_owned(), ToString::to_string);
    let status = TransactionStanding::from(entry.status);
    let time = time(&timestamp.0);
    let data = match entry.data_bytes {
        Some(0) => String::new(),
        Some(bytes) => format!(", {bytes} bytes of data"),
        None => ", not stored here".to_owned(),
    };
    let parties = match account {
        Some(AccountName::Key(key)) if key == *sender => format!("to {recipient}"),
        Some(AccountName::Key(_)) => format!("from {sender}"),
        Some(AccountName::Me) | None => format!("from {sender} to {recipient}"),
    };
    format!("{height:>8}  {time}  {id}\n          {amount} {parties}, {status}{data}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::atom::AtomId;
    use astreum_core::chain::{Address, Status};
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Parsed {
        #[command(flatten)]
        args: AccountHistoryArgs,
    }

    fn args(words: &[&str]) -> AccountHistoryArgs {
        let words = core::iter::once(&"history").chain(words);
        Parsed::try_parse_from(words).unwrap().args
    }

    #[test]
    fn next_command_repeats_filters_and_options() {
        let words = [
            "KEY",
            "--recipient",
            "--from-height",
            "5",
            "--to-height",
            "9",
            "--data-prefix",
            "",
            "--limit",
            "7",
            "--config",
            "my node.toml",
            "--timeout",
            "3",
        ];
        let expected = "astreum account history KEY --recipient --from-height 5 --to-height 9 \
                        --data-prefix '' --limit 7 --after 7-0 --config 'my node.toml' --timeout 3";
        assert_eq!(command_after(&args(&words), "7-0"), expected);
        let sender = command_after(&args(&["me", "--sender", "--after", "9-0"]), "7-0");
        assert_eq!(sender, "astreum account history me --sender --after 7-0");
    }

    #[test]
    fn invalid_arguments_are_usage_errors() {
        for words in [
            &["any", "--from-height", "9", "--to-height", "8"][..],
            &["any", "--after", "x"],
        ] {
            assert!(
                matches!(check(&args(words)), Err(Failure::Usage(_))),
                "{words:?}"
            );
        }
        let valid = [
            "any",
            "--from-height",
            "8",
            "--to-height",
            "8",
            "--after",
            "7-0-0202020202020202",
        ];
        assert!(check(&args(&valid)).is_ok());
        assert!(data_prefix(&"00".repeat(32)).is_ok());
        let long = data_prefix(&"00".repeat(33));
        assert!(matches!(long, Err(Failure::Usage(_))));
    }

    #[test]
    fn page_shows_parties_coverage_and_the_next_command() {
        let key = Address::new([0xab; 32]);
        let entry = HistoryEntryReply {
            id: AtomId::new([1; 32]),
            block: AtomId::new([2; 32]),
            height: 7_u64.into(),
            index: 0,
            timestamp: 1_767_225_600_u64.into(),
            sender: key,
            recipient: Address::new([3; 32]),
            amount: Some(5_u64.into()),
            status: Status::Failed,
            data_prefix: Hex(vec![1]),
            data_bytes: Some(1),
        };
        let mut page = HistoryReply {
            from_height: Some(2_u64.into()),
            to_height: Some(9_u64.into()),
            to_block: Some(AtomId::new([4; 32])),
            complete: false,
            transactions: vec![entry],
            next: Some("7-0-0202020202020202".to_owned()),
        };
        let shown = text(&page, Some(AccountName::Key(key)), &args(&["KEY"]));
        let lines: Vec<&str> = shown.lines().collect();
        let id = "01".repeat(32);
        assert_eq!(lines[0], format!("       7  2026-01-01 00:00:00 UTC  {id}"));
        let to = "03".repeat(32);
        let parties = format!("          5 to {to}, failed, 1 bytes of data");
        assert_eq!(lines[1], parties);
        assert!(
            lines[2].starts_with("index: blocks 2 to 9; older"),
            "{shown}"
        );
        let more = "more: astreum account history KEY --after 7-0-0202020202020202";
        assert_eq!(lines[3], more);
        page.transactions.clear();
        page.next = None;
        page.complete = true;
        let shown = text(&page, None, &args(&["any"]));
        assert_eq!(shown, "no transactions\nindex: blocks 2 to 9\n");
    }
}
