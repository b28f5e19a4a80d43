//! Command `astreum`: the implementation is in [`astreum_node::cli`].

fn main() -> std::process::ExitCode {
    astreum_node::cli::main()
}
