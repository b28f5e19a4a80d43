//! Command `astreum validators`.

use std::io::Write as _;

use crate::rpc::{MAX_SLOTS_REPLY, ValidatorsReply, request};

use super::chain_args::ValidatorsArgs;
use super::node_args::client;
use super::output::{Failure, Output, json_line};
use super::table::{at_head, time};

pub(super) fn validators(args: &ValidatorsArgs, out: &mut Output) -> Result<(), Failure> {
    let slots = args.slots;
    if slots > MAX_SLOTS_REPLY {
        return Err(Failure::Usage(format!(
            "invalid value \"{slots}\" for --slots: expected an integer from 0 to {MAX_SLOTS_REPLY}"
        )));
    }
    let reply = client(&args.at)?.request(&request::Validators { slots })?;
    if args.json {
        return json_line(out, &reply);
    }
    Ok(write!(out, "{}", text(&reply))?)
}

fn text(reply: &ValidatorsReply) -> String {
    let mut text = format!("at block {}\n\n", at_head(&reply.head));
    if reply.validators.is_empty() {
        text.push_str("no account has a stake: no validator can produce the next block\n");
        return text;
    }
    text.push_str(&format!("{:<64}  {:>8}  stake\n", "validator", "share"));
    for one in &reply.validators {
        let share = percent(one.share_ppm);
        let own = if one.own { "  (this node)" } else { "" };
        let (key, stake) = (&one.key, &one.stake);
        text.push_str(&format!("{key:<64}  {share:>8}  {stake}{own}\n"));
    }
    if reply.slots.is_empty() {
        return text;
    }
    text.push_str("\nproposers of the next slots, until the next block\n");
    for slot in &reply.slots {
        let (from, validator) = (time(&slot.from), &slot.validator);
        text.push_str(&format!("{from}  {validator}\n"));
    }
    text
}

/// Formats millionths as a percentage.
fn percent(ppm: u64) -> String {
    format!("{}.{:02} %", ppm / 10_000, ppm / 100 % 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Slot;
    use crate::rpc::{HeadReply, ValidatorReply};
    use astreum_core::atom::AtomId;
    use astreum_core::chain::Address;
    use astreum_core::consensus::HeadState;
    use astreum_core::integer::Natural;

    fn reply() -> ValidatorsReply {
        let (one, two) = (Address::new([0xab; 32]), Address::new([0xcd; 32]));
        let validator = |key, stake: u64, share_ppm, own| ValidatorReply {
            key,
            stake: stake.into(),
            share_ppm,
            own,
        };
        ValidatorsReply {
            head: HeadReply {
                id: AtomId::new([0xef; 32]),
                height: 3_u64.into(),
                timestamp: 0_u64.into(),
                state: HeadState::Own,
            },
            total: Natural::from(3_u64),
            validators: vec![
                validator(one, 2, 666_667, true),
                validator(two, 1, 333_333, false),
            ],
            slots: vec![Slot {
                from: Natural::from(1_767_225_600_u64),
                to: Natural::from(1_767_225_601_u64),
                validator: two,
            }],
        }
    }

    #[test]
    fn validators_have_shares_and_slots() {
        let shown = text(&reply());
        for part in [
            "at block 3 (1970-01-01 00:00:00 UTC, own), efef",
            &format!("{}   66.66 %  2  (this node)\n", "ab".repeat(32)),
            &format!("{}   33.33 %  1\n", "cd".repeat(32)),
            &format!("2026-01-01 00:00:00 UTC  {}\n", "cd".repeat(32)),
        ] {
            assert!(shown.contains(part), "no {part:?} in {shown}");
        }
        let empty = ValidatorsReply {
            validators: vec![],
            slots: vec![],
            ..reply()
        };
        assert!(text(&empty).contains("no account has a stake"));
    }

    #[test]
    fn formats_shares_as_percentages() {
        assert_eq!(percent(1_000_000), "100.00 %");
        assert_eq!(percent(99), "0.00 %");
        assert_eq!(percent(123_456), "12.34 %");
    }
}
