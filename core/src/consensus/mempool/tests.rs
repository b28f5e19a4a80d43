//! Mempool over chains that the tests make, without a producer.

use super::announcements::Declined;
use super::broadcast::{REPEAT_BLOCKS, REPEAT_TIME};
use super::pool::MAX_AGE;
use super::waiting::Data;
use super::*;
use crate::atom::{Atom, AtomSource as _, MemoryStore};
use crate::chain::{Block, Builder, Election, Genesis, Transaction, TransactionError, Unsigned};
use crate::consensus::{HeadState, Now};
use crate::crypto::PublicKey;
use crate::engine::{Extent, FetchError, FetchRequest};
use crate::integer::Natural;
use crate::testkit::{BEGINNING, ChainHost, address, key, transaction};
use crate::trie::Scalar;
use crate::wire::network_group::NetworkGroup;
use alloc::vec;
use core::ops::{Deref, DerefMut};

mod abandoned;
mod counts;
mod restarts;

fn transfer(from: u8, counter: u64) -> Transaction {
    transaction(from, address(9), 1, counter, &[])
}

/// Node with a mempool and without peers: the test decides what is fetched.
struct Host {
    chain: ChainHost<Mempool, MemoryStore>,
    effects: Vec<Effect>,
    events: Vec<Event>,
    replaced: u32,
}

fn config() -> MempoolConfig {
    MempoolConfig {
        is_validator: true,
        ..MempoolConfig::default()
    }
}

fn genesis(store: &mut MemoryStore) -> Block {
    let mut genesis = Genesis::new(address(1), Natural::ZERO, BEGINNING.into());
    for number in 5..9 {
        genesis
            .balances
            .insert(address(number), 1_000_000_u64.into());
    }
    genesis.build(&mut Scalar, store).unwrap()
}

impl Host {
    fn new(config: MempoolConfig) -> (Self, Block) {
        let mut store = MemoryStore::new();
        let block = genesis(&mut store);
        let clock = Now {
            instant: Instant::from_secs(100),
            unix: Duration::from_secs(BEGINNING),
        };
        let mut host = Self {
            chain: ChainHost::new(Mempool::new(config), store, clock),
            effects: Vec::new(),
            events: Vec::new(),
            replaced: 0,
        };
        host.adopt(&block);
        (host, block)
    }

    fn restore_file(&mut self) -> Result<usize, Damage> {
        let ChainHost {
            component, files, ..
        } = &mut self.chain;
        component.restore(&files.mempool)
    }

    /// Ends the node and starts it again with the contents of its disk.
    fn restart(&mut self, config: MempoolConfig) -> Result<usize, Damage> {
        let head = self.context.head().cloned();
        self.call(Mempool::flush_in);
        self.component = Mempool::new(config);
        self.context = Context::new(None);
        self.effects.clear();
        let restored = self.restore_file();
        if let Some(head) = head {
            self.context.set_head(head);
        }
        self.settle();
        restored
    }

    fn call(&mut self, act: impl FnOnce(&mut Mempool, &Environment<'_>, &mut Context)) {
        self.chain.call(act);
        while let Some(effect) = self.context.poll_effect() {
            match effect {
                Effect::Keep(_) | Effect::SaveMempool(Save::Append { .. }) => {
                    self.chain.carry_out(effect);
                }
                Effect::SaveMempool(Save::Replace(_)) => {
                    self.chain.carry_out(effect);
                    self.replaced += 1;
                }
                effect => self.effects.push(effect),
            }
        }
        while let Some(event) = self.context.poll_event() {
            self.events.push(event);
        }
    }

    fn input(&mut self, input: &Input) {
        self.call(|mempool, environment, context| {
            mempool.handle_input(environment, context, input);
        });
    }

    /// Runs it until nothing is due.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            self.call(Mempool::advance);
            if !self.is_due() {
                return;
            }
        }
        panic!("always busy");
    }

    fn pass(&mut self, time: Duration) {
        let end = self.instant() + time;
        while self.instant() < end {
            self.chain.pass(Duration::from_millis(100));
            self.settle();
        }
    }

    fn submit(&mut self, transaction: &Transaction) -> AtomId {
        let id = transaction.write(&mut self.store).unwrap();
        let (peer, group) = (None, None);
        self.input(&Input::Transaction { peer, group, id });
        self.settle();
        id
    }

    fn announce(&mut self, transaction: &Transaction) -> AtomId {
        let id = transaction.write(&mut self.store).unwrap();
        self.input(&Input::Transaction {
            peer: Some(PublicKey::new([4; 32])),
            group: Some(NetworkGroup::of([10, 0, 0, 4].into())),
            id,
        });
        self.settle();
        id
    }

    fn adopt(&mut self, block: &Block) {
        let head = Head::new(block.clone(), HeadState::Verified).unwrap();
        self.context.set_head(head);
        self.settle();
    }

    /// Makes a block on `parent` with these transactions, like another node.
    fn block(&mut self, parent: &Block, transactions: &[Transaction], salt: u64) -> Block {
        let store = &mut self.chain.store;
        let election = Election::read(&*store, parent).unwrap();
        let mut builder = Builder::new(&*store, parent, &election.stakes);
        for transaction in transactions {
            builder.apply(transaction).unwrap().unwrap();
        }
        let body = builder.finish(&mut Scalar, None).unwrap();
        let timestamp = &parent.timestamp + &(2 + salt).into();
        let header = body.header(parent, address(1), timestamp, parent.difficulty.clone());
        let block = header.signed(None);
        store.extend(body.atoms.into_iter().map(|(_, atom)| atom));
        for transaction in transactions {
            transaction.write(&mut *store).unwrap();
        }
        block.write(&mut *store).unwrap();
        block
    }

    fn ready(&self) -> Vec<AtomId> {
        self.component.status().ready.clone()
    }

    fn announced(&mut self) -> Vec<(AtomId, Recipient)> {
        let effects = core::mem::take(&mut self.effects);
        let announced = effects.into_iter().filter_map(|effect| match effect {
            Effect::Announce { transaction, to } => Some((transaction, to)),
            _ => None,
        });
        announced.collect()
    }
}

impl Deref for Host {
    type Target = ChainHost<Mempool, MemoryStore>;

    fn deref(&self) -> &Self::Target {
        &self.chain
    }
}

impl DerefMut for Host {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.chain
    }
}

impl Mempool {
    fn flush_in(&mut self, environment: &Environment<'_>, context: &mut Context) {
        self.set_now(environment);
        self.flush(context);
    }
}

#[test]
fn standing_is_known_from_announcement_to_inclusion() {
    let (mut host, genesis) = Host::new(config());
    let first = transfer(5, 1);
    let id = host.announce(&first);
    let second = host.announce(&transfer(5, 2));
    let standing = |host: &Host, id| host.component.standing(&id);
    let (before, ready) = (1, 2);
    assert_eq!(
        standing(&host, second),
        Some(Standing::Ready { before, ready })
    );
    let block = host.block(&genesis, &[first], 0);
    host.adopt(&block);
    assert_eq!(standing(&host, id), None, "the chain knows it");
    assert_eq!(host.ready(), [second]);
    // It expires without a new head.
    host.chain.pass(MAX_AGE);
    host.settle();
    assert_eq!(
        standing(&host, second),
        Some(Standing::Left(Outcome::Expired))
    );
    let third = host.announce(&transfer(40, 1));
    let refused = Outcome::Refused(
        TransactionError::NoSender {
            sender: address(40),
        }
        .into(),
    );
    assert_eq!(standing(&host, third), Some(Standing::Left(refused)));
}

#[test]
fn announces_own_transactions_until_inclusion_and_once_to_new_validators() {
    let (mut host, genesis) = Host::new(MempoolConfig::default());
    let sent = transfer(5, 1);
    let id = host.submit(&sent);
    assert_eq!(host.announced(), [(id, Recipient::Validators)]);
    assert_eq!(host.component.status().own.get(&id), Some(&None));
    // No validators are known.
    let (transaction, validators) = (id, 0);
    host.input(&Input::Announced {
        transaction,
        validators,
    });
    assert_eq!(host.component.status().own.get(&id), Some(&Some(0)));
    let mut head = genesis;
    for _ in 0..REPEAT_BLOCKS {
        assert!(host.announced().is_empty());
        head = host.block(&head, &[], 0);
        host.pass(Duration::from_secs(2));
        host.adopt(&head);
    }
    assert_eq!(host.announced(), [(id, Recipient::Validators)]);
    host.pass(REPEAT_TIME);
    assert_eq!(
        host.announced(),
        [(id, Recipient::Validators)],
        "without blocks, too"
    );
    // The mempool is announced once to a validator that connects.
    let peer = PublicKey::new([8; 32]);
    for _ in 0..2 {
        host.input(&Input::ValidatorSeen { peer });
        host.pass(Duration::from_secs(1));
    }
    assert_eq!(host.announced(), [(id, Recipient::Peer(peer))]);
    let block = host.block(&head, &[sent], 0);
    host.adopt(&block);
    host.pass(REPEAT_TIME * 2);
    assert!(host.announced().is_empty());
    assert!(host.component.status().own.is_empty());
}

#[test]
fn rechecks_own_transactions_before_announcing_them_again() {
    let (mut host, genesis) = Host::new(MempoolConfig::default());
    let (included, invalidated) = (transfer(5, 1), transfer(6, 1));
    let id = host.submit(&included);
    let invalidated_id = host.submit(&invalidated);
    // In a block whose list is not stored, and whose child is adopted at once.
    let all = Unsigned {
        chain_id: Natural::ZERO,
        amount: 999_997_u64.into(),
        counter: Natural::ONE,
        data: [].as_slice().into(),
        recipient: address(9),
    };
    let first = host.block(&genesis, &[included, all.sign(&key(6))], 0);
    let second = host.block(&first, &[], 0);
    host.adopt(&second);
    assert_eq!(host.component.standing(&id), None);
    let standing = host.component.standing(&invalidated_id);
    let Some(Standing::Left(Outcome::Refused(Refusal::Transaction(rejection)))) = standing else {
        panic!("{standing:?}");
    };
    assert!(
        matches!(rejection, TransactionError::Balance { .. }),
        "{rejection:?}"
    );
    assert!(host.ready().is_empty());
}

#[test]
fn follower_ignores_announcements_and_repeated_ones_are_not_refusals() {
    let (mut host, _) = Host::new(MempoolConfig::default());
    let id = host.announce(&transfer(5, 1));
    assert_eq!(host.component.standing(&id), None);
    let (mut host, _) = Host::new(config());
    for _ in 0..3 {
        host.announce(&transfer(5, 1));
    }
    assert_eq!(
        (host.ready().len(), host.component.status().refused),
        (1, 0)
    );
    // The local user is informed of the reason.
    let forged = transfer(5, 2);
    let forged = Unsigned::clone(&forged).signed(address(6), *forged.signature());
    let id = host.submit(&forged);
    host.submit(&forged);
    let standing = host.component.standing(&id);
    let refused = Outcome::Refused(Refusal::Declined(Declined::Refused));
    assert_eq!(standing, Some(Standing::Left(refused)));
}

#[test]
fn foreign_transaction_becomes_own_when_submitted_locally() {
    let (mut host, _) = Host::new(config());
    let sent = transfer(5, 1);
    let id = host.announce(&sent);
    assert!(host.announced().is_empty());
    host.submit(&sent);
    assert_eq!(host.announced(), [(id, Recipient::Validators)]);
    assert!(host.component.status().own.contains_key(&id));
    // Also after a restart: the last entry counts.
    host.restart(config()).unwrap();
    assert!(host.component.status().own.contains_key(&id));
}

#[test]
fn lists_with_the_same_missing_tail_fail_together() {
    let (mut host, _) = Host::new(config());
    let tail = AtomId::new([0xaa; 32]);
    for number in 0..20_u8 {
        let head = Atom::new(crate::atom::AtomKind::Bytes, [number], tail);
        let list = host.store.insert(head);
        let data = [&[crate::chain::contract::OPEN][..], list.as_bytes()].concat();
        let opening = Unsigned {
            chain_id: Natural::ZERO,
            amount: Natural::ZERO,
            counter: Natural::ONE,
            data: data.as_slice().into(),
            recipient: crate::chain::BURN,
        };
        host.announce(&opening.clone().sign(&key(5 + number % 4)));
        host.pass(Duration::from_millis(100));
    }
    assert_eq!(host.component.status().waiting.len(), 20);
    let asked = |host: &Host| {
        let effects = host.effects.iter();
        let asked =
            effects.filter(|effect| matches!(effect, Effect::Fetch(FetchRequest { id, extent: Extent::Beginning(_), .. }) if *id == tail));
        asked.count()
    };
    assert_eq!(asked(&host), 1, "one fetch for all of them");
    for _ in 0..waiting::MAX_FAILURES {
        let (id, from) = (tail, None);
        let outcome = Err(FetchError::NotFound);
        host.input(&Input::Fetched { id, outcome, from });
        host.settle();
    }
    assert_eq!(asked(&host), usize::from(waiting::MAX_FAILURES));
    let status = host.component.status();
    assert!(status.waiting.is_empty() && host.component.needs.is_empty());
    let refused = Outcome::Refused(Refusal::MissingAtom(tail));
    assert_eq!(
        status
            .outcomes
            .iter()
            .filter(|(_, one)| *one == refused)
            .count(),
        20
    );
}

#[test]
fn head_that_advances_by_several_blocks_abandons_none() {
    let (mut host, genesis) = Host::new(config());
    let first = host.block(&genesis, &[transfer(5, 1)], 0);
    let second = host.block(&first, &[transfer(5, 2)], 0);
    let third = host.block(&second, &[], 0);
    host.adopt(&third);
    host.pass(Duration::from_secs(1));
    let returned = |host: &Host| {
        let events = host.events.iter();
        events
            .filter(|event| matches!(event, Event::TransactionsReturned(_)))
            .count()
    };
    assert_eq!(returned(&host), 0);
    assert!(host.component.abandoned_branch.is_none());
    host.adopt(&second);
    host.pass(Duration::from_secs(1));
    assert_eq!(returned(&host), 1, "an empty block was left");
}

#[test]
fn pending_work_is_due_immediately() {
    let (mut host, _) = Host::new(config());
    let transaction = transfer(5, 1);
    let id = transaction.write(&mut host.store).unwrap();
    let (peer, group) = (None, None);
    host.input(&Input::Transaction { peer, group, id });
    let now = Instant::ZERO + host.component.now;
    assert_eq!(host.component.poll_timeout(), Some(now));
}

#[test]
fn transaction_with_missing_data_waits_and_is_left_out_of_the_next_block() {
    let (mut host, _) = Host::new(config());
    let [lacking, other] = [5, 6].map(|from| host.announce(&transfer(from, 1)));
    let atom = Atom::bytes(*b"part of the state");
    let bytes = host.component.status().bytes;
    assert!(bytes > 200);
    host.call(|mempool, environment, context| {
        mempool.set_now(environment);
        mempool.settle_assembly(context, &[], &[(lacking, Data::Atom(atom.id()))]);
    });
    assert_eq!(host.ready(), [other]);
    assert_eq!(host.component.status().bytes, bytes, "waiting ones count");
    let standing = host.component.standing(&lacking);
    assert!(
        matches!(standing, Some(Standing::Waiting { .. })),
        "{standing:?}"
    );
    host.settle();
    let fetched = host
        .effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Fetch(FetchRequest { id, extent: Extent::Beginning(_), .. }) if *id == atom.id()));
    assert_eq!(fetched.count(), 1);
    host.store.extend([atom.clone()]);
    host.input(&Input::Fetched {
        id: atom.id(),
        outcome: Ok(vec![atom]),
        from: None,
    });
    host.settle();
    assert_eq!(host.ready().len(), 2, "it is ready again");
}

#[test]
fn debug_output_has_the_type_name_and_no_contents() {
    let (host, _) = Host::new(config());
    let shown = alloc::format!("{:?}", host.component);
    assert!(
        shown.starts_with("Mempool") && shown.len() < 1_000,
        "{shown}"
    );
    assert!(!alloc::format!("{}", Damage::Format).is_empty());
}

#[test]
fn number_of_remembered_included_own_transactions_is_bounded() {
    let (mut host, _) = Host::new(config());
    for number in 0..5_000_u64 {
        host.component
            .remember_own(AtomId::new(blake3::hash(&number.to_be_bytes()).into()));
    }
    assert_eq!(host.component.own_included.len(), 4_096);
    let newest = AtomId::new(blake3::hash(&4_999_u64.to_be_bytes()).into());
    assert_eq!(host.component.own_included.back(), Some(&newest));
}

#[test]
fn data_needed_only_by_included_transactions_is_released() {
    let (mut host, genesis) = Host::new(config());
    let transactions = [transfer(5, 1), transfer(6, 1)];
    let ids = [0, 1].map(|at| host.announce(&transactions[at]));
    let atom = AtomId::new([77; 32]);
    host.call(|mempool, environment, context| {
        mempool.set_now(environment);
        let lacking = ids.map(|id| (id, Data::Atom(atom)));
        mempool.settle_assembly(context, &[], &lacking);
    });
    let [first, second] = transactions;
    let block = host.block(&genesis, &[first], 0);
    host.adopt(&block);
    assert!(
        !host.component.needs.is_empty(),
        "the other one waits for it"
    );
    let block = host.block(&block, &[second], 0);
    host.adopt(&block);
    assert!(host.component.needs.is_empty());
}
