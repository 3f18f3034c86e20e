//! What must not get through, over a real server and both versions of HTTP: each beside the nearest request that does.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use dance_http::Rules;
use data_encoding::BASE64;
use support::wire::{Answer, Sent, Server, status_line};
use support::{NAME, Scene, rules};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const LIMIT: usize = 16 * 1024;

/// A request that is refused, and the nearest to it that is not.
struct Case {
    what: String,
    bad: Sent,
    status: u16,
    /// DNS is asked. Without a name that may come in it must not be.
    dns: bool,
    good: Sent,
}

fn case(what: impl Into<String>, status: u16, bad: Sent, good: &Sent) -> Case {
    Case { what: what.into(), bad, status, dns: false, good: good.clone() }
}

fn json(name: &str) -> String {
    format!("{{\"dane_clientid\":\"{name}\"}}")
}

/// The certificate as the balancer forwards it; no name yet.
fn certified(scene: &Scene) -> Sent {
    Sent::default().with("Client-Cert", scene.forwarded(&scene.client))
}

/// What the name's header asserts, and with which certificate: enough for a request to be let in.
fn by_header(scene: &Scene) -> Sent {
    certified(scene).with("Dane-Clientid-Asserted", NAME)
}

fn certificates(scene: &Scene) -> Vec<Case> {
    let good = by_header(scene);
    let named = || Sent::default().with("Dane-Clientid-Asserted", NAME);
    let leaf = scene.client.leaf_der();
    let value = scene.forwarded(&scene.client);
    let field = |value: &str| named().with("Client-Cert", value);
    let sequence = |octets: &[u8]| format!(":{}:", BASE64.encode(octets));
    let mut cases = vec![
        case("no certificate", 401, named(), &good),
        case("an empty field for none", 401, field(""), &good),
        case("a certificate in two lines", 400, good.clone().with("Client-Cert", &value), &good),
        case("in two lines of other case", 400, good.clone().with("CLIENT-CERT", &value), &good),
        case("two certificates in one line", 400, field(&format!("{value}, {value}")), &good),
        case("an empty line beside it", 400, good.clone().with("Client-Cert", ""), &good),
        case("a chain alone", 400, named().with("Client-Cert-Chain", &value), &good),
        case("a chain beside an empty certificate", 400, field("").with("Client-Cert-Chain", &value), &good),
        case(
            "a chain in two lines",
            400,
            good.clone().with("Client-Cert-Chain", &value).with("client-cert-chain", &value),
            &good.clone().with("Client-Cert-Chain", format!("{value}, {value}")),
        ),
        case("a chain of something else", 400, good.clone().with("Client-Cert-Chain", "x"), &good),
        case("no octets", 400, field("::"), &good),
        case("no colons", 400, field(&BASE64.encode(leaf)), &good),
        case("broken Base64", 400, field(&value.replacen('M', "*", 1)), &good),
        case("Base64 cut short", 400, field(&format!("{}:", &value[..value.len() - 10])), &good),
        case("octets beyond ASCII", 400, named().with("Client-Cert", b"\xc3\xa9"), &good),
        case("broken DER", 400, field(&sequence(&leaf[1..])), &good),
        case("DER cut short", 400, field(&sequence(&leaf[..leaf.len() - 1])), &good),
        case("octets after the DER", 400, field(&sequence(&[leaf, &[0]].concat())), &good),
        case("two certificates in one", 400, field(&sequence(&[leaf, leaf].concat())), &good),
        case("a raw public key", 400, field(&sequence(scene.client.spki_der())), &good),
        case("PEM", 400, field("-----BEGIN%20CERTIFICATE-----%0A"), &good),
        case("64 KiB of something", 400, field(&sequence(&[0x30; 48 * 1024])), &good),
        case(
            "more certificates than 16",
            400,
            good.clone().with("Client-Cert-Chain", vec![value.as_str(); 16].join(", ")),
            &good.clone().with("Client-Cert-Chain", vec![value.as_str(); 15].join(", ")),
        ),
        Case { dns: true, ..case("somebody else's certificate", 401, field(&scene.forwarded(&scene.other)), &good) },
    ];
    // Only the balancer's own field counts, under its own name.
    for spelling in ["client_cert", "Client.Cert", "X-Client-Cert", "X-Forwarded-Client-Cert", "X-SSL-Cert"] {
        let bad = named().with(spelling, &value);
        cases.push(case(format!("the certificate in {spelling}"), 401, bad, &good));
    }
    for spelling in ["Dane-Clientid", "dane_clientid", "DANE-CLIENTID", "Dane.Clientid"] {
        cases.push(case(format!("{spelling} alone"), 401, Sent::default().with(spelling, NAME), &good));
        let unnamed = certified(scene).with(spelling, NAME);
        cases.push(case(format!("{spelling} and no name asserted"), 401, unnamed, &good));
    }
    cases
}

fn names(scene: &Scene) -> Vec<Case> {
    let (plain, good) = (certified(scene), by_header(scene));
    let asserted = |value: &str| certified(scene).with("Dane-Clientid-Asserted", value);
    let in_json = |text: &str| certified(scene).body(JSON, text);
    let in_form = |text: &str| certified(scene).body(FORM, text);
    let (json_good, form_good) = (in_json(&json(NAME)), in_form(&format!("dane_clientid={NAME}&v=1")));
    let both = |header: &str, body: &str| asserted(header).body(JSON, json(body));
    let nested = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let deep = |member: &str| format!("{{\"{member}\":{nested},{}", &json(NAME)[1..]);
    let escaped = format!("{{\"dane\\u005fclientid\":\"{NAME}\"}}");
    let long = "a".repeat(64);
    vec![
        case("no name", 401, plain.clone(), &good),
        case("an empty name", 400, asserted(""), &good),
        case("a name twice", 400, good.clone().with("dane-clientid-asserted", NAME), &good),
        case("two names in a line", 400, asserted(&format!("{NAME}, {NAME}")), &good),
        case("a final dot", 400, asserted(&format!("{NAME}.")), &good),
        case("a space in a name", 400, asserted("device1 .example.com"), &good),
        case("a long label", 400, asserted(&format!("{long}.example.com")), &good),
        case(
            "a name beyond ASCII",
            400,
            plain.clone().with("Dane-Clientid-Asserted", "d\u{e9}vice1.example.com"),
            &good,
        ),
        case("a pattern", 400, asserted("*.example.com"), &good),
        case("a name that is not on the list", 403, asserted("device1.example.net"), &good),
        case("not on the list, in the body", 403, in_json(&json("device1.example.net")), &json_good),
        case("the domain itself", 403, asserted("example.com"), &good),
        case("a label too many", 403, asserted("a.device1.example.com"), &good),
        Case { dns: true, ..case("no record", 401, asserted("device9.example.com"), &good) },
        Case { dns: true, ..case("a record that is not signed", 401, asserted("device1.insecure.com"), &good) },
        case("header and body differ", 403, both(NAME, "device2.example.com"), &both(NAME, "DEVICE1.example.com")),
        case("header and body differ, both on no list", 403, both("a.example.net", "b.example.net"), &both(NAME, NAME)),
        case(
            "a good header does not mend a bad body",
            400,
            good.clone().body(JSON, "{"),
            &good.clone().body(JSON, "{}"),
        ),
        case("the name in a body of another type", 401, plain.clone().body("text/plain", json(NAME)), &json_good),
        case(
            "in one that begins alike",
            401,
            plain.clone().body("application/json-patch+json", json(NAME)),
            &json_good,
        ),
        case("in a multipart form", 401, plain.clone().body("multipart/form-data; boundary=x", json(NAME)), &json_good),
        case("in a body without type", 401, Sent { body: json(NAME).into(), ..plain.clone() }, &json_good),
        case("two types", 400, json_good.clone().with("Content-Type", FORM), &json_good),
        case("compressed", 400, json_good.clone().with("Content-Encoding", "gzip"), &json_good),
        case(
            "compressed and said not to be",
            400,
            json_good.clone().with("Content-Encoding", "identity, gzip"),
            &json_good,
        ),
        case(
            "in letters that are other octets to the application",
            400,
            plain.clone().body("application/json; charset=utf-16", json(NAME)),
            &plain.clone().body("application/json; v=1; Charset=\"UTF-8\"", json(NAME)),
        ),
        case("JSON: no name", 401, in_json("{\"v\":1}"), &json_good),
        case("JSON: nothing", 401, in_json(""), &json_good),
        case("JSON: a name further down", 401, in_json(&format!("{{\"in\":{}}}", json(NAME))), &json_good),
        case("JSON: in a list", 401, in_json(&format!("[{}]", json(NAME))), &json_good),
        case("JSON: of other case", 401, in_json(&json(NAME).replace("dane", "Dane")), &json_good),
        // As one JSON library writes a document within a document.
        case(
            "JSON: in text",
            401,
            in_json(&format!("{{\"$serde_json::private::RawValue\":{:?}}}", json(NAME))),
            &json_good,
        ),
        case("JSON: empty", 400, in_json(&json("")), &json_good),
        case("JSON: not text", 400, in_json("{\"dane_clientid\":null}"), &json_good),
        case("JSON: a list of names", 400, in_json(&format!("{{\"dane_clientid\":[\"{NAME}\"]}}")), &json_good),
        case(
            "JSON: twice",
            400,
            in_json(&format!("{{\"dane_clientid\":\"{NAME}\",\"dane_clientid\":\"{NAME}\"}}")),
            &json_good,
        ),
        case(
            "JSON: twice, once escaped",
            400,
            in_json(&format!("{{\"dane_clientid\":\"{NAME}\",{}", &escaped[1..])),
            &in_json(&escaped),
        ),
        case(
            "JSON: twice, the second in the value of another",
            400,
            in_json("{\"a\":1,\"dane_clientid\":1}"),
            &json_good,
        ),
        case("JSON: a byte order mark", 400, in_json(&format!("\u{feff}{}", json(NAME))), &json_good),
        case("JSON: in UTF-16", 400, plain.clone().body(JSON, utf16(&json(NAME))), &json_good),
        case("JSON: not UTF-8", 400, plain.body(JSON, b"{\"dane_clientid\":\"d\xff.example.com\"}"), &json_good),
        case("JSON: an escaped NUL", 400, in_json(&json("device1.example.com\\u0000")), &json_good),
        case("JSON: cut short", 400, in_json(&json(NAME)[..30]), &json_good),
        case(
            "JSON: more after it",
            400,
            in_json(&format!("{}{}", json(NAME), json(NAME))),
            &in_json(&format!("{} \n", json(NAME))),
        ),
        case("JSON: a deep value", 400, in_json(&deep("dane_clientid")), &in_json(&deep("a"))),
        case("form: no name", 401, in_form("v=1"), &form_good),
        case("form: empty", 400, in_form("dane_clientid="), &form_good),
        case("form: without a value", 400, in_form("dane_clientid&v=1"), &form_good),
        case("form: twice", 400, in_form(&format!("dane_clientid={NAME}&dane_clientid={NAME}")), &form_good),
        case(
            "form: twice, once percent-encoded",
            400,
            in_form(&format!("dane_clientid={NAME}&dane%5Fclientid={NAME}")),
            &in_form(&format!("dane%5Fclientid={}", NAME.replace('.', "%2E"))),
        ),
        case(
            "form: twice by semicolons",
            400,
            in_form(&format!("dane_clientid={NAME};dane_clientid={NAME}")),
            &form_good,
        ),
        case("form: a plus sign", 400, in_form("dane_clientid=device1+.example.com"), &form_good),
        case("form: not UTF-8", 400, in_form("dane_clientid=%ff.example.com"), &form_good),
        case("form: JSON", 401, in_form(&json(NAME)), &form_good),
        case("JSON: a form", 400, in_json(&format!("dane_clientid={NAME}")), &json_good),
    ]
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

fn sizes(scene: &Scene) -> Vec<Case> {
    let of = |length: usize| {
        let rest = length - json(NAME).len() - ",\"x\":\"\"".len();
        format!("{{\"dane_clientid\":\"{NAME}\",\"x\":\"{}\"}}", "x".repeat(rest))
    };
    let body = |length: usize| certified(scene).body(JSON, of(length));
    let form = |length: usize| certified(scene).body(FORM, format!("dane_clientid={NAME}&x={}", "x".repeat(length)));
    vec![
        case("a body that is too large and says so", 413, body(LIMIT + 1), &body(LIMIT)),
        case("a body that is too large and does not", 413, body(LIMIT + 1).undeclared(), &body(LIMIT).undeclared()),
        case("a form that is too large", 413, form(LIMIT), &form(LIMIT / 2).undeclared()),
        case(
            "too large, with a good name in the header",
            413,
            by_header(scene).body(JSON, of(LIMIT + 1)),
            &body(LIMIT),
        ),
        // Nobody reads it in search of a name, so it may be as large as the application likes.
        case(
            "a large body of another type",
            401,
            certified(scene).body("text/plain", of(2 * LIMIT)),
            &by_header(scene).body("text/plain", of(2 * LIMIT)),
        ),
    ]
}

// HTTP-08, HTTP-09, HTTP-10, HTTP-11, HTTP-12, HTTP-13, HTTP-14, HTTP-17, HTTP-19, SEC-01
#[tokio::test]
async fn what_is_refused_reaches_nobody() {
    let scene = Scene::new().await;
    let rules = Rules { body_limit: LIMIT, ..rules() };
    for case in certificates(&scene).into_iter().chain(names(&scene)).chain(sizes(&scene)) {
        let what = &case.what;
        for http2 in [false, true] {
            let server = Server::start(scene.checker(rules.clone())).await;
            scene.world.clear_log();
            let send = async |sent: &Sent| match http2 {
                false => status_line(&server.send(&sent.http1()).await),
                true => server.send_http2(&sent.http2()).await,
            };
            assert_eq!(send(&case.bad).await, Answer::Status(case.status), "{what}, HTTP/2: {http2}");
            assert_eq!(!scene.world.tlsa_queries().is_empty(), case.dns, "{what}");
            assert!(server.seen().is_empty(), "{what}");
            assert_eq!(send(&case.good).await, Answer::Status(200), "control of: {what}, HTTP/2: {http2}");
            let seen = server.seen();
            assert_eq!(seen.len(), 1, "{what}");
            assert_eq!((seen[0].client.as_str(), seen[0].body.as_deref()), (NAME, Some(&case.good.body[..])), "{what}");
        }
    }
}

// HTTP-03, HTTP-04, HTTP-14: a client that is let in says nothing about itself by the way.
#[tokio::test]
async fn what_the_outside_says_of_a_client_does_not_arrive() {
    let scene = Scene::new().await;
    let spoofs = [
        "Dane-Clientid",
        "dane_clientid",
        "DANE-CLIENTID",
        "Dane.Clientid",
        "dane~clientid",
        "Client_Cert",
        "client.cert",
    ];
    let more = ["Client-Cert_Chain", "client_cert_chain", "Dane_Clientid_Asserted", "dane.clientid.asserted"];
    let base = by_header(&scene).with("X-Other", "stays");
    let spoofed = spoofs.iter().chain(&more).fold(base, |sent, field| {
        // Each twice, and where trailers are too.
        sent.with(field, "admin.example.com").with(field, NAME).trailer(&field.to_lowercase(), "admin.example.com")
    });
    let spoofed = spoofed.trailer("client-cert", "x").trailer("x-checksum", "1");
    // Neither does the next hop take off what we say, because a client names it here. HTTP/2 has no such field.
    let nominated = spoofed.clone().with("Connection", "close, Dane-Clientid, client_cert, Upgrade");
    for (sent, http2) in [(nominated, false), (spoofed, true)] {
        let server = Server::start(scene.checker(rules())).await;
        let answer = match http2 {
            false => status_line(&server.send(&sent.http1()).await),
            true => server.send_http2(&sent.http2()).await,
        };
        assert_eq!(answer, Answer::Status(200));
        let seen = server.seen();
        let fields: Vec<_> = seen[0].headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let of = |name: &str| fields.iter().filter(|field| field.0 == name).map(|field| field.1).collect::<Vec<_>>();
        assert_eq!(of("dane-clientid"), [NAME.as_bytes()]);
        assert_eq!(of("client-cert"), [scene.forwarded(&scene.client).as_bytes()]);
        assert_eq!(of("x-other"), [b"stays"]);
        assert!(!fields.iter().any(|field| field.1 == b"admin.example.com"), "{fields:?}");
        let connection: &[&[u8]] = if http2 { &[] } else { &[b"close, Upgrade"] };
        assert_eq!(of("connection"), connection);
        let trailers: Vec<_> = seen[0].trailers.keys().map(|name| name.as_str()).collect();
        assert_eq!(trailers, ["x-checksum"]);
    }
}
