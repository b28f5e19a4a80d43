//! Local addresses at which peers have contacted this node.
//!
//! The socket is bound to all addresses of the host, and the system sends from the one that its
//! routes prefer. A peer that contacted another address would not accept an answer from it. The
//! destination of each datagram is read from its control message (`IP_PKTINFO`, `IPV6_PKTINFO`),
//! and datagrams to the same host leave from that address.
//!
//! Invariants:
//! - The latest datagram of a host decides: a forged one misleads until the next honest one.
//! - At most [`MAX_HOSTS`] hosts are remembered; the oldest half is forgotten first.
//! - On systems without this feature the system chooses the address.

use core::net::{IpAddr, SocketAddr};
use hashbrown::HashMap;
use mio::net::UdpSocket;
use std::io;

/// Maximum number of remembered hosts.
const MAX_HOSTS: usize = 8_192;

/// Local address that each host has contacted last.
#[derive(Debug, Default)]
pub(super) struct LocalAddresses {
    by_host: HashMap<IpAddr, (IpAddr, u64)>,
    count: u64,
}

impl LocalAddresses {
    /// Records that a datagram from `host` arrived at `local`.
    pub(super) fn note(&mut self, host: IpAddr, local: IpAddr) {
        if local.is_unspecified() || local.is_multicast() {
            return;
        }
        self.count += 1;
        self.by_host.insert(host, (local, self.count));
        if self.by_host.len() > MAX_HOSTS {
            let mut ages: Vec<u64> = self.by_host.values().map(|(_, at)| *at).collect();
            let (_, middle, _) = ages.select_nth_unstable(MAX_HOSTS / 2);
            let middle = *middle;
            self.by_host.retain(|_, (_, at)| *at > middle);
        }
    }

    /// Returns the local address that a host has contacted last.
    pub(super) fn of(&self, host: &IpAddr) -> Option<IpAddr> {
        self.by_host.get(host).map(|(local, _)| *local)
    }

    /// Forgets the local address of a host, because sending from it failed.
    pub(super) fn forget(&mut self, host: &IpAddr) {
        self.by_host.remove(host);
    }
}

#[cfg(target_os = "linux")]
mod system {
    use super::{IpAddr, SocketAddr, UdpSocket, io};
    use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
    use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
    use nix::sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrLike,
        SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
    };
    use std::io::{IoSlice, IoSliceMut};
    use std::os::fd::{AsFd, AsRawFd as _};

    /// Makes the system report the destination of each datagram.
    pub(in super::super) fn enable(socket: &impl AsFd, use_ipv6: bool) -> io::Result<()> {
        if use_ipv6 {
            setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        } else {
            setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        Ok(())
    }

    /// Returns a buffer for the control messages of one datagram.
    pub(in super::super) fn control_buffer() -> Vec<u8> {
        nix::cmsg_space!(in_pktinfo, in6_pktinfo)
    }

    /// Receives a datagram; returns its length, source and destination.
    pub(in super::super) fn receive(
        socket: &UdpSocket,
        buffer: &mut [u8],
        control: &mut [u8],
    ) -> io::Result<(usize, SocketAddr, Option<IpAddr>)> {
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::empty();
        let message =
            recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(control), flags)?;
        let source = message.address.as_ref().and_then(|address| {
            let v4 = address.as_sockaddr_in();
            let v4 = v4.map(|it| SocketAddr::V4(SocketAddrV4::from(*it)));
            let v6 = address.as_sockaddr_in6();
            v4.or_else(|| v6.map(|it| SocketAddr::V6(SocketAddrV6::from(*it))))
        });
        let source = source.ok_or(io::ErrorKind::InvalidData)?;
        // A truncated control message counts as missing.
        let local = message.cmsgs().ok().and_then(|mut messages| {
            messages.find_map(|message| match message {
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    let address = Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr));
                    Some(IpAddr::V4(address))
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)))
                }
                _ => None,
            })
        });
        Ok((message.bytes, source, local))
    }

    /// Sends a datagram from a local address. Both addresses have the socket's family.
    pub(in super::super) fn send_from(
        socket: &UdpSocket,
        datagram: &[u8],
        to: SocketAddr,
        local: IpAddr,
    ) -> io::Result<()> {
        let v4;
        let v6;
        let control = match local {
            IpAddr::V4(local) => {
                v4 = in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: in_addr {
                        s_addr: u32::from(local).to_be(),
                    },
                    ipi_addr: in_addr { s_addr: 0 },
                };
                ControlMessage::Ipv4PacketInfo(&v4)
            }
            IpAddr::V6(local) => {
                v6 = in6_pktinfo {
                    ipi6_addr: in6_addr {
                        s6_addr: local.octets(),
                    },
                    ipi6_ifindex: 0,
                };
                ControlMessage::Ipv6PacketInfo(&v6)
            }
        };
        match to {
            SocketAddr::V4(to) => send(socket, datagram, &SockaddrIn::from(to), control),
            SocketAddr::V6(to) => send(socket, datagram, &SockaddrIn6::from(to), control),
        }
    }

    fn send<S: SockaddrLike>(
        socket: &UdpSocket,
        datagram: &[u8],
        to: &S,
        control: ControlMessage<'_>,
    ) -> io::Result<()> {
        let parts = [IoSlice::new(datagram)];
        let flags = MsgFlags::empty();
        sendmsg(socket.as_raw_fd(), &parts, &[control], flags, Some(to))?;
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::{IpAddr, SocketAddr, UdpSocket, io};

    pub(in super::super) fn enable<S>(_: &S, _: bool) -> io::Result<()> {
        Ok(())
    }

    pub(in super::super) const fn control_buffer() -> Vec<u8> {
        Vec::new()
    }

    pub(in super::super) fn receive(
        socket: &UdpSocket,
        buffer: &mut [u8],
        _: &mut [u8],
    ) -> io::Result<(usize, SocketAddr, Option<IpAddr>)> {
        let (len, from) = socket.recv_from(buffer)?;
        Ok((len, from, None))
    }

    pub(in super::super) fn send_from(
        socket: &UdpSocket,
        datagram: &[u8],
        to: SocketAddr,
        _: IpAddr,
    ) -> io::Result<()> {
        socket.send_to(datagram, to).map(|_| ())
    }
}

pub(super) use system::{control_buffer, enable, receive, send_from};

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    #[test]
    fn table_of_hosts_is_bounded_and_the_latest_datagram_decides() {
        let mut table = LocalAddresses::default();
        let (first, second) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let host = IpAddr::from([192, 0, 2, 1]);
        table.note(host, first);
        table.note(host, second);
        assert_eq!(table.of(&host), Some(second));
        table.note(host, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        assert_eq!(table.of(&host), Some(second));
        for n in 0..3 * u32::try_from(MAX_HOSTS).unwrap() {
            table.note(IpAddr::V4(Ipv4Addr::from(n)), first);
            assert!(table.by_host.len() <= MAX_HOSTS);
        }
        let latest = Ipv4Addr::from(3 * u32::try_from(MAX_HOSTS).unwrap() - 1);
        assert_eq!(table.of(&IpAddr::V4(latest)), Some(first));
        table.forget(&IpAddr::V4(latest));
        assert_eq!(table.of(&IpAddr::V4(latest)), None);
    }
}
