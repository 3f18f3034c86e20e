//! From the trust anchor down: is this name a zone with keys, inside one, or below an unsigned delegation?

use std::sync::Arc;

use dance_core::UnixTime;
use domain::base::iana::Rtype;

use crate::anchors::Anchors;
use crate::budget::{Budget, BudgetKind};
use crate::fact::{Fact, Kind, Known, ZoneFact, ZoneKind};
use crate::failure::Failure;
use crate::proof::ZoneLink;
use crate::question::DnsName;
use crate::replies::{Replies, Reply};
use crate::signature::Ledger;
use crate::zone::{self, Cut, Delegation};

/// Names that are asked about at once when it is not known how deep the zones go.
const STRIDE: usize = 4;
/// Most DS questions of [`Reach::Locate`].
const MAX_LOCATE: usize = 8;

/// The time and what is known from other look-ups.
#[derive(Clone, Copy)]
pub(crate) struct Present<'a> {
    pub(crate) now: UnixTime,
    pub(crate) known: &'a dyn Known,
}

/// What a walk may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Nothing.
    Nothing,
    /// DS and DNSKEY of all names on the way: they end in a name that is said to be a zone.
    Signer,
    /// DS of the next few names, and DNSKEY of those that are zones.
    Cut,
    /// DS of all names on the way.
    Locate,
}

/// Where a walk ends.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// The name is this zone.
    Zone(ZoneFact),
    /// The name is no zone; this one holds it.
    Inside(ZoneFact),
    /// The name is at or below a delegation that is proven to be unsigned.
    Unsigned(ZoneFact),
    /// The chain of trust fails on the way.
    Failed(Failure),
    /// Some reply is missing. `asked`: the one next in line has been asked for before.
    Waiting { asked: bool },
}

/// A walk's end, and the deepest cut proven on the way, with keys or not; `None` before the anchor's keys are proven.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    pub(crate) place: Place,
    pub(crate) cut: Option<DnsName>,
}

/// What one look-up has, asks and proves.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) anchors: Arc<Anchors>,
    pub(crate) replies: Replies,
    pub(crate) ledger: Ledger,
    /// Proven by this look-up. Their TTLs do not count here: what a look-up fetches it may use.
    own: Vec<ZoneFact>,
    /// Signed delegations that wait for the keys.
    cuts: Vec<Cut>,
    pub(crate) learnt: Vec<ZoneFact>,
}

impl Machine {
    pub(crate) fn new(anchors: Arc<Anchors>, budget: Budget) -> Self {
        Self {
            anchors,
            replies: Replies::default(),
            ledger: Ledger::new(budget),
            own: Vec::new(),
            cuts: Vec::new(),
            learnt: Vec::new(),
        }
    }

    /// What is proven about this very name and usable now.
    pub(crate) fn fact(&self, name: &DnsName, present: Present<'_>) -> Option<ZoneFact> {
        let own = self.own.iter().find(|fact| fact.name() == name && fact.0.window.holds(present.now.as_secs()));
        own.cloned().or_else(|| present.known.zone(name).filter(|fact| fact.is_usable(present.now)))
    }

    /// Keeps what was proven; a failure that comes of what this look-up has spent elsewhere says nothing about the name.
    fn learn(&mut self, fact: Fact) -> ZoneFact {
        let fact = ZoneFact(Arc::new(fact));
        let keep = match &fact.0.kind {
            Kind::Keys(_) | Kind::Unsigned | Kind::NotAZone => true,
            Kind::Failed(Failure::Budget { kind, .. }) => {
                matches!(kind, BudgetKind::KeysPerSignature | BudgetKind::SignaturesPerRrset | BudgetKind::Digests)
            }
            Kind::Failed(failure) => failure.lookup_failure().is_none(),
        };
        if keep {
            self.learnt.push(fact.clone());
        }
        self.own.retain(|own| own.name() != fact.name());
        self.own.push(fact.clone());
        fact
    }

    /// As far as a chain of trust towards `name` is proven, for the account of one that fails.
    pub(crate) fn proven_towards(&self, name: &DnsName, present: Present<'_>) -> Vec<ZoneLink> {
        let proven = |name: DnsName| {
            let keys = self.fact(&name, present).filter(|fact| fact.kind() == ZoneKind::Keys);
            let cut = || self.cuts.iter().find(|cut| cut.name == name && cut.window.holds(present.now.as_secs()));
            keys.map(|fact| fact.0.chain.clone()).or_else(|| cut().map(|cut| cut.chain.clone()))
        };
        name.iter_suffixes().find_map(proven).unwrap_or_default()
    }

    fn want(&mut self, name: &DnsName, rtype: Rtype) -> bool {
        self.replies.want(name, rtype, self.ledger.budget.questions)
    }

    /// From the deepest usable fact at or above `target`, or the anchor, down to `target`.
    pub(crate) fn walk(&mut self, target: &DnsName, reach: Reach, present: Present<'_>) -> Walk {
        let Some(anchor) = self.anchors.closest(target).cloned() else {
            return Walk { place: Place::Failed(Failure::NoTrustAnchor { owner: target.clone() }), cut: None };
        };
        // From below: names about which nothing is known, up to a zone, or to the anchor.
        let mut names = Vec::new();
        let mut zone = None;
        for name in target.iter_suffixes() {
            match self.fact(&name, present) {
                Some(fact) if fact.kind() == ZoneKind::NotAZone => {}
                Some(fact) => {
                    zone = Some(fact);
                    break;
                }
                None => names.push(name.clone()),
            }
            if name == anchor {
                break;
            }
        }
        let mut cut = zone.as_ref().map(|fact| fact.name().clone());
        let mut zone = match zone.map(Place::from_fact) {
            None => None,
            Some(Place::Zone(fact)) => Some(fact),
            Some(place) => return Walk { place, cut },
        };
        while let Some(name) = names.last() {
            let next = match &zone {
                None => self.anchor(name, present),
                Some(zone) => self.below(zone, name, &mut cut, present),
            };
            match next {
                Next::Fact(fact) => match Place::from_fact(fact) {
                    Place::Zone(fact) => {
                        cut = Some(fact.name().clone());
                        zone = Some(fact);
                    }
                    Place::Inside(_) => {}
                    place => return Walk { place, cut },
                },
                Next::Failed(failure) => return Walk { place: Place::Failed(failure), cut },
                Next::Missing(rtype) => {
                    let asked = self.replies.get(name, rtype).is_some();
                    let place = match self.ask(&names, rtype, zone.is_none(), reach) {
                        Ok(()) => Place::Waiting { asked },
                        Err(failure) => Place::Failed(failure),
                    };
                    return Walk { place, cut };
                }
            }
            names.pop();
        }
        let place = match zone {
            Some(zone) if zone.name() == target => Place::Zone(zone),
            Some(zone) => Place::Inside(zone),
            // The anchor is among the names: there is a zone, or the walk ended there.
            None => Place::Failed(Failure::NoTrustAnchor { owner: target.clone() }),
        };
        Walk { place, cut }
    }

    /// Asks what the rest of a walk needs, `names` from below up to where it stands, where `rtype` is missing.
    fn ask(&mut self, names: &[DnsName], rtype: Rtype, at_anchor: bool, reach: Reach) -> Result<(), Failure> {
        if reach == Reach::Nothing {
            return Ok(());
        }
        let Some((here, below)) = names.split_last() else { return Ok(()) };
        if !self.want(here, rtype) {
            return Err(too_costly(here, rtype, BudgetKind::Questions));
        }
        let ahead = below.len() + usize::from(!at_anchor);
        let (ahead, keys) = match reach {
            Reach::Nothing => (0, false),
            Reach::Signer if ahead > self.ledger.budget.zones => {
                return Err(too_costly(here, rtype, BudgetKind::Zones));
            }
            Reach::Signer => (ahead, true),
            Reach::Cut => (STRIDE, false),
            // Without its keys, this is the zone that is looked for.
            Reach::Locate if rtype == Rtype::DNSKEY && !at_anchor => (0, false),
            Reach::Locate => (MAX_LOCATE, false),
        };
        let skip_anchor = usize::from(at_anchor);
        for name in names.iter().rev().skip(skip_anchor).take(ahead) {
            // If there is no room, the walk finds out when it comes there.
            let _ = self.want(name, Rtype::DS) && (!keys || self.want(name, Rtype::DNSKEY));
        }
        Ok(())
    }

    /// The keys of a zone that has a trust anchor.
    fn anchor(&mut self, name: &DnsName, present: Present<'_>) -> Next {
        let sections = match self.replies.get(name, Rtype::DNSKEY).flatten() {
            None => return Next::Missing(Rtype::DNSKEY),
            Some(Reply::Failed(failure)) => return Next::Failed(failure.clone()),
            Some(Reply::Sections(sections)) => Arc::clone(sections),
        };
        let Some(anchor) = self.anchors.covering(name).filter(|anchor| anchor.zone == *name) else {
            return Next::Failed(Failure::NoTrustAnchor { owner: name.clone() });
        };
        let fact = zone::anchored(anchor, &sections, present.now, &mut self.ledger);
        Next::Fact(self.learn(fact))
    }

    /// What `name` is, all names between it and `zone` being no zones.
    fn below(&mut self, zone: &ZoneFact, name: &DnsName, cut_name: &mut Option<DnsName>, present: Present<'_>) -> Next {
        let held = self.cuts.iter().find(|cut| cut.name == *name && cut.window.holds(present.now.as_secs()));
        let cut = match held {
            Some(cut) => cut.clone(),
            None => {
                let sections = match self.replies.get(name, Rtype::DS).flatten() {
                    None => return Next::Missing(Rtype::DS),
                    Some(Reply::Failed(failure)) => return Next::Failed(failure.clone()),
                    Some(Reply::Sections(sections)) => Arc::clone(sections),
                };
                match zone::delegation(zone, name, &sections, present.now, &mut self.ledger) {
                    Delegation::Signed(cut) => {
                        self.cuts.retain(|held| held.name != *name);
                        self.cuts.push(cut.clone());
                        cut
                    }
                    Delegation::Settled(fact) => {
                        if matches!(fact.kind, Kind::Unsigned) {
                            *cut_name = Some(name.clone());
                        }
                        return Next::Fact(self.learn(fact));
                    }
                }
            }
        };
        *cut_name = Some(name.clone());
        let sections = match self.replies.get(name, Rtype::DNSKEY).flatten() {
            None => return Next::Missing(Rtype::DNSKEY),
            Some(Reply::Failed(failure)) => return Next::Failed(failure.clone()),
            Some(Reply::Sections(sections)) => Arc::clone(sections),
        };
        let fact = zone::delegated(&cut, &sections, present.now, &mut self.ledger);
        Next::Fact(self.learn(fact))
    }
}

/// One step of a walk.
enum Next {
    Fact(ZoneFact),
    Failed(Failure),
    Missing(Rtype),
}

impl Place {
    fn from_fact(fact: ZoneFact) -> Self {
        match &fact.0.kind {
            Kind::Keys(_) => Self::Zone(fact),
            Kind::NotAZone => Self::Inside(fact),
            Kind::Unsigned => Self::Unsigned(fact),
            Kind::Failed(failure) => Self::Failed(failure.clone()),
        }
    }
}

fn too_costly(owner: &DnsName, rtype: Rtype, kind: BudgetKind) -> Failure {
    Failure::Budget { owner: owner.clone(), rtype, kind }
}
