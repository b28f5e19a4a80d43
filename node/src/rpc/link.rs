//! Connection between a client and the node: frames in, frames out, and transfers.

use super::codec::{Frame, FrameError, FrameReader, encode_message, encode_transfer};
use super::error::{ErrorKind, RpcError};
use super::message::progress_message;
use super::protocol::TransferProgress;
use super::transfer::{Incoming, TransferError, Transfers};
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Size in bytes of the buffer for reading.
const BUFFER_BYTES: usize = 64 << 10;
/// Interval at which a write that waits checks whether it has to end.
pub(super) const WRITE_CHECK: Duration = Duration::from_millis(250);

/// Reason no further frame arrives.
#[derive(Debug)]
pub(super) enum InputError {
    /// The input ended.
    End,
    /// A system call failed.
    Io(io::Error),
    /// The input is not a sequence of frames.
    Frame(FrameError),
}

/// Frames that arrive, with the bytes behind the last one.
#[derive(Debug)]
pub(super) struct FrameInput {
    reader: FrameReader,
    buffer: Vec<u8>,
    /// Bytes of the buffer that the reader has not taken.
    rest: Range<usize>,
}

impl FrameInput {
    pub(super) fn new() -> Self {
        Self {
            reader: FrameReader::new(),
            buffer: vec![0; BUFFER_BYTES],
            rest: 0..0,
        }
    }

    /// Returns the next frame; `read` reads into a buffer.
    pub(super) fn next(
        &mut self,
        mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> Result<Frame, InputError> {
        loop {
            let mut input = self.buffer.get(self.rest.clone()).unwrap_or_default();
            let frame = self.reader.read(&mut input);
            self.rest.start = self.rest.end - input.len();
            if let Some(frame) = frame.map_err(InputError::Frame)? {
                return Ok(frame);
            }
            match read(&mut self.buffer) {
                Ok(0) => return Err(InputError::End),
                Ok(len) => self.rest = 0..len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(InputError::Io(error)),
            }
        }
    }
}

/// Server's end of a connection.
#[derive(Debug)]
pub(super) struct Link {
    stream: UnixStream,
    /// Set when the client is gone or the node stops.
    gone: Arc<AtomicBool>,
    /// Maximum time that the client may send nothing, or not accept what is sent.
    timeout: Duration,
    /// Set once a write failed, perhaps within a frame: nothing can follow it.
    is_broken: AtomicBool,
    input: Mutex<(FrameInput, Option<Incoming>)>,
}

impl Link {
    /// Creates the end of a connection whose timeouts are set.
    pub(super) fn new(stream: UnixStream, gone: Arc<AtomicBool>, timeout: Duration) -> Self {
        Self {
            stream,
            gone,
            timeout,
            is_broken: AtomicBool::new(false),
            input: Mutex::new((FrameInput::new(), None)),
        }
    }

    pub(super) const fn stream(&self) -> &UnixStream {
        &self.stream
    }

    fn input(&self) -> MutexGuard<'_, (FrameInput, Option<Incoming>)> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a frame.
    pub(super) fn next(&self) -> Result<Frame, InputError> {
        self.input().0.next(|buffer| (&self.stream).read(buffer))
    }

    /// Returns whether a transfer of the client has begun and not ended, so that what follows
    /// cannot be distinguished.
    pub(super) fn is_in_transfer(&self) -> bool {
        self.input().1.is_some()
    }

    /// Sends a message.
    pub(super) fn send_message(&self, message: &[u8]) -> io::Result<()> {
        // Every message of the server is within the limit.
        let frame = encode_message(message).ok_or(io::ErrorKind::InvalidInput)?;
        self.write(&frame, || false)
    }

    /// Writes bytes, for at most the timeout without progress. Fails at once after a write that
    /// failed.
    fn write(&self, bytes: &[u8], is_over: impl Fn() -> bool) -> io::Result<()> {
        if self.is_broken.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let written = self.write_all(bytes, is_over);
        if written.is_err() {
            self.is_broken.store(true, Ordering::Relaxed);
        }
        written
    }

    fn write_all(&self, mut bytes: &[u8], is_over: impl Fn() -> bool) -> io::Result<()> {
        let mut progress_at = Instant::now();
        while !bytes.is_empty() {
            if is_over() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            match (&self.stream).write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => {
                    bytes = bytes.get(len..).unwrap_or_default();
                    progress_at = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The stream's own timeout is over.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if progress_at.elapsed() >= self.timeout {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Returns the error for a transfer that cannot continue. Only a client that is still there reads
    /// it.
    fn ended(&self, number: u32) -> RpcError {
        let kind = match self.is_gone() {
            true => ErrorKind::Stopping,
            false => ErrorKind::Failed,
        };
        let message = format!(
            "transfer {number} was ended: the connection was closed, or the node is shutting down"
        );
        RpcError::new(kind, message)
    }
}

impl Transfers for Link {
    fn receive(&self, number: u32) -> Result<Vec<u8>, RpcError> {
        let mut input = self.input();
        let (frames, open) = &mut *input;
        let incoming = open.get_or_insert(Incoming::new(number));
        if self.is_gone() {
            return Err(self.ended(number));
        }
        let frame = match frames.next(|buffer| (&self.stream).read(buffer)) {
            Ok(frame) => frame,
            Err(InputError::Frame(error)) => return Err(TransferError::Frame(error).into()),
            Err(InputError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                let seconds = self.timeout.as_secs();
                let message = format!(
                    "no bytes of transfer {} arrived for {seconds} s",
                    incoming.number()
                );
                return Err(RpcError::new(ErrorKind::Failed, message));
            }
            Err(InputError::End | InputError::Io(_)) => return Err(self.ended(number)),
        };
        let bytes = incoming.take(frame)?;
        if incoming.has_ended() {
            *open = None;
        }
        Ok(bytes)
    }

    fn send(&self, number: u32, bytes: &[u8]) -> Result<(), RpcError> {
        let frame = encode_transfer(number, bytes).ok_or_else(|| {
            RpcError::new(
                ErrorKind::Internal,
                "part of a transfer is too long for a frame",
            )
        })?;
        self.write(&frame, || self.is_gone())
            .map_err(|_| self.ended(number))
    }

    fn report(&self, progress: &TransferProgress) -> Result<(), RpcError> {
        let frame = progress_message(progress).and_then(|message| encode_message(&message));
        let frame = frame
            .ok_or_else(|| RpcError::new(ErrorKind::Internal, "the progress has no encoding"))?;
        self.write(&frame, || self.is_gone())
            .map_err(|_| self.ended(progress.transfer))
    }
}
