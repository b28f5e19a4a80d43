//! Explorer: a page that shows the chain of the node by its read-only methods.
//!
//! The page is one file, `node/explorer/index.html`. Its policy permits only its own script and
//! style, by their hashes, and connections to this server; so it cannot load or send anything
//! elsewhere, and text of a peer or a transaction that became part of the page could not run.

use base64ct::{Base64, Encoding as _};
use cryptoxide::hashing::sha2::Sha256;
use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue,
    REFERRER_POLICY, X_FRAME_OPTIONS,
};

/// Path of the page.
pub(super) const PATH: &str = "/explorer";
/// Maximum size of the page, in bytes.
#[cfg(test)]
const MAX_BYTES: usize = 150_000;

/// Page.
pub(super) static PAGE: &str = include_str!("../../../explorer/index.html");

/// Returns the headers of the page, with its policy.
pub(super) fn headers() -> Result<HeaderMap, InvalidHeaderValue> {
    let mut headers = HeaderMap::new();
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_str(&policy(PAGE))?,
    );
    for (name, value) in [
        (REFERRER_POLICY, "no-referrer"),
        (X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(headers)
}

/// Returns the policy that permits the inline script and style of a page, and nothing else.
fn policy(page: &str) -> String {
    let hash = |tag: &str| {
        let digest = Sha256::new()
            .update(element(page, tag).as_bytes())
            .finalize();
        format!("'sha256-{}'", Base64::encode_string(&digest))
    };
    let (script, style) = (hash("script"), hash("style"));
    format!(
        "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    )
}

/// Returns the text of the first element with this tag.
fn element<'p>(page: &'p str, tag: &str) -> &'p str {
    let (begin, end) = (format!("<{tag}>"), format!("</{tag}>"));
    let after = page.split_once(&begin).map(|(_, after)| after);
    let text = after.and_then(|after| after.split_once(&end));
    text.map_or("", |(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_small_and_has_one_script_and_one_style_without_sinks() {
        assert!(PAGE.len() <= MAX_BYTES, "{} bytes", PAGE.len());
        for tag in ["<script", "<style"] {
            assert_eq!(PAGE.matches(tag).count(), 1, "{tag}");
            assert!(
                PAGE.contains(&format!("{tag}>")),
                "{tag} without attributes"
            );
        }
        let script = element(PAGE, "script");
        assert!(script.len() > 10_000);
        // Text of the node would become HTML or code.
        for sink in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "setTimeout(\"",
            "srcdoc",
            "DOMParser",
            "createContextualFragment",
        ] {
            assert!(!script.contains(sink), "{sink}");
        }
        // Nothing is loaded from elsewhere, and nothing runs from an attribute.
        for outside in [
            "https://",
            " src=",
            " onclick=",
            " onload=",
            " style=",
            "javascript:",
        ] {
            assert!(!PAGE.contains(outside), "{outside}");
        }
        let without_namespace = PAGE.replace("http://www.w3.org/2000/svg", "");
        assert!(!without_namespace.contains("http://"));
    }

    #[test]
    fn policy_has_the_hashes_of_script_and_style() {
        let page = "<style>a</style><script>abc</script>";
        let policy = policy(page);
        // SHA-256 of "abc" and of "a".
        for hash in [
            "script-src 'sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=';",
            "style-src 'sha256-ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs=';",
            "default-src 'none';",
            "frame-ancestors 'none';",
        ] {
            assert!(policy.contains(hash), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}
