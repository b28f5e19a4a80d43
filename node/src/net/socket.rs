//! UDP socket of a node: both directions, both address families, and errors classified by the
//! action that the loop takes.
//!
//! Invariants:
//! - Replies leave from the advertised port, because there is no other socket, and from the local
//!   address that their receiver has contacted.
//! - Outside this module an IPv4 peer has an IPv4 address: an IPv6 socket shows it as
//!   `::ffff:a.b.c.d`, which is converted on receiving and sending.
//! - No error of one datagram ends the loop: an error either means "try later" or the loss of one
//!   datagram, with a reason.

use super::local_address::{self, LocalAddresses};
use crate::config::Settings;
use core::cell::RefCell;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use mio::net::UdpSocket;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;

/// Requested size in bytes of the kernel's buffer for each direction; the kernel may grant less.
const KERNEL_BUFFER_BYTES: usize = 8 << 20;
/// Maximum number of attempts of an interrupted call.
const MAX_INTERRUPTS: usize = 16;

/// Addresses of this machine that a socket receives on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interface {
    /// `true` for an IPv6 socket.
    pub use_ipv6: bool,
    /// Address of that family; `None` for all addresses, of both families with `use_ipv6`.
    pub address: Option<IpAddr>,
}

impl Interface {
    /// Returns the address to bind.
    const fn ip(&self) -> IpAddr {
        match self.address {
            Some(address) => address,
            None if self.use_ipv6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        }
    }
}

impl From<&Settings> for Interface {
    fn from(settings: &Settings) -> Self {
        Self {
            use_ipv6: settings.use_ipv6,
            address: settings.bind_address,
        }
    }
}

/// Reason the node has no socket.
#[derive(Debug)]
pub struct BindError {
    /// Requested port; 0 leaves the choice to the system.
    pub port: u16,
    /// Requested addresses.
    pub interface: Interface,
    /// Error of the system.
    pub cause: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            port,
            interface,
            cause,
        } = self;
        let Interface { use_ipv6, address } = interface;
        let family = if *use_ipv6 { "IPv6" } else { "IPv4" };
        match cause.kind() {
            io::ErrorKind::AddrInUse => write!(
                f,
                "UDP port {port} is already in use; stop the program that uses it, set \
                 incoming_port to another port, or to 0 to let the system choose one"
            ),
            io::ErrorKind::PermissionDenied => write!(
                f,
                "no permission for UDP port {port}; set incoming_port to 1024 or above, or to 0"
            ),
            io::ErrorKind::AddrNotAvailable if address.is_some() => write!(
                f,
                "bind_address {} is not an address of this machine; set it to one that is, or \
                 remove it to receive on all addresses",
                interface.ip()
            ),
            _ if *use_ipv6 => write!(
                f,
                "cannot open an {family} socket on UDP port {port}: {cause}; if this machine has \
                 no IPv6, set use_ipv6 = false"
            ),
            _ => write!(
                f,
                "cannot open an {family} socket on UDP port {port}: {cause}"
            ),
        }
    }
}

impl core::error::Error for BindError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// Result of receiving.
#[derive(Debug)]
pub enum Received {
    /// A datagram was received.
    Datagram {
        /// Length in bytes.
        len: usize,
        /// Address of the sender.
        from: SocketAddr,
    },
    /// No datagram is available; wait until the socket is readable.
    Empty,
    /// The system reported an error of some earlier datagram, such as a refused connection.
    Error(io::Error),
}

/// Result of sending.
#[derive(Debug)]
pub enum Sent {
    /// The datagram was sent.
    Done,
    /// The system's buffer is full; retry when the socket is writable.
    Full,
    /// The datagram is lost.
    Lost(io::Error),
}

/// UDP socket of the node.
#[derive(Debug)]
pub struct NodeSocket {
    socket: UdpSocket,
    use_ipv6: bool,
    port: u16,
    local: RefCell<LocalAddresses>,
    control: RefCell<Vec<u8>>,
}

impl NodeSocket {
    /// Binds `port`, 0 for any port.
    ///
    /// # Errors
    /// Fails if the port is in use or not permitted, or if the family or the address is not
    /// available.
    pub fn bind(port: u16, interface: Interface) -> Result<Self, BindError> {
        open(port, interface).map_err(|cause| BindError {
            port,
            interface,
            cause,
        })
    }

    /// Returns the bound port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the socket, for registration with a poll.
    pub const fn source(&mut self) -> &mut UdpSocket {
        &mut self.socket
    }

    /// Receives the next datagram into `buffer`, which should have room for the largest.
    pub fn receive(&self, buffer: &mut [u8]) -> Received {
        for _ in 0..MAX_INTERRUPTS {
            let mut control = self.control.borrow_mut();
            match local_address::receive(&self.socket, buffer, &mut control) {
                Ok((len, from, local)) => {
                    let from = canonical(from);
                    if let Some(local) = local {
                        self.local.borrow_mut().note(from.ip(), local);
                    }
                    return Received::Datagram { len, from };
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Received::Empty,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Received::Error(error),
            }
        }
        Received::Empty
    }

    /// Sends a datagram.
    pub fn send(&self, datagram: &[u8], to: SocketAddr) -> Sent {
        let host = to.ip();
        let Some(to) = self.reachable(to) else {
            return Sent::Lost(io::ErrorKind::AddrNotAvailable.into());
        };
        for _ in 0..MAX_INTERRUPTS {
            let local = self.local.borrow().of(&host);
            let sent = match local {
                Some(local) => local_address::send_from(&self.socket, datagram, to, local),
                None => self.socket.send_to(datagram, to).map(|_| ()),
            };
            match sent {
                Ok(()) => return Sent::Done,
                // The local address may have been removed from this host since.
                Err(error) if local.is_some() && is_about_the_source(&error) => {
                    self.local.borrow_mut().forget(&host);
                }
                Err(error) if is_full(&error) => return Sent::Full,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Linux reports the failure of an earlier datagram, once, on the next call.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Sent::Lost(error),
            }
        }
        Sent::Full
    }

    /// Returns the address in the socket's family; `None` if the socket cannot reach it.
    fn reachable(&self, to: SocketAddr) -> Option<SocketAddr> {
        match (to, self.use_ipv6) {
            (SocketAddr::V4(to), true) => Some(SocketAddr::new(
                IpAddr::V6(to.ip().to_ipv6_mapped()),
                to.port(),
            )),
            (SocketAddr::V6(_), false) => None,
            (to, _) => Some(to),
        }
    }
}

/// Returns whether the socket's own buffer is full; the system reports when there is room again.
/// `ENOBUFS` is different: the queue of one interface is full, the socket counts as writable, and
/// datagrams to other destinations leave. A datagram that meets it is lost, as on any full link.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// Returns whether sending failed, or may have failed, because of the requested local address.
fn is_about_the_source(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, HostUnreachable, InvalidInput, NetworkUnreachable};
    let kinds = [
        AddrNotAvailable,
        HostUnreachable,
        InvalidInput,
        NetworkUnreachable,
    ];
    kinds.contains(&error.kind())
}

/// Returns the address in its own family: an IPv4-mapped IPv6 address becomes IPv4.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(ip) => SocketAddr::new(IpAddr::V4(ip), v6.port()),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

/// Creates a non-blocking socket, and returns the address to bind it to.
pub(super) fn unbound(
    kind: Type,
    protocol: Protocol,
    interface: Interface,
) -> io::Result<(Socket, IpAddr)> {
    let domain = if interface.use_ipv6 {
        Domain::IPV6
    } else {
        Domain::IPV4
    };
    let socket = Socket::new(domain, kind, Some(protocol))?;
    if interface.use_ipv6 {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    Ok((socket, interface.ip()))
}

fn open(port: u16, interface: Interface) -> io::Result<NodeSocket> {
    let use_ipv6 = interface.use_ipv6;
    let (socket, ip) = unbound(Type::DGRAM, Protocol::UDP, interface)?;
    // Best effort: the system caps the sizes, and the node works with any size.
    let _ = socket.set_recv_buffer_size(KERNEL_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(KERNEL_BUFFER_BYTES);
    if let Err(error) = local_address::enable(&socket, use_ipv6) {
        log::warn!(
            "cannot select source addresses: the system chooses the source address of answers: \
             {error}"
        );
    }
    socket.bind(&SocketAddr::new(ip, port).into())?;
    let socket = UdpSocket::from_std(socket.into());
    let port = socket.local_addr()?.port();
    Ok(NodeSocket {
        socket,
        use_ipv6,
        port,
        local: RefCell::default(),
        control: RefCell::new(local_address::control_buffer()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use std::net::UdpSocket as StdSocket;
    use std::time::Instant;

    const WAIT: Duration = Duration::from_secs(5);

    const fn all(use_ipv6: bool) -> Interface {
        Interface {
            use_ipv6,
            address: None,
        }
    }

    #[test]
    fn bound_address_is_the_only_one_and_has_to_be_of_this_machine() {
        let at = |text: &str| Interface {
            address: text.parse().ok(),
            ..all(false)
        };
        let first = NodeSocket::bind(0, at("127.0.0.1")).unwrap();
        // Another program may have the port at another address.
        let other = client(&format!("127.0.0.2:{}", first.port()));
        other.send_to(b"ping", ("127.0.0.1", first.port())).unwrap();
        assert_eq!(receive(&first).0, b"ping");
        let error = NodeSocket::bind(0, at("192.0.2.1")).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("192.0.2.1 is not an address of this machine"),
            "{error}"
        );
    }

    fn receive(socket: &NodeSocket) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 2048];
        let start = Instant::now();
        while start.elapsed() < WAIT {
            if let Received::Datagram { len, from } = socket.receive(&mut buffer) {
                return (buffer[..len].to_vec(), from);
            }
            std::thread::yield_now();
        }
        panic!("no datagram came");
    }

    fn client(address: &str) -> StdSocket {
        let socket = StdSocket::bind(address)
            .unwrap_or_else(|error| panic!("this machine has no loopback for {address}: {error}"));
        socket.set_read_timeout(Some(WAIT)).unwrap();
        socket
    }

    fn echoes(socket: &NodeSocket, client: &StdSocket, to: &str) -> SocketAddr {
        client.send_to(b"ping", (to, socket.port())).unwrap();
        let (datagram, from) = receive(socket);
        assert_eq!(datagram, b"ping");
        assert!(matches!(socket.send(b"pong", from), Sent::Done));
        let mut buffer = [0; 16];
        let (len, source) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"pong");
        assert_eq!(source.port(), socket.port(), "replies leave from our port");
        from
    }

    #[test]
    fn port_handling_zero_takes_any_port_and_replies_leave_from_it() {
        let socket = NodeSocket::bind(0, all(false)).unwrap();
        assert_ne!(socket.port(), 0);
        let from = echoes(&socket, &client("127.0.0.1:0"), "127.0.0.1");
        assert_eq!(from.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    }

    #[test]
    fn port_handling_port_in_use_is_reported_with_a_remedy() {
        let first = NodeSocket::bind(0, all(false)).unwrap();
        let error = NodeSocket::bind(first.port(), all(false)).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&first.port().to_string()) && text.contains("incoming_port"),
            "{text}"
        );
    }

    #[test]
    fn ipv6_socket_serves_both_families_and_reports_ipv4_addresses() {
        let socket = NodeSocket::bind(0, all(true))
            .unwrap_or_else(|error| panic!("this machine has no IPv6 loopback: {error}"));
        let from = echoes(&socket, &client("127.0.0.1:0"), "127.0.0.1");
        assert_eq!(from.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let from = echoes(&socket, &client("[::1]:0"), "::1");
        assert_eq!(from.ip(), IpAddr::V6(Ipv6Addr::LOCALHOST));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn answers_leave_from_the_address_that_was_contacted() {
        for use_ipv6 in [false, true] {
            let socket = NodeSocket::bind(0, all(use_ipv6)).unwrap();
            let client = client("127.0.0.1:0");
            for contacted in ["127.0.0.2", "127.0.0.1", "127.0.0.3"] {
                client.send_to(b"ping", (contacted, socket.port())).unwrap();
                let (_, from) = receive(&socket);
                assert!(matches!(socket.send(b"pong", from), Sent::Done));
                let mut buffer = [0; 16];
                let (_, source) = client.recv_from(&mut buffer).unwrap();
                assert_eq!(
                    source,
                    SocketAddr::new(contacted.parse().unwrap(), socket.port())
                );
            }
        }
    }

    /// Addresses that do not belong to this host, for instance former ones.
    #[cfg(target_os = "linux")]
    #[test]
    fn removed_local_address_is_not_used() {
        let socket = NodeSocket::bind(0, all(false)).unwrap();
        let client = client("127.0.0.1:0");
        let to = client.local_addr().unwrap();
        let gone = IpAddr::from([192, 0, 2, 99]);
        socket.local.borrow_mut().note(to.ip(), gone);
        assert!(matches!(socket.send(b"pong", to), Sent::Done));
        let mut buffer = [0; 16];
        assert_eq!(client.recv_from(&mut buffer).unwrap().0, 4);
        assert_eq!(socket.local.borrow().of(&to.ip()), None);
    }

    #[test]
    fn send_errors_affect_only_their_datagram() {
        let socket = NodeSocket::bind(0, all(false)).unwrap();
        let local = client("127.0.0.1:0");
        let to = local.local_addr().unwrap();
        let ipv6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), to.port());
        assert!(matches!(socket.send(b"x", ipv6), Sent::Lost(_)));
        assert!(matches!(socket.send(&[0; 70_000], to), Sent::Lost(_)));
        // A port without a listener: the refusal may be reported later, and must do no harm.
        let closed = {
            let gone = client("127.0.0.1:0");
            gone.local_addr().unwrap()
        };
        for _ in 0..3 {
            assert!(matches!(socket.send(b"x", closed), Sent::Done));
            let mut buffer = [0; 16];
            assert!(!matches!(
                socket.receive(&mut buffer),
                Received::Datagram { .. }
            ));
        }
        echoes(&socket, &local, "127.0.0.1");
    }

    #[test]
    fn full_interface_queue_loses_a_datagram_and_does_not_block_the_socket() {
        let no_buffer_space = if cfg!(target_os = "linux") { 105 } else { 55 };
        assert!(!is_full(&io::Error::from_raw_os_error(no_buffer_space)));
        assert!(is_full(&io::ErrorKind::WouldBlock.into()));
    }

    #[test]
    fn canonical_addresses_keep_their_port() {
        let mapped: SocketAddr = "[::ffff:10.1.2.3]:99".parse().unwrap();
        assert_eq!(canonical(mapped), "10.1.2.3:99".parse().unwrap());
        let ipv6: SocketAddr = "[2001:db8::1]:99".parse().unwrap();
        assert_eq!(canonical(ipv6), ipv6);
    }
}
