//! Opening handshake of a WebSocket, RFC 6455 section 4.

use base64ct::{Base64, Encoding as _};
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};

/// Text of the RFC that is hashed with the client's key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Number of bytes of a client's key.
const KEY_BYTES: usize = 16;

/// Returns whether a header has a word in its list.
fn has_word(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts
        .flat_map(|text| text.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(word))
}

/// Returns whether a request wants to become a WebSocket.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    has_word(headers, &UPGRADE, "websocket")
}

/// Returns the value of `Sec-WebSocket-Accept`.
///
/// # Errors
/// Returns what is wrong with the request.
pub(super) fn accept(headers: &HeaderMap) -> Result<String, &'static str> {
    if !has_word(headers, &CONNECTION, "upgrade") {
        return Err("expected `Connection: Upgrade`\n");
    }
    let version = headers.get(&SEC_WEBSOCKET_VERSION);
    if version.is_none_or(|version| version.as_bytes() != b"13") {
        return Err("expected `Sec-WebSocket-Version: 13`\n");
    }
    let key = headers.get(&SEC_WEBSOCKET_KEY);
    let is_key = |key: &&hyper::header::HeaderValue| {
        let mut bytes = [0; KEY_BYTES];
        let decoded = Base64::decode(key.as_bytes(), &mut bytes);
        decoded.is_ok_and(|bytes| bytes.len() == KEY_BYTES)
    };
    let key = key.filter(is_key).ok_or("malformed Sec-WebSocket-Key\n")?;
    let mut hash = sha1_smol::Sha1::new();
    hash.update(key.as_bytes());
    hash.update(GUID);
    Ok(Base64::encode_string(&hash.digest().bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(key: &str, version: &str, connection: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(UPGRADE, "WebSocket".parse().unwrap());
        headers.insert(SEC_WEBSOCKET_KEY, key.parse().unwrap());
        headers.insert(SEC_WEBSOCKET_VERSION, version.parse().unwrap());
        headers.insert(CONNECTION, connection.parse().unwrap());
        headers
    }

    /// Example of RFC 6455, section 1.3.
    #[test]
    fn key_of_the_rfc_is_accepted_and_malformed_requests_are_not() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let valid = headers(key, "13", "keep-alive, Upgrade");
        assert!(is_wanted(&valid) && !is_wanted(&HeaderMap::new()));
        assert_eq!(
            accept(&valid).as_deref(),
            Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        for wrong in [
            headers(key, "8", "Upgrade"),
            headers(key, "13", "keep-alive"),
            headers("c2hvcnQ=", "13", "Upgrade"),
            headers("not base64", "13", "Upgrade"),
        ] {
            assert!(accept(&wrong).is_err(), "{wrong:?}");
        }
    }
}
