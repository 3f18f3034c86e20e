//! Generated zones, any part of whose records is shown, against a look at the whole zone.

use std::collections::BTreeMap;

use super::*;

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

/// `!` comes before `*`.
const LABELS: [&str; 3] = ["!", "*", "a"];
const KINDS: [&str; 8] = ["TLSA", "TXT", "TXT TLSA", "CNAME", "NS", "NS DS", "DNAME", "TXT DNAME"];

/// All of a zone: what has records, and what they are. Nothing stands below a delegation or DNAME.
struct Zone {
    apex: DnsName,
    nodes: BTreeMap<DnsName, &'static str>,
}

/// What a question for a name comes to.
enum Truth {
    /// Records of these types.
    Types(&'static str),
    /// None; but there are names below.
    Empty,
    /// The wildcard's types.
    Wildcard(&'static str),
    EmptyWildcard,
    Absent,
    /// The name is below a delegation or DNAME.
    Hidden,
}

fn has(list: &str, rtype: &str) -> bool {
    list.split_whitespace().any(|listed| listed == rtype)
}

/// All names of up to three labels below the apex, and the apex.
fn all_names(apex: &DnsName) -> Vec<DnsName> {
    let mut names = vec![apex.clone()];
    let mut last = names.clone();
    for _ in 0..3 {
        last = last
            .iter()
            .flat_map(|above| LABELS.map(|label| name(&format!("{label}.{}", above.fmt_with_dot()))))
            .collect();
        names.extend(last.iter().cloned());
    }
    names
}

impl Zone {
    fn generate(random: &mut Random) -> Self {
        let apex = name(random.pick(&["test.", "a.test."]));
        let mut nodes =
            BTreeMap::from([(apex.clone(), random.pick(&["NS SOA", "NS SOA", "NS SOA TLSA", "NS SOA DNAME"]))]);
        let candidates = all_names(&apex);
        for _ in 0..random.below(9) {
            nodes.entry(random.pick(&candidates)).or_insert(random.pick(&KINDS));
        }
        let hidden = |owner: &DnsName| Self::hides(&apex, &nodes, owner);
        let nodes =
            nodes.iter().filter(|(owner, _)| !hidden(owner)).map(|(owner, list)| (owner.clone(), *list)).collect();
        Self { apex, nodes }
    }

    fn hides(apex: &DnsName, nodes: &BTreeMap<DnsName, &str>, of: &DnsName) -> bool {
        let above = of.iter_suffixes().skip(1).filter(|above| above.ends_with(apex));
        above
            .filter_map(|above| Some((nodes.get(&above)?, above == *apex)))
            .any(|(list, is_apex)| has(list, "DNAME") || (has(list, "NS") && !is_apex))
    }

    fn types(&self, of: &DnsName) -> Option<&'static str> {
        self.nodes.get(of).copied()
    }

    fn exists(&self, of: &DnsName) -> bool {
        self.nodes.keys().any(|owner| owner.ends_with(of))
    }

    fn truth(&self, of: &DnsName) -> Truth {
        if Self::hides(&self.apex, &self.nodes, of) {
            return Truth::Hidden;
        }
        if self.exists(of) {
            return self.types(of).map_or(Truth::Empty, Truth::Types);
        }
        let encloser = of.iter_suffixes().find(|above| self.exists(above)).unwrap();
        let wildcard = name(&format!("*.{}", encloser.fmt_with_dot()));
        match (self.types(&wildcard), self.exists(&wildcard)) {
            (Some(list), _) => Truth::Wildcard(list),
            (None, true) => Truth::EmptyWildcard,
            (None, false) => Truth::Absent,
        }
    }

    fn is_cut(&self, of: &DnsName) -> bool {
        *of != self.apex && self.types(of).is_some_and(|list| has(list, "NS"))
    }

    fn is_unsigned_cut(&self, of: &DnsName) -> bool {
        self.is_cut(of) && self.types(of).is_some_and(|list| !has(list, "DS"))
    }

    /// The names that an NSEC3 chain has: those with records and those above, without the unsigned delegations if they are left out.
    fn nsec3_names(&self, opt_out: bool) -> BTreeMap<DnsName, Types> {
        let mut names = BTreeMap::new();
        for owner in self.nodes.keys().filter(|owner| !(opt_out && self.is_unsigned_cut(owner))) {
            for above in owner.iter_suffixes().take_while(|above| above.ends_with(&self.apex)) {
                let list = types(self.types(&above).unwrap_or_default());
                names.insert(above, list);
            }
        }
        names
    }
}

/// One of the zone's chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nsec,
    Nsec3,
    OptOut,
}

/// A record, ready to be shown.
type Shown = Box<dyn Fn(&mut Proofs)>;

impl Zone {
    fn records(&self, kind: Kind) -> Vec<Shown> {
        let apex = &self.apex;
        if kind == Kind::Nsec {
            let next = self.nodes.keys().cycle().skip(1);
            let records = self.nodes.iter().zip(next).map(|((owner, list), next)| {
                let (apex, owner, record) = (apex.clone(), owner.clone(), rdata::Nsec::new(next.clone(), types(list)));
                Box::new(move |sets: &mut Proofs| push(sets, &apex, &owner, &record)) as Shown
            });
            return records.collect();
        }
        let names: Vec<_> = self.nsec3_names(kind == Kind::OptOut).into_iter().collect();
        let params = Params { flags: u8::from(kind == Kind::OptOut), ..PLAIN };
        let records = chain(apex, &names, &params).into_iter().map(|(_, owner, record)| {
            let apex = apex.clone();
            Box::new(move |sets: &mut Proofs| push(sets, &apex, &owner, &record)) as Shown
        });
        records.collect()
    }

    /// `out`: the names of a chain that opts out. Checks that what is claimed is so, and (`whole`) that all is claimed that the zone's records can prove.
    fn check(&self, out: Option<&BTreeMap<DnsName, Types>>, sets: &Proofs, whole: bool, qname: &DnsName, case: &str) {
        let apex = &self.apex;
        let mut hashes = Hashes { left: PLENTY };
        let left_out = |name: &DnsName| out.is_some_and(|names| !names.contains_key(name));
        for (rtype, column) in [(Rtype::TLSA, "TLSA"), (Rtype::DS, "DS")] {
            let denied = denies(apex, sets, qname, rtype, &mut hashes);
            let lacks = |list: &str| {
                let other_side = rtype == Rtype::TLSA && has(list, "NS") && !has(list, "SOA");
                !other_side && !has(list, column) && !has(list, "CNAME")
            };
            let own = rtype == Rtype::TLSA || qname != apex;
            let expected = match self.truth(qname) {
                Truth::Types(list) if own && lacks(list) => Denied::Nodata,
                Truth::Wildcard(list) if lacks(list) => Denied::Nodata,
                Truth::Empty | Truth::EmptyWildcard if own => Denied::Nodata,
                Truth::Absent => Denied::Nxdomain,
                _ => Denied::Nothing,
            };
            match denied {
                Denied::Insecure => assert!(left_out(qname), "{case}: {qname} {rtype}: Insecure"),
                Denied::Nothing if whole => assert_eq!(expected, Denied::Nothing, "{case}: {qname} {rtype}"),
                Denied::Nothing => {}
                _ => assert_eq!(denied, expected, "{case}: {qname} {rtype}"),
            }
        }

        let hidden = matches!(self.truth(qname), Truth::Hidden);
        let expected = match () {
            () if hidden || qname == apex => CutDenial::Nothing,
            () if self.is_unsigned_cut(qname) => CutDenial::InsecureCut,
            () if self.is_cut(qname) => CutDenial::Nothing,
            () => CutDenial::NotACut,
        };
        match cut(apex, sets, qname, &mut hashes) {
            CutDenial::OptOut => assert!(left_out(qname), "{case}: {qname} cut: opt-out"),
            CutDenial::Nothing if whole => assert_eq!(expected, CutDenial::Nothing, "{case}: {qname} cut"),
            CutDenial::Nothing => {}
            denial => assert_eq!(denial, expected, "{case}: {qname} cut"),
        }

        // Every wildcard that is there to be expanded.
        let owners = self.nodes.keys().filter(|owner| owner.first().is_wildcard() && *owner != qname);
        for wildcard in owners {
            let encloser = wildcard.iter_suffixes().nth(1).unwrap();
            if !qname.ends_with(&encloser) || *qname == encloser {
                continue;
            }
            let labels = u8::try_from(encloser.label_count() - 1).unwrap();
            let above = qname.label_count() - encloser.label_count() - 1;
            let next_closer = qname.iter_suffixes().nth(above).unwrap();
            let absent = !self.exists(&next_closer);
            match no_closer(apex, sets, qname, labels, &mut hashes) {
                NoCloser::Proven => assert!(absent, "{case}: {qname} below {wildcard}"),
                NoCloser::Insecure => assert!(left_out(&next_closer), "{case}: {qname} below {wildcard}: Insecure"),
                NoCloser::Nothing => assert!(!(whole && absent), "{case}: {qname} below {wildcard}: not proven"),
                other => panic!("{case}: {qname} below {wildcard}: {other:?}"),
            }
        }
    }
}

// DNS-06
#[test]
fn no_part_of_a_zones_records_proves_what_is_false_and_all_of_them_prove_what_is_true() {
    for seed in 0..50 {
        let random = &mut Random(seed);
        let zone = Zone::generate(random);
        let kind = random.pick(&[Kind::Nsec, Kind::Nsec3, Kind::OptOut]);
        let (records, qnames) = (zone.records(kind), all_names(&zone.apex));
        let out = (kind == Kind::OptOut).then(|| zone.nsec3_names(true));
        for part in 0..6 {
            // First all of them, then the more the fewer.
            let shown = |random: &mut Random| part == 0 || random.below(part + 1) != 0;
            let mut sets = Proofs::default();
            records.iter().filter(|_| shown(random)).for_each(|record| record(&mut sets));
            let case = format!("seed {seed}, {kind:?}, part {part}, {:?}", zone.nodes);
            for qname in &qnames {
                zone.check(out.as_ref(), &sets, part == 0, qname, &case);
            }
        }
    }
}
