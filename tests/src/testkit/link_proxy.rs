//! Proxy for the datagrams and the streams between two nodes on this machine, which delays them, and
//! drops datagrams that need several IP packets.
//!
//! Each node sees the other at 127.0.0.2, with the port that the other node has: so the port in the
//! header of a packet, to which a node answers, leads to the proxy. The nodes are bound to 127.0.0.1.
//! Every packet and every piece of a TCP stream arrives after the delay; bandwidth is not limited.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test without its proxy has failed"
)]

use core::net::{Ipv4Addr, SocketAddr};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

/// Address at which the nodes see each other.
pub const SEEN_AT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Number of bytes of a datagram that an IPv4 packet carries on Ethernet without fragments.
const UNFRAGMENTED_BYTES: usize = 1_472;
const PIECE_BYTES: usize = 64 << 10;

/// Properties of the path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Path {
    /// Delay in each direction.
    pub each_way: Duration,
    /// True if it drops datagrams that need several IP packets.
    pub drops_fragments: bool,
}

/// Running proxy.
#[derive(Debug)]
pub struct LinkProxy {
    stopping: Arc<AtomicBool>,
}

impl LinkProxy {
    /// Starts a proxy between the nodes with these ports, which only delays.
    ///
    /// # Panics
    /// Panics if the ports cannot be bound.
    #[must_use]
    pub fn delaying(ports: [u16; 2], each_way: Duration) -> Self {
        let path = Path {
            each_way,
            drops_fragments: false,
        };
        Self::start(ports, path)
    }

    /// Starts a proxy between the nodes with these ports.
    ///
    /// # Panics
    /// Panics if the ports cannot be bound.
    #[must_use]
    pub fn start(ports: [u16; 2], path: Path) -> Self {
        let each_way = path.each_way;
        let stopping = Arc::<AtomicBool>::default();
        let sockets = ports.map(|port| UdpSocket::bind((SEEN_AT, port)).expect("proxy port"));
        for socket in &sockets {
            socket.set_read_timeout(Some(CHECK_INTERVAL)).unwrap();
        }
        let [first, second] = &sockets;
        // What arrives at the port of one node is for it, and comes from the other.
        for (socket, other, port) in [(first, second, ports[0]), (second, first, ports[1])] {
            let (queue, packets) = channel();
            let (stop, socket) = (Arc::clone(&stopping), socket.try_clone().unwrap());
            thread::spawn(move || receive(&socket, &queue, path, &stop));
            let (from, to) = (other.try_clone().unwrap(), loopback(port));
            thread::spawn(move || deliver(&packets, &from, to));
        }
        for port in ports {
            let listener = TcpListener::bind((SEEN_AT, port)).expect("proxy port");
            listener.set_nonblocking(true).unwrap();
            let stop = Arc::clone(&stopping);
            thread::spawn(move || accept(&listener, port, each_way, &stop));
        }
        Self { stopping }
    }
}

impl Drop for LinkProxy {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn receive(socket: &UdpSocket, queue: &Sender<(Instant, Vec<u8>)>, path: Path, stop: &AtomicBool) {
    let mut buffer = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        if let Ok(len) = socket.recv(&mut buffer) {
            if path.drops_fragments && len > UNFRAGMENTED_BYTES {
                continue;
            }
            let packet = buffer.get(..len).unwrap_or_default().to_vec();
            let _ = queue.send((Instant::now() + path.each_way, packet));
        }
    }
}

fn deliver(packets: &Receiver<(Instant, Vec<u8>)>, from: &UdpSocket, to: SocketAddr) {
    while let Ok((due, packet)) = packets.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let _ = from.send_to(&packet, to);
    }
}

fn accept(listener: &TcpListener, port: u16, each_way: Duration, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let client = match listener.accept() {
            Ok((client, _)) => client,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            Err(_) => return,
        };
        client.set_nonblocking(false).unwrap();
        thread::spawn(move || {
            // The node sees the proxy at the address of its peer.
            thread::sleep(2 * each_way);
            let Ok(server) = connect_from(loopback(port)) else {
                return;
            };
            for socket in [&client, &server] {
                socket.set_nodelay(true).unwrap();
            }
            for (from, to) in [(&client, &server), (&server, &client)] {
                let (queue, pieces) = channel();
                let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                thread::spawn(move || read(from, &queue, each_way));
                thread::spawn(move || write(&pieces, to));
            }
        });
    }
}

/// Connects from the address of the proxy.
fn connect_from(to: SocketAddr) -> std::io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::from((SEEN_AT, 0)))?;
    connect(&socket, &to)?;
    Ok(TcpStream::from(socket))
}

fn read(mut from: TcpStream, queue: &Sender<(Instant, Vec<u8>)>, each_way: Duration) {
    let mut buffer = vec![0; PIECE_BYTES];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        let piece = buffer.get(..len).unwrap_or_default().to_vec();
        if queue.send((Instant::now() + each_way, piece)).is_err() {
            return;
        }
    }
}

fn write(pieces: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    while let Ok((due, piece)) = pieces.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
