//! A machine with an environment, as `eval` and `repl` use it: on its own, or over the atoms of the
//! running node.

use core::cell::RefCell;
use core::sync::atomic::AtomicBool;
use core::time::Duration;
use std::sync::Arc;

use astreum_core::atom::{Atom, AtomId, AtomSink, AtomSource, MemoryStore, SourceError};
use astreum_core::expr::Expr;
use astreum_core::machine::{Env, Evaluation, Machine};

use crate::control::{AtomReply, Client, ClientError, PutReply, Request, hex, unhex};

use super::args::NodeArgs;
use super::output::Failure;

/// Evaluates one expression after the other.
pub(super) struct Session {
    machine: Machine<Store>,
    env: Env,
}

impl Session {
    /// A session in memory, or with the atoms of the node at `node`.
    pub(super) fn new(node: Option<&NodeArgs>, limit: Option<u64>) -> Result<Self, Failure> {
        let node = node.map(client).transpose()?;
        if let Some(node) = &node {
            // Better said now than as a missing atom later.
            node.request::<serde_json::Value>(&Request::Status {})?;
        }
        let mut machine = Machine::new(Store {
            memory: MemoryStore::new(),
            node,
            problem: RefCell::default(),
        });
        machine.set_meter_limit(limit);
        Ok(Self {
            machine,
            env: Env::new(),
        })
    }

    pub(super) fn set_limit(&mut self, limit: Option<u64>) {
        self.machine.set_meter_limit(limit);
    }

    pub(super) fn set_interrupt(&mut self, flag: Arc<AtomicBool>) {
        self.machine.set_interrupt(flag);
    }

    pub(super) fn eval(&mut self, expr: &Expr) -> Evaluation {
        self.machine.eval(expr, &mut self.env)
    }

    /// What went wrong between this session and the node since the last call.
    pub(super) fn take_problem(&mut self) -> Option<String> {
        self.machine.store_mut().problem.take()
    }

    /// Whether atoms are looked for at a node.
    pub(super) fn has_node(&self) -> bool {
        self.machine.store().node.is_some()
    }

    pub(super) fn env(&self) -> &Env {
        &self.env
    }
}

/// The client for the node that the arguments name.
pub(super) fn client(args: &NodeArgs) -> Result<Client, Failure> {
    let paths = args.inputs().load()?.paths();
    let timeout = Duration::from_secs(args.timeout.get());
    Ok(Client::new(paths.control_socket, timeout))
}

/// Atoms in memory, in front of those of a node.
struct Store {
    memory: MemoryStore,
    node: Option<Client>,
    problem: RefCell<Option<String>>,
}

impl Store {
    fn failed(&self, error: &ClientError) -> String {
        let text = error.to_string();
        *self.problem.borrow_mut() = Some(text.clone());
        text
    }
}

/// The atom that a reply holds, if it is the one that was asked for.
pub(super) fn checked_atom(id: &AtomId, stored: &[u8]) -> Result<Atom, String> {
    let atom = Atom::from_bytes(stored).map_err(|error| error.to_string())?;
    if atom.id() == *id {
        Ok(atom)
    } else {
        Err(format!("the node gave another atom for {id}"))
    }
}

/// Asks the node for one atom; `None` when nobody has it.
pub(super) fn fetch(node: &Client, id: &AtomId) -> Result<Option<Atom>, ClientError> {
    let request = Request::Get { id: id.to_string() };
    let reply: AtomReply = match node.request(&request) {
        Ok(reply) => reply,
        Err(ClientError::Refused(refused)) if refused.missing.is_some() => return Ok(None),
        Err(error) => return Err(error),
    };
    let bad = |message: String| ClientError::BadReply { message };
    let kind = match reply.kind.as_str() {
        "symbol" => 0,
        "bytes" => 1,
        "list" => 2,
        other => return Err(bad(format!("unknown kind {other:?}"))),
    };
    let next: AtomId = reply
        .next
        .parse()
        .map_err(|_| bad("its next id is no id".to_owned()))?;
    let data = unhex(&reply.data).ok_or_else(|| bad("its data is not hex".to_owned()))?;
    let stored = [next.as_bytes().as_slice(), &[kind], &data].concat();
    checked_atom(id, &stored).map(Some).map_err(bad)
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
            let atoms = vec![hex(&atom.to_bytes())];
            let kept: Result<PutReply, ClientError> = node.request(&Request::Put { atoms });
            kept.map_err(|error| self.failed(&error))?;
        }
        self.memory.insert(atom);
        Ok(())
    }
}
