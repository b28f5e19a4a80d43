//! The examples, run with their own assertions.

#[path = "../examples/async_atoms.rs"]
mod async_atoms;
#[cfg(feature = "chain")]
#[path = "../examples/light_client.rs"]
mod light_client;
#[path = "../examples/plugin_host.rs"]
mod plugin_host;
#[path = "../examples/repl.rs"]
#[expect(
    dead_code,
    reason = "the test calls what `main` calls, with other streams"
)]
mod repl;
#[path = "../examples/trie_proof.rs"]
mod trie_proof;

#[test]
fn async_host_fetches_missing_atoms() {
    async_atoms::main();
}

#[cfg(feature = "chain")]
#[test]
fn light_client_follows_headers_and_rejects_what_is_not_proven() {
    light_client::main().unwrap();
}

#[test]
fn plugin_host_limits_and_charges_its_plugins() {
    plugin_host::main().unwrap();
}

#[test]
fn repl_keeps_definitions_and_points_at_errors() {
    let mut output = Vec::new();
    let input = "(((($0 $1 add) sk)) plus def)\n(1 2 plus)\n(1 2\n";
    repl::run(input.as_bytes(), &mut output).unwrap();
    let text = String::from_utf8(output).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.contains(&"3"), "{text}");
    assert!(text.contains('^'), "{text}");
}

#[test]
fn trie_proves_entries_and_their_absence() {
    trie_proof::main().unwrap();
}
