//! Errors of requests, with their codes on the socket.

use astreum_core::atom::AtomId;
use core::fmt;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Kind of an error. Codes from -32768 to -32000 are those of JSON-RPC 2.0 and of the transport;
/// positive ones are answers of the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// The node rejects the request or cannot carry it out.
    Failed,
    /// An atom was found neither here nor at any asked peer.
    Missing(AtomId),
    /// A list is too large to be fetched as a whole; its atoms can be requested one by one.
    TooLarge,
    /// The node is shutting down, so that there is no answer.
    Stopping,
    /// The input is not a sequence of frames, or a frame is not expected; the connection ends.
    InvalidFrame,
    /// No connection, subscription or memory for a large reply is free for the request.
    Busy,
    /// The reply is longer than a message may be.
    ReplyTooLong,
    /// The request needs the token, or the token is wrong.
    Unauthorized,
    /// A subscription has ended, because its notifications were not read fast enough.
    Dropped,
    /// The message is not JSON.
    Parse,
    /// The message is not a request.
    InvalidRequest,
    /// The method does not exist.
    UnknownMethod,
    /// The parameters do not fit the method.
    InvalidParams,
    /// The node failed.
    Internal,
    /// Code of another version.
    Other(i64),
}

impl ErrorKind {
    /// Returns the code on the socket.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::Failed => 1,
            Self::Missing(_) => 2,
            Self::TooLarge => 3,
            Self::Stopping => 4,
            Self::InvalidFrame => -32_000,
            Self::Busy => -32_001,
            Self::ReplyTooLong => -32_002,
            Self::Unauthorized => -32_003,
            Self::Dropped => -32_004,
            Self::InvalidRequest => -32_600,
            Self::UnknownMethod => -32_601,
            Self::InvalidParams => -32_602,
            Self::Internal => -32_603,
            Self::Parse => -32_700,
            Self::Other(code) => code,
        }
    }

    fn from_wire(code: i64, data: Option<&Data>) -> Self {
        let known = [
            Self::Failed,
            Self::TooLarge,
            Self::Stopping,
            Self::InvalidFrame,
            Self::Busy,
            Self::ReplyTooLong,
            Self::Unauthorized,
            Self::Dropped,
            Self::InvalidRequest,
            Self::UnknownMethod,
            Self::InvalidParams,
            Self::Internal,
            Self::Parse,
        ];
        let missing = data.and_then(|data| data.missing.as_ref()?.parse().ok());
        match missing.map(Self::Missing) {
            Some(missing) if missing.code() == code => missing,
            _ => known
                .into_iter()
                .find(|kind| kind.code() == code)
                .unwrap_or(Self::Other(code)),
        }
    }
}

/// Error of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RpcError {
    /// Kind of the error.
    pub kind: ErrorKind,
    /// Reason and advice.
    pub message: String,
}

impl RpcError {
    /// Creates an error.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// Creates the error for an atom that was found neither here nor at any asked peer.
    #[must_use]
    pub fn missing(id: &AtomId) -> Self {
        let message = format!("atom {id} was not found here or at any peer");
        Self::new(ErrorKind::Missing(*id), message)
    }

    /// Returns whether an atom was not found.
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        matches!(self.kind, ErrorKind::Missing(_))
    }
}

impl<T: Into<String>> From<T> for RpcError {
    fn from(message: T) -> Self {
        Self::new(ErrorKind::Failed, message)
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Error object on the socket.
#[derive(Serialize, Deserialize)]
struct Wire {
    code: i64,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<Data>,
}

#[derive(Serialize, Deserialize)]
struct Data {
    /// Id of the atom that was not found, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missing: Option<String>,
}

impl Serialize for RpcError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let data = match self.kind {
            ErrorKind::Missing(id) => Some(Data {
                missing: Some(id.to_string()),
            }),
            _ => None,
        };
        let wire = Wire {
            code: self.kind.code(),
            message: self.message.clone(),
            data,
        };
        wire.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RpcError {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let wire = Wire::deserialize(from)?;
        Ok(Self {
            kind: ErrorKind::from_wire(wire.code, wire.data.as_ref()),
            message: wire.message,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_keep_their_kind_on_the_socket() {
        let id = AtomId::new([7; 32]);
        for kind in [
            ErrorKind::Failed,
            ErrorKind::Missing(id),
            ErrorKind::TooLarge,
            ErrorKind::Stopping,
            ErrorKind::InvalidFrame,
            ErrorKind::Busy,
            ErrorKind::ReplyTooLong,
            ErrorKind::Unauthorized,
            ErrorKind::Dropped,
            ErrorKind::Parse,
            ErrorKind::InvalidRequest,
            ErrorKind::UnknownMethod,
            ErrorKind::InvalidParams,
            ErrorKind::Internal,
            ErrorKind::Other(-32_050),
        ] {
            let error = RpcError::new(kind, "reason");
            let text = serde_json::to_string(&error).unwrap();
            assert_eq!(serde_json::from_str::<RpcError>(&text).unwrap(), error);
        }
        let text = serde_json::to_string(&RpcError::missing(&id)).unwrap();
        assert!(
            text.starts_with("{\"code\":2,\"message\":\"atom 0707"),
            "{text}"
        );
        assert!(text.contains("\"data\":{\"missing\":\"0707"), "{text}");
        let malformed = r#"{"code":2,"message":"m","data":{"missing":"xyz"}}"#;
        let error: RpcError = serde_json::from_str(malformed).unwrap();
        assert_eq!(error.kind, ErrorKind::Other(2));
    }
}
