//! The datagrams between OpenSSL and the network, without the network: what OpenSSL writes at once is a datagram, and
//! what comes in is handed to it one datagram at a time.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use super::record::{ALERT, CHANGE_CIPHER_SPEC, Record, fatal_alert, records, shift};

/// How many datagrams wait for the network. A flight with a long chain is of a dozen; what is more is lost, as it might
/// be on the way.
const MAX_OUT: usize = 64;

/// What becomes of the flight that tells a client that it is through.
#[derive(Debug)]
enum Gate {
    /// It waits here. Nothing but that flight is of a new epoch, or the ChangeCipherSpec before it.
    Closed { held: Vec<Vec<u8>> },
    /// It may go.
    Open,
    /// It never will, nor anything else of OpenSSL's.
    Shut,
}

#[derive(Debug)]
pub(super) struct Wire {
    incoming: Option<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
    gate: Gate,
    /// Server: the number of the record that the ClientHello came in, which is to be the ServerHello's (RFC 6347 section
    /// 4.2.1). OpenSSL 4.0.3 starts at 1, and a client that has had to repeat itself takes that for a replay.
    first_sequence: u64,
    /// By how much the numbers of records in the clear are moved for that; known from the first one on.
    shift: Option<u64>,
    /// The number and description of the fatal alert in the clear that has ended the handshake.
    alert: Option<(u64, u8)>,
}

impl Wire {
    pub(super) fn client() -> Self {
        Self {
            incoming: None,
            outgoing: VecDeque::new(),
            gate: Gate::Open,
            first_sequence: 0,
            shift: Some(0),
            alert: None,
        }
    }

    /// With its gate closed, and a client's ClientHello to read.
    pub(super) fn server(client_hello: Vec<u8>, sequence: u64) -> Self {
        Self {
            incoming: Some(client_hello),
            gate: Gate::Closed { held: Vec::new() },
            first_sequence: sequence,
            shift: None,
            ..Self::client()
        }
    }

    /// What OpenSSL reads next. It has read what there was before.
    pub(super) fn receive(&mut self, datagram: Vec<u8>) {
        self.incoming = Some(datagram);
    }

    /// The next datagram to send.
    pub(super) fn front(&self) -> Option<&[u8]> {
        self.outgoing.front().map(Vec::as_slice)
    }

    pub(super) fn sent(&mut self) {
        self.outgoing.pop_front();
    }

    /// The verdict is for the client.
    pub(super) fn open(&mut self) {
        if let Gate::Closed { held } = &mut self.gate {
            self.outgoing.extend(held.drain(..));
            self.gate = Gate::Open;
        }
    }

    /// Whether all may pass.
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.gate, Gate::Open)
    }

    /// Drops what is held and has an alert go in its place, in the clear, since the client has not been told to expect
    /// any other, and under the number of the ChangeCipherSpec, which has not left. Where nothing is held, the handshake
    /// is not complete, and OpenSSL makes its own alerts.
    pub(super) fn refuse(&mut self, alert: u8) {
        let Gate::Closed { held } = &self.gate else {
            return;
        };
        let Some((first, _)) = held.first().and_then(|datagram| Record::split(datagram)) else {
            return;
        };
        self.alert = Some((first.sequence, alert));
        self.gate = Gate::Shut;
        self.send_alert();
    }

    /// Has the alert go once more: alerts are not repeated by DTLS, and this is the answer to a client that does not seem
    /// to have got it. False if there was none.
    pub(super) fn repeat_alert(&mut self) -> bool {
        self.gate = Gate::Shut;
        if let Some((sequence, _)) = &mut self.alert {
            *sequence += 1;
        }
        self.send_alert()
    }

    fn send_alert(&mut self) -> bool {
        let Some((sequence, description)) = self.alert else {
            return false;
        };
        self.push(fatal_alert(sequence, description));
        true
    }

    fn push(&mut self, datagram: Vec<u8>) {
        if self.outgoing.len() < MAX_OUT {
            self.outgoing.push_back(datagram);
        }
    }

    /// A datagram of OpenSSL's: goes out, waits or is dropped.
    fn pass(&mut self, mut datagram: Vec<u8>) {
        let first = Record::split(&datagram).map_or(0, |(record, _)| record.sequence);
        let by = *self.shift.get_or_insert_with(|| self.first_sequence.saturating_sub(first));
        shift(&mut datagram, by);
        let found = records(&datagram);
        let in_clear = found.as_ref().is_some_and(|records| {
            records.iter().all(|record| record.epoch == 0 && record.content_type != CHANGE_CIPHER_SPEC)
        });
        if in_clear {
            for record in found.iter().flatten() {
                if let (ALERT, &[2, description]) = (record.content_type, record.fragment) {
                    self.alert = Some((record.sequence, description));
                }
            }
        }
        match &mut self.gate {
            Gate::Open => self.push(datagram),
            Gate::Closed { .. } if in_clear => self.push(datagram),
            // OpenSSL repeats its last flight to a client that repeats its own, which is early to do so: one copy is
            // enough. Nor does anything else of the new epoch get ahead of the verdict.
            Gate::Closed { held } => {
                let encrypted = |datagram: &Vec<u8>| {
                    records(datagram).is_none_or(|records| records.iter().any(|record| record.epoch > 0))
                };
                if !held.iter().any(encrypted) && (held.is_empty() || encrypted(&datagram)) {
                    held.push(datagram);
                }
            }
            Gate::Shut => {}
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // A datagram that does not fit loses its end, and OpenSSL ignores what is then no record.
        self.incoming.take().map_or(Err(io::ErrorKind::WouldBlock.into()), |datagram| datagram.as_slice().read(buf))
    }
}

impl Write for Wire {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.pass(datagram.to_vec());
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn record(content_type: u8, epoch: u8, sequence: u8, fragment: &[u8]) -> Vec<u8> {
        let mut wire = vec![content_type, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, sequence, 0, fragment.len() as u8];
        wire.extend(fragment);
        wire
    }

    fn sent(wire: &mut Wire) -> Vec<Vec<u8>> {
        wire.outgoing.drain(..).collect()
    }

    // SRV-24: whatever order they come in, nothing of the last flight passes, one copy of it is kept, and all else passes.
    #[test]
    fn gate_knows_the_last_flight() {
        let hello = record(22, 0, 1, b"hello");
        let (change, finished) = (record(20, 0, 2, &[1]), record(22, 1, 0, b"finished"));
        let flights = [vec![[change.clone(), finished.clone()].concat()], vec![change, finished]];
        for flight in flights {
            let mut wire = Wire::server(Vec::new(), 1);
            wire.write_all(&hello).unwrap();
            for datagram in &flight {
                wire.write_all(datagram).unwrap();
            }
            // Repeated, and an alert behind it.
            wire.write_all(&record(20, 0, 3, &[1])).unwrap();
            wire.write_all(&record(22, 1, 1, b"finished")).unwrap();
            wire.write_all(&record(21, 1, 2, b"secret")).unwrap();
            wire.write_all(b"no record").unwrap();
            // The flight before it, repeated.
            wire.write_all(&record(22, 0, 4, b"hello")).unwrap();
            assert_eq!(sent(&mut wire), [hello.clone(), record(22, 0, 4, b"hello")]);
            wire.open();
            assert_eq!(sent(&mut wire), flight);
            wire.write_all(&record(23, 1, 3, b"data")).unwrap();
            assert_eq!(sent(&mut wire), [record(23, 1, 3, b"data")]);
        }
    }

    // SRV-24: the alert takes the number of the record that did not leave, and repeats take those after it.
    #[test]
    fn refusal_takes_the_place_of_the_last_flight() {
        let mut wire = Wire::server(Vec::new(), 7);
        wire.write_all(&record(22, 0, 1, b"hello")).unwrap();
        wire.write_all(&[record(20, 0, 2, &[1]), record(22, 1, 0, b"finished")].concat()).unwrap();
        assert_eq!(sent(&mut wire), [record(22, 0, 7, b"hello")]);
        wire.refuse(40);
        assert_eq!(sent(&mut wire), [record(21, 0, 8, &[2, 40])]);
        wire.open();
        wire.write_all(&record(22, 1, 1, b"finished")).unwrap();
        wire.refuse(40);
        assert_eq!(sent(&mut wire), [] as [Vec<u8>; 0]);
        assert!(wire.repeat_alert());
        assert_eq!(sent(&mut wire), [record(21, 0, 9, &[2, 40])]);
    }
}
