//! Session of `eval` and `repl`: a machine with an environment, on its own or over the atoms of the
//! running node.

use core::cell::RefCell;
use core::sync::atomic::AtomicBool;
use core::time::Duration;
use std::sync::Arc;

use astreum_core::atom::{Atom, AtomId, AtomSink, AtomSource, MemoryStore, SourceError};
use astreum_core::expr::Expr;
use astreum_core::machine::{Env, Evaluation, Limits, Machine, Progress, Reason, Suspended};
use astreum_core::text::Script;
use astreum_script::library;

use crate::WaitLimit;
use crate::rpc::{Client, ClientError, EVAL_FETCH_SECONDS, request};

use super::language_args::LimitArgs;
use super::limits::EvalLimits;
use super::node_args::NodeArgs;
use super::output::Failure;
use super::report::Sources;

/// Number of steps of an evaluation after which waiting output may be written.
const SLICE_STEPS: u64 = 1 << 22;

/// Machine and environment for expressions that are evaluated in order.
pub(super) struct Session {
    machine: Machine<Store>,
    env: Env,
    limits: EvalLimits,
    interrupt: Option<Arc<AtomicBool>>,
}

impl Session {
    /// Creates a session in memory, or over the atoms of the node at `at` if `node` is set.
    pub(super) fn new(at: &NodeArgs, node: bool, args: &LimitArgs) -> Result<Self, Failure> {
        let loaded = at.load()?;
        let limits = EvalLimits::new(args, &loaded.settings);
        let node = node.then(|| {
            let timeout = Duration::from_secs(at.timeout.get());
            Client::new(loaded.paths().control_socket, timeout)
        });
        if let Some(node) = &node {
            // Reports a missing node now rather than as a missing atom later.
            node.request(&request::Status {})?;
        }
        let store = Store {
            memory: MemoryStore::new(),
            node,
            fetch_seconds: args.fetch_timeout.unwrap_or(EVAL_FETCH_SECONDS),
            problem: RefCell::default(),
        };
        let mut session = Self {
            machine: Machine::new(store),
            env: Env::new(),
            limits,
            interrupt: None,
        };
        session.machine.set_slice(Some(SLICE_STEPS));
        session.set(limits);
        Ok(session)
    }

    /// Returns the limits.
    pub(super) const fn limits(&self) -> EvalLimits {
        self.limits
    }

    /// Sets the limits.
    pub(super) const fn set(&mut self, limits: EvalLimits) {
        self.limits = limits;
        self.machine.set_limits(limits.machine);
        self.machine.set_meter_limit(limits.meter);
    }

    pub(super) fn set_interrupt(&mut self, flag: Arc<AtomicBool>) {
        self.machine.set_interrupt(Arc::clone(&flag));
        self.interrupt = Some(flag);
    }

    /// Defines the standard library, outside of the environment that [`Session::env`] lists. The
    /// limits do not apply to it.
    pub(super) fn load_library(&mut self, sources: &mut Sources<'_>) -> Result<(), Failure> {
        let script = Script::parse(library::SOURCE).map_err(Failure::failed)?;
        let mut env = Env::new();
        self.machine.set_limits(Limits::DEFAULT);
        self.machine.set_meter_limit(None);
        for expr in script.exprs() {
            self.machine.eval(expr, &mut env);
        }
        self.set(self.limits);
        let own = core::mem::take(&mut self.env);
        self.env = Env::with_parent(Arc::new(env));
        for (name, value) in own.iter() {
            self.env.set(name, value.clone());
        }
        sources.know(library::names());
        sources.add("<std>", 0, script);
        Ok(())
    }

    /// Starts to evaluate an expression step by step.
    pub(super) fn begin(&mut self, expr: &Expr) -> Progress {
        let wait_limit = self.wait_limit();
        wait_limit.scope(|| self.machine.start_stepping(expr, &mut self.env))
    }

    /// Runs one step of an evaluation that [`Session::begin`] started.
    pub(super) fn advance(&mut self, suspended: Suspended) -> Progress {
        let wait_limit = self.wait_limit();
        wait_limit.scope(|| self.machine.step(suspended, &mut self.env))
    }

    /// Runs such an evaluation to its end.
    pub(super) fn complete(&mut self, suspended: Suspended) -> Evaluation {
        let wait_limit = self.wait_limit();
        wait_limit.scope(|| self.machine.finish(suspended, &mut self.env))
    }

    /// Returns the atoms in memory, sorted by id.
    pub(super) fn atoms(&self) -> Vec<(AtomId, Atom)> {
        let atoms = self.machine.store().memory.iter();
        let mut atoms: Vec<_> = atoms.map(|(id, atom)| (*id, atom.clone())).collect();
        atoms.sort_by_key(|(id, _)| *id);
        atoms
    }

    /// Returns the number of atoms in memory.
    pub(super) fn atom_count(&self) -> usize {
        self.machine.store().memory.len()
    }

    fn wait_limit(&self) -> WaitLimit {
        let fetches = Duration::from_secs(self.machine.store().fetch_seconds);
        let wait_limit = WaitLimit::NONE.within(fetches);
        match &self.interrupt {
            Some(interrupt) => wait_limit.until(Arc::clone(interrupt)),
            None => wait_limit,
        }
    }

    /// Evaluates an expression; calls `at_slice` if that takes long.
    pub(super) fn eval(&mut self, expr: &Expr, at_slice: impl FnOnce()) -> Evaluation {
        let wait_limit = self.wait_limit();
        wait_limit.scope(|| self.run(expr, at_slice))
    }

    fn run(&mut self, expr: &Expr, at_slice: impl FnOnce()) -> Evaluation {
        match self.machine.start(expr, &mut self.env) {
            Progress::Done(evaluation) => evaluation,
            Progress::Suspended(mut suspended) => {
                if matches!(suspended.reason(), Reason::Slice) {
                    at_slice();
                } else {
                    suspended.refuse();
                }
                self.machine.finish(suspended, &mut self.env)
            }
        }
    }

    /// Returns the last error between this session and the node since the last call.
    pub(super) fn take_problem(&mut self) -> Option<String> {
        self.machine.store_mut().problem.take()
    }

    /// Returns whether atoms are looked up at a node.
    pub(super) fn has_node(&self) -> bool {
        self.machine.store().node.is_some()
    }

    pub(super) fn env(&self) -> &Env {
        &self.env
    }
}

/// Atoms in memory, in front of those of a node.
struct Store {
    memory: MemoryStore,
    node: Option<Client>,
    /// Maximum seconds for all fetches of an evaluation together.
    fetch_seconds: u64,
    problem: RefCell<Option<String>>,
}

impl Store {
    fn failed(&self, error: &ClientError) -> String {
        let text = if WaitLimit::in_force().is_over() {
            format!(
                "the fetches of the expression were interrupted or timed out after {} s; \
                 --fetch-timeout sets the limit",
                self.fetch_seconds
            )
        } else {
            error.to_string()
        };
        *self.problem.borrow_mut() = Some(text.clone());
        text
    }
}

/// Checks that the atom of a reply is the requested one.
pub(super) fn checked_atom(id: &AtomId, atom: Atom) -> Result<Atom, String> {
    if atom.id() == *id {
        Ok(atom)
    } else {
        Err(format!("the node returned another atom for {id}"))
    }
}

/// Requests one atom from the node; `None` if it is not found.
pub(super) fn fetch(node: &Client, id: &AtomId) -> Result<Option<Atom>, ClientError> {
    match get(node, id) {
        Ok(atom) => Ok(Some(atom)),
        Err(ClientError::Refused(refused)) if refused.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Requests one atom from the node. If it is not found, the node's error contains advice.
pub(super) fn get(node: &Client, id: &AtomId) -> Result<Atom, ClientError> {
    let bad = |message: String| ClientError::BadReply { message };
    let reply = node.request(&request::Get { id: *id })?;
    let atom = reply.atom().map_err(bad)?;
    checked_atom(id, atom).map_err(bad)
}

impl AtomSource for Store {
    type Error = String;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<String>> {
        if let Ok(atom) = self.memory.atom(id) {
            return Ok(atom);
        }
        let Some(node) = &self.node else {
            return Err(SourceError::Missing(*id));
        };
        match fetch(node, id) {
            Ok(Some(atom)) => Ok(atom),
            Ok(None) => Err(SourceError::Missing(*id)),
            Err(error) => Err(SourceError::Failed(self.failed(&error))),
        }
    }
}

impl AtomSink for Store {
    type Error = String;

    fn put(&mut self, _: AtomId, atom: Atom) -> Result<(), String> {
        if let Some(node) = &self.node {
            let atoms = vec![atom.clone()];
            let kept = node.request(&request::Put { atoms });
            kept.map_err(|error| self.failed(&error))?;
        }
        self.memory.insert(atom);
        Ok(())
    }
}
