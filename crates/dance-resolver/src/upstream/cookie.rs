//! DNS cookies (RFC 7873, RFC 9018): what a server and we have told each other before, which whoever forges a reply would have to know.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use domain::base::Message;
use domain::base::iana::OptionCode;
use domain::base::opt::UnknownOptData;
use domain::base::opt::cookie::{ClientCookie, Cookie, ServerCookie};

/// RFC 7873 section 4: the octets of a client's part,
const CLIENT_LENGTH: usize = 8;
/// and those of a server's.
const SERVER_LENGTHS: RangeInclusive<usize> = 8..=32;

/// The cookies for one server.
#[derive(Debug, Default)]
pub(super) struct Cookies(Mutex<Option<Jar>>);

#[derive(Debug)]
struct Jar {
    /// The address that we had: with another one, nobody is to know that we are the same (RFC 9018 section 3).
    local: IpAddr,
    client: ClientCookie,
    server: Option<ServerCookie>,
}

/// What a reply's cookie says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It is the server's, as far as the cookie goes.
    Fine,
    /// There is none, although the server has sent some before.
    Missing,
    /// It is not for us, or no cookie at all: the reply must not be heard (RFC 7873 section 5.3).
    Wrong,
}

impl Cookies {
    /// Held for an assignment, which leaves nothing half done.
    fn jar(&self) -> MutexGuard<'_, Option<Jar>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cookie for a question from the address `local`.
    pub(super) fn cookie(&self, local: IpAddr) -> Cookie {
        let mut jar = self.jar();
        let known = jar.take().filter(|jar| jar.local == local);
        let jar = jar.insert(known.unwrap_or_else(|| Jar { local, client: ClientCookie::new_random(), server: None }));
        Cookie::new(jar.client, jar.server.clone())
    }

    /// Looks at the reply to a question with the cookie `sent`, and keeps the server's.
    pub(super) fn reply(&self, sent: &Cookie, reply: &Message<Bytes>) -> Told {
        let opt = reply.opt();
        let option = opt.as_ref().and_then(|opt| {
            let mut options = opt.opt().iter::<UnknownOptData<_>>().map_while(Result::ok);
            // Of several, the first counts.
            options.find(|option| option.code() == OptionCode::COOKIE)
        });
        let Some(option) = option else {
            return if sent.server().is_some() { Told::Missing } else { Told::Fine };
        };
        let Some((client, server)) = option.as_slice().split_at_checked(CLIENT_LENGTH) else { return Told::Wrong };
        if client != sent.client().as_ref() || !(server.is_empty() || SERVER_LENGTHS.contains(&server.len())) {
            return Told::Wrong;
        }
        if !server.is_empty()
            && let Some(jar) = self.jar().as_mut().filter(|jar| jar.client == sent.client())
        {
            jar.server = Some(ServerCookie::from_octets(server));
        }
        Told::Fine
    }

    /// The server has no cookies any more.
    pub(super) fn forget(&self) {
        if let Some(jar) = self.jar().as_mut() {
            jar.server = None;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use domain::base::MessageBuilder;

    use super::*;

    fn reply(options: &[&[u8]]) -> Message<Bytes> {
        let mut builder = MessageBuilder::new_vec().additional();
        builder
            .opt(|opt| {
                for option in options {
                    opt.push(&UnknownOptData::new(OptionCode::COOKIE, *option).unwrap())?;
                }
                Ok(())
            })
            .unwrap();
        Message::from_octets(Bytes::from(builder.finish())).unwrap()
    }

    // DNS-01
    #[test]
    fn what_a_cookie_says() {
        let (here, elsewhere) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        let cookies = Cookies::default();
        let first = cookies.cookie(here);
        assert!(first.server().is_none());
        // A server that knows no cookies.
        assert_eq!(cookies.reply(&first, &reply(&[])), Told::Fine);
        let ours = first.client().into_octets().to_vec();
        let theirs = |length: usize| [ours.clone(), vec![9; length]].concat();
        for length in [1, 7, 33, 40] {
            assert_eq!(cookies.reply(&first, &reply(&[&theirs(length)])), Told::Wrong, "{length}");
        }
        assert_eq!(cookies.reply(&first, &reply(&[&ours[..7]])), Told::Wrong);
        let foreign: Vec<u8> = ours.iter().map(|octet| octet ^ 1).chain([9; 16]).collect();
        assert_eq!(cookies.reply(&first, &reply(&[&foreign])), Told::Wrong);
        assert_eq!(cookies.reply(&first, &reply(&[&foreign, &theirs(16)])), Told::Wrong);
        assert!(cookies.cookie(here).server().is_none());
        // An echo says that it is for us, and no more.
        assert_eq!(cookies.reply(&first, &reply(&[&ours])), Told::Fine);
        assert!(cookies.cookie(here).server().is_none());

        assert_eq!(cookies.reply(&first, &reply(&[&theirs(16), &foreign])), Told::Fine);
        let second = cookies.cookie(here);
        assert_eq!(second.client(), first.client());
        assert_eq!(second.server().unwrap().as_ref(), [9; 16]);
        assert_eq!(cookies.reply(&second, &reply(&[])), Told::Missing);
        cookies.forget();
        assert!(cookies.cookie(here).server().is_none());

        // From another address we are somebody else.
        assert_ne!(cookies.cookie(elsewhere).client(), first.client());
        assert!(cookies.cookie(elsewhere).server().is_none());
    }
}
