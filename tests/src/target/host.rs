//! Fuzz target of local input: configuration files and requests over the control socket. Each
//! malformed one gives an error with a message; no error reveals a secret.

use astreum_node::config::Loaded;
use astreum_node::rpc::{Handler, Reply, Request, answer_line};
use core::sync::atomic::AtomicBool;
use std::path::Path;
use std::sync::Arc;

/// Handler that accepts every request and returns it as text.
struct Echo;

impl Handler for Echo {
    fn handle(&self, request: Request, _: &Arc<AtomicBool>) -> Reply {
        serde_json::to_value(&request).map_err(|error| error.to_string().into())
    }
}

/// Reads the bytes as a configuration file, and each of its lines as a request.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Loaded::from_toml(Path::new("/node.toml"), &text) {
        Ok(loaded) => assert!(
            loaded.config.clone().resolve().ok() == Some(loaded.config),
            "a loaded configuration is valid"
        ),
        Err(errors) => {
            let said = errors.to_string();
            assert!(!said.is_empty(), "the error text is not empty");
            assert!(
                said.len() <= 64 * (text.len() + 1_024),
                "the error text is bounded"
            );
        }
    }
    let gone = Arc::default();
    for line in data.split(|byte| *byte == b'\n') {
        let answer = answer_line(&Echo, line, &gone);
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(&answer);
        let parsed = parsed.unwrap_or_else(|error| panic!("{answer} is not JSON: {error}"));
        let is_ok = parsed.get("ok").and_then(serde_json::Value::as_bool);
        if is_ok == Some(true) {
            let request = parsed.get("result").cloned().unwrap_or_default();
            let again = answer_line(&Echo, request.to_string().as_bytes(), &gone);
            assert_eq!(again, answer, "a request round-trips");
        } else {
            assert_eq!(is_ok, Some(false));
            let said = parsed.get("error").and_then(serde_json::Value::as_str);
            assert!(said.is_some_and(|said| !said.is_empty()), "{answer}");
        }
        assert!(!answer.contains('\n'), "the reply is one line");
    }
}
