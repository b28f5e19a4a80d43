//! Waiting between two plans of a producer.

use super::{Phase, RETRY, Wait};
use crate::time::Instant;
use core::time::Duration;

/// Time after which the next plan is made, unless something happens earlier, if the end of the wait
/// is unknown.
pub(super) const REPLAN: Duration = Duration::from_secs(60);
/// Returns a phase that waits before the next plan.
pub(super) fn wait(now: Instant, why: Wait) -> Phase {
    let pause = match why {
        Wait::NoStake | Wait::NoSlotSoon | Wait::NoChain | Wait::LostBlock(_) => REPLAN,
        _ => RETRY,
    };
    let until = now + pause;
    Phase::Wait { until, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_delay_depends_on_how_soon_the_wait_can_end() {
        let now = Instant::ZERO + Duration::from_secs(5);
        for why in [Wait::NoStake, Wait::NoSlotSoon, Wait::NoChain] {
            let Phase::Wait { until, .. } = wait(now, why.clone()) else {
                panic!("{why:?}");
            };
            assert_eq!(until, now + REPLAN, "{why:?}");
        }
        for why in [Wait::Listening, Wait::Behind, Wait::LoadingHead] {
            let Phase::Wait { until, .. } = wait(now, why.clone()) else {
                panic!("{why:?}");
            };
            assert_eq!(until, now + RETRY, "{why:?}");
        }
        assert!(RETRY < REPLAN);
    }
}
