//! Tests of places that unauthenticated clients hold.

use super::*;
use socket2::{Domain, Socket, Type};

/// Opens a connection from an address of this machine.
fn connect_from(address: Ipv4Addr, server: &Alone) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, server.streams.offer().port));
    socket.connect(&to.into()).unwrap();
    socket.into()
}

#[test]
fn silent_connections_give_way_to_a_client() {
    let server = Alone::new();
    let silent: Vec<_> = (0..64)
        .map(|n| connect_from(Ipv4Addr::new(127, 0, 0, 2 + n / 8), &server))
        .collect();
    std::thread::sleep(Duration::from_millis(1_200));
    let client = Alone::with_store(2, Store::new(1 << 20));
    let before = std::time::Instant::now();
    client.open(&server);
    let elapsed = before.elapsed();
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
    drop(silent);
}
