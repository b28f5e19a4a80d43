//! Warnings and problems of a running node, as `status` reports them.

use super::warnings::warnings as configured;
use crate::chain_service::ChainStatus;
use crate::chain_service::producer::Activity;
use crate::config::Settings;
use crate::log::utc_text;
use crate::store::cold::ColdStats;
use crate::transaction_index::IndexStatus;
use astreum_core::atom::AtomId;
use astreum_core::chain::fork_choice::{Cause, Contest};

/// Time that a deep reorganization is reported as a problem, in seconds.
const REORGANIZATION_SECONDS: u64 = 24 * 60 * 60;
/// Maximum number of peers on other chains that are listed individually.
const MAX_LISTED_PEERS: usize = 16;

/// Returns the conditions that need no action now.
pub(super) fn warnings(settings: &Settings, chain: &ChainStatus) -> Vec<String> {
    let sync = &chain.sync;
    let mut warnings = configured(settings);
    warnings.extend(chain.clock.as_ref().map(ToString::to_string));
    warnings.extend(chain.nearly_full.iter().map(ToString::to_string));
    if let (true, Some(checkpoint)) = (sync.lacks_checkpoint, settings.checkpoint) {
        warnings.push(format!(
            "checkpoint {checkpoint} is not known to be in this chain: not adopting any other chain"
        ));
    }
    let low = sync.participation.filter(|it| it.is_low());
    warnings.extend(low.map(|participation| {
        let percent = |ppm: u64| format!("{}.{}", ppm / 10_000, ppm / 1_000 % 10);
        format!(
            "the producers of the last {} blocks hold {} % of the stake; {} % are expected: other \
             validators are offline or not reachable",
            astreum_core::chain::PARTICIPATION_BLOCKS,
            percent(participation.actual_ppm),
            percent(participation.expected_ppm)
        )
    }));
    let light = sync.contests.iter().filter(|it| it.cause == Cause::Light);
    warnings.extend(light.map(contest_text));
    let others = sync.other_chains.iter();
    warnings.extend(others.take(MAX_LISTED_PEERS).map(|(peer, difference)| {
        format!("peer {peer} follows another chain: {difference}; its heads are ignored")
    }));
    let more = sync.other_chains.len().saturating_sub(MAX_LISTED_PEERS);
    if more > 0 {
        warnings.push(format!("{more} more peers follow other chains"));
    }
    warnings
}

/// Returns the conditions that an operator has to act on, and whether one of them blocks production
/// or storage of blocks. `now` is the wall-clock time in seconds since 1970.
pub(super) fn problems(
    chain: &ChainStatus,
    cold: Option<&ColdStats>,
    now: u64,
) -> (Vec<String>, bool) {
    let sync = &chain.sync;
    let mut halts: Vec<String> = Vec::new();
    if let Some(validator) = &chain.validator {
        if let Activity::Halted(_) = &validator.activity {
            halts.push(activity_text(&validator.activity, now));
        }
        halts.extend(validator.problem.as_ref().map(ToString::to_string));
    }
    halts.extend(sync.not_stored.as_ref().map(|(block, failure)| {
        // The failure itself gives no advice.
        let advice = match failure.is_no_room() && cold.is_some() {
            true => "; raise cold_storage_limit, or free space on the disk",
            false => "",
        };
        format!("sync is halted: the verified block {block} is not stored: {failure}{advice}")
    }));
    let refuses = cold.and_then(|cold| cold.write_failure.as_ref());
    halts.extend(refuses.map(|why| format!("cold storage refuses writes: {why}")));
    let is_halted = !halts.is_empty();
    let mut problems = halts;
    problems.extend(chain.head_failure.as_ref().map(|why| {
        format!("failed to save the head, a restart resumes from an earlier one: {why}")
    }));
    let decide = |contest: &&Contest| contest.cause != Cause::Light;
    problems.extend(sync.contests.iter().filter(decide).map(contest_text));
    problems.extend(reorganization(chain, now));
    let full = cold.filter(|cold| cold.is_full);
    problems.extend(full.map(|cold| {
        format!(
            "cold storage refuses writes: {} of the {} bytes of cold_storage_limit are used, and a \
             write does not fit; raise the limit",
            cold.used_bytes, cold.limit_bytes
        )
    }));
    problems.extend(cold.map(damages).unwrap_or_default());
    (problems, is_halted)
}

/// Returns the problems of the index of transactions. None of them stops anything else.
pub(super) fn of_index(index: &IndexStatus) -> Vec<String> {
    let failure = index.failure.iter().map(|why| {
        format!("the transaction index cannot be written, and is behind the chain: {why}")
    });
    let incidents = index.incidents.iter().map(|(at, what)| {
        format!(
            "the transaction index was damaged at {}, and is rebuilt from the chain: {what}",
            utc_text(*at)
        )
    });
    failure.chain(incidents).collect()
}

/// Describes a fork that fork choice has not settled.
fn contest_text(contest: &Contest) -> String {
    let fork = &contest.fork;
    let why = match contest.cause {
        Cause::NeedsOperator => {
            "another branch is preferred but too deep to follow without a decision"
        }
        Cause::NeedsFirstDecision => "two long branches are announced and neither is adopted yet",
        Cause::Light => "another branch is longer, but too little stake has produced it",
    };
    let first = fork.others.iter().map(|side| side.first);
    let branches: Vec<String> = first.map(|first: AtomId| first.to_string()).collect();
    format!(
        "fork at block {}, height {}: {why}; `astreum chain forks` lists the branches, `astreum \
         chain adopt ID` and `astreum chain avoid ID` decide; first blocks of the others: {}",
        fork.block,
        fork.height,
        branches.join(", ")
    )
}

/// Describes the last deep reorganization if it is recent.
fn reorganization(chain: &ChainStatus, now: u64) -> Option<String> {
    let deep = chain.sync.reorganization?;
    if now.saturating_sub(deep.at_unix) >= REORGANIZATION_SECONDS {
        return None;
    }
    let report = chain.mempool.abandoned_branch;
    let report = report.filter(|report| report.head == deep.from);
    let returned = match report {
        Some(report) => format!(
            "; {} transactions returned to the mempool, {} could not",
            report.returned, report.lost
        ),
        None => String::new(),
    };
    Some(format!(
        "reorganization of {} blocks at {}: fork point {}, old head {}, new head {}{returned}",
        deep.depth,
        utc_text(deep.at_unix),
        deep.fork,
        deep.from,
        deep.to
    ))
}

/// Describes the activity of a validator, with human-readable times. `now` is the wall-clock time
/// in seconds since 1970.
pub(super) fn activity_text(activity: &Activity, now: u64) -> String {
    match activity {
        Activity::Scheduled { timestamp } => {
            let wait = timestamp.saturating_sub(now);
            format!("next slot {} (in {wait} s)", utc_text(*timestamp))
        }
        activity => activity.to_string(),
    }
}

fn damages(cold: &ColdStats) -> Vec<String> {
    let maintenance = cold.maintenance_failure.iter();
    let maintenance = maintenance.map(|why| format!("cold storage maintenance failed: {why}"));
    let damages = cold.damages.iter();
    let damages = damages.map(|damage| format!("damaged: {damage}"));
    let further = (cold.further_damages > 0)
        .then(|| format!("damaged: {} further places", cold.further_damages));
    let set_aside = cold.set_aside.iter().map(|incident| {
        format!(
            "damaged files of cold storage are set aside: {incident}; `astreum store damaged` \
             shows them, and removes them with --clear"
        )
    });
    cold.object_store_problems
        .iter()
        .cloned()
        .chain(maintenance)
        .chain(damages)
        .chain(further)
        .chain(set_aside)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain_service::StoreFailure;
    use crate::chain_service::producer::{Halt, Problem};
    use crate::chain_service::sync::{DeepReorganization, OtherChain, SyncStatus};
    use crate::config::Config;
    use crate::store::StoreError;
    use crate::store::cold::ColdError;
    use astreum_core::chain::Participation;
    use astreum_core::chain::fork_choice::{Fork, Side};
    use astreum_core::consensus::ClockOffset;
    use astreum_core::consensus::mempool::{BranchReport, MempoolStatus};
    use astreum_core::crypto::PublicKey;
    use std::sync::Arc;

    fn id(byte: u8) -> AtomId {
        AtomId::new([byte; 32])
    }

    fn contest(cause: Cause) -> Contest {
        let side = Side {
            first: id(2),
            tip: id(3),
            blocks: 9,
            stake: None,
        };
        Contest {
            cause,
            fork: Fork {
                block: id(1),
                height: 5,
                total: None,
                ours: None,
                others: vec![side],
            },
        }
    }

    fn of(sync: SyncStatus) -> ChainStatus {
        ChainStatus {
            sync,
            ..ChainStatus::default()
        }
    }

    #[test]
    fn healthy_node_reports_no_conditions() {
        let chain = ChainStatus::default();
        let cold = ColdStats::default();
        assert_eq!(problems(&chain, Some(&cold), 0), (Vec::new(), false));
        assert_eq!(warnings(&Settings::default(), &chain), Vec::<String>::new());
    }

    #[test]
    fn storage_failure_halts_and_an_undecided_fork_does_not() {
        let full = StoreFailure::NoRoom("limit reached".to_owned());
        let chain = of(SyncStatus {
            not_stored: Some((id(7), full)),
            ..SyncStatus::default()
        });
        let (texts, halted) = problems(&chain, None, 0);
        assert!(halted && texts[0].contains("limit reached"), "{texts:?}");
        let cold = ColdStats {
            write_failure: Some("disk full".to_owned()),
            ..ColdStats::default()
        };
        let (texts, halted) = problems(&ChainStatus::default(), Some(&cold), 0);
        assert!(halted && texts[0].contains("disk full"), "{texts:?}");
        let chain = of(SyncStatus {
            contests: vec![contest(Cause::NeedsOperator), contest(Cause::Light)],
            ..SyncStatus::default()
        });
        let (texts, halted) = problems(&chain, None, 0);
        assert!(!halted && texts.len() == 1, "{texts:?}");
        assert!(texts[0].contains("chain adopt") && texts[0].contains(&id(2).to_string()));
        let texts = warnings(&Settings::default(), &chain);
        assert!(texts.len() == 1 && texts[0].contains("too little stake"));
    }

    #[test]
    fn reached_storage_limit_is_a_problem() {
        let cold = ColdStats {
            used_bytes: 90,
            limit_bytes: 100,
            is_full: true,
            ..ColdStats::default()
        };
        let (texts, halted) = problems(&ChainStatus::default(), Some(&cold), 0);
        assert!(!halted && texts.len() == 1, "{texts:?}");
        assert!(texts[0].contains("90 of the 100 bytes of cold_storage_limit"));
    }

    #[test]
    fn advice_for_a_reached_storage_limit_is_given_once() {
        let reached = ColdError::LimitReached {
            used_bytes: 402_573,
            limit_bytes: 100,
        };
        let failure = StoreError::Cold(reached).failure();
        let production = Problem::NoRoom(failure.to_string()).to_string();
        let chain = of(SyncStatus {
            not_stored: Some((id(7), failure)),
            ..SyncStatus::default()
        });
        let (texts, _) = problems(&chain, Some(&ColdStats::default()), 0);
        for text in [&production, &texts[0]] {
            assert_eq!(
                text.matches("raise cold_storage_limit").count(),
                1,
                "{text}"
            );
        }
    }

    #[test]
    fn times_are_shown_as_dates() {
        let at = 1_795_838_684;
        let next = Activity::Scheduled { timestamp: at };
        assert_eq!(
            activity_text(&next, at - 3),
            "next slot 2026-11-28 04:04:44 UTC (in 3 s)"
        );
        let halted = Activity::Halted(Halt::DuplicateValidator {
            block: id(1),
            timestamp: at,
        });
        let text = activity_text(&halted, at);
        assert!(text.contains("at 2026-11-28 04:04:44 UTC;"), "{text}");
        assert!(!text.contains("1795838684"), "{text}");
    }

    #[test]
    fn deep_reorganization_is_reported_for_a_day_with_its_transactions() {
        let deep = DeepReorganization {
            from: id(1),
            to: id(2),
            fork: id(3),
            depth: 40,
            at_unix: 1_000,
        };
        let report = BranchReport {
            head: id(1),
            fork: Some(id(3)),
            fork_height: 9,
            blocks: 40,
            returned: 6,
            lost: 1,
        };
        let chain = ChainStatus {
            mempool: Arc::new(MempoolStatus {
                abandoned_branch: Some(report),
                ..MempoolStatus::default()
            }),
            ..of(SyncStatus {
                reorganization: Some(deep),
                ..SyncStatus::default()
            })
        };
        let (texts, halted) = problems(&chain, None, 1_000 + REORGANIZATION_SECONDS - 1);
        assert!(!halted && texts.len() == 1, "{texts:?}");
        for part in [
            "40 blocks at 1970-01-01 00:16:40 UTC",
            "6 transactions returned",
            "1 could not",
        ] {
            assert!(texts[0].contains(part), "{texts:?}");
        }
        assert!(texts[0].contains(&id(3).to_string()));
        let later = 1_000 + REORGANIZATION_SECONDS;
        assert_eq!(problems(&chain, None, later).0, Vec::<String>::new());
    }

    #[test]
    fn other_chains_low_participation_and_clocks_are_warnings() {
        let ours = |byte| OtherChain::Genesis {
            theirs: id(byte),
            ours: id(1),
        };
        let peers = (0..20).map(|byte| (PublicKey::new([byte; 32]), ours(byte)));
        let chain = ChainStatus {
            clock: Some(ClockOffset {
                seconds: -90,
                groups: 2,
            }),
            ..of(SyncStatus {
                other_chains: peers.collect(),
                participation: Some(Participation {
                    actual_ppm: 1_000,
                    expected_ppm: 999_226,
                }),
                lacks_checkpoint: true,
                ..SyncStatus::default()
            })
        };
        let config = Config {
            checkpoint: Some(id(9)),
            ..Config::default()
        };
        let texts = warnings(&config.resolve().unwrap(), &chain);
        let has = |part: &str| texts.iter().filter(|text| text.contains(part)).count();
        assert_eq!(has("system clock is 90 s behind its peers"), 1);
        assert_eq!(has("hold 0.1 % of the stake; 99.9 % are expected"), 1);
        assert_eq!(has("checkpoint"), 1);
        assert_eq!(has("follows another chain"), 16);
        assert_eq!(has("4 more peers"), 1);
        let both = texts.iter().find(|text| text.contains("follows")).unwrap();
        assert!(both.contains(&id(0).to_string()) && both.contains(&id(1).to_string()));
    }
}
