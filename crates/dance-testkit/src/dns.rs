//! The world: zones, their server, and changes while it runs.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use domain::base::iana::Rtype;
use domain::base::{Record, Serial};
use domain::rdata::{Soa, ZoneRecordData};
use tokio::task::AbortHandle;

use crate::dns_error::WorldError;
use crate::dns_fault::{Fault, PlacedFault, Scope};
use crate::dns_log::{Query, QueryLog, Transport};
use crate::dns_message::{Outcome, answer};
use crate::dns_resolve::{Front, Served};
use crate::dns_server::{bind, serve_tcp, serve_udp};
use crate::zone::{
    DEFAULT_TTL, DnsName, DsForm, StoredRecord, Validity, Zone, name_server, parse_name, parse_records, tlsa_line,
};
use crate::zone_key::{ZoneKey, ds_records};
use crate::zone_sign::{ServedZone, sign};

/// Collects the zones and faults of a [`SignedWorld`].
#[derive(Debug, Default)]
pub struct WorldBuilder {
    zones: Vec<Zone>,
    faults: Vec<(Place, Fault)>,
    front: Front,
    cut_aliases: Option<usize>,
}

/// Where a fault applies; names are read when the world starts.
#[derive(Debug)]
enum Place {
    Everywhere,
    Zone(String),
    Name(String, Option<Rtype>),
}

impl Place {
    fn scope(&self) -> Result<Scope, WorldError> {
        Ok(match self {
            Self::Everywhere => Scope::Everywhere,
            Self::Zone(apex) => Scope::Zone(parse_name(apex)?),
            Self::Name(owner, rtype) => Scope::Name(parse_name(owner)?, *rtype),
        })
    }
}

impl WorldBuilder {
    /// Adds a zone. Its delegation from the closest zone above, with DS, is made when the world starts. A root zone is
    /// added if none is given.
    #[must_use]
    pub fn zone(mut self, zone: Zone) -> Self {
        self.zones.push(zone);
        self
    }

    /// Adds a fault at one name, for all types.
    #[must_use]
    pub fn fault(self, owner: &str, fault: Fault) -> Self {
        self.place(Place::Name(owner.to_owned(), None), fault)
    }

    /// Adds a fault at one name for one type, for instance DS.
    #[must_use]
    pub fn fault_on_type(self, owner: &str, rtype: Rtype, fault: Fault) -> Self {
        self.place(Place::Name(owner.to_owned(), Some(rtype)), fault)
    }

    /// Adds a fault to all answers from one zone; its DS comes from the zone above.
    #[must_use]
    pub fn zone_fault(self, apex: &str, fault: Fault) -> Self {
        self.place(Place::Zone(apex.to_owned()), fault)
    }

    /// Adds a fault to all answers.
    #[must_use]
    pub fn server_fault(self, fault: Fault) -> Self {
        self.place(Place::Everywhere, fault)
    }

    fn place(mut self, place: Place, fault: Fault) -> Self {
        self.faults.push((place, fault));
        self
    }

    /// Sets what the server makes of DNSSEC.
    #[must_use]
    pub fn front(mut self, front: Front) -> Self {
        self.front = front;
        self
    }

    /// Lets the server follow this many links of a chain of aliases, and then answer with what it has. Without this it gives up after 32
    /// with SERVFAIL.
    #[must_use]
    pub fn cut_aliases(mut self, links: usize) -> Self {
        self.cut_aliases = Some(links);
        self
    }

    /// Signs all zones and starts the server on a free port of 127.0.0.1, UDP and TCP.
    ///
    /// # Errors
    ///
    /// When a zone or fault cannot be understood or signed, or no port is free.
    pub async fn start(self) -> Result<SignedWorld, WorldError> {
        let (zones, anchor) = make_zones(self.zones)?;
        let now = now();
        let mut served =
            Served { zones: BTreeMap::new(), faults: Vec::new(), front: self.front, cut_aliases: self.cut_aliases };
        for (apex, source) in &zones {
            served.zones.insert(apex.clone(), Arc::new(source.sign(now)?));
        }
        for (place, fault) in self.faults {
            let fault = PlacedFault::new(place.scope()?, fault, &zones, &served)?;
            served.faults.push(fault);
        }
        let (udp, tcp, addr) = bind().await.map_err(|source| WorldError::Bind { source })?;
        let shared = Arc::new(Shared { served: RwLock::new(Arc::new(served)), log: QueryLog::new() });
        let tasks = [
            tokio::spawn(serve_udp(udp, shared.clone())).abort_handle(),
            tokio::spawn(serve_tcp(tcp, shared.clone())).abort_handle(),
        ];
        Ok(SignedWorld { addr, anchor, shared, sources: Mutex::new(zones), tasks })
    }
}

/// A zone before signing, with its keys.
#[derive(Debug)]
pub(crate) struct ZoneSource {
    pub(crate) zone: Zone,
    pub(crate) apex: DnsName,
    pub(crate) keys: Vec<ZoneKey>,
    pub(crate) records: Vec<StoredRecord>,
}

impl ZoneSource {
    fn sign(&self, now: i64) -> Result<ServedZone, WorldError> {
        sign(&self.zone, &self.apex, &self.records, &self.keys, now)
    }
}

/// All zones by apex.
pub(crate) type Sources = BTreeMap<DnsName, ZoneSource>;

/// The trust anchor of the root zone, in two forms.
#[derive(Debug, Default)]
struct Anchor {
    dnskey: String,
    ds: String,
}

/// Reads all zones, makes their keys, and delegates each from the closest zone above.
fn make_zones(mut zones: Vec<Zone>) -> Result<(Sources, Anchor), WorldError> {
    if !zones.iter().any(|zone| zone.apex.trim_end_matches('.').is_empty()) {
        zones.push(Zone::new("."));
    }
    let mut sources = Sources::new();
    for zone in zones {
        let (apex, records) = zone.parse()?;
        let keys = match zone.signed {
            true => {
                let made = |(source, role): &(_, _)| ZoneKey::new(&apex, source, *role, zone.colliding_keys);
                zone.keys.iter().map(made).collect::<Result<_, _>>()?
            }
            false => Vec::new(),
        };
        let source = ZoneSource { zone, apex: apex.clone(), keys, records };
        if sources.insert(apex.clone(), source).is_some() {
            return Err(WorldError::DuplicateZone { zone: apex.fmt_with_dot().to_string() });
        }
    }

    let mut anchor = Anchor::default();
    let mut delegations: Vec<(DnsName, Vec<StoredRecord>)> = Vec::new();
    for (apex, source) in &sources {
        if apex.is_root() {
            for key in source.keys.iter().filter(|key| key.uses.has_ds) {
                anchor.dnskey.push_str(&format!(". {DEFAULT_TTL} IN DNSKEY {}\n", key.dnskey()));
                anchor.ds.push_str(&format!(". {DEFAULT_TTL} IN DS {}\n", key.ds(apex, DsForm::Sha256)?));
            }
            continue;
        }
        let above = apex.iter_suffixes().skip(1).find(|suffix| sources.contains_key(suffix));
        let mut records = ds_records(&source.zone, apex, &source.keys)?;
        records.push(name_server(apex)?);
        delegations.extend(above.map(|above| (above, records)));
    }
    for (above, records) in delegations {
        if let Some(source) = sources.get_mut(&above) {
            source.records.extend(records);
        }
    }
    Ok((sources, anchor))
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(now).unwrap_or(i64::MAX)
}

/// What the server's tasks and the world's owner share.
#[derive(Debug)]
pub(crate) struct Shared {
    served: RwLock<Arc<Served>>,
    pub(crate) log: QueryLog,
}

impl Shared {
    /// The present state; the lock is held only to copy the pointer.
    pub(crate) fn served(&self) -> Arc<Served> {
        self.served.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn update(&self, change: impl FnOnce(&mut Served)) {
        let mut guard = self.served.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut guard));
    }
}

/// A DNS of its own on the loopback interface: root zone, trust anchor, signed and unsigned zones, and a server that
/// answers like a recursive resolver. It stops when dropped.
#[derive(Debug)]
pub struct SignedWorld {
    addr: SocketAddr,
    anchor: Anchor,
    shared: Arc<Shared>,
    sources: Mutex<Sources>,
    tasks: [AbortHandle; 2],
}

impl Drop for SignedWorld {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl SignedWorld {
    /// A world with nothing but a signed root zone, to add to.
    pub fn builder() -> WorldBuilder {
        WorldBuilder::default()
    }

    /// Where the server listens, UDP and TCP.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The trust anchor as zone-file text: the DNSKEY records of the root zone that sign its DNSKEY RRset.
    pub fn trust_anchor_text(&self) -> &str {
        &self.anchor.dnskey
    }

    /// The trust anchor as zone-file text, as DS records.
    pub fn trust_anchor_ds_text(&self) -> &str {
        &self.anchor.ds
    }

    /// A zone as it is served, with all DNSSEC records, as zone-file text.
    pub fn signed_zone_text(&self, apex: &str) -> Result<String, WorldError> {
        let name = parse_name(apex)?;
        let served = self.shared.served();
        let zone = served.zones.get(&name).ok_or_else(|| no_zone(&name))?;
        Ok(zone.records.iter().map(|record| format!("{}\n", text_of(record))).collect())
    }

    /// Replaces the TLSA RRset of a name by `TlsaRdata` or texts in presentation form such as `3 1 1 <hex>`; `ttl` in seconds.
    /// The name's zone is signed anew; the old state stays when that fails.
    ///
    /// # Errors
    ///
    /// When name or record data cannot be read, or signing fails.
    pub fn set_tlsa<R: fmt::Display>(&self, owner: &str, rdata: &[R], ttl: u32) -> Result<(), WorldError> {
        let name = parse_name(owner)?;
        let text: Vec<String> = rdata.iter().map(|rdata| tlsa_line(owner, rdata, ttl)).collect();
        self.change(&name, |apex, source| {
            let added = parse_records(apex, &text.join("\n"))?;
            source.records.retain(|record| !is_in_rrset(record, &name, Rtype::TLSA));
            source.records.extend(added);
            Ok(())
        })
    }

    /// Takes away the TLSA RRset of a name: revocation.
    ///
    /// # Errors
    ///
    /// When the name has none, or signing fails.
    pub fn withdraw(&self, owner: &str) -> Result<(), WorldError> {
        self.remove(owner, Rtype::TLSA)
    }

    /// Takes away the RRset of this name and type.
    ///
    /// # Errors
    ///
    /// When there is none, or signing fails.
    pub fn remove(&self, owner: &str, rtype: Rtype) -> Result<(), WorldError> {
        let name = parse_name(owner)?;
        self.change(&name, |_, source| {
            let before = source.records.len();
            source.records.retain(|record| !is_in_rrset(record, &name, rtype));
            if source.records.len() == before {
                return Err(WorldError::NoRecords { owner: owner.to_owned(), rtype });
            }
            Ok(())
        })
    }

    /// Adds zone-file text to the zone with this apex.
    ///
    /// # Errors
    ///
    /// When the text cannot be read or does not belong into the zone, or signing fails.
    pub fn add_text(&self, apex: &str, text: &str) -> Result<(), WorldError> {
        self.change(&parse_name(apex)?, |apex, source| {
            source.records.extend(parse_records(apex, text)?);
            Ok(())
        })
    }

    /// Signs a zone anew with other signature times, in seconds relative to now.
    ///
    /// # Errors
    ///
    /// When there is no such zone, or signing fails.
    pub fn resign(&self, apex: &str, inception: i64, expiration: i64) -> Result<(), WorldError> {
        let name = parse_name(apex)?;
        self.change(&name, |apex, source| {
            if apex != &name {
                return Err(no_zone(&name));
            }
            source.zone.validity = Validity { inception, expiration };
            Ok(())
        })
    }

    /// Changes the zone that holds `name` and serves the result, or changes nothing.
    pub(crate) fn change(
        &self,
        name: &DnsName,
        change: impl FnOnce(&DnsName, &mut ZoneSource) -> Result<(), WorldError>,
    ) -> Result<(), WorldError> {
        let mut sources = self.sources();
        let apex = name.iter_suffixes().find(|suffix| sources.contains_key(suffix)).ok_or_else(|| no_zone(name))?;
        let source = sources.get_mut(&apex).ok_or_else(|| no_zone(name))?;
        let (zone, records) = (source.zone.clone(), source.records.clone());
        let result = change(&apex, source).and_then(|()| {
            source.records = source.records.iter().map(with_next_serial).collect();
            source.sign(now())
        });
        match result {
            Ok(signed) => {
                self.shared.update(|served| {
                    served.zones.insert(apex.clone(), Arc::new(signed));
                });
                Ok(())
            }
            Err(error) => {
                (source.zone, source.records) = (zone, records);
                Err(error)
            }
        }
    }

    pub(crate) fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a fault at one name, for all types.
    ///
    /// # Errors
    ///
    /// When a name cannot be read.
    pub fn add_fault(&self, owner: &str, fault: Fault) -> Result<(), WorldError> {
        self.add_placed(Scope::Name(parse_name(owner)?, None), fault)
    }

    /// Adds a fault at one name for one type.
    ///
    /// # Errors
    ///
    /// When a name cannot be read.
    pub fn add_fault_on_type(&self, owner: &str, rtype: Rtype, fault: Fault) -> Result<(), WorldError> {
        self.add_placed(Scope::Name(parse_name(owner)?, Some(rtype)), fault)
    }

    /// Adds a fault to all answers from one zone.
    ///
    /// # Errors
    ///
    /// When a name cannot be read.
    pub fn add_zone_fault(&self, apex: &str, fault: Fault) -> Result<(), WorldError> {
        self.add_placed(Scope::Zone(parse_name(apex)?), fault)
    }

    /// Adds a fault to all answers.
    ///
    /// # Errors
    ///
    /// When the name that the fault mentions cannot be read.
    pub fn add_server_fault(&self, fault: Fault) -> Result<(), WorldError> {
        self.add_placed(Scope::Everywhere, fault)
    }

    fn add_placed(&self, scope: Scope, fault: Fault) -> Result<(), WorldError> {
        let fault = PlacedFault::new(scope, fault, &self.sources(), &self.shared.served())?;
        self.shared.update(|served| served.faults.push(fault));
        Ok(())
    }

    /// Takes away all faults.
    pub fn clear_faults(&self) {
        self.shared.update(|served| served.faults.clear());
    }

    /// Sets what the server makes of DNSSEC.
    pub fn set_front(&self, front: Front) {
        self.shared.update(|served| served.front = front);
    }

    /// What the server would answer to this message over TCP, octets for octets, at once; `None` where it keeps silent or closes the
    /// connection.
    pub fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        match answer(&self.shared.served(), &self.shared.log, question, Transport::Tcp) {
            Outcome::Reply(reply) => Some(reply.octets),
            Outcome::Silence | Outcome::Close => None,
        }
    }

    /// All questions so far, oldest first.
    pub fn queries(&self) -> Vec<Query> {
        self.shared.log.all()
    }

    /// The names of all TLSA questions so far, oldest first, in lower case and without the trailing dot.
    pub fn tlsa_queries(&self) -> Vec<String> {
        let queries = self.queries().into_iter();
        queries.filter(|query| query.rtype == Rtype::TLSA).map(|query| query.name).collect()
    }

    /// Forgets all questions so far.
    pub fn clear_log(&self) {
        self.shared.log.clear();
    }

    /// Waits for the first question in the log, past or future, that fits. Waits for ever if there is none: set a limit
    /// around it.
    pub async fn wait_for(&self, fits: impl Fn(&Query) -> bool) -> Query {
        self.shared.log.wait_for(fits).await
    }

    /// Waits for a TLSA question for this name, past or future.
    pub async fn wait_for_tlsa(&self, owner: &str) -> Query {
        let owner = owner.trim_end_matches('.').to_ascii_lowercase();
        self.wait_for(|query| query.rtype == Rtype::TLSA && query.name == owner).await
    }
}

pub(crate) fn no_zone(name: &DnsName) -> WorldError {
    WorldError::NoZone { zone: name.fmt_with_dot().to_string() }
}

pub(crate) fn is_in_rrset(record: &StoredRecord, owner: &DnsName, rtype: Rtype) -> bool {
    record.owner() == owner && record.rtype() == rtype
}

/// The record as a line of a zone file.
fn text_of(record: &StoredRecord) -> String {
    use domain::base::zonefile_fmt::{DisplayKind, ZonefileFmt};
    record.display_zonefile(DisplayKind::Simple).to_string()
}

/// The record itself, or the SOA with the next serial number.
fn with_next_serial(record: &StoredRecord) -> StoredRecord {
    let ZoneRecordData::Soa(soa) = record.data() else {
        return record.clone();
    };
    let next: Soa<DnsName> = Soa::new(
        soa.mname().clone(),
        soa.rname().clone(),
        Serial(soa.serial().into_int().wrapping_add(1)),
        soa.refresh(),
        soa.retry(),
        soa.expire(),
        soa.minimum(),
    );
    Record::new(record.owner().clone(), record.class(), record.ttl(), next.into())
}
