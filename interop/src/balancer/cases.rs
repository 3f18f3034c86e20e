//! The cases, the same for all balancers.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::thread;

use dance_http::Dialect;
use dance_http::check::BODY_LIMIT;
use data_encoding::BASE64;
use rcgen::{CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, KeyPair};

use super::{Answer, Balancer, Check, Expired, Recipe, http2};
use crate::case::Credential;
use crate::clients::{present, s_client};
use crate::process::{program, run, run_on, text, vector};

/// The one for whom records are.
fn right() -> Credential {
    Credential::right()
}

/// The same key in a certificate that ran out.
fn expired() -> Credential {
    Credential { certificate: vector("certs/ee-p256-expired.pem"), ..Credential::right() }
}

/// What is to become of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expected {
    /// The application is told this name.
    Passes(String),
    /// The client gets this status (0: none at all), and the application nothing.
    Refused(u16),
    /// The same by the balancer alone, which knows of no challenge.
    Ended(u16),
}

impl Balancer {
    /// Sends a request, and says what is wrong with what became of it.
    fn check(&self, what: &str, request: &mut Command, expected: &Expected) -> Answer {
        let before = self.application.requests().len();
        let answer = self.ask(request);
        let seen = self.application.requests().split_off(before);
        let context = || format!("{}, {what}: expected {expected:?}\n{answer:?}\n{seen:#?}", self.recipe.name);
        match expected {
            Expected::Passes(name) => {
                assert_eq!((answer.status, answer.body.as_str()), (200, name.as_str()), "{}", context());
                assert_eq!(seen.len(), 1, "{}", context());
            }
            Expected::Refused(status) | Expected::Ended(status) => {
                assert_eq!((answer.status, seen.len()), (*status, 0), "{}", context());
                let challenge = answer.head.contains("\nwww-authenticate: dane-tls realm=\"dane\"");
                assert_eq!(challenge, *expected == Expected::Refused(401), "{}", context());
            }
        }
        answer
    }

    fn passes_if(&self, so: bool, name: &str) -> Expected {
        if so { Expected::Passes(name.to_owned()) } else { Expected::Refused(401) }
    }
}

/// Who is who: certificates, keys and names of all kinds.
pub fn clients_are_told_apart(recipe: &'static Recipe) {
    let balancer = Balancer::start(recipe);
    let (right, wrong) = (right(), Credential::of_vectors("ee-rsa2048"));
    let name = balancer.name("sensor");
    let passes = Expected::Passes(name.clone());
    let curl = |credential: Option<&Credential>, name: Option<&str>| balancer.curl(credential, name);

    balancer.check("right key", &mut curl(Some(&right), Some(&name)), &passes);
    balancer.check("in HTTP/1.1", curl(Some(&right), Some(&name)).arg("--http1.1"), &passes);
    assert_eq!(balancer.world.queries(&name), 1, "the second from the cache");
    let upper = name.to_ascii_uppercase();
    balancer.check("upper case", &mut curl(Some(&right), Some(&upper)), &passes);

    balancer.check("wrong key", &mut curl(Some(&wrong), Some(&name)), &Expected::Refused(401));
    balancer.check("no certificate", &mut curl(None, Some(&name)), &Expected::Refused(401));
    balancer.check("no name", &mut curl(Some(&right), None), &Expected::Refused(401));
    let stale = "stale._device.example.com";
    balancer.check("record of another key", &mut curl(Some(&right), Some(stale)), &Expected::Refused(401));
    balancer.check("right key still", &mut curl(Some(&right), Some(&name)), &passes);

    let ran_out = match recipe.expired {
        Expired::Passes => passes,
        Expired::Refused(status) => Expected::Refused(status),
    };
    balancer.check("expired", &mut curl(Some(&expired()), Some(&name)), &ran_out);
    let servers = made(balancer.directory.path(), "servers", |parameters| {
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    balancer.check("not for clients", &mut curl(Some(&servers), Some(&name)), &ran_out);

    let foreign = balancer.name("foreign").replace("example.com", "example.net");
    balancer.check("off the list", &mut curl(Some(&right), Some(&foreign)), &Expected::Refused(403));
    assert_eq!(balancer.world.queries(&foreign), 0, "{}: asked for a name off the list", recipe.name);

    let malformed = Expected::Refused(recipe.malformed);
    balancer.check("no name at all", &mut curl(Some(&right), Some("not a name")), &malformed);
    let other = format!("Dane-Clientid-Asserted: {}", balancer.name("other"));
    balancer.check("two names", curl(Some(&right), Some(&name)).args(["--header", &other]), &malformed);
    assert_eq!(balancer.world.queries(&balancer.name("other")), 0, "{}: asked for one of two names", recipe.name);

    let edwards = "edwards._device.example.com";
    let ed25519 = Credential::of_vectors("ee-ed25519");
    balancer.check("Ed25519", &mut curl(Some(&ed25519), Some(edwards)), &Expected::Passes(edwards.to_owned()));

    // Its TLSA record is of the root, so the issuers have to come along.
    let chain = Credential::chain(balancer.directory.path(), true);
    let device1 = "device1.example.com";
    balancer.check("chain", &mut curl(Some(&chain), Some(device1)), &balancer.passes_if(recipe.chain, device1));
}

/// Requests that have a body.
pub fn bodies_come_through(recipe: &'static Recipe) {
    let balancer = Balancer::start(recipe);
    let name = balancer.name("poster");
    let post = |asserted: Option<&str>, kind: &str, body: &str| {
        let mut command = balancer.curl(Some(&right()), asserted);
        // A refusal that comes before the body has been sent ends an HTTP/2 stream in ways that curl takes for an error.
        command.args(["--http1.1", "--header", &format!("Content-Type: {kind}"), "--data-raw", body]);
        command
    };
    let arrived = |body: &str| {
        let request = balancer.application.requests().pop().unwrap();
        assert!(request.starts_with("POST ") && request.ends_with(&format!("\r\n\r\n{body}")), "{request}");
    };
    let passes = Expected::Passes(name.clone());

    balancer.check("any body", &mut post(Some(&name), "text/plain", "one, two"), &passes);
    arrived("one, two");
    let json = format!("{{\"value\": 7, \"dane_clientid\": \"{name}\"}}");
    balancer.check("name in header and body", &mut post(Some(&name), "application/json", &json), &passes);
    arrived(&json);
    let in_body = balancer.passes_if(recipe.body, &name);
    balancer.check("name in JSON", &mut post(None, "application/json", &json), &in_body);
    if recipe.body {
        arrived(&json);
    }
    let form = format!("value=7&dane_clientid={name}");
    balancer.check("name in a form", &mut post(None, "application/x-www-form-urlencoded", &form), &in_body);

    // As long as a body may be that is read in search of a name, and one octet longer. The name is the last part of the document.
    for (more, status) in std::iter::once((0, 200)).chain(recipe.long_body.map(|status| (1, status))) {
        let long = balancer.directory.path().join("long.json");
        let padding = "x".repeat(BODY_LIMIT + more - json.len() - r#""padding":"",""#.len() + 1);
        let document = json.replacen('{', &format!("{{\"padding\":\"{padding}\","), 1);
        assert_eq!(document.len(), BODY_LIMIT + more);
        fs::write(&long, document).unwrap();
        let mut request = balancer.curl(Some(&right()), Some(&name));
        request.args(["--http1.1", "--header", "Content-Type: application/json"]);
        request.args(["--data-binary", &format!("@{}", long.display())]);
        let expected = if status == 200 { passes.clone() } else { Expected::Ended(status) };
        balancer.check("long body", &mut request, &expected);
    }

    // Where the check sees no body, the application must take no name from it: it has one in Dane-Clientid.
    let other = json.replace("poster", "other");
    let differs = if recipe.body { Expected::Refused(403) } else { passes };
    balancer.check("another name in the body", &mut post(Some(&name), "application/json", &other), &differs);
}

/// What the outside must not be able to say, besides the recipe's own fields.
const OURS: &[&str] = &["Dane-Clientid", "Dane-Clientid-Asserted", "Client-Cert", "Client-Cert-Chain"];

/// Ways to write a field's name that some interface behind the balancer takes for the same.
fn spellings(name: &str) -> Vec<String> {
    let parts: Vec<&str> = name.split('-').collect();
    let (first, last) = (parts[0], parts[parts.len() - 1]);
    let [from_second, to_last_but_one] = [parts[1..].join("-"), parts[..parts.len() - 1].join("-")];
    let mut all =
        vec![name.to_owned(), name.to_ascii_uppercase(), parts.join("_"), parts.join("_").to_ascii_uppercase()];
    all.extend([format!("{first}_{from_second}"), format!("{to_last_but_one}_{last}"), parts.join(".")]);
    all
}

/// As interfaces that know letters, digits and one mark see it.
fn seen_as(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// The certificate as the balancer would write it.
fn forged(dialect: Dialect) -> String {
    let base64 = BASE64.encode(&fs::read(vector("certs/ee-p256.der")).unwrap());
    let pem = fs::read_to_string(vector("certs/ee-p256.pem")).unwrap();
    let escape = |c: char| if c.is_ascii_alphanumeric() { c.to_string() } else { format!("%{:02X}", u32::from(c)) };
    let escaped: String = pem.chars().map(escape).collect();
    match dialect {
        Dialect::Rfc9440 => format!(":{base64}:"),
        Dialect::EscapedPem => escaped,
        Dialect::Base64Der | Dialect::Traefik => base64,
        Dialect::Xfcc => format!("Cert=\"{escaped}\""),
    }
}

/// Adds every field of ours in every spelling, those of the certificate with this value.
fn spoof(recipe: &Recipe, command: &mut Command, certificate: &str) {
    for name in OURS.iter().chain(recipe.fields) {
        let is_certificate = recipe.fields.contains(name);
        // Asserting a name is anybody's right.
        for spelling in
            spellings(name).iter().filter(|spelling| !spelling.eq_ignore_ascii_case("Dane-Clientid-Asserted"))
        {
            let value = if is_certificate { certificate } else { "mallory" };
            command.args(["--header", &format!("{spelling}: {value}")]);
        }
    }
}

/// Who sets the fields that say who the client is.
pub fn nobody_outside_sets_our_fields(recipe: &'static Recipe) {
    let balancer = Balancer::start(recipe);
    let name = balancer.name("target");
    let (right, wrong) = (right(), Credential::of_vectors("ee-rsa2048"));
    let own: Vec<String> = OURS.iter().chain(recipe.fields).map(|field| seen_as(field)).collect();
    let passes = Expected::Passes(name.clone());
    for version in ["--http1.1", "--http2"] {
        let mut request = balancer.curl(Some(&right), Some(&name));
        spoof(recipe, request.arg(version), "mallory");
        balancer.check("forged fields", &mut request, &passes);
        let request = balancer.application.requests().pop().unwrap();
        let fields = request.lines().filter_map(|line| line.split_once(':'));
        let told: Vec<_> = fields.filter(|(field, _)| own.contains(&seen_as(field))).collect();
        assert!(told.iter().all(|(_, value)| !value.contains("mallory")), "{}: {request}", recipe.name);
        let names = told.iter().filter(|(field, _)| seen_as(field) == "dane-clientid");
        assert_eq!(names.map(|(_, value)| value.trim()).collect::<Vec<_>>(), [&name], "{}: {request}", recipe.name);

        // The certificate of another client is no secret.
        let certificate = forged(recipe.dialect);
        for (what, credential) in [("forged, no certificate", None), ("forged, a stranger's certificate", Some(&wrong))]
        {
            let mut request = balancer.curl(credential, Some(&name));
            spoof(recipe, request.arg(version), &certificate);
            balancer.check(what, &mut request, &Expected::Refused(401));
        }
    }
    let mut request = balancer.curl(Some(&right), Some(&name));
    let nominated = [&["close", "Dane-Clientid"], recipe.fields].concat().join(", ");
    request.args(["--http1.1", "--header", &format!("Connection: {nominated}")]);
    balancer.check("fields named in Connection", &mut request, &passes);

    // An application that took up the offer would hear the client alone from then on.
    let mut request = balancer.curl(Some(&right), Some(&name));
    for field in ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"] {
        request.args(["--http1.1", "--header", field]);
    }
    let before = balancer.application.requests().len();
    let answer = balancer.ask(&mut request);
    for seen in &balancer.application.requests()[before..] {
        let upgrade = seen.lines().any(|line| line.to_ascii_lowercase().starts_with("upgrade:"));
        assert!(!upgrade, "{}: {answer:?}\n{seen}", recipe.name);
    }

    // Fields after a body.
    for announced in ["Trailer: Dane-Clientid\r\n", ""] {
        let mut command = s_client(&format!("127.0.0.1:{}", balancer.port));
        present(&mut command, &right);
        let request = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nDane-Clientid-Asserted: {name}\r\nConnection: close\r\n{announced}\
             Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nDane-Clientid: mallory\r\n\r\n"
        );
        let before = balancer.application.requests().len();
        let said = text(&run_on(&command, &request));
        let seen = balancer.application.requests().split_off(before);
        assert!(seen.iter().all(|request| !request.contains("mallory")), "{}: {seen:#?}\n{said}", recipe.name);
    }

    // After an answer to this, an application would hear the client alone.
    let mut command = s_client(&format!("127.0.0.1:{}", balancer.port));
    present(&mut command, &right);
    let request = format!(
        "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\nDane-Clientid-Asserted: {name}\r\n\r\n\
         GET / HTTP/1.1\r\nHost: localhost\r\nDane-Clientid: mallory\r\nConnection: close\r\n\r\n"
    );
    let before = balancer.application.requests().len();
    let said = text(&run_on(&command, &request));
    let seen = balancer.application.requests().split_off(before);
    let tunnelled = seen.iter().any(|request| request.starts_with("CONNECT ") || request.contains("mallory"));
    assert!(!tunnelled, "{}: {seen:#?}\n{said}", recipe.name);

    for alpn in [&[&b"h2"[..]][..], &[]] {
        let to = (balancer.port, balancer.server.certificate.as_path());
        let before = balancer.application.requests().len();
        http2::post(to, &right, alpn, &[("dane-clientid-asserted", &name)], &[("dane-clientid", "mallory")]);
        let seen = balancer.application.requests().split_off(before);
        assert!(seen.iter().all(|request| !request.contains("mallory")), "{} {alpn:?}: {seen:#?}", recipe.name);
    }
    balancer.check("after all that", &mut balancer.curl(Some(&right), Some(&name)), &passes);

    // Whoever reads the field would believe it.
    let believed = match (&balancer.service, recipe.check) {
        (Some(service), Check::Service(_)) => service.address,
        (None, Check::Application) => balancer.application.address(),
        _ => return,
    };
    let mut direct = program("curl");
    direct.args(["--silent", "--show-error", "--include", "--write-out", "\n%{http_code}"]);
    direct.args(["--header", &format!("{}: {}", recipe.fields[0], forged(recipe.dialect))]);
    direct.args(["--header", &format!("Dane-Clientid-Asserted: {name}"), &format!("http://{believed}/")]);
    let answer = super::answer(&run(&direct));
    assert_eq!(answer.status, 200, "{}: {answer:?}", recipe.name);
}

/// Answers 200 to every connection, and says nothing.
fn says_yes(address: SocketAddr) {
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut head = [0; 64 * 1024];
                while stream.read(&mut head).is_ok_and(|octets| octets > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                }
            });
        }
    });
}

/// What comes of a session that is resumed: the certificate of its handshake, or none.
pub fn a_resumed_session_keeps_its_certificate(recipe: &'static Recipe) {
    let balancer = Balancer::start(recipe);
    let name = balancer.name("resumed");
    for version in ["-tls1_3", "-tls1_2"] {
        let file = balancer.directory.path().join(format!("session{version}"));
        let ask = |option: &str, credential: Option<&Credential>, name: &str| {
            let mut command = s_client(&format!("127.0.0.1:{}", balancer.port));
            command.args([version, option]).arg(&file);
            if let Some(credential) = credential {
                present(&mut command, credential);
            }
            let request = format!(
                "GET / HTTP/1.1\r\nHost: localhost\r\nDane-Clientid-Asserted: {name}\r\nConnection: close\r\n\r\n"
            );
            text(&run_on(&command, &request))
        };
        let first = ask("-sess_out", Some(&right()), &name);
        if version == "-tls1_2" && first.contains("tlsv1 alert protocol version") {
            continue;
        }
        assert!(first.contains("HTTP/1.1 200") && first.contains("New, TLSv1."), "{}: {first}", recipe.name);
        // A server that keeps no sessions may hand out tickets all the same.
        let second = if file.exists() && fs::metadata(&file).unwrap().len() > 0 {
            ask("-sess_in", None, &name)
        } else {
            String::new()
        };
        assert_eq!(second.contains("Reused, TLSv1."), recipe.resumes, "{}{version}: {second}", recipe.name);
        if !recipe.resumes {
            assert!(!second.contains("HTTP/1.1 200"), "{}{version}: {second}", recipe.name);
            continue;
        }
        assert!(second.contains("HTTP/1.1 200"), "{}{version}: {second}", recipe.name);
        let stale = ask("-sess_in", None, "stale._device.example.com");
        assert!(stale.contains("HTTP/1.1 401"), "{}: {stale}", recipe.name);
    }
}

/// A service that is not there.
pub fn without_the_service_nobody_passes(recipe: &'static Recipe) {
    let mut balancer = Balancer::start(recipe);
    let name = balancer.name("early");
    balancer.check("before", &mut balancer.curl(Some(&right()), Some(&name)), &Expected::Passes(name.clone()));
    let address = balancer.service.take().unwrap().address;
    balancer.check("without", &mut balancer.curl(Some(&right()), Some(&name)), &Expected::Refused(recipe.down));
    let forged = format!("Dane-Clientid: {name}");
    let mut request = balancer.curl(Some(&right()), Some(&name));
    balancer.check("without, forged", request.args(["--header", &forged]), &Expected::Refused(recipe.down));

    // Something else in its place.
    if let Some(status) = recipe.nameless {
        says_yes(address);
        let mut request = balancer.curl(Some(&right()), Some(&name));
        balancer.check("yes, forged", request.args(["--header", &forged]), &Expected::Refused(status));
    }
}

/// A certificate with the right key.
fn made(directory: &Path, stem: &str, shape: impl FnOnce(&mut CertificateParams)) -> Credential {
    let Credential { key, .. } = right();
    let mut parameters = CertificateParams::default();
    shape(&mut parameters);
    let pair = KeyPair::from_pem(&fs::read_to_string(&key).unwrap()).unwrap();
    let certificate = directory.join(format!("{stem}.pem"));
    fs::write(&certificate, parameters.self_signed(&pair).unwrap().pem()).unwrap();
    Credential { certificate, key }
}

/// This much longer than it need be.
fn large(directory: &Path, octets: usize) -> Credential {
    made(directory, &format!("large-{octets}"), |parameters| {
        let content = [&[0x04, 0x82][..], &u16::try_from(octets).unwrap().to_be_bytes(), &vec![0x2a; octets]].concat();
        parameters.custom_extensions.push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], content));
    })
}

/// Certificates and fields that are longer than usual: the sizes in octets, and what becomes of them.
pub fn large_certificates_and_fields(recipe: &'static Recipe) {
    let balancer = Balancer::start(recipe);
    let name = balancer.name("large");
    for (octets, status) in recipe.large_certificates {
        let credential = large(balancer.directory.path(), *octets);
        let expected = if *status == 200 { Expected::Passes(name.clone()) } else { Expected::Refused(*status) };
        balancer.check(&format!("{octets}"), &mut balancer.curl(Some(&credential), Some(&name)), &expected);
    }
    for (octets, status) in recipe.large_fields {
        let mut request = balancer.curl(Some(&right()), Some(&name));
        request.args(["--http1.1", "--header", &format!("X-Large: {}", "x".repeat(*octets))]);
        let expected = if *status == 200 { Expected::Passes(name.clone()) } else { Expected::Refused(*status) };
        balancer.check(&format!("field of {octets}"), &mut request, &expected);
    }
}
