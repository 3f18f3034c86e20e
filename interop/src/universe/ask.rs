//! A forwarder's own verdict on a look-up, as a client sees it that believes the AD bit.

use std::net::SocketAddr;
use std::time::Duration;

use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, MessageBuilder};

use super::proxy;

/// Its verdict in the letters of [`Case::expected`](super::Case::expected); T where there is no answer in time.
pub(crate) async fn verdict(server: SocketAddr, name: &str, patience: Duration) -> String {
    let Some(reply) = answer(server, name, false, patience).await else { return "T".to_owned() };
    let header = reply.header();
    let found = match header.rcode() {
        Rcode::NOERROR => {
            let mut answer = reply.answer().unwrap();
            if answer.any(|record| record.unwrap().rtype() == Rtype::TLSA) { "" } else { "N" }
        }
        Rcode::NXDOMAIN => "X",
        // The validator's refusal, or another's: without it there is an answer, or there is none either.
        _ => {
            let unchecked = answer(server, name, true, patience).await;
            let answered = unchecked.is_some_and(|reply| reply.header().rcode() != Rcode::SERVFAIL);
            return if answered { "B" } else { "T" }.to_owned();
        }
    };
    if header.ad() { format!("S{found}") } else { "I".to_owned() }
}

/// Asks until there is an answer: unbound drops one that it was long in finding.
async fn answer(server: SocketAddr, name: &str, unchecked: bool, patience: Duration) -> Option<Message<Vec<u8>>> {
    let query = query(name, unchecked);
    let asking = async {
        loop {
            if let Ok(reply) = proxy::ask(&query, server).await {
                return reply;
            }
        }
    };
    tokio::time::timeout(patience, asking).await.ok()
}

fn query(name: &str, checking_disabled: bool) -> Message<Vec<u8>> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_rd(true);
    builder.header_mut().set_ad(true);
    builder.header_mut().set_cd(checking_disabled);
    let mut builder = builder.question();
    builder.push((proxy::name(name), Rtype::TLSA)).unwrap();
    let mut builder = builder.additional();
    builder
        .opt(|opt| {
            opt.set_dnssec_ok(true);
            Ok(())
        })
        .unwrap();
    Message::from_octets(builder.finish()).unwrap()
}
