//! Port mapping against fake gateways on loopback: PCP and NAT-PMP by datagrams, UPnP by SSDP and
//! HTTP. Each has a loopback address of its own, because the ports of gateways are fixed.

#![expect(clippy::indexing_slicing, reason = "a failure fails the test")]

use super::running::start;
use super::support::eventually;
use astreum_node::rpc::{PortMappingReply, StatusReply};
use astreum_tests::testkit::{NodeProcess, Signal, program};
use core::net::Ipv4Addr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Address that the fake gateways state.
const EXTERNAL: [u8; 4] = [203, 0, 113, 7];
/// Port of PCP and NAT-PMP.
const PCP_PORT: u16 = 5_351;
/// Port of SSDP.
const SSDP_PORT: u16 = 1_900;

/// Requests that a fake gateway has received, as text.
type Requests = Arc<Mutex<Vec<String>>>;

fn has(requests: &Requests, text: &str) -> bool {
    requests.lock().unwrap().iter().any(|it| it == text)
}

/// Answers datagrams until the process ends.
fn serve(
    address: (Ipv4Addr, u16),
    mut answer: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static,
) {
    let socket = UdpSocket::bind(address).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2_048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            if let Some(answer) = answer(&buffer[..length]) {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
}

fn number<const N: usize>(bytes: &[u8]) -> u32 {
    bytes[..N]
        .iter()
        .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

/// Answers a PCP request for a mapping, with a lease of `lease` seconds.
fn pcp(request: &[u8], lease: u32, requests: &Requests) -> Option<Vec<u8>> {
    if request.len() < 60 || request[0] != 2 || request[1] != 1 {
        return None;
    }
    let wanted = number::<4>(&request[4..]);
    let (protocol, port) = (request[36], number::<2>(&request[40..]));
    let name = if protocol == 17 { "UDP" } else { "TCP" };
    let what = if wanted == 0 { "remove" } else { "map" };
    requests
        .lock()
        .unwrap()
        .push(format!("{what} {name} {port}"));
    let mut answer = request[..60].to_vec();
    answer[1] |= 0x80;
    answer[2..4].fill(0);
    answer[4..8].copy_from_slice(&wanted.min(lease).to_be_bytes());
    answer[8..12].copy_from_slice(&1_000_u32.to_be_bytes());
    answer[12..24].fill(0);
    answer[44..54].fill(0);
    answer[54..56].fill(0xff);
    answer[56..60].copy_from_slice(&EXTERNAL);
    Some(answer)
}

/// Answers a NAT-PMP request; PCP is refused by its version.
fn nat_pmp(request: &[u8], requests: &Requests) -> Option<Vec<u8>> {
    let epoch = 1_000_u32.to_be_bytes();
    let operation = *request.get(1)?;
    if request[0] != 0 {
        let refusal = [&[0, 0x80, 0, 1][..], &epoch].concat();
        return Some(refusal);
    }
    let head = [&[0, 0x80 | operation, 0, 0][..], &epoch].concat();
    if operation == 0 {
        return Some([&head[..], &EXTERNAL].concat());
    }
    let (port, lifetime) = (number::<2>(&request[4..]), &request[8..12]);
    let what = if number::<4>(lifetime) == 0 {
        "remove"
    } else {
        "map"
    };
    let name = if operation == 1 { "UDP" } else { "TCP" };
    requests
        .lock()
        .unwrap()
        .push(format!("{what} {name} {port}"));
    let external = if what == "remove" {
        &[0, 0]
    } else {
        &request[6..8]
    };
    Some([&head[..], &request[4..6], external, lifetime].concat())
}

/// Starts a UPnP gateway whose HTTP server answers with `answer`, of the head and the body of a
/// request.
fn upnp(address: Ipv4Addr, answer: impl Fn(&str, &str, &mut TcpStream) + Send + Sync + 'static) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    serve((address, SSDP_PORT), move |request| {
        request.starts_with(b"M-SEARCH").then(|| {
            let location = format!("http://{address}:{port}/root.xml");
            format!("HTTP/1.1 200 OK\r\nLOCATION: {location}\r\n\r\n").into_bytes()
        })
    });
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), Arc::clone(&answer));
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut head, mut length) = (String::new(), 0);
                while reader.read_line(&mut head).is_ok_and(|read| read > 2) {
                    let last = head.lines().last().unwrap_or_default().to_ascii_lowercase();
                    if let Some(value) = last.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                }
                let mut body = vec![0; length];
                let _ = reader.read_exact(&mut body);
                answer(&head, &String::from_utf8_lossy(&body), &mut stream);
            });
        }
    });
}

fn send(stream: &mut TcpStream, status: &str, body: &str) {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(&[head.as_bytes(), body.as_bytes()].concat());
}

const SERVICE: &str = "urn:schemas-upnp-org:service:WANIPConnection:1";

fn description() -> String {
    format!(
        "<?xml version=\"1.0\"?><root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device>\
         <deviceList><device><deviceList><device><serviceList><service>\
         <serviceType>{SERVICE}</serviceType><SCPDURL>/scpd.xml</SCPDURL>\
         <controlURL>/control</controlURL></service></serviceList></device></deviceList></device>\
         </deviceList></device></root>"
    )
}

fn schema() -> String {
    let arguments = [
        "NewRemoteHost",
        "NewExternalPort",
        "NewProtocol",
        "NewInternalPort",
        "NewInternalClient",
        "NewEnabled",
        "NewPortMappingDescription",
        "NewLeaseDuration",
    ];
    let list = |names: &[&str]| {
        let all = names.iter().map(|name| {
            format!("<argument><name>{name}</name><direction>in</direction></argument>")
        });
        all.collect::<String>()
    };
    format!(
        "<?xml version=\"1.0\"?><scpd><actionList><action><name>AddPortMapping</name>\
         <argumentList>{}</argumentList></action><action><name>DeletePortMapping</name>\
         <argumentList>{}</argumentList></action></actionList></scpd>",
        list(&arguments),
        list(&arguments[..3])
    )
}

/// Returns the text of an element.
fn element<'b>(body: &'b str, name: &str) -> &'b str {
    let rest = body
        .split_once(&format!("<{name}>"))
        .map_or("", |(_, rest)| rest);
    rest.split_once('<').map_or("", |(text, _)| text)
}

/// Answers as a well-behaved UPnP gateway, which has permanent leases only.
fn igd(requests: &Requests, head: &str, body: &str, stream: &mut TcpStream) {
    let reply = |action: &str, content: &str| {
        format!(
            "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\">\
             <s:Body><u:{action}Response xmlns:u=\"{SERVICE}\">{content}</u:{action}Response></s:Body>\
             </s:Envelope>"
        )
    };
    let note = |what: &str| {
        let (name, port) = (
            element(body, "NewProtocol"),
            element(body, "NewExternalPort"),
        );
        requests
            .lock()
            .unwrap()
            .push(format!("{what} {name} {port}"));
    };
    if head.starts_with("GET /root.xml ") {
        send(stream, "200 OK", &description());
    } else if head.starts_with("GET /scpd.xml ") {
        send(stream, "200 OK", &schema());
    } else if body.contains("GetExternalIPAddress") {
        let address = "<NewExternalIPAddress>203.0.113.7</NewExternalIPAddress>";
        send(stream, "200 OK", &reply("GetExternalIPAddress", address));
    } else if body.contains("AddPortMapping") && element(body, "NewLeaseDuration") != "0" {
        let fault = "<s:Fault><detail><UPnPError xmlns=\"urn:schemas-upnp-org:control-1-0\">\
                     <errorCode>725</errorCode><errorDescription>permanent only</errorDescription>\
                     </UPnPError></detail></s:Fault>";
        let envelope = format!(
            "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\">\
             <s:Body>{fault}</s:Body></s:Envelope>"
        );
        send(stream, "500 Internal Server Error", &envelope);
    } else if body.contains("AddPortMapping") {
        note("map");
        send(stream, "200 OK", &reply("AddPortMapping", ""));
    } else if body.contains("DeletePortMapping") {
        note("remove");
        send(stream, "200 OK", &reply("DeletePortMapping", ""));
    } else {
        send(stream, "404 Not Found", "");
    }
}

fn node(name: &str, mode: &str, gateway: Ipv4Addr) -> NodeProcess {
    let gateway = gateway.to_string();
    start(
        name,
        &["--port-mapping", mode, "--port-mapping-gateway", &gateway],
    )
}

fn mapping(node: &NodeProcess) -> PortMappingReply {
    node.status().port_mapping.unwrap()
}

/// Starts a node beside a gateway that answers datagrams of PCP and NAT-PMP, and waits until its
/// ports are mapped. Returns it with the requests that the gateway receives.
fn mapped_node(
    name: &str,
    mode: &str,
    gateway: Ipv4Addr,
    mut answer: impl FnMut(&[u8], &Requests) -> Option<Vec<u8>> + Send + 'static,
) -> (NodeProcess, Requests) {
    let requests = Requests::default();
    let of_gateway = Arc::clone(&requests);
    serve((gateway, PCP_PORT), move |request| {
        answer(request, &of_gateway)
    });
    let node = node(name, mode, gateway);
    wait_until_mapped(&node);
    (node, requests)
}

fn wait_until_mapped(node: &NodeProcess) {
    eventually("the ports are mapped", || mapping(node).ports.len() == 2);
}

/// Checks the mappings, stops the node, and checks that they are removed.
#[track_caller]
fn is_mapped_and_removed(node: NodeProcess, method: &str, requests: &Requests) {
    let status: StatusReply = node.status();
    let reply = mapping(&node);
    assert_eq!(reply.method.as_deref(), Some(method));
    assert_eq!((&reply.error, &reply.doubt), (&None, &None));
    let (udp, tcp) = (node.address().port(), reply.ports[1].port);
    for (port, (protocol, number)) in reply.ports.iter().zip([("UDP", udp), ("TCP", tcp)]) {
        assert_eq!((&*port.protocol, port.port), (protocol, number));
        let address = port.external_address.unwrap();
        assert_eq!(address.to_string(), format!("203.0.113.7:{number}"));
        assert!(has(requests, &format!("map {protocol} {number}")));
    }
    assert!(!status.problems.iter().any(|it| it.contains("mapped")));
    let shown = Command::new(program::astreum())
        .args(["status", "--control-socket"])
        .arg(node.socket())
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let line = shown.lines().find(|line| line.starts_with("port mapping"));
    let line = line.unwrap();
    assert!(
        line.contains(&format!("UDP {udp} at 203.0.113.7:{udp}")),
        "{line}"
    );
    assert!(line.contains(&format!("by {method}")), "{line}");
    let stop = Instant::now();
    node.signal(Signal::TERM);
    assert_eq!(node.finish().status.code(), Some(0));
    let elapsed = stop.elapsed();
    for removed in [format!("remove UDP {udp}"), format!("remove TCP {tcp}")] {
        assert!(has(requests, &removed), "{removed}: {requests:?}");
    }
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
}

#[test]
fn pcp_gateway_maps_the_ports_and_removes_them_at_the_stop() {
    let address = Ipv4Addr::new(127, 77, 1, 1);
    let answer = |request: &[u8], requests: &Requests| pcp(request, 7_200, requests);
    let (node, requests) = mapped_node("pmpcp", "auto", address, answer);
    let left = mapping(&node).ports[0].expires_seconds.unwrap();
    assert!((7_100..=7_200).contains(&left), "{left}");
    is_mapped_and_removed(node, "PCP", &requests);
}

#[test]
fn mappings_are_renewed_before_they_end() {
    let address = Ipv4Addr::new(127, 77, 1, 2);
    let answer = |request: &[u8], requests: &Requests| pcp(request, 5, requests);
    let (node, requests) = mapped_node("pmrenew", "pcp", address, answer);
    let count = || requests.lock().unwrap().len();
    let first = count();
    astreum_tests::testkit::wait::eventually_within(
        Duration::from_secs(40),
        "the mappings are renewed",
        || count() >= first + 2,
    );
    assert_eq!(mapping(&node).ports.len(), 2);
}

#[test]
fn nat_pmp_gateway_is_used_without_pcp() {
    let address = Ipv4Addr::new(127, 77, 1, 3);
    let (node, requests) = mapped_node("pmnatpmp", "pcp", address, nat_pmp);
    is_mapped_and_removed(node, "NAT-PMP", &requests);
}

#[test]
fn upnp_gateway_with_permanent_leases_is_used() {
    let address = Ipv4Addr::new(127, 77, 1, 4);
    let requests = Requests::default();
    let of_gateway = Arc::clone(&requests);
    upnp(address, move |head, body, stream| {
        igd(&of_gateway, head, body, stream);
    });
    let node = node("pmupnp", "upnp", address);
    wait_until_mapped(&node);
    assert_eq!(mapping(&node).ports[0].expires_seconds, None);
    is_mapped_and_removed(node, "UPnP", &requests);
}

#[test]
fn failed_mapping_is_a_problem_and_does_not_delay_the_stop() {
    // Nothing answers there.
    let address = Ipv4Addr::new(127, 77, 1, 5);
    let silent = UdpSocket::bind((address, PCP_PORT)).unwrap();
    let node = node("pmsilent", "pcp", address);
    let problem = || {
        let problems = node.status().problems;
        problems.into_iter().find(|it| it.contains("port_mapping"))
    };
    eventually("the failure is a problem", || problem().is_some());
    let text = problem().unwrap();
    for part in ["port_mapping = \"pcp\"", "127.77.1.5", "forward UDP port"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(mapping(&node).error.is_some());
    node.signal(Signal::TERM);
    assert_eq!(node.finish().status.code(), Some(0));
    // In the middle of the first attempt.
    let node = self::node("pmstop", "pcp", address);
    let stop = Instant::now();
    node.signal(Signal::TERM);
    assert_eq!(node.finish().status.code(), Some(0));
    assert!(
        stop.elapsed() < Duration::from_secs(4),
        "{:?}",
        stop.elapsed()
    );
    drop(silent);
}

#[test]
fn gateway_that_falls_silent_does_not_delay_the_stop() {
    let address = Ipv4Addr::new(127, 77, 1, 6);
    let is_silent = Arc::new(AtomicBool::new(false));
    let silent = Arc::clone(&is_silent);
    let answer = move |request: &[u8], requests: &Requests| {
        let answers = !silent.load(Ordering::Relaxed);
        answers.then(|| pcp(request, 7_200, requests)).flatten()
    };
    let (node, _) = mapped_node("pmgone", "pcp", address, answer);
    is_silent.store(true, Ordering::Relaxed);
    let stop = Instant::now();
    node.signal(Signal::TERM);
    assert_eq!(node.finish().status.code(), Some(0));
    assert!(
        stop.elapsed() < Duration::from_secs(4),
        "{:?}",
        stop.elapsed()
    );
}

#[test]
fn hostile_gateways_are_reported_and_bounded() {
    type Answer = fn(&str, &str, &mut TcpStream);
    // Nested elements, a body without an end, and another host.
    let deep: Answer = |_, _, stream| send(stream, "200 OK", &"<a>".repeat(300_000));
    let endless: Answer = |_, _, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n<root>");
        while stream.write_all(&[b'x'; 65_536]).is_ok() {}
    };
    let elsewhere: Answer = |head, _, stream| {
        if head.starts_with("GET /root.xml ") {
            let other = description().replace("/control<", "http://192.0.2.1/control<");
            send(stream, "200 OK", &other);
        } else {
            send(stream, "200 OK", "");
        }
    };
    for (last, answer) in [(7, deep), (8, endless), (9, elsewhere)] {
        let address = Ipv4Addr::new(127, 77, 1, last);
        serve((address, PCP_PORT), |_| Some(vec![0xff; 1_500]));
        upnp(address, answer);
        let node = node("pmhostile", "auto", address);
        eventually("the failure is reported", || mapping(&node).error.is_some());
        let reply = mapping(&node);
        let error = reply.error.unwrap();
        assert!(
            error.chars().count() < 1_000 && reply.ports.is_empty(),
            "{error}"
        );
        // The node works.
        assert!(node.resident_bytes() < 200 << 20);
        node.signal(Signal::TERM);
        assert_eq!(node.finish().status.code(), Some(0));
    }
}

#[test]
fn port_mapping_is_off_by_default() {
    let node = start("pmoff", &[]);
    assert_eq!(node.status().port_mapping, None);
    let threads = format!("/proc/{}/task", node.process_id());
    let names = std::fs::read_dir(threads).unwrap().map(|entry| {
        let path = entry.unwrap().path().join("comm");
        std::fs::read_to_string(path).unwrap_or_default()
    });
    let names: Vec<String> = names.collect();
    assert!(
        !names.iter().any(|name| name.starts_with("port-mapping")),
        "{names:?}"
    );
}
