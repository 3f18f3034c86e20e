//! Requests whose framing two parsers in a row may read in two ways, octet by octet: what hyper answers itself, and what comes of those that it
//! lets through. Nothing reaches the application without a certificate of its own from the balancer.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use support::wire::{Answer, DATA, RST_STREAM, Server, frame, headers, http2_start, pseudo_fields, status_line};
use support::{NAME, Scene, rules};

const BODY: &str = "{\"dane_clientid\":\"device1.example.com\"}";
const CHUNKS: &str = "27\r\n{\"dane_clientid\":\"device1.example.com\"}\r\n0\r\n\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked";
const LENGTH: &str = "Content-Length: 39";
const ASSERTED: &str = "Dane-Clientid-Asserted: device1.example.com";

/// Requests of HTTP/1.1 with a certificate.
struct Http1 {
    certificate: String,
}

impl Http1 {
    /// With these lines besides, and what follows the head.
    fn post(&self, lines: &[&str], follows: &str) -> String {
        let lines: String = lines.iter().flat_map(|line| [line, "\r\n"]).collect();
        format!(
            "POST / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\nClient-Cert: {}\r\n{lines}\r\n{follows}",
            self.certificate
        )
    }

    /// With a name in the body.
    fn json(&self, lines: &[&str], follows: &str) -> String {
        self.post(&[&["Content-Type: application/json"], lines].concat(), follows)
    }
}

// HTTP-13, HTTP-14
#[tokio::test]
async fn http_1_requests_that_could_be_read_in_two_ways() {
    let scene = Scene::new().await;
    let http = Http1 { certificate: scene.forwarded(&scene.client) };
    let by_length = http.json(&[LENGTH], BODY);
    let by_chunks = http.json(&[CHUNKED], CHUNKS);
    let by_header = http.post(&[ASSERTED], "");
    assert_eq!(LENGTH, format!("Content-Length: {}", BODY.len()));
    let length = |lines: &[&str]| (http.json(lines, BODY), &by_length);
    let chunks = |line: &str| (http.json(&[line], CHUNKS), &by_chunks);
    let chunk = |follows: &str| (http.json(&[CHUNKED], follows), &by_chunks);
    let header = |line: &str| (http.post(&[ASSERTED, line], ""), &by_header);
    let head = |from: &str, to: &str| (by_header.replacen(from, to, 1), &by_header);
    let (bad, is) = (Answer::Status(400), Answer::Status);
    let cases = [
        ("two lengths that differ", length(&[LENGTH, "Content-Length: 3"]), bad),
        ("two lengths in a line", length(&["Content-Length: 39, 3"]), bad),
        ("a length with a sign", length(&["Content-Length: +39"]), bad),
        ("a negative length", length(&["Content-Length: -1"]), bad),
        ("a length in hexadecimal", length(&["Content-Length: 0x27"]), bad),
        ("a length beyond 64 bits", length(&["Content-Length: 18446744073709551655"]), bad),
        ("a length too short for the document", length(&["Content-Length: 10"]), bad),
        ("a length that is too much for the limit, and nothing", length(&["Content-Length: 2000000000"]), is(413)),
        ("no length", length(&[]), is(401)),
        ("a coding that is unknown", chunks("Transfer-Encoding: xchunked"), bad),
        ("a coding after chunked", chunks("Transfer-Encoding: chunked, gzip"), bad),
        ("a coding behind a vertical tab", chunks("Transfer-Encoding: \u{b}chunked"), bad),
        ("a coding in quotes", chunks("Transfer-Encoding: \"chunked\""), bad),
        ("a coding under another name", chunks("Transfer_Encoding: chunked"), is(401)),
        ("a space before the colon", chunks("Transfer-Encoding : chunked"), bad),
        ("a chunk without size", chunk("zz\r\n{}\r\n0\r\n\r\n"), bad),
        ("a chunk of too large a size", chunk("fffffffffffffffff\r\n{}\r\n0\r\n\r\n"), bad),
        ("a chunk that is longer than it says", chunk("1\r\n{}\r\n0\r\n\r\n"), bad),
        ("a value over two lines", header("X: a\r\n b"), bad),
        ("a certificate over two lines", head("Client-Cert: :", "Client-Cert: :\r\n "), bad),
        ("a name over two lines", head("device1", "device1\r\n "), bad),
        ("a space before a name", header(" X: a"), bad),
        ("a certificate in a line that another opens", header("X: a\nClient-Cert: x"), bad),
        ("a name in such a line", header("X: a\nDane-Clientid-Asserted: x"), bad),
        ("a carriage return within a line", header("X: a\rDane-Clientid: x"), bad),
        ("a NUL within a line", header("X: a\0b"), bad),
        ("no colon", header("Dane-Clientid"), bad),
        ("no name", header(": x"), bad),
        ("a space within a name", header("Dane Clientid: x"), bad),
        ("more lines than anybody needs", (http.post(&["X: a"; 200], ""), &by_header), is(431)),
        ("more octets than anybody needs", header(&format!("X: {}", "a".repeat(600_000))), is(431)),
        ("no version", head(" HTTP/1.1", ""), bad),
        ("another version", head("HTTP/1.1", "HTTP/1.2"), bad),
        ("something before it", head("POST", "\u{0}POST"), bad),
    ];
    // The client says no more, so that there is an end to wait for.
    let broken_off = [
        ("a length, and less than that", length(&["Content-Length: 100"]), bad),
        ("chunks without end", chunk("27\r\n{\"dane_clientid\":\"device1.example.com\"}\r\n"), bad),
        ("a chunk that breaks off", chunk("27\r\n{\"dane_clientid\""), bad),
        ("half a head", head("\r\n\r\n", "\r\n"), Answer::Closed),
    ];
    let cases = cases.into_iter().map(|case| (case, false)).chain(broken_off.into_iter().map(|case| (case, true)));
    for ((what, (request, good), expected), broken_off) in cases {
        let server = Server::start(scene.checker(rules())).await;
        let answer = match broken_off {
            true => server.send_and_end(request.as_bytes()).await,
            false => server.send(request.as_bytes()).await,
        };
        assert_eq!(status_line(&answer), expected, "{what}: {}", String::from_utf8_lossy(&answer));
        assert!(server.seen().is_empty(), "{what}");
        assert!(scene.world.tlsa_queries().is_empty(), "{what}");
        assert_eq!(status_line(&server.send(good.as_bytes()).await), Answer::Status(200), "control of: {what}");
        assert_eq!(server.seen().len(), 1, "{what}");
        scene.world.clear_log();
    }
}

// HTTP-13, HTTP-14: what a balancer took for a part of the body is a request without certificate, or none.
#[tokio::test]
async fn a_request_within_a_request_has_no_certificate() {
    let scene = Scene::new().await;
    let http = Http1 { certificate: scene.forwarded(&scene.client) };
    let second = format!(
        "POST /admin HTTP/1.1\r\nHost: app.test\r\nDane-Clientid: {NAME}\r\n{ASSERTED}\r\nConnection: close\r\n\r\n"
    );
    let kept_open = |request: String| request.replacen("Connection: close\r\n", "", 1);
    let behind_chunks = format!("{CHUNKS}{second}");
    let longer = format!("Content-Length: {}", behind_chunks.len());
    for (what, request, statuses) in [
        // The balancer went by the length, hyper goes by the chunks (RFC 9112 section 6.1).
        ("a length and chunks", http.json(&[&longer, CHUNKED], &behind_chunks), vec![200]),
        ("chunks and a length", http.json(&[CHUNKED, &longer], &behind_chunks), vec![200]),
        ("no length at all", http.post(&[ASSERTED], &second), vec![200, 401]),
        ("a length that is short", http.json(&[LENGTH], &format!("{BODY}{second}")), vec![200, 401]),
    ] {
        let server = Server::start(scene.checker(rules())).await;
        let answer = String::from_utf8(server.send(kept_open(request).as_bytes()).await).unwrap();
        let found: Vec<u16> =
            answer.split("HTTP/1.1 ").skip(1).map(|answer| answer.get(..3).unwrap().parse().unwrap()).collect();
        assert_eq!(found, statuses, "{what}: {answer}");
        let clients: Vec<_> = server.seen().into_iter().map(|seen| seen.client).collect();
        assert_eq!(clients, [NAME], "{what}");
    }
}

// HTTP-13, HTTP-14
#[tokio::test]
async fn http_2_requests_that_could_be_read_in_two_ways() {
    let scene = Scene::new().await;
    let certificate = scene.forwarded(&scene.client);
    let base = || {
        let mut fields = pseudo_fields();
        fields.extend([field("client-cert", &certificate), field("dane-clientid-asserted", NAME)]);
        fields
    };
    let with = |name: &str, value: &str| [base(), vec![field(name, value)]].concat();
    let whole = |fields: &[(String, Vec<u8>)]| [http2_start(), headers(fields, true)].concat();
    let body = |fields: &[(String, Vec<u8>)], frames: &[Vec<u8>]| {
        [http2_start(), headers(fields, false), frames.concat()].concat()
    };
    let data = |octets: &str, flags: u8| frame(DATA, flags, 1, octets.as_bytes());
    let json = || {
        let mut fields = base();
        fields.retain(|(name, _)| name != "dane-clientid-asserted");
        fields.push(field("content-type", "application/json"));
        fields
    };
    let json_of = |length: &str| [json(), vec![field("content-length", length)]].concat();
    let mut reordered = base();
    reordered.rotate_left(1);
    let (reset, closed) = (Answer::Reset, Answer::Closed);
    for (what, request, expected) in [
        ("a name in capitals", whole(&with("Dane-Clientid", "x")), closed),
        ("a certificate's name in capitals", whole(&with("Client-Cert", &certificate)), closed),
        ("Connection", whole(&with("connection", "dane-clientid")), reset),
        ("Transfer-Encoding", whole(&with("transfer-encoding", "chunked")), reset),
        ("Upgrade", whole(&with("upgrade", "h2c")), reset),
        ("TE of anything", whole(&with("te", "gzip")), reset),
        ("a path twice", whole(&[vec![field(":path", "/a")], base()].concat()), reset),
        ("a path after the fields", whole(&reordered), reset),
        ("a status in a request", whole(&[vec![field(":status", "200")], base()].concat()), reset),
        ("a line feed in a value", whole(&with("x", "a\nclient-cert: x")), closed),
        ("a carriage return in a value", whole(&with("x", "a\r\ndane-clientid: x")), closed),
        ("a NUL in a value", whole(&with("x", "a\0b")), closed),
        ("a colon in a name", whole(&with("dane-clientid: x", "y")), closed),
        ("no name", whole(&with("", "y")), closed),
        ("more octets than anybody needs", whole(&with("x", &"a".repeat(300_000))), Answer::Status(431)),
        ("a length that is not kept", body(&json_of("100"), &[data(BODY, 1)]), reset),
        ("a length that is too short", body(&json_of("10"), &[data(BODY, 1)]), reset),
        ("two lengths", body(&[json_of("39"), vec![field("content-length", "3")]].concat(), &[data(BODY, 1)]), reset),
        ("a length beyond the limit", body(&json_of("2000000000"), &[data("{", 0)]), Answer::Status(413)),
        ("data before the head", [http2_start(), data(BODY, 1), headers(&base(), true)].concat(), closed),
    ] {
        let server = Server::start(scene.checker(rules())).await;
        assert_eq!(server.send_http2(&request).await, expected, "{what}");
        assert!(server.seen().is_empty(), "{what}");
        assert!(scene.world.tlsa_queries().is_empty(), "{what}");
        for good in [whole(&base()), body(&json_of("39"), &[data(BODY, 1)])] {
            assert_eq!(server.send_http2(&good).await, Answer::Status(200), "control of: {what}");
        }
        assert_eq!(server.seen().len(), 2, "{what}");
        scene.world.clear_log();
    }
    // A stream that its client gives up: it gets no answer, and the next one on the connection is none the wiser.
    let server = Server::start(scene.checker(rules())).await;
    let given_up = body(&json(), &[data(&BODY[..20], 0), frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes())]);
    server.send_and_end(&given_up).await;
    assert!(server.seen().is_empty());
    assert_eq!(server.send_http2(&whole(&base())).await, Answer::Status(200));
    assert_eq!(server.seen().len(), 1);
}

fn field(name: &str, value: &str) -> (String, Vec<u8>) {
    (name.to_owned(), value.as_bytes().to_vec())
}
