//! Commands `put`, `get`, `status`, `peers` and `eval --node` over a control socket with a store of
//! atoms.

use std::sync::{Arc, Mutex};

use astreum_core::atom::{Atom, AtomId, AtomSource as _, MemoryStore};
use astreum_node::rpc::{
    AtomParts, AtomReader, AtomReply, Caller, PartialService, PeerReply, PutReply, RpcError,
    SentReply, Server, Service, StatusReply, StoredReply, push_atom, request,
};

use astreum_tests::testkit::Home;

/// Fault in a list that is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    /// The second atom is another one.
    OtherAtom,
    /// An atom follows the last one.
    Surplus,
    /// The last atom is not sent.
    Truncated,
}

/// Service that answers like a node without peers.
#[derive(Default)]
struct Atoms {
    atoms: Mutex<MemoryStore>,
    advertised: Mutex<Vec<(AtomId, bool)>>,
    fault: Mutex<Option<Fault>>,
}

/// Size in bytes of the frames of a transfer.
const FRAME_BYTES: usize = 1_000;

impl Atoms {
    fn atom(&self, id: &AtomId) -> Result<Atom, RpcError> {
        let found = self.atoms.lock().unwrap().atom(id);
        found.map_err(|_| RpcError::missing(id))
    }

    /// Sends a list in small frames, so that its atoms have to be joined.
    fn send(&self, params: &request::GetAtoms, caller: &Caller) -> Result<SentReply, RpcError> {
        let transfers = caller.transfers()?;
        let fault = *self.fault.lock().unwrap();
        let (mut atoms, mut bytes, mut next) = (0, 0, params.id);
        let send = |atom: &Atom| {
            let mut record = Vec::new();
            let (kind, next, data) = (atom.kind(), atom.next(), atom.data());
            push_atom(AtomParts { kind, next, data }, &mut record);
            let mut parts = record.chunks(FRAME_BYTES);
            parts.try_for_each(|part| transfers.send(params.transfer, part))
        };
        while next != AtomId::ZERO {
            let mut atom = self.atom(&next)?;
            next = atom.next();
            (atoms, bytes) = (atoms + 1, bytes + atom.data().len() as u64);
            match fault {
                Some(Fault::OtherAtom) if atoms == 2 => atom = Atom::bytes(*b"other"),
                Some(Fault::Truncated) if next == AtomId::ZERO => break,
                _ => {}
            }
            send(&atom)?;
        }
        if fault == Some(Fault::Surplus) {
            send(&Atom::bytes(*b"more"))?;
        }
        transfers.send(params.transfer, &[])?;
        Ok(SentReply { atoms, bytes })
    }

    fn receive(
        &self,
        params: &request::PutAtoms,
        caller: &Caller,
    ) -> Result<StoredReply, RpcError> {
        let (mut reader, mut bytes) = (AtomReader::new(1 << 20), 0);
        loop {
            let part = caller.transfers()?.receive(params.transfer)?;
            if part.is_empty() {
                break;
            }
            reader.read(&part, &mut |parts| {
                bytes += parts.data.len() as u64;
                self.atoms.lock().unwrap().insert(parts.to_atom());
                Ok::<_, RpcError>(())
            })?;
        }
        Ok(StoredReply {
            atoms: reader.finish()?,
            bytes,
            durable: false,
        })
    }
}

impl PartialService for Atoms {
    fn get(&self, params: request::Get, _: &Caller) -> Result<AtomReply, RpcError> {
        let atom = self.atom(&params.id)?;
        Ok(AtomReply::from(&atom))
    }

    fn get_atoms(&self, params: request::GetAtoms, caller: &Caller) -> Result<SentReply, RpcError> {
        self.send(&params, caller)
    }

    fn put_atoms(
        &self,
        params: request::PutAtoms,
        caller: &Caller,
    ) -> Result<StoredReply, RpcError> {
        self.receive(&params, caller)
    }

    fn put(&self, params: request::Put, _: &Caller) -> Result<PutReply, RpcError> {
        let put = |atom| self.atoms.lock().unwrap().insert(atom);
        let ids = params.atoms.into_iter().map(put).collect();
        Ok(PutReply {
            ids,
            durable: false,
        })
    }

    fn advertise(&self, params: request::Advertise, _: &Caller) -> Result<(), RpcError> {
        let mut advertised = self.advertised.lock().unwrap();
        advertised.push((params.id, params.list));
        Ok(())
    }

    fn status(&self, _: request::Status, _: &Caller) -> Result<StatusReply, RpcError> {
        Ok(StatusReply {
            version: "9.9".to_owned(),
            ..StatusReply::default()
        })
    }

    fn peers(&self, _: request::Peers, _: &Caller) -> Result<Vec<PeerReply>, RpcError> {
        Ok(Vec::new())
    }
}

fn serve(home: &Home) -> (Arc<Atoms>, Server) {
    let atoms = Arc::new(Atoms::default());
    let service = Arc::clone(&atoms) as Arc<dyn Service>;
    let server = Server::start(&home.control_socket(), service).unwrap();
    (atoms, server)
}

#[test]
fn files_round_trip_through_put_and_get() {
    let home = Home::new("round");
    let (_, _server) = serve(&home);
    let noise = |len: usize| -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    };
    for len in [0, 1, 3_899, 3_900, 3_901, 50_000, 3_000_000] {
        let bytes = noise(len);
        home.file("in", &bytes);
        let id = home.run(&["put", "in"]).lines()[0].to_owned();
        let raw = home.run(&["get", &id, "--list", "--raw"]);
        assert!(raw.code == 0 && raw.stdout == bytes, "{len}");
        home.run(&["get", &id, "--list", "-o", "out"]).lines();
        assert!(
            std::fs::read(home.path().join("out")).unwrap() == bytes,
            "{len}"
        );
    }
}

#[test]
fn get_verifies_every_atom_of_a_list() {
    let home = Home::new("verify");
    let (atoms, _server) = serve(&home);
    home.file("in", vec![7; 10_000]);
    let id = home.run(&["put", "in"]).lines()[0].to_owned();
    for (fault, reason) in [
        (Fault::OtherAtom, "another atom instead of"),
        (Fault::Surplus, "more atoms than the list has"),
        (Fault::Truncated, "the list ends before atom"),
    ] {
        *atoms.fault.lock().unwrap() = Some(fault);
        home.run(&["get", &id, "--list", "-o", "out"])
            .fails(1, &["invalid reply of the node", reason]);
        let left = std::fs::read_dir(home.path()).unwrap().count();
        assert_eq!(left, 2, "{fault:?}: only the input and the state directory");
        assert_eq!(home.run(&["get", &id, "--list", "--raw"]).code, 1);
    }
}

#[test]
fn put_reports_stored_atoms_and_missing_durability() {
    let home = Home::new("put");
    let (atoms, _server) = serve(&home);
    let ran = home.run_with(&["put", "-", "--json", "--advertise"], &[7; 4_000]);
    assert!(ran.stderr.contains("lost when it stops"), "{ran:?}");
    let reply = ran.json();
    assert_eq!(
        (&reply["atoms"], &reply["bytes"]),
        (&2.into(), &4_000.into())
    );
    let id = reply["id"].as_str().unwrap().to_owned();
    assert_eq!(
        *atoms.advertised.lock().unwrap(),
        [(id.parse().unwrap(), true)]
    );
    home.run(&["put", "none"]).fails(1, &["none: No such file"]);
    // The first piece alone is not taken for the file.
    let id = reply["id"].as_str().unwrap();
    let ran = home.run(&["get", id, "--raw"]);
    assert!(ran.code == 0 && ran.stdout.len() == 3_900);
    assert!(ran.stderr.contains("--list gets the whole list"), "{ran:?}");
    assert_eq!(home.run(&["get", id, "--list", "--raw"]).stderr, "");
}

#[test]
fn get_prints_human_readable_and_json_forms() {
    let home = Home::new("get");
    let (atoms, _server) = serve(&home);
    let id = atoms.atoms.lock().unwrap().insert(Atom::bytes(*b"hello"));
    let id = id.to_string();
    assert_eq!(home.run(&["get", &id]).lines(), ["bytes \"hello\""]);
    assert_eq!(
        home.run(&["get", &format!("0x{id}"), "--raw"]).stdout,
        b"hello"
    );
    let atom = home.run(&["get", &id, "--json"]).json();
    assert_eq!(
        (&atom["kind"], &atom["data"]),
        (&"bytes".into(), &"68656c6c6f".into())
    );
    home.run(&["get", &"7".repeat(64)])
        .fails(1, &["was not found"]);
    home.run(&["get", &"7".repeat(64), "--list", "-o", "out"])
        .fails(1, &["was not found"]);
    let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "only the state directory: {left:?}");
    home.run(&["get", "7"]).fails(2, &["64 hex digits"]);
}

#[test]
fn get_writes_to_pipes_and_devices_without_replacing_them() {
    use std::os::unix::fs::FileTypeExt as _;
    let home = Home::new("special");
    let (atoms, _server) = serve(&home);
    let id = atoms.atoms.lock().unwrap().insert(Atom::bytes(*b"hello"));
    let id = id.to_string();
    assert_eq!(home.run(&["get", &id, "-o", "/dev/stdout"]).text(), "hello");
    // Creating a device would need root; a pipe is special in the same way.
    let pipe = home.path().join("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let read = {
        let pipe = pipe.clone();
        std::thread::spawn(move || std::fs::read(pipe).unwrap())
    };
    home.run(&["get", &id, "-o", "pipe"]).lines();
    assert_eq!(read.join().unwrap(), b"hello");
    assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo());
    // A link stays a link, and its target gets the content.
    let file = home.file("file", "before");
    std::os::unix::fs::symlink("file", home.path().join("link")).unwrap();
    home.run(&["get", &id, "-o", "link"]).lines();
    assert!(home.path().join("link").is_symlink());
    assert_eq!(std::fs::read(file).unwrap(), b"hello");
    home.run(&["get", &id, "-o", "state"])
        .fails(1, &["directory"]);
    home.run(&["get", &id, "-o", "none/out"])
        .fails(1, &["none/out: the directory", "none does not exist"]);
}

#[test]
fn expressions_are_stored_and_evaluated_over_atoms_of_the_node() {
    let home = Home::new("ref");
    let (_, _server) = serve(&home);
    let ran = home.run_with(&["put", "-", "--kind", "symbol"], b"hello\n");
    let id = ran.lines()[0].to_owned();
    assert_eq!(home.run(&["get", &id]).lines(), ["symbol hello"]);
    let ran = home.run_with(&["put", "-", "--kind", "expr"], b"\"some text\"");
    let id = ran.lines()[0].to_owned();
    let source = format!("(0x{id} ref)");
    assert_eq!(
        home.run(&["eval", &source, "--node"]).lines(),
        ["(\"some text\")"]
    );
    let alone = home.run(&["eval", &source]);
    assert_eq!(
        (alone.code, alone.text()),
        (1, "error eval: ref target not found\n")
    );
    alone.fails(1, &[&id, "--node"]);
    home.run_with(&["put", "-", "--kind", "expr"], b"(")
        .fails(1, &["expected ')'", "^"]);
}

#[test]
fn status_and_peers_are_shown() {
    let home = Home::new("status");
    let (_, server) = serve(&home);
    assert!(home.run(&["status"]).text().contains("version         9.9"));
    assert_eq!(home.run(&["status", "--json"]).json()["version"], "9.9");
    assert_eq!(home.run(&["peers"]).lines(), ["no peers"]);
    assert!(home.run(&["peers", "--json"]).lines().is_empty());
    server.stop();
    home.run(&["status"])
        .fails(1, &["no node is running", "astreum run"]);
    home.run(&["eval", "1", "--node"])
        .fails(1, &["no node is running"]);
}
