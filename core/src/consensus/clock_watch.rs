//! Detection of system clock errors: jumps against the monotonic clock, and disagreement with
//! peers.
//!
//! Validators publish a block at its timestamp, so the age of a head when a peer announces it
//! measures the offset of the local clock. A head that is seconds old confirms the clock, a head
//! from the future shows that the clock is behind, and heads that are all equally old although new
//! ones keep coming show that it is ahead. A single old head shows nothing: the chain may have
//! stopped, or the peer may be syncing.
//!
//! Evidence counts per network group, the newest of each:
//! - a head from the future, of which only the header is known, since it is refused until its time;
//! - a verified head, which only a scheduled validator can have made.
//!
//! The clock is *behind* if more groups announce heads from the future than announce other heads.
//! It is *ahead* if no group announces a fresh head or one from the future, and the heads of the
//! other groups advance at the rate of the monotonic clock. Either has to last [`PERSISTENCE`]. The
//! only consequence is a warning: no decision depends on it, since a single peer can cause it.
//!
//! Bounds: [`MAX_ANNOUNCED_HEADS`] announced heads that are not verified, [`MAX_GROUPS`] groups.
//! Evidence is dropped after [`EVIDENCE_LIFETIME`], and all of it when the clock jumps.

use super::Now;
use crate::atom::{AtomId, AtomSource};
use crate::chain::Block;
use crate::time::Instant;
use crate::wire::network_group::NetworkGroup;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt;
use core::time::Duration;

/// Maximum gain or loss of the wall clock between two checks; anything more is a jump.
pub const MAX_DRIFT: Duration = Duration::from_secs(2);
/// Interval between checks of the clocks.
pub const TICK: Duration = Duration::from_secs(1);
/// Maximum difference between a head's announcement and its timestamp that counts as agreement, in
/// seconds.
pub const TOLERANCE_SECONDS: i64 = 5;
/// Minimum duration of a disagreement before it is reported.
pub const PERSISTENCE: Duration = Duration::from_secs(5);
/// Duration for which evidence counts.
pub const EVIDENCE_LIFETIME: Duration = Duration::from_secs(600);
/// Maximum number of announced heads that are not verified yet.
pub const MAX_ANNOUNCED_HEADS: usize = 64;
/// Maximum number of network groups with evidence.
pub const MAX_GROUPS: usize = 256;

/// Maximum number of verified heads of one group that are compared.
const TRACK: usize = 4;
/// Minimum number of verified heads of one group that show a rate.
const MIN_TRACK: usize = 3;
/// Maximum number of announced heads that are looked up in one call.
const LOOKUPS_PER_CALL: usize = 16;

/// Difference between the system clock and the clocks of peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockOffset {
    /// Seconds by which the system clock is ahead; negative if it is behind.
    pub seconds: i64,
    /// Number of network groups that support it.
    pub groups: usize,
}

impl fmt::Display for ClockOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = if self.seconds < 0 {
            "behind"
        } else {
            "ahead of"
        };
        let seconds = self.seconds.unsigned_abs();
        write!(f, "system clock is {seconds} s {direction} its peers")
    }
}

/// Event of the system clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClockEvent {
    /// The wall clock was set forward, or back if the number of seconds is negative.
    Jumped {
        /// Size of the jump, in seconds.
        seconds: i64,
    },
    /// The clock disagrees with the clocks of peers.
    Disagrees(ClockOffset),
    /// The clock agrees with the clocks of peers again.
    Agrees,
}

impl fmt::Display for ClockEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jumped { seconds } => {
                let direction = if *seconds < 0 { "back" } else { "forward" };
                let seconds = seconds.unsigned_abs();
                write!(f, "the system clock was set {direction} by {seconds} s")
            }
            Self::Disagrees(offset) => offset.fmt(f),
            Self::Agrees => f.write_str("the system clock agrees with its peers again"),
        }
    }
}

/// Announced head, with the groups that announced it and the times.
#[derive(Debug)]
struct AnnouncedHead {
    id: AtomId,
    by: Vec<(NetworkGroup, Now)>,
    /// Timestamp of the head, once its header is known.
    timestamp: Option<u64>,
}

/// Newest evidence of one group.
#[derive(Debug)]
struct Evidence {
    at: Instant,
    /// Seconds from the head's timestamp to its announcement.
    age_seconds: i64,
    /// Times of announcement of the last verified heads, and their timestamps.
    track: VecDeque<(Instant, u64)>,
}

/// Detector of clock errors. See the [module](self).
#[derive(Debug, Default)]
pub struct ClockWatch {
    last: Option<Now>,
    announced: VecDeque<AnnouncedHead>,
    groups: BTreeMap<NetworkGroup, Evidence>,
    /// Disagreement that the evidence shows, and since when it has shown one close to it.
    found: Option<(ClockOffset, Instant)>,
    reported: Option<ClockOffset>,
}

impl ClockWatch {
    /// Records a head that a peer announces.
    pub fn head_announced(&mut self, now: Now, group: NetworkGroup, id: AtomId) {
        if let Some(known) = self
            .announced
            .iter_mut()
            .find(|announced| announced.id == id)
        {
            let is_new = !known.by.iter().any(|(other, _)| *other == group);
            if is_new && known.by.len() < MAX_GROUPS {
                known.by.push((group, now));
                let seen = known.timestamp;
                if let Some(timestamp) = seen.filter(|seen| is_early(now, *seen)) {
                    self.add(group, now, timestamp, false);
                }
            }
            return;
        }
        if self.announced.len() >= MAX_ANNOUNCED_HEADS {
            self.announced.pop_front();
        }
        self.announced.push_back(AnnouncedHead {
            id,
            by: [(group, now)].into(),
            timestamp: None,
        });
    }

    /// Records that a head was verified.
    pub fn head_verified(&mut self, id: &AtomId, timestamp: u64) {
        let Some(at) = self
            .announced
            .iter()
            .position(|announced| announced.id == *id)
        else {
            return;
        };
        let Some(announced) = self.announced.remove(at) else {
            return;
        };
        for (group, now) in announced.by {
            self.add(group, now, timestamp, true);
        }
    }

    /// Looks up headers of announced heads, to find heads from the future.
    pub fn read_headers(&mut self, atoms: &dyn AtomSource<Error = Infallible>) {
        let mut early = Vec::new();
        let unseen = self
            .announced
            .iter_mut()
            .filter(|announced| announced.timestamp.is_none());
        for announced in unseen.take(LOOKUPS_PER_CALL) {
            let block = Block::read(atoms, announced.id).ok();
            let Some(timestamp) = block.and_then(|block| block.timestamp.to_u64()) else {
                continue;
            };
            announced.timestamp = Some(timestamp);
            for (group, now) in &announced.by {
                if is_early(*now, timestamp) {
                    early.push((*group, *now, timestamp));
                }
            }
        }
        for (group, now, timestamp) in early {
            self.add(group, now, timestamp, false);
        }
    }

    fn add(&mut self, group: NetworkGroup, now: Now, timestamp: u64, is_verified: bool) {
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&group) {
            let oldest = self.groups.iter().min_by_key(|(_, evidence)| evidence.at);
            if let Some(oldest) = oldest.map(|(group, _)| *group) {
                self.groups.remove(&oldest);
            }
        }
        let evidence = self.groups.entry(group).or_insert_with(|| Evidence {
            at: now.instant,
            age_seconds: 0,
            track: VecDeque::new(),
        });
        evidence.at = evidence.at.max(now.instant);
        evidence.age_seconds = age_seconds(now, timestamp);
        if is_verified {
            if evidence.track.len() >= TRACK {
                evidence.track.pop_front();
            }
            evidence.track.push_back((now.instant, timestamp));
        } else {
            evidence.track.clear();
        }
    }

    /// Compares the clocks and evaluates the evidence. Must be called at least every [`TICK`].
    /// Returns at most one event per call.
    pub fn tick(&mut self, now: Now) -> Option<ClockEvent> {
        let last = self.last.replace(now);
        if let Some(seconds) = last.and_then(|last| jump_seconds(last, now)) {
            // Ages were computed with the clock before the jump.
            self.announced.clear();
            self.groups.clear();
            self.found = None;
            return Some(ClockEvent::Jumped { seconds });
        }
        self.groups
            .retain(|_, evidence| now.instant.since(evidence.at) < EVIDENCE_LIFETIME);
        let found = self.evaluate();
        let since = match (&self.found, &found) {
            (Some((before, since)), Some(found)) if before.agrees_with(found) => *since,
            _ => now.instant,
        };
        self.found = found.map(|found| (found, since));
        match (found, self.reported) {
            (Some(found), reported)
                if now.instant.since(since) >= PERSISTENCE
                    && !reported.is_some_and(|reported| reported.agrees_with(&found)) =>
            {
                self.reported = Some(found);
                Some(ClockEvent::Disagrees(found))
            }
            (None, Some(_)) => {
                self.reported = None;
                Some(ClockEvent::Agrees)
            }
            _ => None,
        }
    }

    /// Returns the offset of the system clock, if a disagreement has been reported and still holds.
    #[must_use]
    pub fn offset(&self) -> Option<ClockOffset> {
        let (found, _) = self.found.filter(|_| self.reported.is_some())?;
        Some(found)
    }

    /// Returns when [`ClockWatch::tick`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        self.last.map_or(Instant::ZERO, |last| last.instant + TICK)
    }

    fn evaluate(&self) -> Option<ClockOffset> {
        let (mut early, mut others) = (Vec::new(), 0);
        let mut late = Vec::new();
        for evidence in self.groups.values() {
            let age = evidence.age_seconds;
            if age < -TOLERANCE_SECONDS {
                early.push(age);
                continue;
            }
            others += 1;
            if age > TOLERANCE_SECONDS && evidence.is_live() {
                late.push(age);
            }
        }
        if early.len() > others {
            early.sort_unstable();
            let groups = early.len();
            let seconds = *early.get(groups / 2)?;
            return Some(ClockOffset { seconds, groups });
        }
        // A single fresh head refutes it: validators do not make blocks from the future.
        if early.is_empty() && !late.is_empty() && late.len() == others {
            let (groups, seconds) = (late.len(), late.into_iter().min()?);
            return Some(ClockOffset { seconds, groups });
        }
        None
    }
}

impl ClockOffset {
    /// Returns whether this is the same disagreement as `other`, within tolerance.
    const fn agrees_with(&self, other: &Self) -> bool {
        self.seconds.abs_diff(other.seconds) <= 2 * TOLERANCE_SECONDS.unsigned_abs()
    }
}

impl Evidence {
    /// Returns whether the group's heads advance at the rate of the monotonic clock.
    fn is_live(&self) -> bool {
        let pairs = self.track.iter().zip(self.track.iter().skip(1));
        let mut pairs = pairs.map(|((from, earlier), (to, later))| {
            let passed = i64::try_from(to.since(*from).as_secs()).unwrap_or(i64::MAX);
            let advanced = signed_difference(*later, *earlier);
            advanced > 0 && advanced.abs_diff(passed) <= TOLERANCE_SECONDS.unsigned_abs()
        });
        self.track.len() >= MIN_TRACK && pairs.all(|is_live| is_live)
    }
}

/// Returns `a - b`, saturated to `i64`.
fn signed_difference(a: u64, b: u64) -> i64 {
    let magnitude = i64::try_from(a.abs_diff(b)).unwrap_or(i64::MAX);
    if a < b { -magnitude } else { magnitude }
}

fn age_seconds(now: Now, timestamp: u64) -> i64 {
    signed_difference(now.unix.as_secs(), timestamp)
}

/// Returns whether a head was announced well before its timestamp.
fn is_early(now: Now, timestamp: u64) -> bool {
    age_seconds(now, timestamp) < -TOLERANCE_SECONDS
}

/// Returns the size of a jump of the wall clock between two checks, in seconds, if there was one.
fn jump_seconds(last: Now, now: Now) -> Option<i64> {
    let expected = last.unix.saturating_add(now.instant.since(last.instant));
    if now.unix.abs_diff(expected) <= MAX_DRIFT {
        return None;
    }
    // Round to the nearest second.
    let half = Duration::from_millis(500);
    let rounded = |time: Duration| time.saturating_add(half).as_secs();
    Some(signed_difference(rounded(now.unix), rounded(expected)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::MemoryStore;
    use crate::testkit::header;
    use alloc::string::ToString;

    const BEGINNING: u64 = 1_800_000_000;

    /// Node whose clock is wrong by some seconds, and a chain with a block every two seconds.
    struct World {
        watch: ClockWatch,
        store: MemoryStore,
        /// True number of seconds since the beginning.
        time: u64,
        wrong_by: i64,
        events: Vec<ClockEvent>,
    }

    fn group(number: u8) -> NetworkGroup {
        NetworkGroup::of([10, 0, 0, number].into())
    }

    impl World {
        fn new(wrong_by: i64) -> Self {
            Self {
                watch: ClockWatch::default(),
                store: MemoryStore::new(),
                time: 1_000,
                wrong_by,
                events: Vec::new(),
            }
        }

        fn now(&self) -> Now {
            let unix = (BEGINNING + self.time).saturating_add_signed(self.wrong_by);
            Now {
                instant: Instant::from_secs(self.time),
                unix: Duration::from_secs(unix),
            }
        }

        /// Has a group announce a block of this true time, which arrives now.
        fn announces(&mut self, by: u8, time: u64, is_ours: bool) {
            let timestamp = BEGINNING + time;
            let block = header(time, AtomId::ZERO, timestamp).signed(None);
            let (now, id) = (self.now(), block.id());
            block.write(&mut self.store).unwrap();
            self.watch.head_announced(now, group(by), id);
            self.watch.read_headers(&self.store);
            // A block that is too early is refused.
            let is_early = timestamp > now.unix.as_secs() + 2;
            if is_ours && !is_early {
                self.watch.head_verified(&id, timestamp);
            }
        }

        fn tick(&mut self) {
            while let Some(event) = self.watch.tick(self.now()) {
                self.events.push(event);
            }
        }

        /// Runs the chain, with these groups announcing each block `lag` seconds late.
        fn run(&mut self, seconds: u64, by: &[(u8, u64)]) {
            for _ in 0..seconds {
                self.time += 1;
                for (by, lag) in by {
                    if (self.time - lag).is_multiple_of(2) {
                        self.announces(*by, self.time - lag, true);
                    }
                }
                self.tick();
            }
        }
    }

    #[test]
    fn correct_clock_causes_no_events() {
        for lag in 0..4 {
            let mut world = World::new(0);
            world.run(100, &[(1, lag), (2, lag + 1)]);
            assert_eq!((world.watch.offset(), world.events.len()), (None, 0));
        }
    }

    #[test]
    fn reports_wrong_clock_with_offset_and_direction() {
        for (wrong_by, expected, text) in [
            (-90, -90..=-85, "s behind its peers"),
            (90, 90..=95, "s ahead of its peers"),
            (-1_200, -1_200..=-1_195, "s behind its peers"),
            (-7, -7..=-5, "s behind its peers"),
        ] {
            let mut world = World::new(wrong_by);
            world.run(30, &[(1, 0), (2, 1)]);
            let offset = world.watch.offset().unwrap();
            assert!(expected.contains(&offset.seconds), "{wrong_by}: {offset:?}");
            assert_eq!(offset.groups, 2);
            assert!(offset.to_string().contains(text), "{offset}");
            assert_eq!(world.events[0].to_string(), offset.to_string());
            assert_eq!(world.events.len(), 1, "{:?}", world.events);
            // Corrected: a jump, after which evidence is collected again.
            world.wrong_by = 0;
            world.run(30, &[(1, 0), (2, 1)]);
            let events = [
                ClockEvent::Jumped { seconds: -wrong_by },
                ClockEvent::Agrees,
            ];
            assert_eq!(&world.events[1..], events);
            assert_eq!(world.watch.offset(), None);
        }
    }

    #[test]
    fn clock_of_1970_is_behind_and_its_correction_is_a_jump() {
        let wrong_by = -i64::try_from(BEGINNING + 1_000).unwrap();
        let mut world = World::new(wrong_by);
        world.run(20, &[(1, 0)]);
        let offset = world.watch.offset().unwrap();
        assert!(offset.seconds <= wrong_by + 5, "{offset:?}");
        world.wrong_by = 0;
        world.tick();
        let jumped = ClockEvent::Jumped { seconds: -wrong_by };
        assert!(world.events.contains(&jumped), "{:?}", world.events);
    }

    #[test]
    fn single_network_cannot_outvote_several_and_stopped_or_syncing_peers_do_not_count() {
        let mut world = World::new(0);
        for _ in 0..60 {
            world.run(1, &[(1, 0), (2, 0)]);
            // Blocks from the future, which anyone can make.
            let time = world.time + 500;
            world.announces(9, time, false);
        }
        assert_eq!((world.watch.offset(), world.events.len()), (None, 0));
        // Two networks of them against one do.
        let mut world = World::new(0);
        for _ in 0..60 {
            world.run(1, &[(1, 0)]);
            for by in [8, 9] {
                let time = world.time + 500;
                world.announces(by, time, false);
            }
        }
        assert!(world.watch.offset().is_some(), "a majority of networks");
        // A syncing peer announces old heads in quick succession.
        let mut world = World::new(0);
        for height in 0..60 {
            world.time += 1;
            let time = world.time - 600 + 10 * height;
            world.announces(1, time, true);
            world.tick();
        }
        assert_eq!((world.watch.offset(), world.events.len()), (None, 0));
        // A chain that stopped an hour ago.
        let mut world = World::new(0);
        world.time = 5_000;
        world.announces(1, 1_400, true);
        world.announces(2, 1_400, true);
        world.run(60, &[]);
        assert_eq!((world.watch.offset(), world.events.len()), (None, 0));
        // A peer that is always a minute late, and one that is not.
        let mut world = World::new(0);
        world.run(60, &[(1, 60), (2, 0)]);
        assert_eq!((world.watch.offset(), world.events.len()), (None, 0));
    }

    #[test]
    fn detects_clock_jumps_of_more_than_two_seconds_but_not_drift() {
        let mut watch = ClockWatch::default();
        let at = |instant: u64, millis: u64| Now {
            instant: Instant::from_secs(instant),
            unix: Duration::from_millis(BEGINNING * 1_000 + millis),
        };
        assert_eq!(watch.tick(at(0, 0)), None);
        assert_eq!(watch.tick(at(1, 2_900)), None, "within what is tolerated");
        assert_eq!(watch.tick(at(2, 3_900)), None);
        let jumped = |seconds| Some(ClockEvent::Jumped { seconds });
        assert_eq!(watch.tick(at(3, 9_900)), jumped(5));
        let text = jumped(-5)
            .map(|event| event.to_string())
            .unwrap_or_default();
        assert_eq!(text, "the system clock was set back by 5 s");
        assert_eq!(watch.tick(at(4, 10_900)), None, "reported once");
        assert_eq!(watch.tick(at(5, 900)), jumped(-11));
        // A suspended machine, whose monotonic clock stood still.
        assert_eq!(watch.tick(at(6, 3_600_900)), jumped(3_599));
        assert_eq!(watch.poll_timeout(), Instant::from_secs(7));
    }

    #[test]
    fn evidence_is_bounded_and_expires() {
        let mut watch = ClockWatch::default();
        let mut store = MemoryStore::new();
        let now = |seconds| Now {
            instant: Instant::from_secs(seconds),
            unix: Duration::from_secs(BEGINNING + seconds),
        };
        for number in 0..3_000_u64 {
            let [.., high, low] = number.to_be_bytes();
            let block = header(number, AtomId::ZERO, BEGINNING + 9_000 + number).signed(None);
            let ours = NetworkGroup::of([10, 1, high, low].into());
            watch.head_announced(now(0), ours, block.id());
            if number % 2 == 0 {
                block.write(&mut store).unwrap();
            }
            watch.read_headers(&store);
        }
        assert!(watch.announced.len() <= MAX_ANNOUNCED_HEADS && watch.groups.len() == MAX_GROUPS);
        let id = AtomId::new([1; 32]);
        for number in 0..3_000_u64 {
            let [.., high, low] = number.to_be_bytes();
            watch.head_announced(now(0), NetworkGroup::of([10, 2, high, low].into()), id);
        }
        assert!(
            watch
                .announced
                .iter()
                .all(|announced| announced.by.len() <= MAX_GROUPS)
        );
        for seconds in 0..700 {
            watch.tick(now(seconds));
        }
        assert!(watch.groups.is_empty() && watch.offset().is_none());
    }
}
