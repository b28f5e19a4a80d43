//! Fuzz target of local input: configuration files, and frames and messages of the control socket.
//! Each malformed one gives an error with a message; no error reveals a secret.

use astreum_node::config::Loaded;
use astreum_node::rpc::codec::{Frame, FrameReader, encode_message};
use astreum_node::rpc::{Caller, ErrorKind, PartialService, Request, answer};
use std::path::Path;

/// Service without methods.
struct Nothing;

impl PartialService for Nothing {}

/// Reads the bytes as a configuration file, as frames, and each of its lines as a message.
pub fn run(data: &[u8]) {
    super::count_operations(1);
    let text = String::from_utf8_lossy(data);
    match Loaded::from_toml(Path::new("/node.toml"), &text) {
        Ok(loaded) => {
            let settings = Some(loaded.settings.clone());
            assert!(
                loaded.into_config().resolve().ok() == settings,
                "a loaded configuration is valid, and resolves to the same settings"
            );
        }
        Err(errors) => {
            let said = errors.to_string();
            assert!(!said.is_empty(), "the error text is not empty");
            assert!(
                said.len() <= 64 * (text.len() + 1_024),
                "the error text is bounded"
            );
        }
    }
    frames(data);
    for line in data.split(|byte| *byte == b'\n') {
        message(line);
    }
}

/// Reads the bytes as frames: at once and byte by byte they are the same.
fn frames(data: &[u8]) {
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut reader, mut frames) = (FrameReader::new(), Vec::new());
        for mut piece in pieces {
            loop {
                match reader.read(&mut piece) {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => return (frames, Some(error)),
                }
            }
        }
        (frames, None)
    };
    let (frames, error) = read(&mut [data].into_iter());
    assert_eq!(
        read(&mut data.chunks(1)),
        (frames.clone(), error),
        "pieces do not matter"
    );
    assert!(
        error.is_none_or(|error| !error.to_string().is_empty()),
        "an error says something"
    );
    for frame in frames {
        if let Frame::Message(text) = frame {
            message(&text);
        }
    }
}

/// Answers a message, and writes a request again that was read.
fn message(text: &[u8]) {
    let reply = answer(&Nothing, text, &Caller::default());
    match Request::from_message(text) {
        Ok(request) => {
            let written = request.to_message(1).unwrap_or_default();
            assert!(encode_message(&written).is_some(), "it fits in a frame");
            let again = Request::from_message(&written);
            assert_eq!(again, Ok(request), "a request reads back as it was written");
        }
        Err(error) => {
            assert!(!error.message.is_empty(), "an error says something");
            assert_ne!(error.kind, ErrorKind::Internal);
        }
    }
    // A notification has no answer.
    let Some(reply) = reply else { return };
    let parsed: Result<serde_json::Value, _> = serde_json::from_slice(&reply);
    let parsed = parsed.unwrap_or_else(|error| panic!("the answer is not JSON: {error}"));
    let said = parsed.pointer("/error/message");
    let said = said.and_then(serde_json::Value::as_str);
    assert!(said.is_some_and(|said| !said.is_empty()), "{parsed}");
    assert!(parsed.get("id").is_some(), "{parsed}");
}
