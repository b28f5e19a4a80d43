//! JSON-RPC 2.0 messages.
//!
//! Parameters are passed by name. Batches are rejected: requests of one connection are answered in
//! order anyway, and each has a frame of its own. A notification, which has no id, is carried out
//! and not answered.
//!
//! Invariants:
//! - Parameters and results are read directly into their types, without an intermediate tree whose
//!   size a sender could choose.
//! - An id that is echoed has at most [`MAX_ID_BYTES`].

use super::codec::MAX_MESSAGE_BYTES;
use super::error::{ErrorKind, RpcError};
use super::protocol::TransferProgress;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Maximum length in bytes of the id of a request, as JSON.
pub const MAX_ID_BYTES: usize = 256;
const VERSION: &str = "2.0";
/// End of a message of a client, at which a node of the earlier line-based protocol answers.
const LINE_END: u8 = b'\n';

/// Id of a request: a string, a number or null, kept as JSON.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(transparent)]
pub(super) struct CallId(serde_json::Value);

impl CallId {
    pub(super) const NULL: Self = Self(serde_json::Value::Null);

    fn parse(raw: &RawValue) -> Option<Self> {
        let text = raw.get();
        let is_compound = text.starts_with(['{', '[', 't', 'f']);
        if is_compound || text.len() > MAX_ID_BYTES {
            return None;
        }
        serde_json::from_str(text).ok().map(Self)
    }
}

/// Request as it was received.
#[derive(Debug)]
pub(super) struct Call<'m> {
    /// Id to answer with; `None` for a notification.
    pub(super) id: Option<CallId>,
    pub(super) method: Cow<'m, str>,
    params: Option<&'m RawValue>,
}

impl Call<'_> {
    /// Reads the parameters.
    pub(super) fn params<T: DeserializeOwned>(&self) -> Result<T, RpcError> {
        let params = self.params.map_or("{}", RawValue::get);
        let invalid = |reason: String| {
            let message = format!("invalid params of {}: {reason}", self.method);
            RpcError::new(ErrorKind::InvalidParams, message)
        };
        if !params.starts_with('{') {
            return Err(invalid("expected an object".to_owned()));
        }
        serde_json::from_str(params).map_err(|error| invalid(error.to_string()))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a request object")]
struct RequestObject<'m> {
    #[serde(borrow)]
    jsonrpc: Cow<'m, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'m RawValue>,
    #[serde(borrow)]
    method: Cow<'m, str>,
    #[serde(borrow, default)]
    params: Option<&'m RawValue>,
}

/// Reads a value that is present, also if it is null.
fn present<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(from).map(Some)
}

/// Parses a request; an error has the id to answer with.
pub(super) fn parse_call(message: &[u8]) -> Result<Call<'_>, (CallId, RpcError)> {
    let invalid = |reason: &str| {
        let message = format!("not a request: {reason}");
        RpcError::new(ErrorKind::InvalidRequest, message)
    };
    // An array would be read as the fields of the object in order.
    if message.trim_ascii_start().first() == Some(&b'[') {
        let reason = "batches are not supported; send each request in a frame of its own";
        return Err((CallId::NULL, invalid(reason)));
    }
    let object: RequestObject<'_> = serde_json::from_slice(message).map_err(|error| {
        let kind = match serde_json::from_slice::<IgnoredAny>(message) {
            Ok(IgnoredAny) => ErrorKind::InvalidRequest,
            Err(_) => ErrorKind::Parse,
        };
        let error = RpcError::new(kind, format!("not a request: {error}"));
        (CallId::NULL, error)
    })?;
    let id = object.id.map(|raw| {
        CallId::parse(raw).ok_or_else(|| {
            let reason = format!(
                "expected an id that is a string, a number or null, of at most {MAX_ID_BYTES} bytes"
            );
            (CallId::NULL, invalid(&reason))
        })
    });
    let id = id.transpose()?;
    if object.jsonrpc != VERSION {
        let reason = format!("jsonrpc has to be {VERSION:?}");
        return Err((id.unwrap_or(CallId::NULL), invalid(&reason)));
    }
    Ok(Call {
        id,
        method: object.method,
        params: object.params,
    })
}

/// Returns the message of a request.
pub(super) fn request_message(
    id: u64,
    method: &str,
    params: &impl Serialize,
) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    struct Object<'m, P> {
        jsonrpc: &'static str,
        id: u64,
        method: &'m str,
        params: &'m P,
    }
    let object = Object {
        jsonrpc: VERSION,
        id,
        method,
        params,
    };
    let mut message = serde_json::to_vec(&object)?;
    message.push(LINE_END);
    Ok(message)
}

#[derive(Serialize)]
struct Success<'r, T> {
    jsonrpc: &'static str,
    id: &'r CallId,
    result: &'r T,
}

#[derive(Serialize)]
struct Failure<'r> {
    jsonrpc: &'static str,
    id: &'r CallId,
    error: &'r RpcError,
}

/// Returns the message that answers a request, within [`MAX_MESSAGE_BYTES`].
pub(super) fn reply_message(id: &CallId, reply: &Result<impl Serialize, RpcError>) -> Vec<u8> {
    let jsonrpc = VERSION;
    let message = match reply {
        Ok(result) => serde_json::to_vec(&Success {
            jsonrpc,
            id,
            result,
        }),
        Err(error) => serde_json::to_vec(&Failure { jsonrpc, id, error }),
    };
    let error = match message {
        Ok(message) if message.len() <= MAX_MESSAGE_BYTES => return message,
        Ok(_) => RpcError::new(
            ErrorKind::ReplyTooLong,
            format!("the reply is longer than {MAX_MESSAGE_BYTES} bytes"),
        ),
        Err(error) => RpcError::new(ErrorKind::Internal, error.to_string()),
    };
    let error = &error;
    // A short error with a short id has an encoding.
    serde_json::to_vec(&Failure { jsonrpc, id, error }).unwrap_or_default()
}

/// Answer to a request.
pub(super) struct Answer {
    /// Message; `None` for a notification.
    pub(super) message: Option<Vec<u8>>,
    /// `true` if it is an error.
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "for the counts of HTTP")
    )]
    pub(super) is_error: bool,
}

impl Answer {
    pub(super) fn new(id: &CallId, reply: &Result<impl Serialize, RpcError>) -> Self {
        Self {
            message: Some(reply_message(id, reply)),
            is_error: reply.is_err(),
        }
    }
}

/// Method of the notifications of a transfer's progress.
const PROGRESS: &str = "progress";

/// Returns the notification of a transfer's progress.
pub(super) fn progress_message(progress: &TransferProgress) -> Option<Vec<u8>> {
    #[derive(Serialize)]
    struct Notification<'p> {
        jsonrpc: &'static str,
        method: &'static str,
        params: &'p TransferProgress,
    }
    let notification = Notification {
        jsonrpc: VERSION,
        method: PROGRESS,
        params: progress,
    };
    serde_json::to_vec(&notification).ok()
}

/// Returns the progress if a message is its notification.
pub(super) fn parse_progress(message: &[u8]) -> Option<TransferProgress> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Notification<'m> {
        #[serde(borrow)]
        jsonrpc: Cow<'m, str>,
        #[serde(borrow)]
        method: Cow<'m, str>,
        params: TransferProgress,
    }
    let Notification {
        jsonrpc,
        method,
        params,
    } = serde_json::from_slice(message).ok()?;
    (jsonrpc == VERSION && method == PROGRESS).then_some(params)
}

#[derive(Deserialize)]
struct ReplyObject<'m> {
    #[serde(borrow)]
    jsonrpc: Cow<'m, str>,
    #[serde(borrow)]
    id: &'m RawValue,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'m RawValue>,
    #[serde(default)]
    error: Option<RpcError>,
}

/// Parses the reply to the request with this id. An error without an id is one of the connection.
pub(super) fn parse_reply<T: DeserializeOwned>(
    id: u64,
    message: &[u8],
) -> Result<Result<T, RpcError>, serde_json::Error> {
    let invalid = serde_json::Error::custom::<&str>;
    let object: ReplyObject<'_> = serde_json::from_slice(message)?;
    if object.jsonrpc != VERSION {
        return Err(invalid("its jsonrpc is not \"2.0\""));
    }
    let answers_it = object.id.get() == id.to_string();
    match (object.result, object.error) {
        (Some(result), None) if answers_it => serde_json::from_str(result.get()).map(Ok),
        (None, Some(error)) if answers_it || object.id.get() == "null" => Ok(Err(error)),
        (Some(_), None) | (None, Some(_)) => Err(invalid("its id is not that of the request")),
        _ => Err(invalid("expected either a result or an error")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn refusal(message: &str) -> (i64, String) {
        let (id, error) = parse_call(message.as_bytes()).map(drop).unwrap_err();
        let reply = reply_message(&id, &Err::<(), _>(error));
        let reply: Value = serde_json::from_slice(&reply).unwrap();
        assert_eq!(reply["jsonrpc"], "2.0");
        let reason = reply["error"]["message"].as_str().unwrap();
        (reply["error"]["code"].as_i64().unwrap(), reason.to_owned())
    }

    #[test]
    fn invalid_requests_have_the_matching_error_code() {
        let long = format!(
            r#"{{"jsonrpc":"2.0","id":"{}","method":"a"}}"#,
            "x".repeat(300)
        );
        for (message, code, part) in [
            ("", -32_700, "EOF"),
            ("{", -32_700, "EOF"),
            ("\u{0}", -32_700, "expected value"),
            ("{}{}", -32_700, "not a request"),
            (
                "null",
                -32_600,
                "invalid type: null, expected a request object",
            ),
            ("{}", -32_600, "missing field `jsonrpc`"),
            ("[]", -32_600, "batches are not supported"),
            (" [[]]", -32_600, "batches are not supported"),
            (
                r#"["2.0",1,"status"]"#,
                -32_600,
                "batches are not supported",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1}"#,
                -32_600,
                "missing field `method`",
            ),
            (
                r#"{"jsonrpc":"1.0","id":1,"method":"a"}"#,
                -32_600,
                "\"2.0\"",
            ),
            (
                r#"{"jsonrpc":"2.0","id":[],"method":"a"}"#,
                -32_600,
                "expected an id",
            ),
            (
                r#"{"jsonrpc":"2.0","id":true,"method":"a"}"#,
                -32_600,
                "expected an id",
            ),
            (&long, -32_600, "of at most 256 bytes"),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}"#,
                -32_600,
                "duplicate field",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"a","parms":{}}"#,
                -32_600,
                "unknown field",
            ),
        ] {
            let (found, reason) = refusal(message);
            assert_eq!(found, code, "{message}: {reason}");
            assert!(reason.contains(part), "{message}: {reason}");
        }
    }

    #[test]
    fn ids_are_echoed_and_notifications_have_none() {
        for (id, expected) in [
            ("7", Some(json!(7))),
            ("\"a\"", Some(json!("a"))),
            ("null", Some(json!(null))),
        ] {
            let message = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"a"}}"#);
            let call = parse_call(message.as_bytes()).unwrap();
            assert_eq!(call.id.map(|id| id.0), expected);
        }
        let call = parse_call(br#"{"jsonrpc":"2.0","method":"a"}"#).unwrap();
        assert_eq!(call.id, None);
    }

    #[test]
    fn params_are_an_object_or_absent() {
        #[derive(Deserialize, Debug, PartialEq)]
        #[serde(deny_unknown_fields)]
        struct Params {
            #[serde(default)]
            n: u8,
        }
        let of = |params: &str| {
            let message = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"a"{params}}}"#);
            let call = parse_call(message.as_bytes()).unwrap();
            call.params::<Params>().map_err(|error| error.kind)
        };
        assert_eq!(of(""), Ok(Params { n: 0 }));
        assert_eq!(of(r#","params":{"n":3}"#), Ok(Params { n: 3 }));
        for wrong in ["[3]", "3", "\"n\"", r#"{"n":300}"#, r#"{"m":1}"#] {
            let error = of(&format!(r#","params":{wrong}"#));
            assert_eq!(error, Err(ErrorKind::InvalidParams), "{wrong}");
        }
    }

    #[test]
    fn reply_is_bounded_and_matches_its_request() {
        let id = CallId(json!(1));
        let long = reply_message(&id, &Ok("x".repeat(MAX_MESSAGE_BYTES)));
        let reply = parse_reply::<String>(1, &long).unwrap().unwrap_err();
        assert_eq!(reply.kind, ErrorKind::ReplyTooLong);
        let reply = reply_message(&id, &Ok(json!(null)));
        assert_eq!(parse_reply::<Value>(1, &reply).unwrap(), Ok(json!(null)));
        assert!(parse_reply::<Value>(2, &reply).is_err());
        let of_connection = reply_message(&CallId::NULL, &Err::<(), _>("busy".into()));
        let error = parse_reply::<Value>(2, &of_connection)
            .unwrap()
            .unwrap_err();
        assert_eq!(error, "busy".into());
        let both = br#"{"jsonrpc":"2.0","id":1,"result":1,"error":{"code":1,"message":""}}"#;
        assert!(parse_reply::<Value>(1, both).is_err());
    }

    #[test]
    fn progress_is_a_notification_and_not_a_reply() {
        let progress = TransferProgress {
            transfer: 3,
            atoms: 2,
            bytes: 80,
            next: astreum_core::atom::AtomId::new([7; 32]),
        };
        let message = progress_message(&progress).unwrap();
        let text = String::from_utf8(message.clone()).unwrap();
        let begin = r#"{"jsonrpc":"2.0","method":"progress","params":{"transfer":3,"atoms":2,"#;
        assert!(text.starts_with(begin), "{text}");
        assert_eq!(parse_progress(&message), Some(progress));
        assert!(parse_reply::<Value>(1, &message).is_err());
        let reply = reply_message(&CallId(json!(1)), &Ok(json!(null)));
        assert_eq!(parse_progress(&reply), None);
        let other = text.replace("progress", "regress").into_bytes();
        assert_eq!(parse_progress(&other), None);
    }

    proptest! {
        #[test]
        fn arbitrary_message_parses_or_has_an_error_reply(
            message in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            if let Err((id, error)) = parse_call(&message) {
                let reply = reply_message(&id, &Err::<(), _>(error));
                prop_assert!(serde_json::from_slice::<Value>(&reply).is_ok());
            }
        }
    }
}
