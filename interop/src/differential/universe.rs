//! Zones by chance: a root, what hangs below it, and what stands in them.

use std::collections::BTreeSet;
use std::fmt;

use dance_testkit::{Delegation, Denial, KeyRole, SignedWorld, Zone};
use domain::base::ToName;
use domain::base::iana::{Rtype, SecurityAlgorithm};
use tokio::runtime::Runtime;

use super::keys::Key;
use super::message::{Answer, DnsName, Question, name};
use super::random::Random;

/// Signatures begin and end at least so far from now, in seconds: a case must not turn while it is judged.
const HOUR: i64 = 3600;

/// A key and what its zone uses it for.
#[derive(Clone, Copy, Debug)]
pub struct ZoneKey {
    /// The key.
    pub key: &'static Key,
    /// Its use.
    pub role: KeyRole,
}

impl ZoneKey {
    /// As in its DNSKEY record.
    pub const fn flags(&self) -> u16 {
        match self.role {
            KeyRole::Zsk => 256,
            _ => 257,
        }
    }
}

/// A zone.
#[derive(Clone, Debug)]
pub struct ZonePlan {
    /// Its apex, without final dot.
    pub apex: String,
    /// Its keys; none if it is not signed.
    pub keys: Vec<ZoneKey>,
    /// How it denies.
    pub denial: Denial,
    delegation: Delegation,
    validity: (i64, i64),
    older_validity: (i64, i64),
    records: Vec<String>,
    older_records: Vec<String>,
}

impl ZonePlan {
    fn zone(&self, records: &[String], (inception, expiration): (i64, i64)) -> Zone {
        let apex = if self.apex.is_empty() { "." } else { &self.apex };
        let keys: Vec<_> = self.keys.iter().map(|key| (key.key.text, key.role)).collect();
        let zone = if keys.is_empty() { Zone::unsigned(apex) } else { Zone::new(apex).given_keys(&keys) };
        zone.denial(self.denial.clone())
            .delegation(self.delegation)
            .signatures(inception, expiration)
            .text(&records.join("\n"))
    }

    /// Keys that sign what is not the key set.
    pub fn data_keys(&self) -> impl Iterator<Item = &ZoneKey> {
        self.keys.iter().filter(|key| matches!(key.role, KeyRole::Csk | KeyRole::Zsk))
    }

    /// Keys that sign the key set.
    pub fn key_keys(&self) -> impl Iterator<Item = &ZoneKey> {
        self.keys.iter().filter(|key| matches!(key.role, KeyRole::Csk | KeyRole::Ksk))
    }
}

/// Zones, as they are and as they were, with the same keys.
pub struct Universe {
    /// What it was made from.
    pub seed: u64,
    /// All zones, the root first, each before those below it.
    pub zones: Vec<ZonePlan>,
    /// The zones as they are.
    pub present: SignedWorld,
    /// The zones as they were.
    pub past: SignedWorld,
    /// Names that may be asked for.
    pub names: Vec<String>,
    /// DS or DNSKEY records of the root.
    pub anchor: String,
}

/// Relative names that occur again and again, so that they meet.
const LABELS: &[&str] = &["a", "b", "_device", "x1", "W", "c", "_user", "zz"];
const TYPES: &[(usize, &str)] = &[(11, "TLSA"), (3, "TXT"), (5, "CNAME"), (2, "DNAME"), (2, "A"), (1, "TWO")];

impl Universe {
    /// The one that this seed leads to. Signatures are made now, by algorithms of which some use chance of their own.
    pub fn new(seed: u64, runtime: &Runtime) -> Self {
        let mut random = Random::new(seed, &[]);
        let apexes = apexes(&mut random);
        let mut keys = Pool::new(&mut random);
        let owners: Vec<Vec<String>> = apexes.iter().map(|apex| owners(&mut random, apex, &apexes)).collect();
        let mut names: BTreeSet<String> = BTreeSet::new();
        for owner in owners.iter().flatten().chain(&apexes) {
            add_names_about(&mut random, owner, &mut names);
        }
        let names: Vec<String> = names.into_iter().collect();
        let zones: Vec<ZonePlan> = apexes
            .iter()
            .zip(&owners)
            .map(|(apex, owners)| zone_plan(&mut random, apex, owners, &names, &mut keys))
            .collect();

        let start = |of: &dyn Fn(&ZonePlan) -> Zone| {
            let builder = zones.iter().fold(SignedWorld::builder(), |builder, plan| builder.zone(of(plan)));
            runtime.block_on(builder.start()).unwrap_or_else(|error| panic!("universe {seed}: {error}"))
        };
        let present = start(&|plan| plan.zone(&plan.records, plan.validity));
        let past = start(&|plan| plan.zone(&plan.older_records, plan.older_validity));
        let anchor = if random.percent(50) { present.trust_anchor_text() } else { present.trust_anchor_ds_text() };
        Self { seed, anchor: anchor.to_owned(), zones, present, past, names }
    }

    /// What the honest world says, now or formerly.
    pub fn honest(&self, question: &Question, present: bool) -> Answer {
        let world = if present { &self.present } else { &self.past };
        let octets = world.answer(&question.compose()).unwrap_or_else(|| panic!("no answer to {question}"));
        world.clear_log();
        Answer::parse(&octets)
    }

    /// The zone with this apex.
    pub fn zone(&self, apex: &DnsName) -> Option<&ZonePlan> {
        self.zones.iter().find(|zone| name(&zone.apex) == *apex)
    }

    /// Any zone.
    pub fn some_zone(&self, random: &mut Random) -> &ZonePlan {
        random.pick(&self.zones)
    }

    /// Any name, as it is asked for.
    pub fn some_name(&self, random: &mut Random) -> DnsName {
        name(random.pick(self.names.as_slice()).as_str())
    }

    /// Questions on the way to this one: keys and delegations of the zones above the names that it leads to, and delegations at names
    /// that are no zones.
    pub fn on_the_way(&self, question: &Question) -> Vec<Question> {
        let answer = self.honest(question, true);
        let targets = answer.sections[0].iter().filter(|rr| rr.rtype == Rtype::CNAME);
        let targets = targets.filter_map(|rr| DnsName::from_octets(rr.data.clone().into()).ok());
        let mut found = Vec::new();
        for name in targets.chain([question.name.clone()]) {
            for suffix in name.iter_suffixes() {
                let mut types = vec![Rtype::DS];
                if self.zone(&suffix).is_some() {
                    types.push(Rtype::DNSKEY);
                }
                if suffix.is_root() {
                    types.remove(0);
                }
                for rtype in types {
                    let question = Question { name: suffix.to_canonical_name::<bytes::Bytes>(), rtype };
                    if !found.contains(&question) {
                        found.push(question);
                    }
                }
            }
        }
        found
    }
}

impl fmt::Display for Universe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for zone in &self.zones {
            let ZonePlan { apex, keys, denial, delegation, validity, older_validity, records, .. } = zone;
            let keys: Vec<_> = keys.iter().map(|key| format!("{:?} {:?}", key.key, key.role)).collect();
            writeln!(f, "zone {apex}. {keys:?} {denial:?} {delegation:?} {validity:?} formerly {older_validity:?}")?;
            for record in records {
                writeln!(f, "  {record}")?;
            }
            for record in zone.older_records.iter().filter(|record| !records.contains(record)) {
                writeln!(f, "  formerly {record}")?;
            }
        }
        Ok(())
    }
}

fn apexes(random: &mut Random) -> Vec<String> {
    let mut apexes = vec![String::new()];
    let candidates =
        [("t", 85), ("z.t", 95), ("o.t", 55), ("y", 35), ("c.z.t", 55), ("e.n.z.t", 40), ("_device.z.t", 15)];
    let deeper = [("d.c.z.t", 30), ("a.x1.y", 30)];
    for (apex, share) in candidates.into_iter().chain(deeper) {
        if random.percent(share) {
            apexes.push(apex.to_owned());
        }
    }
    apexes
}

/// The zone's owner names, wildcards among them, none below another zone.
fn owners(random: &mut Random, apex: &str, apexes: &[String]) -> Vec<String> {
    let most = if apex.len() < 2 { 3 } else { 9 };
    let count = 2 + random.below(most);
    let mut owners = BTreeSet::new();
    for _ in 0..count {
        let mut owner = apex.to_owned();
        for _ in 0..1 + random.below(3) {
            owner = join(random.pick(LABELS), &owner);
        }
        if random.percent(30) {
            owner = join("*", &owner);
        }
        let lower = owner.to_ascii_lowercase();
        let below_another = apexes
            .iter()
            .any(|other| other.len() > apex.len() && (lower == *other || lower.ends_with(&format!(".{other}"))));
        if !below_another && !owners.iter().any(|known: &String| known.eq_ignore_ascii_case(&owner)) {
            owners.insert(owner);
        }
    }
    owners.into_iter().collect()
}

fn join(label: impl AsRef<str>, rest: impl AsRef<str>) -> String {
    let (label, rest) = (label.as_ref(), rest.as_ref());
    if rest.is_empty() { label.to_owned() } else { format!("{label}.{rest}") }
}

/// The name, those around it, and for a wildcard some that it is for.
fn add_names_about(random: &mut Random, owner: &str, names: &mut BTreeSet<String>) {
    let mut add = |text: String| {
        let text = text.to_ascii_lowercase();
        if !text.is_empty() && !text.contains('*') {
            names.insert(text);
        }
    };
    add(owner.to_owned());
    let rest = owner.split_once('.').map_or("", |(_, rest)| rest);
    add(rest.to_owned());
    if owner.starts_with('*') {
        add(join("wild", rest));
        add(join(random.pick(LABELS), rest));
        add(join("deep", join("er", rest)));
        return;
    }
    if random.percent(40) {
        add(join("nx", owner));
    }
    if random.percent(40) {
        add(join(random.pick(LABELS), owner));
    }
    if random.percent(25) {
        add(join("q", rest));
    }
    if random.percent(25) {
        add(join("very", join("deep", owner)));
    }
}

/// Keys, each for one zone only.
struct Pool(Vec<&'static Key>);

impl Pool {
    fn new(random: &mut Random) -> Self {
        let mut keys: Vec<_> = Key::all().iter().collect();
        for at in (1..keys.len()).rev() {
            keys.swap(at, random.below(at + 1));
        }
        Self(keys)
    }

    /// One of this algorithm, or of ECDSAP256SHA256 when there are no more.
    fn take(&mut self, algorithm: SecurityAlgorithm) -> &'static Key {
        let find = |wanted| self.0.iter().position(|key| key.algorithm == wanted);
        let at = find(algorithm).or_else(|| find(SecurityAlgorithm::ECDSAP256SHA256)).unwrap();
        self.0.swap_remove(at)
    }
}

fn zone_keys(random: &mut Random, pool: &mut Pool) -> Vec<ZoneKey> {
    use KeyRole::*;
    const ALGORITHMS: &[(usize, SecurityAlgorithm)] = &[
        (10, SecurityAlgorithm::ECDSAP256SHA256),
        (5, SecurityAlgorithm::ED25519),
        (4, SecurityAlgorithm::RSASHA256),
        (2, SecurityAlgorithm::ECDSAP384SHA384),
    ];
    const LAYOUTS: &[(usize, &[KeyRole])] = &[
        (10, &[Csk]),
        (6, &[Ksk, Zsk]),
        (2, &[Csk, Published]),
        (2, &[Csk, Csk]),
        (1, &[Ksk, Zsk, Zsk]),
        (1, &[Ksk, Ksk, Zsk]),
    ];
    let first = random.share(ALGORITHMS);
    let layout = random.share(LAYOUTS);
    // A second algorithm signs everything too.
    let second = if layout == [Csk, Csk] && random.percent(60) { random.share(ALGORITHMS) } else { first };
    let mut algorithms = [first, second].into_iter().chain(std::iter::repeat(first));
    layout.iter().map(|role| ZoneKey { key: pool.take(algorithms.next().unwrap()), role: *role }).collect()
}

fn denial(random: &mut Random) -> Denial {
    if random.percent(50) {
        return Denial::Nsec;
    }
    let iterations = match random.below(20) {
        0..=11 => 0,
        12..=15 => 1 + random.below(20),
        16 => 100,
        17 => 101 + random.below(100),
        18 => *random.pick(&[50, 99, 150, 151]),
        _ => *random.pick(&[500, 500, 501]),
    };
    let salt = (0..*random.pick(&[0, 0, 0, 2, 8, 40])).map(|_| random.any() as u8).collect();
    Denial::Nsec3 { iterations: iterations as u16, salt, opt_out: random.percent(30) }
}

fn zone_plan(random: &mut Random, apex: &str, owners: &[String], names: &[String], pool: &mut Pool) -> ZonePlan {
    const FINE: (i64, i64) = (-24 * HOUR, 14 * 24 * HOUR);
    // Signed at another time than what is there now, whatever second it is: what a lie changes must not depend on that.
    const EARLIER: (i64, i64) = (-25 * HOUR, 13 * 24 * HOUR);
    const SHORT: (i64, i64) = (-HOUR, HOUR);
    const PAST: (i64, i64) = (-240 * HOUR, -24 * HOUR);
    const FUTURE: (i64, i64) = (24 * HOUR, 240 * HOUR);
    let top = apex.len() < 2;
    let signed = apex.is_empty() || random.percent(if top { 98 } else { 94 });
    let odd = if top { 0 } else { 1 };
    let delegation = random.share(&[
        (80, Delegation::Secure),
        (8, Delegation::SecureWithBrokenExtra),
        (4 * odd, Delegation::NoDs),
        (odd, Delegation::UnknownAlgorithm),
        (odd, Delegation::UnknownDigest),
        (odd, Delegation::WrongDs),
    ]);
    let validity = random.share(&[(90, FINE), (10, SHORT), (2 * odd, PAST), (odd, FUTURE)]);
    let older_validity = random.share(&[(2, EARLIER), (2, PAST)]);

    let mut records = Vec::new();
    let mut older_records = Vec::new();
    let mut hidden: Vec<String> = Vec::new();
    // Shortest first: a DNAME hides what is below it.
    let mut owners: Vec<&String> = owners.iter().collect();
    owners.sort_by_key(|owner| owner.len());
    for owner in owners {
        let lower = owner.to_ascii_lowercase();
        if hidden.iter().any(|above| lower.ends_with(&format!(".{above}"))) {
            continue;
        }
        let mut rtype = random.share(TYPES);
        if rtype == "DNAME" && owner.starts_with('*') {
            rtype = "TLSA";
        }
        if rtype == "DNAME" {
            hidden.push(lower);
        }
        let ttl = *random.pick(&[5, 60, 300, 3600, 86_400]);
        let line = |random: &mut Random, rtype: &str| {
            let target = match random.percent(70) {
                true => random.pick(names).clone(),
                false => join(random.pick(LABELS), random.pick(names)),
            };
            let data = match rtype {
                "TLSA" => format!("3 1 1 {:016x}{:016x}", random.any(), random.any()),
                "TXT" => format!("\"text {}\"", random.below(1000)),
                "A" => format!("192.0.2.{}", random.below(256)),
                _ => format!("{target}."),
            };
            format!("{owner}. {ttl} IN {rtype} {data}")
        };
        let lines = |random: &mut Random| -> Vec<String> {
            match rtype {
                "TLSA" => (0..1 + random.below(3)).map(|_| line(random, "TLSA")).collect(),
                "TWO" => vec![line(random, "TLSA"), line(random, "TXT")],
                rtype => vec![line(random, rtype)],
            }
        };
        let present = lines(random);
        match random.below(10) {
            // Came later.
            0 => {}
            1..=4 => older_records.extend(lines(random)),
            _ => older_records.extend(present.clone()),
        }
        // Has gone meanwhile, all but.
        if !random.percent(6) {
            records.extend(present);
        }
    }
    let keys = if signed { zone_keys(random, pool) } else { Vec::new() };
    // The real root has NSEC too, and for NSEC3 records there unbound takes for ever.
    let denial = if apex.is_empty() { Denial::Nsec } else { denial(random) };
    ZonePlan { apex: apex.to_owned(), keys, denial, delegation, validity, older_validity, records, older_records }
}
