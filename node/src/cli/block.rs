//! Command `astreum block`.

use std::io::Write as _;

use crate::log::utc_text;
use crate::rpc::{BlockReply, MAX_BLOCKS_REPLY, MAX_TRANSACTIONS_REPLY, request};

use super::account::table;
use super::chain_args::{BlockArgs, BlockCommand, BlockListArgs, BlockShowArgs};
use super::eval_session::client;
use super::output::{Failure, Output, json_line};
use super::parse::{self, At};

pub(super) fn block(args: BlockArgs, out: &mut Output) -> Result<(), Failure> {
    match args.command {
        BlockCommand::Show(args) => show(&args, out),
        BlockCommand::List(args) => list(&args, out),
    }
}

fn show(args: &BlockShowArgs, out: &mut Output) -> Result<(), Failure> {
    let at = parse::block(&args.block)?;
    if args.transactions > MAX_TRANSACTIONS_REPLY {
        let wanted = args.transactions;
        return Err(Failure::Usage(format!(
            "invalid value \"{wanted}\" for --transactions: at most {MAX_TRANSACTIONS_REPLY} are shown at \
             once, and --skip goes on"
        )));
    }
    let request = request::Block {
        at: at.word(),
        transactions: args.transactions,
        skip: args.skip,
    };
    let reply: BlockReply = client(&args.at)?.request(&request)?;
    if args.json {
        return json_line(out, &reply);
    }
    Ok(write!(out, "{}", text(&reply, args.skip))?)
}

fn text(block: &BlockReply, skip: u32) -> String {
    let none = |id: &str| match id.bytes().all(|digit| digit == b'0') {
        true => "none".to_owned(),
        false => id.to_owned(),
    };
    let count = block.transaction_count.unwrap_or_default();
    let rows = [
        ("block", block.id.clone()),
        ("height", block.height.clone()),
        ("time", time(&block.timestamp)),
        ("chain id", block.chain_id.clone()),
        ("previous", none(&block.previous)),
        ("validator", block.validator.clone()),
        ("signature", signature(block)),
        ("difficulty", block.difficulty.clone()),
        ("nonce", block.nonce.clone()),
        ("accounts", none(&block.accounts)),
        (
            "transactions",
            format!("{count}, {}", none(&block.transactions)),
        ),
        ("receipts", none(&block.receipts)),
        ("stake so far", block.cumulative_stake.clone()),
        ("burnt so far", block.cumulative_burn.clone()),
        ("minted so far", block.cumulative_mint.clone()),
        ("fees", block.total_fees.clone()),
        ("fees so far", block.cumulative_total_fees.clone()),
    ];
    let mut text = table(&rows);
    for one in &block.included {
        text.push_str(&format!("{:>6}  {}  {}\n", one.index, one.id, one.status));
    }
    let shown = u64::from(skip).saturating_add(block.included.len() as u64);
    if shown < count && !block.included.is_empty() {
        let more = count - shown;
        text.push_str(&format!("        {more} more; --skip {shown} goes on\n"));
    }
    text
}

fn signature(block: &BlockReply) -> String {
    match block.signature_holds {
        None => "none".to_owned(),
        Some(true) => format!("holds, {}", block.signature),
        Some(false) => format!("DOES NOT HOLD, {}", block.signature),
    }
}

fn list(args: &BlockListArgs, out: &mut Output) -> Result<(), Failure> {
    let mut from = parse::block(&args.from)?;
    let client = client(&args.at)?;
    let mut left = args.count.get();
    if !args.json {
        let (height, time) = ("height", "time");
        writeln!(out, "{height:>8}  {time:<23}  {:>5}  block", "tx")?;
    }
    while left > 0 {
        let count = left.min(MAX_BLOCKS_REPLY);
        let request = request::Blocks {
            from: from.word(),
            count,
        };
        let blocks: Vec<BlockReply> = client.request(&request)?;
        let Some(last) = blocks.last() else {
            return Ok(());
        };
        for block in &blocks {
            if args.json {
                json_line(out, block)?;
            } else {
                writeln!(out, "{}", line(block))?;
            }
        }
        left = left.saturating_sub(u32::try_from(blocks.len()).unwrap_or(u32::MAX));
        match parse::block(&last.previous)? {
            At::Id(id) if id.is_zero() => return Ok(()),
            previous => from = previous,
        }
    }
    Ok(())
}

fn line(block: &BlockReply) -> String {
    let count = block
        .transaction_count
        .map_or_else(|| "?".to_owned(), |count| count.to_string());
    let (height, time) = (&block.height, time(&block.timestamp));
    format!("{height:>8}  {time:<23}  {count:>5}  {}", block.id)
}

/// Returns a human-readable form of seconds since 1970; years after 9999 stay a number.
pub(super) fn time(seconds: &str) -> String {
    match seconds.parse() {
        Ok(seconds) => utc_text(seconds),
        Err(_) => format!("{seconds} s after 1970"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::IncludedReply;

    fn reply() -> BlockReply {
        let number = |text: &str| text.to_owned();
        BlockReply {
            id: "ab".repeat(32),
            chain_id: number("0"),
            height: number("12"),
            previous: "cd".repeat(32),
            timestamp: number("1767225601"),
            difficulty: number("3"),
            validator: "ef".repeat(32),
            nonce: number("77"),
            cumulative_stake: number("1"),
            cumulative_burn: number("2"),
            cumulative_mint: number("3"),
            cumulative_total_fees: number("4"),
            total_fees: number("0"),
            accounts: "12".repeat(32),
            transactions: "34".repeat(32),
            receipts: "56".repeat(32),
            signature: "78".repeat(64),
            signature_holds: Some(true),
            transaction_count: Some(9),
            included: vec![IncludedReply {
                index: 4,
                id: "9a".repeat(32),
                receipt: "bc".repeat(32),
                status: "failed".to_owned(),
                cost: number("1"),
            }],
        }
    }

    #[test]
    fn a_block_is_shown_with_some_of_its_transactions() {
        let shown = text(&reply(), 4);
        for part in [
            "height          12\n",
            "time            2026-01-01 00:00:01 UTC\n",
            &format!("transactions    9, {}\n", "34".repeat(32)),
            &format!("     4  {}  failed\n", "9a".repeat(32)),
            "4 more; --skip 5 goes on\n",
        ] {
            assert!(shown.contains(part), "no {part:?} in {shown}");
        }
        let genesis = BlockReply {
            previous: "0".repeat(64),
            transactions: "0".repeat(64),
            signature: String::new(),
            signature_holds: None,
            transaction_count: Some(0),
            included: vec![],
            ..reply()
        };
        let shown = text(&genesis, 0);
        assert!(shown.contains("previous        none\n"), "{shown}");
        assert!(shown.contains("transactions    0, none\n"), "{shown}");
        assert!(shown.contains("signature       none\n") && !shown.contains("more;"));
        let forged = BlockReply {
            signature_holds: Some(false),
            ..reply()
        };
        assert!(text(&forged, 0).contains("signature       DOES NOT HOLD, 7878"));
    }

    #[test]
    fn a_list_has_a_line_a_block() {
        let expected = format!(
            "      12  2026-01-01 00:00:01 UTC      9  {}",
            "ab".repeat(32)
        );
        assert_eq!(line(&reply()), expected);
    }

    #[test]
    fn times_past_every_calendar_stay_numbers() {
        assert_eq!(time("0"), "1970-01-01 00:00:00 UTC");
        let late = "99999999999999999999999999";
        assert_eq!(time(late), format!("{late} s after 1970"));
    }
}
