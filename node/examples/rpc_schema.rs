//! Prints the schema of the control socket: the content of `docs/rpc-schema.json`.

fn main() {
    println!("{:#}", astreum_node::rpc::schema());
}
