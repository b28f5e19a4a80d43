//! RPC over HTTP and WebSocket with real processes, and attacks on it with raw bytes.

use super::running::start;
use super::support::eventually;
use astreum_core::atom::Atom;
use astreum_node::rpc::{MAX_BATCH, MAX_REQUEST_BYTES, MAX_SUBSCRIPTIONS, hex, request, schema};
use astreum_tests::testkit::http::{
    HttpReply, WebSocket, call, connect, exchange, get, post, read_reply,
};
use astreum_tests::testkit::{NodeProcess, Signal};
use core::net::SocketAddr;
use core::time::Duration;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::time::Instant;

/// Starts a node that serves RPC; returns its address and the header with its token.
pub(super) fn serve(name: &str, flags: &[&str]) -> (NodeProcess, SocketAddr, String) {
    let mut node = start(name, &[&["--rpc-listen", "127.0.0.1:0"], flags].concat());
    node.wait_for_greeting().unwrap();
    let greeting = node.greeting();
    let address = greeting.lines().find_map(|line| line.split_once("http://"));
    let address = address.unwrap_or_else(|| panic!("{greeting}")).1;
    let address = address.trim().parse().unwrap();
    let token = fs::read_to_string(node.directory().join("state/rpc.token")).unwrap();
    (
        node,
        address,
        format!("Authorization: Bearer {}", token.trim()),
    )
}

#[test]
fn explorer_is_served_only_if_it_is_on_and_under_its_policy() {
    let (node, address, _) = serve("noexplorer", &[]);
    let reply = get(address, "/explorer");
    assert_eq!(reply.status, 404);
    assert!(reply.body.contains("set explorer = true"), "{reply:?}");
    assert_eq!(node.interrupt().0, Some(0));

    let (node, address, _) = serve("explorer", &["--explorer"]);
    let page = format!("explorer        http://{address}/explorer");
    assert!(node.greeting().contains(&page), "{}", node.greeting());
    let reply = get(address, "/explorer");
    assert_eq!(reply.status, 200);
    assert!(reply.body.starts_with("<!DOCTYPE html>") && reply.body.len() < 150_000);
    for header in [
        "content-type: text/html; charset=utf-8\r\n",
        "content-security-policy: default-src 'none'; script-src 'sha256-",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff\r\n",
        "x-frame-options: deny\r\n",
        "referrer-policy: no-referrer\r\n",
        "cache-control: no-store\r\n",
    ] {
        assert!(
            reply.headers.contains(header),
            "{header}: {}",
            reply.headers
        );
    }
    assert!(!reply.headers.contains("unsafe"), "{}", reply.headers);
    // The checks of every request apply to it as well.
    for header in [
        "Host: evil.example.org",
        "Host: localhost\r\nOrigin: http://evil.example.org",
    ] {
        assert_eq!(
            exchange(address, "GET /explorer", &[header], "").status,
            403
        );
    }
    let host = ["Host: localhost", "Content-Type: application/json"];
    assert_eq!(exchange(address, "POST /explorer", &host, "{}").status, 405);
    let head = exchange(address, "HEAD /explorer", &["Host: localhost"], "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(node.interrupt().0, Some(0));
}

#[test]
fn http_answers_like_the_control_socket() {
    let (node, address, token) = serve("http", &[]);
    let reply = post(address, &call(1, "peers", &json!({})), &[]);
    assert_eq!(
        reply.json(),
        json!({"jsonrpc": "2.0", "id": 1, "result": []})
    );
    assert!(reply.headers.contains("content-type: application/json\r\n"));
    assert!(!reply.headers.contains("access-control"), "{reply:?}");
    let atom = Atom::bytes(*b"over http");
    let (id, atoms) = (atom.id().to_string(), json!([hex(&atom.to_bytes())]));
    let put = call(2, "put", &json!({"atoms": atoms}));
    assert_eq!(
        post(address, &put, &[&token]).json()["result"]["ids"],
        json!([id])
    );
    let got = post(address, &call(3, "get", &json!({"id": id})), &[]).json();
    assert_eq!(got["result"]["data"], hex(b"over http"));
    let missing = call(4, "get", &json!({"id": "07".repeat(32)}));
    let reply = post(address, &missing, &[]).json();
    assert_eq!(reply["error"]["data"]["missing"], "07".repeat(32));
    let array = format!("[{missing}, {}]", call(5, "get", &json!({"id": id})));
    let reply = post(address, &array, &[]).json();
    assert_eq!((&reply[0]["id"], &reply[1]["id"]), (&json!(4), &json!(5)));
    assert_eq!(reply[1]["result"]["data"], hex(b"over http"));
    let note = json!({"jsonrpc": "2.0", "method": "peers"}).to_string();
    let reply = post(address, &note, &[]);
    assert_eq!((reply.status, reply.body.as_str()), (204, ""));
    let reply = post(address, &call(6, "rpc.discover", &json!({})), &[]).json();
    assert_eq!(reply["result"], schema());
    let transfer = call(7, "put_atoms", &json!({"transfer": 1}));
    let reply = post(address, &transfer, &[&token]).json();
    let message = reply["error"]["message"].as_str().unwrap();
    assert!(message.contains("does not carry transfers"), "{message}");
    let subscribe = call(8, "subscribe", &json!({"topic": "heads"}));
    let reply = post(address, &subscribe, &[]).json();
    assert_eq!(
        reply["error"]["message"],
        "this connection is not a WebSocket"
    );
    assert_eq!(post(address, "{", &[]).json()["error"]["code"], -32_700);
    // A connection carries several requests.
    let mut stream = connect(address);
    for _ in 0..3 {
        stream
            .write_all(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            .unwrap();
        assert_eq!(read_reply(&stream).unwrap().status, 200);
    }
    node.signal(Signal::TERM);
    let began = Instant::now();
    assert_eq!(node.finish().status.code(), Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "an open connection delays the shutdown"
    );
}

#[test]
fn health_readiness_and_metrics_are_served() {
    let (node, address, _) = serve("monitor", &[]);
    assert_eq!(
        get(address, "/health").json(),
        json!({"ok": true, "reasons": []})
    );
    let reply = get(address, "/ready");
    assert_eq!(reply.status, 503);
    assert_eq!(reply.json(), json!({"ok": false, "reasons": ["no peers"]}));
    assert_eq!(get(address, "/ready?min_peers=0").status, 200);
    assert_eq!(get(address, "/ready?min_peers=x").status, 400);
    assert_eq!(get(address, "/ready?other=1").status, 400);
    let reply = get(address, "/metrics");
    assert!(
        reply
            .headers
            .contains("content-type: text/plain; version=0.0.4"),
        "{reply:?}"
    );
    assert!(
        reply.body.contains("\nastreum_rpc_open_connections 1\n"),
        "{}",
        reply.body
    );
    assert!(reply.body.contains("\nastreum_peers 0\n"));
    assert!(get(address, "/").body.contains("JSON-RPC 2.0"));
    assert_eq!(get(address, "/other").status, 404);
    let head = exchange(address, "HEAD /health", &["Host: localhost"], "");
    assert_eq!(head.status, 200);
    for (first, status) in [
        ("DELETE /", 405),
        ("POST /metrics", 405),
        ("PUT /health", 405),
    ] {
        assert_eq!(
            exchange(address, first, &["Host: localhost"], "").status,
            status,
            "{first}"
        );
    }
    drop(node);
}

#[test]
fn hosts_origins_and_tokens_are_checked() {
    let wallet = "https://wallet.example.org";
    let flags = ["--rpc-origins", wallet, "--rpc-hosts", "node.example.org"];
    let (node, address, token) = serve("guard", &flags);
    let path = node.directory().join("state/rpc.token");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let status = |first: &str, headers: &[&str]| exchange(address, first, headers, "").status;
    // A name of the attacker that resolves to this machine.
    assert_eq!(status("GET /metrics", &["Host: evil.example.org"]), 403);
    assert_eq!(
        status("GET /metrics", &["Host: node.example.org:52781"]),
        200
    );
    assert_eq!(status("GET /metrics", &[]), 400);
    assert_eq!(
        status(
            "GET /metrics",
            &["Host: localhost", "Host: evil.example.org"]
        ),
        400
    );
    assert_eq!(
        status("GET http://evil.example.org/metrics", &["Host: localhost"]),
        403
    );
    // A page of another site.
    let of = |origin: &str| {
        let origin = format!("Origin: {origin}");
        post(address, &call(1, "peers", &json!({})), &[&origin])
    };
    assert_eq!(of("https://evil.example.org").status, 403);
    assert_eq!(of("null").status, 403);
    let listed = of(wallet);
    assert_eq!(listed.status, 200);
    let allowed = format!("access-control-allow-origin: {wallet}\r\n");
    assert!(listed.headers.contains(&allowed), "{listed:?}");
    let preflight = |origin: &str| -> HttpReply {
        let origin = format!("Origin: {origin}");
        let wish = "Access-Control-Request-Method: POST";
        exchange(
            address,
            "OPTIONS /",
            &["Host: localhost", &origin, wish],
            "",
        )
    };
    let reply = preflight(wallet);
    assert_eq!(reply.status, 204);
    assert!(
        reply
            .headers
            .contains("access-control-allow-headers: authorization, content-type")
    );
    assert_eq!(preflight("https://evil.example.org").status, 403);
    let origin = "Origin: https://evil.example.org";
    assert_eq!(WebSocket::open(address, &[origin]).unwrap_err().status, 403);
    // A form of another site can send text without asking first.
    let form = ["Host: localhost", "Content-Type: text/plain"];
    let body = call(1, "peers", &json!({}));
    assert_eq!(exchange(address, "POST /", &form, &body).status, 415);
    // Without the token nothing changes.
    let changes = [
        ("put", json!({"atoms": []})),
        ("eval", json!({"source": "1"})),
        ("stop", json!({})),
        ("reload_config", json!({})),
        ("connect", json!({"address": "127.0.0.1:9"})),
        ("back_up", json!({"directory": "/nowhere"})),
    ];
    for (method, params) in &changes {
        let reply = post(address, &call(1, method, params), &[]).json();
        assert_eq!(reply["error"]["code"], -32_003, "{method}: {reply}");
        let array = format!("[{}]", call(1, method, params));
        assert_eq!(
            post(address, &array, &[]).json()[0]["error"]["code"],
            -32_003,
            "{method}"
        );
    }
    let peers = call(1, "peers", &json!({}));
    for wrong in [
        &token[..token.len() - 1],
        "Authorization: Bearer",
        "Authorization: Basic x",
    ] {
        let reply = post(address, &peers, &[wrong]);
        assert_eq!(reply.status, 401, "{wrong}");
        assert!(reply.headers.contains("www-authenticate: bearer"));
        assert!(!reply.headers.contains("access-control"), "{reply:?}");
        // A listed page can read that, too.
        let reply = post(address, &peers, &[wrong, &format!("Origin: {wallet}")]);
        assert_eq!(reply.status, 401, "{wrong}");
        assert!(reply.headers.contains(&allowed), "{reply:?}");
        assert!(reply.headers.contains("vary: origin\r\n"), "{reply:?}");
    }
    let eval = post(
        address,
        &call(1, "eval", &json!({"source": "1"})),
        &[&token],
    )
    .json();
    assert_eq!(eval["result"]["text"], "1");
    let rejected = get(address, "/metrics").body;
    let rejected = rejected
        .lines()
        .find_map(|it| it.strip_prefix("astreum_rpc_rejected_requests_total "));
    assert!(rejected.unwrap().parse::<u64>().unwrap() >= 11);
    let status = node.status();
    assert_eq!(status.problems, [""; 0]);
}

#[test]
fn remote_addresses_need_an_acknowledgement_and_errors_say_what_to_do() {
    use astreum_tests::testkit::Home;
    let home = Home::new("remote");
    let run = |more: &[&str]| {
        let base = ["run", "--incoming-port", "0", "--default-seed", "none"];
        home.run(&[&base[..], more].concat())
    };
    run(&["--rpc-listen", "0.0.0.0:0"]).fails(2, &["rpc_allow_remote = true", "no encryption"]);
    run(&["--rpc-listen", "localhost:1"]).fails(2, &["expected ip:port"]);
    run(&["--rpc-listen", "127.0.0.1:0", "--rpc-origins", "*"]).fails(2, &["rpc_origins"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    run(&["--rpc-listen", &address]).fails(1, &["cannot listen for RPC at", "rpc_listen"]);
    home.file("token", "x".repeat(40));
    let token = ["--rpc-listen", "127.0.0.1:0", "--rpc-token-file", "token"];
    run(&token).fails(2, &["token file", "accessible to other users", "chmod 600"]);
}

#[test]
fn malformed_large_and_slow_requests_are_refused() {
    let (node, address, _) = serve("hostile", &[]);
    // Slow ones first: they take as long as their limits.
    let mut slow_head = connect(address);
    slow_head
        .write_all(b"POST / HTTP/1.1\r\nHost: local")
        .unwrap();
    let mut slow_body = connect(address);
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let slow = format!("{head}Content-Length: 100\r\n\r\n{{");
    slow_body.write_all(slow.as_bytes()).unwrap();
    let mut silent = connect(address);

    let large = "x".repeat(MAX_REQUEST_BYTES + 1);
    assert_eq!(post(address, &large, &[]).status, 413);
    let mut stream = connect(address);
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    stream.write_all(chunked.as_bytes()).unwrap();
    let chunk = [&b"10000\r\n"[..], &[b'['; 0x1_0000], b"\r\n"].concat();
    for _ in 0..40 {
        if stream.write_all(&chunk).is_err() {
            break;
        }
    }
    assert_eq!(read_reply(&stream).map_or(413, |reply| reply.status), 413);
    let header = format!("X: {}", "x".repeat(64 << 10));
    assert_eq!(
        exchange(address, "GET /", &["Host: localhost", &header], "").status,
        431
    );
    // Bombs: many calls, deep arrays, many small items.
    let bomb = format!("[{}]", vec!["1"; MAX_BATCH + 1].join(","));
    assert_eq!(post(address, &bomb, &[]).json()["error"]["code"], -32_600);
    let deep = "[".repeat(MAX_REQUEST_BYTES - 1);
    assert_eq!(post(address, &deep, &[]).json()["error"]["code"], -32_700);
    let many = format!("[{}1]", "1,".repeat(400_000));
    assert_eq!(post(address, &many, &[]).json()["error"]["code"], -32_600);
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        &[0; 64],
    ] {
        let mut stream = connect(address);
        stream.write_all(garbage).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || text.starts_with("HTTP/1.1 400"),
            "{text}"
        );
    }
    // The slow ones lose their connections, and do not hold up others.
    let began = Instant::now();
    assert_eq!(read_reply(&slow_body).unwrap().status, 408);
    for (name, stream) in [("head", &mut slow_head), ("silent", &mut silent)] {
        let ended = stream.read_to_end(&mut Vec::new());
        assert!(
            ended.is_ok() || began.elapsed() < Duration::from_secs(25),
            "{name}: {ended:?}"
        );
    }
    assert!(
        began.elapsed() < Duration::from_secs(25),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(get(address, "/health").status, 200);
    assert!(
        node.resident_bytes() < 200 << 20,
        "{}",
        node.resident_bytes()
    );
}

#[test]
fn websocket_carries_requests_arrays_and_authentication() {
    let (_node, address, token) = serve("socket", &[]);
    let mut socket = WebSocket::open(address, &[]).unwrap();
    let peers = socket.ask(1, "peers", &json!({}));
    assert_eq!(peers["result"], json!([]));
    socket.send(&format!(
        "[{},{}]",
        call(2, "peers", &json!({})),
        call(3, "fly", &json!({}))
    ));
    let reply = socket.receive();
    assert_eq!(
        (&reply[0]["id"], &reply[1]["error"]["code"]),
        (&json!(2), &json!(-32_601))
    );
    let eval = json!({"source": "(1 2 ((a b (($0 $1 add) sk)) (a b) fn))"});
    assert_eq!(socket.ask(4, "eval", &eval)["error"]["code"], -32_003);
    let log = json!({"topic": "log", "level": "info"});
    assert_eq!(socket.ask(5, "subscribe", &log)["error"]["code"], -32_003);
    let wrong = json!({"token": "x".repeat(64)});
    assert_eq!(
        socket.ask(6, "authenticate", &wrong)["error"]["code"],
        -32_003
    );
    let secret = token.rsplit(' ').next().unwrap();
    // The next request finds it done.
    socket.send(&call(7, "authenticate", &json!({"token": secret})));
    assert_eq!(socket.ask(8, "eval", &eval)["result"]["text"], "3");
    let number = socket.ask(9, "subscribe", &log)["result"].as_u64().unwrap();
    // Something that the node logs.
    socket.send(&call(10, "reload_config", &json!({})));
    let line = socket.notified(|params| {
        params["result"]["message"]
            .as_str()
            .is_some_and(|it| it.starts_with("reloaded"))
    });
    assert_eq!(
        (&line["subscription"], &line["result"]["level"]),
        (&json!(number), &json!("info"))
    );
    let end = json!({"subscription": number});
    assert_eq!(socket.ask(11, "unsubscribe", &end)["result"], true);
    assert_eq!(socket.ask(12, "unsubscribe", &end)["result"], false);
    for params in [
        json!({"topic": "transaction"}),
        json!({"topic": "heads", "level": "info"}),
        json!({"topic": "weather"}),
    ] {
        let reply = socket.ask(13, "subscribe", &params);
        assert_eq!(reply["error"]["code"], -32_602, "{params}: {reply}");
    }
    for _ in 0..MAX_SUBSCRIPTIONS {
        assert!(socket.ask(14, "subscribe", &json!({"topic": "heads"}))["result"].is_u64());
    }
    let more = socket.ask(15, "subscribe", &json!({"topic": "heads"}));
    assert_eq!(more["error"]["code"], -32_001, "{more}");
    let mut with_header = WebSocket::open(address, &[&token]).unwrap();
    assert_eq!(with_header.ask(1, "eval", &eval)["result"]["text"], "3");
    let refused = WebSocket::open(address, &["Authorization: Bearer x"]).unwrap_err();
    assert_eq!(refused.status, 401);
}

/// A client knows a subscription from its reply, so that a notification before it would be lost.
#[test]
fn reply_of_an_array_precedes_the_notifications_of_its_subscriptions() {
    let (_node, address, _) = serve("array", &[]);
    let mut socket = WebSocket::open(address, &[]).unwrap();
    let id = "07".repeat(32);
    let wanted = json!({"topic": "transaction", "id": id});
    // Longer than it takes to find out that the transaction is unknown.
    let wait = json!({"id": id, "wait_seconds": 2});
    socket.send(&format!(
        "[{},{}]",
        call(1, "subscribe", &wanted),
        call(2, "transaction_status", &wait)
    ));
    let reply = socket.receive();
    assert_eq!(reply[1]["result"]["state"], "unknown", "{reply}");
    let number = &reply[0]["result"];
    let state = socket.notified(|params| params["subscription"] == *number);
    assert_eq!(state["result"]["state"], "unknown");
}

#[test]
fn status_has_the_address_of_rpc_and_for_its_own_user_the_token_file() {
    let (node, address, token) = serve("address", &[]);
    let file = node.directory().join("state/rpc.token");
    let local = node.ask(&request::Status {}).rpc.unwrap();
    assert_eq!(local.address, address);
    let stated = local.token_file.unwrap();
    assert_eq!(
        fs::canonicalize(&stated).unwrap(),
        fs::canonicalize(file).unwrap()
    );
    let secret = token.rsplit(' ').next().unwrap();
    for header in [&[][..], &[token.as_str()]] {
        let reply = post(address, &call(1, "status", &json!({})), header);
        let rpc = &reply.json()["result"]["rpc"];
        assert_eq!(*rpc, json!({"address": address.to_string()}));
        assert!(!reply.body.contains(secret));
    }
    let without = start("norpc", &[]);
    assert_eq!(without.ask(&request::Status {}).rpc, None);
}

#[test]
fn heads_and_states_of_transactions_are_notified() {
    let chain = tempfile::tempdir().unwrap();
    let secret = "0a".repeat(32);
    let directory = chain.path().to_str().unwrap();
    let flags = ["--validation-secret-key", &secret, "--chain-dir", directory];
    let (node, address, _) = serve("heads", &flags);
    let mut socket = WebSocket::open(address, &[]).unwrap();
    let unknown = json!({"topic": "transaction", "id": "07".repeat(32)});
    let states = socket.ask(1, "subscribe", &unknown)["result"].clone();
    let state = socket.notified(|params| params["subscription"] == states);
    assert_eq!(state["result"]["state"], "unknown");
    let heads = socket.ask(2, "subscribe", &json!({"topic": "heads"}))["result"].clone();
    let height = |params: &Value| params["result"]["height"].as_u64().unwrap();
    let first = height(&socket.notified(|params| params["subscription"] == heads));
    let second = height(&socket.notified(|params| params["subscription"] == heads));
    assert!(second > first, "{first} and {second}");
    let reply = socket.ask(3, "block", &json!({"at": second.to_string()}));
    assert_eq!(reply["result"]["height"], second);
    node.signal(Signal::TERM);
    // A closing frame, and not only the end of the connection.
    while let Some(message) = socket.receive_raw().unwrap() {
        let message: Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(message["method"], "subscription", "{message}");
    }
    assert_eq!(node.finish().status.code(), Some(0));
}

/// Clients that send much and read nothing cost a bounded amount of memory.
#[test]
fn clients_that_do_not_read_are_bounded() {
    let (node, address, token) = serve("unread", &[]);
    let atom = Atom::bytes(vec![7; 60_000]);
    let put = json!({"atoms": [hex(&atom.to_bytes())]});
    assert!(post(address, &call(1, "put", &put), &[&token]).json()["result"].is_object());
    let before = node.resident_bytes();
    let get = call(1, "get", &json!({"id": atom.id().to_string()}));
    let status = call(1, "status", &json!({}));
    let mut floods: Vec<(WebSocket, Vec<u8>)> = Vec::new();
    for frame in [
        WebSocket::frame(1, get.as_bytes()),
        WebSocket::frame(1, status.as_bytes()),
        WebSocket::frame(9, &[7; 125]),
    ] {
        let socket = WebSocket::open(address, &[]).unwrap();
        floods.push((socket, frame));
    }
    // 12 MB of requests for 14 GB of replies, 12 MB of requests, and 12 MB of pings.
    let writers = floods.into_iter().map(|(mut socket, frame)| {
        std::thread::spawn(move || {
            let frames = frame.repeat((12 << 20) / frame.len());
            // Ends with an error once the server has waited long enough, or does not read on.
            let _ = socket.send_raw(&frames);
            socket
        })
    });
    let writers: Vec<_> = writers.collect();
    let deadline = Instant::now() + Duration::from_secs(8);
    let mut most = 0;
    while Instant::now() < deadline {
        most = node.resident_bytes().max(most);
        assert_eq!(get_health(address), 200);
        std::thread::sleep(Duration::from_millis(100));
    }
    let grown = most.saturating_sub(before) >> 20;
    assert!(grown < 64, "the node has grown by {grown} MiB");
    drop(node);
    for writer in writers {
        let _ = writer.join().unwrap();
    }
}

/// Clients without the token that wait, or do not read their replies, delay no others.
#[test]
fn clients_without_the_token_do_not_lock_out_others() {
    let chain = tempfile::tempdir().unwrap();
    let secret = "0b".repeat(32);
    let directory = chain.path().to_str().unwrap();
    let flags = ["--validation-secret-key", &secret, "--chain-dir", directory];
    let (node, address, token) = serve("crowd", &flags);
    let large = call(1, "validators", &json!({"slots": 10_000}));
    eventually("the reply is large", || {
        post(address, &large, &[]).body.len() > 100_000
    });
    let waits: Vec<_> = (0..30)
        .map(|_| {
            let params = json!({"id": "07".repeat(32), "wait_seconds": 3_600});
            let body = call(1, "transaction_status", &params);
            let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
            let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            let mut stream = connect(address);
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    let unread: Vec<WebSocket> = (0..3)
        .map(|_| {
            let mut socket = WebSocket::open(address, &[]).unwrap();
            for _ in 0..60 {
                socket.send(&large);
            }
            socket
        })
        .collect();
    std::thread::sleep(Duration::from_secs(1));
    for headers in [&[&token[..]][..], &[]] {
        let began = Instant::now();
        let reply = post(address, &call(2, "status", &json!({})), headers).json();
        assert!(reply["result"].is_object(), "{reply}");
        let elapsed = began.elapsed();
        assert!(
            elapsed < Duration::from_secs(15),
            "{elapsed:?}, {headers:?}"
        );
    }
    drop((node, waits, unread));
}

fn get_health(address: SocketAddr) -> u16 {
    get(address, "/health").status
}

#[test]
fn malformed_frames_end_the_websocket() {
    let (_node, address, _) = serve("frames", &[]);
    for frame in [
        // Not masked, of an unknown kind, with reserved bits, and of more than the maximum length.
        vec![0x81, 0x02, b'{', b'}'],
        vec![0x83, 0x80, 0, 0, 0, 0],
        vec![0xc1, 0x80, 0, 0, 0, 0],
        vec![0x81, 0xff, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0],
    ] {
        let mut socket = WebSocket::open(address, &[]).unwrap();
        socket.send_raw(&frame).unwrap();
        let ended = socket.receive_raw();
        assert!(!matches!(ended, Ok(Some(_))), "{frame:?}: {ended:?}");
    }
    for wrong in [
        &[
            "Connection: keep-alive",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
        ][..],
        &[
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 12",
        ],
        &[
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
        ],
    ] {
        let headers = [&["Host: localhost", "Sec-WebSocket-Key: eA=="][..], wrong].concat();
        assert_eq!(
            exchange(address, "GET /", &headers, "").status,
            400,
            "{wrong:?}"
        );
    }
}
