//! Client of an S3-compatible object store.
//!
//! Requests run on one thread with an event loop of its own, which callers wait for. Each has a
//! timeout, and is retried after failures of the server or the connection. A conditional write is
//! retried only if the server has answered or was not reached.

use super::objects::{Listed, Objects, ObjectsError, Source};
use core::fmt;
use core::future::Future;
use core::time::Duration;
use futures_util::TryStreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path as Key;
use object_store::{
    BackoffConfig, ClientOptions, Error, GetOptions, ObjectStore, ObjectStoreExt as _, PutMode,
    PutOptions, PutPayload, RetryConfig, UpdateVersion,
};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Time to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time to wait for a small request with all its repetitions, and for one of them.
const TIMEOUT: Duration = Duration::from_secs(15);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time to wait for a part of an upload.
const PART_TIMEOUT: Duration = Duration::from_secs(120);
/// Number of times that a request is repeated.
const RETRIES: usize = 3;
/// Objects up to this length, in bytes, are uploaded by one request.
const SINGLE_BYTES: u64 = 16 << 20;
/// Length of a part of a larger object, and the number of parts that a server accepts.
const PART_BYTES: u64 = 16 << 20;
const MAX_PARTS: u64 = 10_000;

/// Options of the client. Credentials come from the environment variables of AWS tools.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct S3Options {
    /// Name of the bucket.
    pub bucket: String,
    /// Prefix of all keys; may be empty.
    pub prefix: String,
    /// URL of the server; without it, `AWS_ENDPOINT_URL`, or that of AWS in the region.
    pub endpoint: Option<String>,
    /// Region; without it, `AWS_REGION`, `AWS_DEFAULT_REGION`, or `us-east-1`.
    pub region: Option<String>,
    /// Permits a connection without TLS to a server that is not on this machine.
    pub allows_http: bool,
}

/// Client; see the module.
pub struct S3 {
    /// For small requests.
    store: Arc<AmazonS3>,
    /// For uploads, which take longer.
    uploads: Arc<AmazonS3>,
    prefix: String,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for S3 {
    /// Without the client, which has the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl S3 {
    /// Creates a client; the server is not contacted.
    ///
    /// # Errors
    /// Fails if an option or an environment variable is invalid, or the thread cannot be started.
    pub fn new(options: &S3Options) -> Result<Self, ObjectsError> {
        let refused = |error: Error| ObjectsError::Refused(error.to_string());
        // An embedding program may have chosen one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(&options.bucket)
            .with_retry(retries());
        if let Some(region) = &options.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &options.endpoint {
            builder = builder
                .with_config(AmazonS3ConfigKey::S3Endpoint, endpoint)
                .with_endpoint(endpoint);
        }
        let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
        let endpoint = endpoint
            .iter()
            .find_map(|key| builder.get_config_value(key));
        let is_http = endpoint.as_deref().is_some_and(is_http);
        let is_local = endpoint.as_deref().is_some_and(is_loopback);
        if is_http && !is_local && !options.allows_http {
            return Err(ObjectsError::Refused(
                "http sends the atoms in clear text, and anyone on the path can change them: use \
                 https, or set object_store_allow_http = true"
                    .into(),
            ));
        }
        let build = |timeout| {
            let client = ClientOptions::new()
                .with_allow_http(is_http)
                .with_connect_timeout(CONNECT_TIMEOUT)
                .with_timeout(timeout);
            let store = builder.clone().with_client_options(client).build();
            store.map(Arc::new).map_err(refused)
        };
        let (store, uploads) = (build(ATTEMPT_TIMEOUT)?, build(PART_TIMEOUT)?);
        let failed = |error| ObjectsError::Refused(format!("cannot start the client: {error}"));
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name("object-store".into());
        let thread = thread.spawn(move || {
            let _ = runtime.block_on(stopped);
        });
        Ok(Self {
            store,
            uploads,
            prefix: options.prefix.trim_matches('/').to_owned(),
            runtime: handle,
            stop: Some(stop),
            thread: Some(thread.map_err(failed)?),
        })
    }

    fn key(&self, key: &str) -> Key {
        match self.prefix.as_str() {
            "" => Key::from(key),
            prefix => Key::from(format!("{prefix}/{key}")),
        }
    }

    /// Runs a request on the thread, and waits for it.
    fn run<T: Send + 'static>(
        &self,
        at_most: Duration,
        request: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, ObjectsError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.runtime.spawn(async move {
            let result = match tokio::time::timeout(at_most, request).await {
                Ok(result) => result.map_err(|error| classify(&error)),
                Err(_) => {
                    let seconds = at_most.as_secs();
                    let why = format!("no answer within {seconds} s");
                    Err(ObjectsError::Unavailable(why))
                }
            };
            let _ = sender.send(result);
        });
        let stopped = || ObjectsError::Unavailable("the client has stopped".into());
        receiver.recv().unwrap_or_else(|_| Err(stopped()))
    }

    fn upload_parts(&self, key: &Key, len: u64, source: Source<'_>) -> Result<(), ObjectsError> {
        let store = Arc::clone(&self.uploads);
        let to = key.clone();
        let begun = self.run(TIMEOUT, async move { store.put_multipart(&to).await });
        let mut upload = begun?;
        let part_bytes = PART_BYTES.max(len.div_ceil(MAX_PARTS));
        let mut at = 0;
        let mut sent = Ok(());
        while at < len && sent.is_ok() {
            let part = read(source, at, part_bytes.min(len - at));
            sent = part.and_then(|bytes| {
                at += bytes.len() as u64;
                let part = upload.put_part(PutPayload::from(bytes));
                self.run(PART_TIMEOUT, part)
            });
        }
        let is_sent = sent.is_ok();
        let ended = self.run(PART_TIMEOUT, async move {
            match is_sent {
                true => upload.complete().await.map(drop),
                // A server that does not do it now has a rule that does it later.
                false => upload.abort().await,
            }
        });
        sent.and(ended)
    }
}

fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: RETRIES,
        retry_timeout: TIMEOUT,
    }
}

/// Reads a part of the bytes to upload.
fn read(source: Source<'_>, offset: u64, len: u64) -> Result<Vec<u8>, ObjectsError> {
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    match source(&mut bytes, offset) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(ObjectsError::Refused(format!(
            "cannot read what is to be uploaded: {error}"
        ))),
    }
}

fn is_http(url: &str) -> bool {
    let start = url.get(.."http://".len());
    start.is_some_and(|start| start.eq_ignore_ascii_case("http://"))
}

/// Returns whether a URL leads to this machine.
fn is_loopback(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    // Whatever is in front of an `@` is not the host.
    let authority = authority.rsplit('@').next().unwrap_or(authority);
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.split(':').next().unwrap_or(authority),
    };
    let address = host.parse::<core::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn classify(error: &Error) -> ObjectsError {
    let text = describe(error);
    match error {
        // Not the absence of a manifest.
        Error::NotFound { .. } if text.contains("NoSuchBucket") => ObjectsError::Refused(text),
        Error::NotFound { path, .. } => ObjectsError::NotFound(path.clone()),
        Error::Precondition { .. } | Error::AlreadyExists { .. } => ObjectsError::Conflict,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            ObjectsError::Denied(text)
        }
        Error::NotImplemented { .. } | Error::NotSupported { .. } | Error::InvalidPath { .. } => {
            ObjectsError::Refused(text)
        }
        // Failures of the server, of the connection, and answers that were cut off.
        _ if has_credentials() => ObjectsError::Unavailable(text),
        _ => ObjectsError::Unavailable(format!("{text}; AWS_ACCESS_KEY_ID is not set")),
    }
}

/// Returns whether the environment has credentials or names a source of them.
fn has_credentials() -> bool {
    let names = [
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ];
    names.iter().any(|name| std::env::var_os(name).is_some())
}

/// Maximum length of a description in characters: a server's answer can be a page.
const MAX_DESCRIPTION: usize = 300;

/// Returns an error and its causes in one line.
fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = core::error::Error::source(error);
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    // The answer of a server can repeat parts of the request, such as the id of the key.
    if let Some(code) = between(&text, "<Code>", "</Code>") {
        let message = between(&text, "<Message>", "</Message>").unwrap_or("no message");
        text = format!("{code}: {message}");
    }
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(MAX_DESCRIPTION) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Returns the text between two marks.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(found, _)| found)
}

fn version(e_tag: Option<String>) -> Result<String, Error> {
    e_tag.ok_or_else(|| Error::NotSupported {
        source: "the server does not return an ETag".into(),
    })
}

impl Objects for S3 {
    fn get(
        &self,
        key: &str,
        known: Option<&str>,
    ) -> Result<Option<(Vec<u8>, String)>, ObjectsError> {
        let (store, key) = (Arc::clone(&self.store), self.key(key));
        let options = GetOptions {
            if_none_match: known.map(str::to_owned),
            ..GetOptions::default()
        };
        self.run(TIMEOUT, async move {
            let found = match store.get_opts(&key, options).await {
                Err(Error::NotModified { .. }) => return Ok(None),
                found => found?,
            };
            let version = version(found.meta.e_tag.clone())?;
            Ok(Some((found.bytes().await?.to_vec(), version)))
        })
    }

    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Vec<u8>, ObjectsError> {
        let (store, key) = (Arc::clone(&self.store), self.key(key));
        self.run(TIMEOUT, async move {
            let found = store.get_range(&key, offset..offset + len).await?;
            Ok(found.to_vec())
        })
    }

    fn put_if(
        &self,
        key: &str,
        bytes: &[u8],
        expected: Option<&str>,
    ) -> Result<String, ObjectsError> {
        let (store, key) = (Arc::clone(&self.store), self.key(key));
        let payload = PutPayload::from(bytes.to_vec());
        let mode = match expected {
            None => PutMode::Create,
            Some(e_tag) => PutMode::Update(UpdateVersion {
                e_tag: Some(e_tag.to_owned()),
                version: None,
            }),
        };
        self.run(TIMEOUT, async move {
            let options = PutOptions::from(mode);
            let put = store.put_opts(&key, payload, options).await?;
            version(put.e_tag)
        })
    }

    fn upload(&self, key: &str, len: u64, source: Source<'_>) -> Result<(), ObjectsError> {
        let key = self.key(key);
        if len > SINGLE_BYTES {
            return self.upload_parts(&key, len, source);
        }
        let payload = PutPayload::from(read(source, 0, len)?);
        let store = Arc::clone(&self.uploads);
        self.run(PART_TIMEOUT, async move {
            store.put(&key, payload).await.map(drop)
        })
    }

    fn delete(&self, key: &str) -> Result<(), ObjectsError> {
        let (store, key) = (Arc::clone(&self.store), self.key(key));
        let deleted = self.run(TIMEOUT, async move { store.delete(&key).await });
        match deleted {
            Err(ObjectsError::NotFound(_)) => Ok(()),
            deleted => deleted,
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, ObjectsError> {
        let (store, from) = (Arc::clone(&self.store), self.key(prefix));
        let start = match self.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        self.run(PART_TIMEOUT, async move {
            let listed: Vec<_> = store.list(Some(&from)).try_collect().await?;
            let objects = listed.into_iter().filter_map(|object| {
                let key = object.location.as_ref().strip_prefix(&start)?.to_owned();
                let len = object.size;
                Some(Listed { key, len })
            });
            Ok(objects.collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_of_a_server_is_reduced_to_code_and_message() {
        let of = |body: &str| {
            describe(&Error::Generic {
                store: "S3",
                source: body.into(),
            })
        };
        let body = "403: <Error><Code>SignatureDoesNotMatch</Code><Message>It does\n not \
                    match.</Message><AWSAccessKeyId>AKIA</AWSAccessKeyId></Error>";
        assert_eq!(of(body), "SignatureDoesNotMatch: It does not match.");
        let long = "x".repeat(5_000);
        assert!(of(&long).chars().count() <= MAX_DESCRIPTION + 1);
    }

    #[test]
    fn http_is_allowed_to_this_machine_only() {
        for local in [
            "http://localhost:9000",
            "http://127.0.0.1:9000/path",
            "HTTP://[::1]:9000",
            "http://user@127.1.2.3",
        ] {
            assert!(is_http(local) && is_loopback(local), "{local}");
        }
        for remote in [
            "http://10.0.0.1:9000",
            "http://localhost.example.org",
            "http://127.0.0.1@example.org",
            "http://example.org/127.0.0.1",
            "http://example.org?@127.0.0.1",
        ] {
            assert!(is_http(remote) && !is_loopback(remote), "{remote}");
        }
        assert!(!is_http("https://localhost"));
        let options = S3Options {
            bucket: "bucket".into(),
            endpoint: Some("http://example.org:9000".into()),
            ..S3Options::default()
        };
        let error = S3::new(&options).unwrap_err().to_string();
        assert!(error.contains("object_store_allow_http"), "{error}");
        let allowed = S3Options {
            allows_http: true,
            ..options
        };
        assert!(S3::new(&allowed).is_ok());
    }
}
