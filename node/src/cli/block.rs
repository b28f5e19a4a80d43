//! Command `astreum block`.

use std::io::Write as _;

use crate::query::BlockAt;
use crate::rpc::{
    BlockReply, MAX_BLOCKS_REPLY, MAX_TRANSACTIONS_REPLY, TransactionStanding, request,
};

use super::chain_args::{BlockArgs, BlockCommand, BlockListArgs, BlockShowArgs};
use super::node_args::client;
use super::output::{Failure, Output, json_line};
use super::parse;
use super::table::{root, table, time};

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
            "invalid value \"{wanted}\" for --transactions: at most {MAX_TRANSACTIONS_REPLY} are \
             shown at once; continue with --skip"
        )));
    }
    let request = request::Block {
        at,
        transactions: args.transactions,
        skip: args.skip,
    };
    let reply = client(&args.at)?.request(&request)?;
    if args.json {
        return json_line(out, &reply);
    }
    Ok(write!(out, "{}", text(&reply, args.skip))?)
}

fn text(block: &BlockReply, skip: u32) -> String {
    let count = block.transaction_count.unwrap_or_default();
    let rows = [
        ("block", block.id.to_string()),
        ("height", block.height.to_string()),
        ("time", time(&block.timestamp.0)),
        ("chain id", block.chain_id.to_string()),
        ("previous", root(block.previous)),
        ("validator", block.validator.to_string()),
        ("signature", signature(block)),
        ("difficulty", block.difficulty.to_string()),
        ("nonce", block.nonce.to_string()),
        ("accounts", root(block.accounts)),
        (
            "transactions",
            format!("{count}, {}", root(block.transactions)),
        ),
        ("receipts", root(block.receipts)),
        ("cumulative stake", block.cumulative_stake.to_string()),
        ("cumulative burn", block.cumulative_burn.to_string()),
        ("cumulative mint", block.cumulative_mint.to_string()),
        ("fees", block.total_fees.to_string()),
        ("cumulative fees", block.cumulative_total_fees.to_string()),
    ];
    let mut text = table(&rows);
    for one in &block.included {
        let status = TransactionStanding::from(one.status);
        text.push_str(&format!("{:>6}  {}  {status}\n", one.index, one.id));
    }
    let shown = u64::from(skip).saturating_add(block.included.len() as u64);
    if shown < count && !block.included.is_empty() {
        let more = count - shown;
        text.push_str(&format!(
            "        {more} more (continue with --skip {shown})\n"
        ));
    }
    text
}

fn signature(block: &BlockReply) -> String {
    match block.signature_holds {
        None => "none".to_owned(),
        Some(true) => format!("valid, {}", block.signature),
        Some(false) => format!("INVALID, {}", block.signature),
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
        let request = request::Blocks { from, count };
        let blocks = client.request(&request)?;
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
        if last.previous.is_zero() {
            return Ok(());
        }
        from = BlockAt::Id(last.previous);
    }
    Ok(())
}

fn line(block: &BlockReply) -> String {
    let count = block
        .transaction_count
        .map_or_else(|| "?".to_owned(), |count| count.to_string());
    let (height, time) = (&block.height, time(&block.timestamp.0));
    format!("{height:>8}  {time:<23}  {count:>5}  {}", block.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::{Hex, IncludedReply};
    use astreum_core::atom::AtomId;
    use astreum_core::chain::{Address, Status};
    use astreum_core::integer::Natural;

    fn reply() -> BlockReply {
        let id = |byte| AtomId::new([byte; 32]);
        let amount = |amount: u64| Natural::from(amount);
        BlockReply {
            id: id(0xab),
            chain_id: 0_u64.into(),
            height: 12_u64.into(),
            previous: id(0xcd),
            timestamp: 1_767_225_601_u64.into(),
            difficulty: 3_u64.into(),
            validator: Address::new([0xef; 32]),
            nonce: amount(77),
            cumulative_stake: amount(1),
            cumulative_burn: amount(2),
            cumulative_mint: amount(3),
            cumulative_total_fees: amount(4),
            total_fees: amount(0),
            accounts: id(0x12),
            transactions: id(0x34),
            receipts: id(0x56),
            signature: Hex(vec![0x78; 64]),
            signature_holds: Some(true),
            transaction_count: Some(9),
            included: vec![IncludedReply {
                index: 4,
                id: id(0x9a),
                receipt: id(0xbc),
                status: Status::Failed,
                cost: amount(1),
            }],
        }
    }

    #[test]
    fn block_text_lists_included_transactions() {
        let shown = text(&reply(), 4);
        for part in [
            "height          12\n",
            "time            2026-01-01 00:00:01 UTC\n",
            &format!("transactions    9, {}\n", "34".repeat(32)),
            &format!("     4  {}  failed\n", "9a".repeat(32)),
            "4 more (continue with --skip 5)\n",
        ] {
            assert!(shown.contains(part), "no {part:?} in {shown}");
        }
        let genesis = BlockReply {
            previous: AtomId::ZERO,
            transactions: AtomId::ZERO,
            signature: Hex::default(),
            signature_holds: None,
            transaction_count: Some(0),
            included: vec![],
            ..reply()
        };
        let shown = text(&genesis, 0);
        assert!(shown.contains("previous        none\n"), "{shown}");
        assert!(shown.contains("transactions    0, none\n"), "{shown}");
        assert!(shown.contains("signature       none\n") && !shown.contains("more ("));
        let forged = BlockReply {
            signature_holds: Some(false),
            ..reply()
        };
        assert!(text(&forged, 0).contains("signature       INVALID, 7878"));
    }

    #[test]
    fn block_list_has_one_line_per_block() {
        let expected = format!(
            "      12  2026-01-01 00:00:01 UTC      9  {}",
            "ab".repeat(32)
        );
        assert_eq!(line(&reply()), expected);
    }
}
