//! Reasons an evaluation is suspended.

use super::outcome::Missing;
use crate::expr::Symbol;

/// Reason an evaluation is suspended.
///
/// ```
/// use astreum_core::atom::{AtomId, NoStore};
/// use astreum_core::machine::{Env, Machine, Progress, Reason};
///
/// let id = AtomId::new([7; 32]);
/// let expr = astreum_core::text::parse(&format!("(0x{id} ref)")).unwrap();
/// let Progress::Suspended(suspended) = Machine::new(NoStore).start(&expr, &mut Env::new()) else {
///     panic!("the atom is missing");
/// };
/// let wait = match suspended.reason() {
///     Reason::Slice | Reason::Interrupted => "resume it later".to_owned(),
///     Reason::Missing(missing) => format!("fetch {}", missing.id),
///     Reason::Meter { cost } => format!("grant {cost}"),
///     Reason::HostFunction { name } => format!("answer for {name}"),
///     _ => "repair the store".to_owned(),
/// };
/// assert_eq!(wait, format!("fetch {id}"));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// The slice of steps is used up, see [`Machine::set_slice`](super::Machine::set_slice). It can
    /// be resumed at any time.
    Slice,
    /// The host interrupted it. It continues when it is resumed with the flag cleared.
    Interrupted,
    /// An atom is missing. It continues when it is resumed and the store has the atom.
    Missing(Missing),
    /// The meter refused a charge. It continues when it is resumed after a
    /// [grant](super::Suspended::grant).
    Meter {
        /// Amount of the charge.
        cost: u64,
    },
    /// A host function has no value yet. It is called again when the evaluation is resumed, unless
    /// the host [answers](super::Suspended::answer) for it.
    HostFunction {
        /// Name of the function.
        name: Symbol,
    },
    /// The store or a host function failed; the error is available from
    /// [`Machine::take_host_error`](super::Machine::take_host_error). The operation is retried when
    /// the evaluation is resumed.
    HostError,
}
