//! Checks of a trial: promises during it and at its end.

use super::{FIND_WITHIN, LIST_WITHIN, List, MAX_SEEKERS, MIN_HEIGHT, QUIET, Trial, equals};
use crate::sim::LIST_ATOMS;
use crate::sim::ledger::{AGREED_DEPTH, Union, ancestor, included_ids};
use crate::sim::promises::{ForkView, check_agreement};
use crate::sim::world::{SEEDS, World};
use astreum_core::atom::{AtomId, collect_list};
use astreum_core::time::Instant;
use core::time::Duration;
use std::collections::BTreeSet;

impl Trial {
    pub(super) fn check_promises(&mut self) -> Result<(), String> {
        self.world.note_accepted();
        match self.world.promises.broken() {
            Some(broken) => Err(broken.to_owned()),
            None => Ok(()),
        }
    }

    /// Checks that every key that a node runs with has made a block since the faults stopped.
    pub(super) fn check_production(&self, since: Instant) -> Result<(), String> {
        for key in 0..self.settings.validators {
            let Some(holder) = self.holder(key) else {
                continue;
            };
            let newest = self.world.promises.newest(key).map(|(at, _)| at);
            if newest.is_none_or(|at| at <= since) {
                let chain = self.world.hosts().get(holder).and_then(|host| host.chain());
                let producer = chain.and_then(|chain| chain.producer());
                let activity = producer.map(|producer| producer.activity());
                return Err(format!(
                    "key {key} on node {holder} has produced no block since the faults stopped: \
                     {activity:?}"
                ));
            }
        }
        Ok(())
    }

    /// Checks that accepted transactions, and those that only a part of the network had in its
    /// blocks, are in a block or in a mempool.
    pub(super) fn check_transactions(
        &mut self,
        returning: &BTreeSet<AtomId>,
    ) -> Result<(), String> {
        let mut pending = BTreeSet::new();
        let mut head = None;
        for chain in self.world.hosts().iter().filter_map(|host| host.chain()) {
            let held = chain.mempool().pool().pending();
            pending.extend(held.map(|held| held.entry.id));
            head = head.or(chain
                .context()
                .head()
                .map(astreum_node::chain_service::Head::id));
        }
        let included = match head {
            Some(head) => included_ids(&self.all_stores(), head)?,
            None => BTreeSet::new(),
        };
        let mut missing = returning.difference(&included);
        if let Some(lost) = missing.find(|id| !pending.contains(id)) {
            return Err(format!(
                "transaction {lost}, included by one half of the network, is in no block and no \
                 mempool"
            ));
        }
        self.chains.returned = returning.len() as u64;
        let promises = &self.world.promises;
        let checked = promises.check_transactions(self.world.now(), &included, &pending);
        let checked = checked.map_err(|what| format!("{what}{}", self.describe_nodes()));
        self.chains.transactions = checked?;
        Ok(())
    }

    /// Stops production, and compares the branches and heads of the nodes.
    pub(super) fn check_agreement(&mut self) -> Result<(), String> {
        for key in 0..self.settings.validators {
            if let Some(holder) = self.holder(key) {
                self.world.configure(holder, None);
            }
        }
        self.world.run(QUIET);
        self.check_promises()?;
        let honest = self.world.hosts().iter().filter(|host| !host.is_hostile);
        let fork_views = honest.filter_map(|host| {
            let chain = host.chain()?;
            let head = chain.context().head()?.id();
            let forks = chain.sync().status().forks;
            let sides = forks
                .iter()
                .flat_map(|fork| fork.ours.iter().chain(&fork.others));
            let tips = sides.map(|side| side.tip).chain([head]).collect();
            Some(ForkView {
                node: host.number,
                head,
                tips,
                equals: forks.iter().flat_map(equals).collect(),
            })
        });
        let fork_views: Vec<_> = fork_views.collect();
        let agreed = check_agreement(&fork_views);
        let agreed = agreed.map_err(|what| format!("{what}{}", self.describe_nodes()));
        self.chains.agreeing_pairs = agreed?;
        Ok(())
    }

    pub(super) fn check_bounds(&mut self) -> Result<(), String> {
        self.checks += self.settings.nodes as u64;
        self.world.exceeded().map_or(Ok(()), Err)
    }

    /// Checks that all acknowledged atoms are present at nodes that have started since the last
    /// check or, if `all`, at every node.
    pub(super) fn check_kept(&mut self, all: bool) -> Result<(), String> {
        for number in 0..self.settings.nodes {
            let Some(host) = self.world.host(number) else {
                continue;
            };
            if host.is_checked && !all {
                continue;
            }
            self.checks += 1;
            if let Some(id) = host.lost() {
                return Err(format!("node {number} lost the acknowledged atom {id}"));
            }
            host.is_checked = host.running.is_some();
        }
        Ok(())
    }

    /// Checks that a node that starts without peers joins despite forged handshakes.
    pub(super) fn check_newcomer(&mut self) -> Result<(), String> {
        // It never validates, and is not a seed.
        let last = self.first_hostile().saturating_sub(1);
        if last < SEEDS {
            return Ok(());
        }
        let is_forging = self.settings.hostile > 0;
        self.world.join(last, is_forging).map(|_| ())
    }

    /// Looks up one random atom of every honest node from other nodes.
    pub(super) fn check_found(&mut self) -> Result<(u64, Duration), String> {
        let honest = self.first_hostile();
        let mut wanted = 0;
        self.world.found.clear();
        for owner in 0..honest {
            let Some(host) = self.world.hosts().get(owner) else {
                continue;
            };
            let count = host.acknowledged.len();
            let any = self.world.random.below(count);
            let host = self.world.hosts().get(owner);
            let Some(id) = host.and_then(|host| host.acknowledged.iter().nth(any).copied()) else {
                continue;
            };
            for hostile in honest..self.settings.nodes {
                self.world.poison(hostile, id);
            }
            // In a large network, by a few other nodes each.
            for step in 1..honest.min(MAX_SEEKERS) {
                self.world.look_up((owner + step) % honest, id);
                wanted += 1;
            }
        }
        self.world.run(FIND_WITHIN * 4);
        if self.world.found.len() != wanted {
            let ended = self.world.found.len();
            return Err(format!("only {ended} of {wanted} lookups have ended"));
        }
        let mut slowest = Duration::ZERO;
        for found in &self.world.found {
            match found.took {
                Some(took) if took <= FIND_WITHIN => slowest = slowest.max(took),
                Some(took) => {
                    return Err(format!(
                        "node {} found {} after {took:?}",
                        found.node, found.id
                    ));
                }
                None => {
                    return Err(format!(
                        "node {} did not find {}, which a connected node has",
                        found.node, found.id
                    ));
                }
            }
        }
        Ok((wanted as u64, slowest))
    }

    /// Looks up each long list from a node that does not own it, and reads it there.
    pub(super) fn check_lists(&mut self) -> Result<(), String> {
        let honest = self.first_hostile();
        let is_kept = |list: &List, world: &World| {
            let owner = world.hosts().get(list.owner);
            owner.is_some_and(|host| host.running.is_some() && host.lists.contains(&list.head))
        };
        let lists = self.lists.clone().into_iter();
        let lists: Vec<List> = lists.filter(|list| is_kept(list, &self.world)).collect();
        self.world.found.clear();
        for list in &lists {
            let node = (list.owner + 1 + self.world.random.below(honest - 1)) % honest;
            self.world.look_up_list(node, list.head);
        }
        self.world.run(LIST_WITHIN);
        if self.world.found.len() != lists.len() {
            let (ended, wanted) = (self.world.found.len(), lists.len());
            return Err(format!(
                "only {ended} of {wanted} lookups of lists have ended"
            ));
        }
        for found in &self.world.found {
            let host = self.world.hosts().get(found.node);
            let Some(running) = host.and_then(|host| host.running.as_ref()) else {
                continue;
            };
            let atoms = collect_list(&running.store, found.id, usize::MAX);
            let count = atoms.map(|atoms| atoms.len() as u64).ok();
            if found.took.is_none() || count != Some(LIST_ATOMS) {
                return Err(format!(
                    "node {} has {count:?} atoms of the list {} after a lookup that took {:?}",
                    found.node, found.id, found.took
                ));
            }
        }
        Ok(())
    }

    /// Returns the height of the block that all agree on, and the number of transactions in the
    /// chain.
    pub(super) fn check_chain(&self) -> Result<(u64, u64), String> {
        let Some(ledger) = self.world.ledger() else {
            return Ok((0, 0));
        };
        let mut nodes = Vec::new();
        for host in self.world.hosts().iter().filter(|host| !host.is_hostile) {
            let Some(running) = host.running.as_ref() else {
                continue;
            };
            let following = running.following.as_ref();
            let head = following.and_then(|following| following.chain().context().head());
            let head = head.ok_or_else(|| format!("node {} has no head", host.number))?;
            nodes.push((host.number, head.id(), head.height(), &running.store));
        }
        let lowest = nodes
            .iter()
            .map(|(.., height, _)| *height)
            .min()
            .unwrap_or_default();
        let highest = nodes
            .iter()
            .map(|(.., height, _)| *height)
            .max()
            .unwrap_or_default();
        if lowest < MIN_HEIGHT || highest > lowest + AGREED_DEPTH {
            return Err(format!(
                "the heads of {} nodes are between {lowest} and {highest}{}",
                nodes.len(),
                self.describe_nodes()
            ));
        }
        let agreed = lowest - AGREED_DEPTH;
        let all = Union(nodes.iter().map(|(.., store)| *store).collect());
        let mut first = None;
        let mut applied = 0;
        for (number, head, ..) in &nodes {
            let block =
                ancestor(&all, *head, agreed).map_err(|what| format!("node {number}: {what}"))?;
            let (of, expected) = *first.get_or_insert((*number, block));
            if block != expected {
                return Err(format!(
                    "at height {agreed} node {of} has {expected}, node {number} has {block}"
                ));
            }
            if *number == of {
                applied = ledger.check_supply(&all, *head)?;
            }
        }
        Ok((agreed, applied))
    }

    /// Describes the state of every node, one line each.
    pub(super) fn describe_nodes(&self) -> String {
        let mut text = String::new();
        for host in self.world.hosts().iter().filter(|host| !host.is_hostile) {
            let (number, key) = (host.number, host.key);
            let Some(chain) = host.chain() else {
                text += &format!("\nnode {number}: off");
                continue;
            };
            let height = chain
                .context()
                .head()
                .map(astreum_node::chain_service::Head::height);
            let sync = chain.sync().status();
            text += &format!(
                "\nnode {number}: key {key:?}, height {height:?}, settled {}, {} contests, {} \
                 candidates, waiting for {:?}, dropped {:?}",
                sync.is_settled,
                sync.contests.len(),
                sync.candidates,
                sync.waits,
                sync.dropped
            );
            for branch in &sync.syncs {
                text += &format!("\n  {branch}");
            }
            for contest in &sync.contests {
                text += &format!("\n  {contest:?}");
            }
            for fork in &sync.forks {
                text += &format!("\n  {fork:?}");
            }
        }
        text
    }

    pub(super) fn check_settled(&self) -> Result<(), String> {
        let busy = self.world.hosts().iter().find_map(|host| {
            let engine = &host.running.as_ref()?.engine;
            // Where blocks are made, some fetches are always in progress.
            let is_following = self.settings.validators > 0;
            let fetches = if is_following {
                0
            } else {
                engine.pending_fetches()
            };
            let left = [fetches, engine.pending_work()];
            (!host.is_hostile && left != [0, 0]).then_some((host.number, left))
        });
        busy.map_or(Ok(()), |(number, [fetches, searches])| {
            Err(format!(
                "node {number} has {fetches} fetches and {searches} searches in progress"
            ))
        })
    }
}
