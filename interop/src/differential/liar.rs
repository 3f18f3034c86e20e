//! A server that lies: the same octets to everyone who asks the same question about the same case.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use dance_core::name::ClientName;
use domain::base::iana::Rtype;
use domain::base::{ParsedName, ToName};
use domain::dep::octseq::Parser;

use super::lies::Lies;
use super::message::{Answer, Question, name};
use super::random::Random;
use super::universe::Universe;

/// Over UDP, whatever the asker offers.
const MAX_UDP: usize = 1232;

/// What is asked and which answers are spoilt.
pub struct Case {
    /// Where.
    pub universe: Arc<Universe>,
    /// Its number there.
    pub number: u64,
    /// The TLSA question.
    pub question: Question,
    /// The questions that are not answered honestly.
    pub spoilt: Vec<Question>,
    random: Random,
}

impl Case {
    /// The one that the universe's seed and this number lead to.
    #[must_use]
    pub fn new(universe: &Arc<Universe>, number: u64) -> Self {
        let mut random = Random::new(universe.seed, &[number]);
        let is_client_name = |name: &&String| ClientName::parse(name.as_bytes()).is_ok();
        let owners: Vec<&String> = universe.names.iter().filter(is_client_name).collect();
        let question = Question { name: name(random.pick(&owners).as_str()), rtype: Rtype::TLSA };
        let on_the_way = universe.on_the_way(&question);
        let mut spoilt = Vec::new();
        let count = random.share(&[(2, 0), (16, 1), (3, 2)]);
        for _ in 0..count {
            let one = if random.percent(62) { &question } else { random.pick(&on_the_way) };
            if !spoilt.contains(one) {
                spoilt.push(one.clone());
            }
        }
        Self { universe: Arc::clone(universe), number, question, spoilt, random }
    }

    /// The answer to a question, and what was done to it.
    fn answer(&self, question: &Question) -> Told {
        let mut answer = self.universe.honest(question, true);
        let random = self.random.of_text(&question.to_string());
        let (account, zone_said_it, of_the_past) = (Vec::new(), false, false);
        let mut lies = Lies { universe: &self.universe, question, random, account, zone_said_it, of_the_past };
        if self.spoilt.contains(question) {
            lies.tell(&mut answer);
        }
        let Lies { account, zone_said_it, of_the_past, .. } = lies;
        Told { answer, account, zone_said_it, of_the_past }
    }
}

/// An answer as it is told.
#[derive(Clone, Debug)]
pub struct Told {
    /// The answer.
    pub answer: Answer,
    /// What was done to it.
    pub account: Vec<String>,
    /// See [`Lies::zone_said_it`].
    pub zone_said_it: bool,
    /// See [`Lies::of_the_past`].
    pub of_the_past: bool,
}

#[derive(Default)]
struct State {
    case: Option<Arc<Case>>,
    told: HashMap<Question, Told>,
    /// Questions in the order in which they came.
    asked: Vec<Question>,
}

/// The server; ends with the process.
pub struct Liar {
    /// Where it listens, UDP and TCP.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Liar {
    /// Starts it.
    #[must_use]
    pub fn start() -> Self {
        let ((udp, tcp), _) = crate::dns::free_port();
        let address = udp.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, peer)) = udp.recv_from(&mut buffer) {
                if let Some(answer) = respond(&shared, &buffer[..length], MAX_UDP) {
                    let _ = udp.send_to(&answer, peer);
                }
            }
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in tcp.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(&shared, stream));
            }
        });
        Self { address, state }
    }

    /// From now on it is about this case.
    pub fn turn_to(&self, case: &Arc<Case>) {
        *self.state.lock().unwrap() = State { case: Some(Arc::clone(case)), ..State::default() };
    }

    /// What it answers over TCP.
    #[must_use]
    pub fn answer(&self, question: &Question) -> Vec<u8> {
        respond(&self.state, &question.compose(), usize::from(u16::MAX)).unwrap()
    }

    /// The questions since the last time, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<Question> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    /// From now on this is the answer to that question.
    pub fn tell(&self, question: &Question, answer: Answer) {
        let told = Told { answer, account: Vec::new(), zone_said_it: false, of_the_past: false };
        self.state.lock().unwrap().told.insert(question.clone(), told);
    }

    /// All that was told about the case.
    #[must_use]
    pub fn told(&self) -> HashMap<Question, Told> {
        self.state.lock().unwrap().told.clone()
    }
}

fn serve(state: &Mutex<State>, mut stream: TcpStream) {
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        if stream.read_exact(&mut question).is_err() {
            return;
        }
        let Some(answer) = respond(state, &question, usize::from(u16::MAX)) else { return };
        let length = (answer.len() as u16).to_be_bytes();
        if stream.write_all(&[&length[..], &answer].concat()).is_err() {
            return;
        }
    }
}

fn respond(state: &Mutex<State>, message: &[u8], limit: usize) -> Option<Vec<u8>> {
    let mut parser = Parser::from_ref(message);
    parser.advance(12).ok()?;
    let name = ParsedName::parse(&mut parser).ok()?.to_bytes().to_canonical_name::<bytes::Bytes>();
    let question = Question { name, rtype: Rtype::from_int(parser.parse_u16_be().ok()?) };
    let mut state = state.lock().unwrap();
    let case = Arc::clone(state.case.as_ref()?);
    state.asked.push(question.clone());
    let told = state.told.entry(question).or_insert_with_key(|question| case.answer(question));
    told.answer.compose(message, limit)
}
