//! Limit of the connections to peers.

use super::*;
use crate::net::stream_request::{
    Receiver as RequestReceiver, RequestEnd, StreamAnswer, StreamPart,
};
use std::sync::mpsc::channel;

#[test]
fn connections_to_peers_are_limited_and_unused_ones_give_way() {
    const LIMIT: u8 = 5;
    let alone = Alone::limited(1, Store::new(1 << 20), |config| {
        config.stream_outgoing_connections = LIMIT.into();
    });
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let (sender, answers) = channel();
    let request = |n: u8| {
        alone.streams.send(Control::Request {
            request: StreamRequest {
                number: n.into(),
                from: PublicKey::new([n; 32]),
                object: StreamObject::Lists {
                    lists: vec![AtomId::new([n; 32])],
                    most: 1,
                },
            },
            address,
            offer: StreamOffer {
                port: address.port(),
                key: SecretKey::from_bytes([n; 32]).public_key(),
            },
            receiver: RequestReceiver::Caller(sender.clone()),
        });
    };
    for n in 1..=LIMIT + 1 {
        request(n);
    }
    // The others wait for the handshakes.
    let StreamAnswer { number, part } = answers.recv_timeout(WAIT).unwrap();
    assert_eq!(number, u64::from(LIMIT) + 1);
    assert!(matches!(part, StreamPart::End(RequestEnd::Failed)));
    alone.streams.send(Control::CancelRequest { number: 3 });
    request(LIMIT + 2);
    request(LIMIT + 3);
    let StreamAnswer { number, .. } = answers.recv_timeout(WAIT).unwrap();
    assert_eq!(number, u64::from(LIMIT) + 3, "there was one place");
}
