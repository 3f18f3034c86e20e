//! Ordinary client certificates, under policy `optional`: for a client that does not ask for DANE, and for nobody else (requirements
//! 4.2 steps 6 and 17; SRV-05, SRV-15).

use dance_core::matching::Credential;
use dance_core::pkix::{PathError, client_path};
use dance_core::verdict::Presented;
use dance_core::{CertificateDer, UnixTime};
use dance_resolver::path_builder;

/// The CAs of ordinary client certificates. Without any, every client that does not ask for DANE is anonymous.
pub(crate) struct ClientCa(Option<Vec<CertificateDer<'static>>>);

impl ClientCa {
    pub(crate) const fn new(roots: Option<Vec<CertificateDer<'static>>>) -> Self {
        Self(roots)
    }

    /// The certificate of a client that does not ask for DANE and has proven possession of its key, or why it does not count. `None`
    /// where there is none to judge, or no CA to judge it by. Raw public keys are nothing that a CA could have issued.
    pub(crate) fn judge<'a>(
        &self,
        presented: &'a Presented,
        now: UnixTime,
    ) -> Option<Result<&'a CertificateDer<'static>, PathError>> {
        let roots = self.0.as_ref()?;
        let Some(Credential::X509(chain)) = &presented.credential else {
            return None;
        };
        let end_entity = chain.first()?;
        let path = client_path(chain, roots, now, path_builder());
        Some(path.map(|_| end_entity).map_err(|fault| fault.error))
    }
}
