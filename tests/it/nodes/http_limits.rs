//! Limits of RPC over HTTP that callers without the token share, with real processes.

use super::http::serve;
use super::support::{address as address_of, alone, eventually, node};
use astreum_node::rpc::request;
use astreum_tests::testkit::http::{WebSocket, call, connect, post, read_reply};
use core::time::Duration;
use serde_json::json;
use std::io::Write as _;
use std::time::Instant;

#[test]
fn connections_are_limited_and_idle_ones_make_room() {
    let (node, address, token) = serve("many", &["--rpc-max-connections", "4"]);
    let mut busy: Vec<WebSocket> = (0..4)
        .map(|_| WebSocket::open(address, &[&token]).unwrap())
        .collect();
    for socket in &mut busy {
        let reply = socket.ask(1, "subscribe", &json!({"topic": "heads"}));
        assert!(reply["result"].is_u64(), "{reply}");
    }
    std::thread::sleep(Duration::from_millis(2_500));
    // Subscriptions are in use, however quiet they are.
    let refused = read_reply(&connect(address)).unwrap();
    assert_eq!(
        (refused.status, refused.body.trim()),
        (503, "too many connections are open")
    );
    // The control socket is not affected.
    assert_eq!(node.status().peers, 0);
    busy.pop();
    eventually("there is room again", || {
        let mut stream = connect(address);
        let _ = stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
        read_reply(&stream).is_ok_and(|reply| reply.status == 200)
    });
    let idle = connect(address);
    eventually("the idle connection makes room", || {
        let mut stream = connect(address);
        let _ = stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
        read_reply(&stream).is_ok_and(|reply| reply.status == 200)
    });
    drop(idle);
}

#[test]
fn callers_without_the_token_do_not_hold_all_connections() {
    let (_node, address, token) = serve("strangers", &["--rpc-max-connections", "4"]);
    let mut trusted = WebSocket::open(address, &[&token]).unwrap();
    let heads = json!({"topic": "heads"});
    assert!(trusted.ask(1, "subscribe", &heads)["result"].is_u64());
    let mut strangers: Vec<WebSocket> = (0..2)
        .map(|_| WebSocket::open(address, &[]).unwrap())
        .collect();
    for socket in &mut strangers {
        assert!(socket.ask(1, "subscribe", &heads)["result"].is_u64());
    }
    let wait = json!({"id": "07".repeat(32), "wait_seconds": 60});
    let waiting = std::thread::spawn(move || {
        let host = ["Host: localhost", "Content-Type: application/json"];
        let wait = call(1, "transaction_status", &wait);
        // It is cut off.
        let mut stream = connect(address);
        let request = format!(
            "POST / HTTP/1.1\r\n{}\r\nContent-Length: {}\r\n\r\n{wait}",
            host.join("\r\n"),
            wait.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let started = Instant::now();
        let _ = read_reply(&stream);
        started.elapsed()
    });
    std::thread::sleep(Duration::from_millis(2_500));
    // Each takes the place of one of them.
    let mut others: Vec<WebSocket> = Vec::new();
    for _ in 0..3 {
        let mut socket = WebSocket::open(address, &[&token]).unwrap();
        assert!(socket.ask(1, "subscribe", &heads)["result"].is_u64());
        others.push(socket);
    }
    for mut socket in strangers {
        let closed = socket.receive_raw();
        assert!(!matches!(closed, Ok(Some(_))), "{closed:?}");
    }
    let waited = waiting.join().unwrap();
    assert!(waited < Duration::from_secs(20), "{waited:?}");
    // The one with the token is as it was, and nothing makes room now.
    assert!(trusted.ask(2, "subscribe", &heads)["result"].is_u64());
    assert_eq!(read_reply(&connect(address)).unwrap().status, 503);
}

#[test]
fn list_requested_without_the_token_is_not_fetched_as_a_whole() {
    let server = node(alone());
    let values: Vec<_> = (0..3_000_u16)
        .map(|n| [n.to_le_bytes()[0]; 3_900])
        .collect();
    let stored = server.put_list(&values).unwrap();
    let (client, address, _) = serve("beginning", &[]);
    let request = request::Connect {
        address: address_of(&server).to_string(),
    };
    client.request(&request).unwrap();
    eventually("the server is a peer", || {
        let peers = client.request(&request::Peers {}).unwrap();
        peers.iter().any(|peer| peer.is_validated)
    });
    let get = call(1, "get_list", &json!({"id": stored.id.to_string()}));
    let reply = post(address, &get, &[]).json();
    let atoms = reply["result"]["atoms"].as_array().unwrap().len();
    assert!((1..300).contains(&atoms), "{atoms}");
    // A further request gets the rest.
    let next = reply["result"]["next"].as_str().unwrap();
    let get = call(2, "get_list", &json!({"id": next}));
    let more = post(address, &get, &[]).json();
    assert!(more["result"]["atoms"].as_array().is_some(), "{more}");
    let held = client.status().hot_bytes;
    assert!(held < 4 << 20, "{held}");
}
