//! Atoms, lists and expressions sent over the network.

use crate::environment::Environment;
use crate::ours::Ours;
use crate::reference::{Reference, Start, nearer_to};
use crate::suite::{Outcome, ensure, ensure_eq, wait_for};
use astreum_core::atom::{Atom, AtomKind, bytes_list};
use astreum_core::text;
use astreum_node::rpc::hex;
use serde_json::{Value, json};

/// Maximum data of an atom that a reference node can receive, in bytes.
const LARGEST_ATOM_BYTES: usize = 3_957;

/// Starts a reference and a node of ours that know each other.
fn pair(environment: &Environment) -> Result<(Ours, Reference), String> {
    let mut reference = Reference::fresh(environment)?;
    let ours = Ours::with_seeds(environment, &[reference.address()])?;
    reference.wait_for_peer(&ours.key)?;
    ours.wait_for_peer(&reference.key)?;
    Ok((ours, reference))
}

/// Returns the data that the reference gets under this id, locally or from the network.
fn fetch_at_reference(reference: &mut Reference, id: &str) -> Result<Value, String> {
    Ok(reference.call("get", json!({"id": id}))?["atom"]["data"].take())
}

pub(crate) fn value_put_here_is_fetched_there(environment: &Environment) -> Outcome {
    let (ours, mut reference) = pair(environment)?;
    let id = ours.put(&[Atom::bytes(*b"from here")])?.remove(0);
    ensure_eq!(
        fetch_at_reference(&mut reference, &id)?,
        json!(hex(b"from here")),
        "value received by the reference"
    );
    Ok(())
}

pub(crate) fn value_put_there_is_fetched_here(environment: &Environment) -> Outcome {
    let (ours, mut reference) = pair(environment)?;
    let id = reference.put(&Atom::bytes(*b"from there"))?;
    let atom = ours.get(&id)?.ok_or("our node did not receive it")?;
    ensure_eq!(
        (&atom.data.0[..], atom.kind),
        (&b"from there"[..], AtomKind::Bytes),
        "value received by our node"
    );
    ensure!(
        reference.count("Handling OBJECT_GET")? >= 1,
        "our node sent a request to the reference"
    );
    Ok(())
}

pub(crate) fn list_put_here_is_fetched_there(environment: &Environment) -> Outcome {
    let (ours, mut reference) = pair(environment)?;
    let items: Vec<Vec<u8>> = (0..50).map(|item| vec![item; 20]).collect();
    let (head, atoms) = bytes_list(&items);
    ours.put(&atoms)?;
    let got = reference.call("get_list", json!({"id": head.to_string()}))?;
    let got: Vec<&Value> = got
        .as_array()
        .into_iter()
        .flatten()
        .map(|atom| &atom["data"])
        .collect();
    let expected: Vec<Value> = items.iter().map(|item| json!(hex(item))).collect();
    ensure_eq!(
        got,
        expected.iter().collect::<Vec<_>>(),
        "list received by the reference"
    );
    Ok(())
}

pub(crate) fn list_put_there_is_fetched_here(environment: &Environment) -> Outcome {
    let (ours, mut reference) = pair(environment)?;
    let items: Vec<Vec<u8>> = (0..50).map(|item| vec![item; 20]).collect();
    let listed: Vec<String> = items.iter().map(|item| hex(item)).collect();
    let head = reference.call("put_list", json!({"items": listed}))?;
    let got = ours.get_list(head.as_str().ok_or("no head")?)?;
    ensure_eq!(got, items, "list received by our node");
    Ok(())
}

/// The answer to a list request would be truncated; our node fetches the list atom by atom.
pub(crate) fn list_too_long_for_a_datagram_is_fetched(environment: &Environment) -> Outcome {
    let (ours, mut reference) = pair(environment)?;
    let items: Vec<Vec<u8>> = (0..30).map(|item| vec![item; 2_500]).collect();
    let listed: Vec<String> = items.iter().map(|item| hex(item)).collect();
    let head = reference.call("put_list", json!({"items": listed}))?;
    let got = ours.get_list(head.as_str().ok_or("no head")?)?;
    ensure!(
        got == items,
        "the long list received by our node has {} items",
        got.len()
    );
    Ok(())
}

pub(crate) fn largest_atom_is_fetched_in_both_directions(environment: &Environment) -> Outcome {
    let (ours, mut reference) = pair(environment)?;
    let data = vec![0x5a; LARGEST_ATOM_BYTES];
    let id = ours.put(&[Atom::bytes(data.clone())])?.remove(0);
    ensure_eq!(
        fetch_at_reference(&mut reference, &id)?,
        json!(hex(&data)),
        "value received by the reference"
    );
    let data = vec![0xa5; LARGEST_ATOM_BYTES];
    let id = reference.put(&Atom::bytes(data.clone()))?;
    let atom = ours.get(&id)?.ok_or("our node did not receive it")?;
    ensure_eq!(
        atom.data.to_string(),
        hex(&data),
        "value received by our node"
    );
    Ok(())
}

/// Reference A has the object and advertised it to our node; reference C, which knows only our
/// node, requests it.
pub(crate) fn we_redirect_to_a_reference_that_is_a_provider(environment: &Environment) -> Outcome {
    let ours = Ours::fresh(environment)?;
    let start = Start {
        seeds: &[ours.address()],
        ..Start::default()
    };
    let mut provider = Reference::start(environment, &start)?;
    provider.wait_for_peer(&ours.key)?;
    let atom = nearer_to(&ours.key, &provider.key)?;
    let id = provider.put(&atom)?;
    provider.call("advertise", json!({"id": id}))?;
    wait_for("we index the provider", || {
        Ok((!ours.providers(&id)?.is_empty()).then_some(()))
    })?;
    let mut asker = Reference::start(environment, &start)?;
    asker.wait_for_peer(&ours.key)?;
    ensure_eq!(
        fetch_at_reference(&mut asker, &id)?,
        json!(hex(atom.data())),
        "value received by the requester"
    );
    ensure!(
        provider.count("Handling OBJECT_GET")? >= 1,
        "the provider received a request"
    );
    Ok(())
}

/// Reference A has the object and advertised it to reference B; our node knows only B.
pub(crate) fn reference_redirects_us_to_a_provider(environment: &Environment) -> Outcome {
    let mut index = Reference::fresh(environment)?;
    let start = Start {
        seeds: &[index.address()],
        ..Start::default()
    };
    let mut provider = Reference::start(environment, &start)?;
    provider.wait_for_peer(&index.key)?;
    let atom = nearer_to(&index.key, &provider.key)?;
    let id = provider.put(&atom)?;
    provider.call("advertise", json!({"id": id}))?;
    wait_for("the other reference indexes the provider", || {
        Ok(index.ask("providers")?.get(&id).cloned())
    })?;
    let ours = Ours::with_seeds(environment, &[index.address()])?;
    ours.wait_for_peer(&index.key)?;
    let got = ours.get(&id)?.ok_or("our node did not receive it")?;
    ensure_eq!(
        got.data.to_string(),
        hex(atom.data()),
        "value received by our node"
    );
    ensure!(
        provider.count("Handling OBJECT_GET")? >= 1,
        "the provider received a request"
    );
    Ok(())
}

/// Our node has the object and advertised it to reference B; reference C, which never started a
/// handshake with our node, requests it from our node.
pub(crate) fn unknown_reference_fetches_from_us_as_the_provider(
    environment: &Environment,
) -> Outcome {
    let (ours, mut index) = pair(environment)?;
    let near = nearer_to(&index.key, &ours.key)?;
    let id = ours.put(core::slice::from_ref(&near))?.remove(0);
    ours.advertise(&id, false, None)?;
    wait_for("the reference indexes us", || {
        Ok(index.ask("providers")?.get(&id).cloned())
    })?;
    let start = Start {
        seeds: &[index.address()],
        ..Start::default()
    };
    let mut unknown = Reference::start(environment, &start)?;
    unknown.wait_for_peer(&index.key)?;
    ensure_eq!(
        fetch_at_reference(&mut unknown, &id)?,
        json!(hex(near.data())),
        "value received by the unknown reference"
    );
    Ok(())
}

/// Complete path: text, value, atoms, store, network, the reference's own tree, and back.
pub(crate) fn source_text_round_trips_as_an_expression(environment: &Environment) -> Outcome {
    let (ours, mut reference) = pair(environment)?;
    let source = r#"((1 2 ((a b (($0 $1 add) sk)) (a b) fn)) "text" (() -129))"#;
    let evaluated = ours.eval(source)?;
    ensure!(!evaluated.is_error, "{}", evaluated.text);
    let expected = json!({"list": [
        {"bytes": "03"}, {"bytes": hex(b"text")}, {"list": [{"list": []}, {"bytes": "ff7f"}]},
    ]});
    ensure_eq!(evaluated.expr, expected, "value of the program");

    let value = text::parse(&evaluated.text).map_err(|error| error.to_string())?;
    let (id, atoms) = value.to_atoms();
    ours.put(&atoms)?;
    let rebuilt = reference.call("get_expression", json!({"id": id.to_string()}))?;
    ensure_eq!(rebuilt, expected, "expression rebuilt by the reference");

    let source = "(name (1000 (-1)) ())";
    let id = reference.call("put_source", json!({"source": source}))?;
    let back = ours.get_expression(id.as_str().ok_or("no id")?)?;
    ensure_eq!(
        Ok(back),
        text::parse(source),
        "expression rebuilt by our node"
    );
    let (head, atoms) = bytes_list(&[b"one".as_slice(), b"two"]);
    for atom in &atoms {
        reference.put(atom)?;
    }
    let followed = ours.eval(&format!("(0x{head} ref)"))?;
    let expected = json!({"list": [{"bytes": hex(b"two")}, {"bytes": hex(b"one")}]});
    ensure_eq!(
        followed.expr,
        expected,
        "value fetched by ref during evaluation"
    );
    Ok(())
}
