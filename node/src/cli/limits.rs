//! Limits of evaluations, from options, configuration and REPL commands, and messages about them.

use astreum_core::machine::{Exceeded, LimitKind, Limits};

use super::language_args::LimitArgs;
use super::number_arg::number;
use crate::config::Settings;

/// Limits that can be set, with the names of their options.
const NAMES: [(&str, LimitKind); 8] = [
    ("limit", LimitKind::Meter),
    ("depth", LimitKind::Depth),
    ("steps", LimitKind::Steps),
    ("stack", LimitKind::Stack),
    ("heap", LimitKind::Heap),
    ("live-bytes", LimitKind::LiveBytes),
    ("atoms", LimitKind::Atoms),
    ("atom-bytes", LimitKind::AtomBytes),
];

/// Limits of evaluations, including the meter's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct EvalLimits {
    pub(super) machine: Limits,
    pub(super) meter: Option<u64>,
}

impl EvalLimits {
    /// Returns the limits of the options, else of the settings.
    pub(super) fn new(args: &LimitArgs, settings: &Settings) -> Self {
        let base = settings.eval_limits();
        let machine = Limits {
            depth: args.depth.unwrap_or(base.depth),
            stack_items: args.stack.unwrap_or(base.stack_items),
            heap_entries: args.heap.unwrap_or(base.heap_entries),
            live_bytes: args.live_bytes.unwrap_or(base.live_bytes),
            steps: args.steps.unwrap_or(base.steps),
            atoms: args.atoms.unwrap_or(base.atoms),
            atom_bytes: args.atom_bytes.unwrap_or(base.atom_bytes),
        };
        Self {
            machine,
            meter: args.limit,
        }
    }

    /// Returns name and value of each limit; `None` for an unlimited meter.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&'static str, Option<u64>)> {
        NAMES.into_iter().map(|(name, kind)| match kind {
            LimitKind::Meter => (name, self.meter),
            kind => (name, self.machine.get(kind)),
        })
    }

    /// Sets the limit with this name; `meter` is the meter's limit, which `none` removes.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let name = if name == "meter" { "limit" } else { name };
        let found = NAMES.iter().find(|(known, _)| *known == name);
        let Some((_, kind)) = found else {
            let names: Vec<_> = NAMES.iter().skip(1).map(|(name, _)| *name).collect();
            return Err(format!(
                "unknown limit {name:?}: expected meter, {}",
                names.join(", ")
            ));
        };
        let value = match value {
            "none" => None,
            value => Some(number(value)?),
        };
        let limits = &mut self.machine;
        let limit = match kind {
            LimitKind::Depth => &mut limits.depth,
            LimitKind::Steps => &mut limits.steps,
            LimitKind::Stack => &mut limits.stack_items,
            LimitKind::Heap => &mut limits.heap_entries,
            LimitKind::LiveBytes => &mut limits.live_bytes,
            LimitKind::Atoms => &mut limits.atoms,
            LimitKind::AtomBytes => &mut limits.atom_bytes,
            _ => {
                self.meter = value;
                return Ok(());
            }
        };
        *limit = value.unwrap_or(u64::MAX);
        Ok(())
    }
}

/// The name of the option that sets a limit of this kind, without dashes.
pub(super) fn option(kind: LimitKind) -> &'static str {
    let found = NAMES.iter().find(|(_, known)| *known == kind);
    found.map_or("limit", |(name, _)| *name)
}

/// Returns the message for an exceeded limit: the limit, its value, and the way to raise it.
pub(super) fn explain(exceeded: &Exceeded, in_repl: bool) -> String {
    let option = option(exceeded.kind);
    let how = match (in_repl, exceeded.kind) {
        (true, LimitKind::Meter) => "raise it with :limit N or :limit none".to_owned(),
        (true, _) => format!("raise it with :limit {option} N"),
        (false, _) => format!("raise it with --{option} N"),
    };
    format!("{exceeded}: {how}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_settable_and_named_in_its_error() {
        let mut limits = EvalLimits::new(&LimitArgs::default(), &Settings::default());
        assert_eq!(limits.machine, Limits::DEFAULT);
        for (at, (name, kind)) in (100..).zip(NAMES) {
            limits.set(name, &at.to_string()).unwrap();
            let expected = match kind {
                LimitKind::Meter => limits.meter,
                kind => limits.machine.get(kind),
            };
            assert_eq!(expected, Some(at), "{name}");
            let exceeded = Exceeded {
                kind,
                limit: at,
                used: at + 1,
            };
            let message = explain(&exceeded, false);
            assert!(message.contains(&at.to_string()) && message.contains(&format!("--{name} ")));
        }
        assert_eq!(limits.rows().map(|(_, value)| value).max(), Some(Some(107)));
        limits.set("meter", "none").unwrap();
        limits.set("depth", "none").unwrap();
        assert_eq!((limits.meter, limits.machine.depth), (None, u64::MAX));
        assert!(limits.set("speed", "1").is_err());
        assert!(limits.set("depth", "-1").is_err());
    }
}
