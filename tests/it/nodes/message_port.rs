//! Ports of answers: they go to the port that a message names, and come from the node's own.

use super::support::{WAIT_TIMEOUT, address, alone, node};
use astreum_core::crypto::SecretKey;
use astreum_core::wire::message::{Body, Message, write_handshake};
use astreum_core::wire::packet::{Draft, Packet};
use std::net::UdpSocket;

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(WAIT_TIMEOUT)).unwrap();
    socket
}

#[test]
fn replies_go_to_the_port_in_the_header_and_leave_from_the_nodes_port() {
    let node = node(alone());
    let (sending, receiving) = (socket(), socket());
    let key = SecretKey::from_bytes([5; 32]).public_key();
    let mut packet = Vec::new();
    let mut draft = Draft::new(&mut packet);
    let port = receiving.local_addr().unwrap().port();
    write_handshake(draft.message_mut(), &key, port, &[]);
    draft.work(1);
    sending.send_to(&packet, address(&node)).unwrap();

    let mut buffer = [0; 4_096];
    let (len, from) = receiving.recv_from(&mut buffer).unwrap();
    assert_eq!(from, address(&node));
    let packet = Packet::decode(&buffer[..len]).unwrap();
    let message = Message::decode(packet.message()).unwrap();
    assert_eq!(message.sender, node.public_key());
    assert_eq!(message.port.map(core::num::NonZero::get), node.port());
    assert!(matches!(message.body, Body::Handshake(_)));
    sending.set_nonblocking(true).unwrap();
    assert!(sending.recv_from(&mut buffer).is_err());
}

#[test]
fn message_without_a_port_is_not_answered() {
    let node = node(alone());
    let socket = socket();
    let key = SecretKey::from_bytes([5; 32]).public_key();
    let mut packet = Vec::new();
    let mut draft = Draft::new(&mut packet);
    write_handshake(draft.message_mut(), &key, 0, &[]);
    draft.work(1);
    socket.send_to(&packet, address(&node)).unwrap();
    let statistics = || node.status().network.unwrap().stats;
    super::support::eventually("the datagram was seen", || statistics().received == 1);
    assert_eq!(statistics().sent, 0);
    assert_eq!(statistics().dropped_total(), 1);
}
