//! A certificate authority for development: written on first run, reused later. Never for
//! production.
//!
//! Also mints the certificates that tests need to be refused.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use hansa_types::id::BadId;
use hansa_types::identity::SpiffeId;
use hansa_types::region::RegionName;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use thiserror::Error;
use time::{Duration, OffsetDateTime};

use crate::tls::{Files, Svid};

#[cfg(test)]
mod tests;

const CA_LIFE: Duration = Duration::days(3650);
const LEAF_LIFE: Duration = Duration::days(90);
/// A leaf with less than this left is minted anew.
const LEAF_LEFT_MIN: Duration = Duration::days(30);
/// Clocks of test machines differ; a certificate must be valid at once.
const BACKDATE: Duration = Duration::hours(1);

#[derive(Debug, Error)]
pub enum Error {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("certificate: {0}")]
    Mint(#[from] rcgen::Error),
    #[error("name: {0}")]
    Name(#[from] BadId),
}

/// The authority of one trust domain, in a folder.
pub struct DevCa {
    dir: PathBuf,
    trust_domain: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key as PEM.
pub struct Pair {
    pub cert: String,
    pub key: String,
}

/// What to put in a certificate. [`Leaf::named`] is a good one; tests spoil it field by field.
#[derive(Debug, Clone)]
pub struct Leaf {
    pub uris: Vec<String>,
    pub dns: Vec<String>,
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
    pub is_ca: bool,
}

impl Leaf {
    /// A proper SVID for `id`; `localhost` and the loopback addresses let stock clients check it
    /// too.
    pub fn named(id: &str) -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            uris: vec![id.to_owned()],
            dns: vec!["localhost".to_owned()],
            not_before: now - BACKDATE,
            not_after: now + LEAF_LIFE,
            is_ca: false,
        }
    }

    /// Ended a minute ago.
    pub fn expired(id: &str) -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            not_before: now - Duration::days(2),
            not_after: now - Duration::minutes(1),
            ..Self::named(id)
        }
    }

    /// Two URI names: a verifier that looks at one of them only is fooled.
    pub fn two_uris(id: &str, other: &str) -> Self {
        Self { uris: vec![id.to_owned(), other.to_owned()], ..Self::named(id) }
    }

    /// No URI name, only a DNS name.
    pub fn no_uri() -> Self {
        Self { uris: Vec::new(), ..Self::named("") }
    }

    /// A leaf that may sign certificates.
    pub fn authority(id: &str) -> Self {
        Self { is_ca: true, ..Self::named(id) }
    }
}

impl DevCa {
    /// Opens the authority in `dir`, made on first use: `ca.crt` and `ca.key`.
    pub fn open(dir: &Path, trust_domain: &str) -> Result<Self, Error> {
        let (cert, key) = (dir.join("ca.crt"), dir.join("ca.key"));
        let params = ca_params(trust_domain);
        let pair = match fs::read_to_string(&key) {
            Ok(pem) => KeyPair::from_pem(&pem)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let pair = KeyPair::generate()?;
                write(&cert, &params.self_signed(&pair)?.pem(), 0o644)?;
                // The key last: a key file means a whole authority.
                write(&key, &pair.serialize_pem(), 0o600)?;
                pair
            }
            Err(source) => return Err(Error::File { path: key, source }),
        };
        // The issuer's name and key are all that signing needs, so the parameters stand in for
        // `ca.crt`.
        let issuer = Issuer::new(params, pair);
        Ok(Self { dir: dir.to_owned(), trust_domain: trust_domain.to_owned(), issuer })
    }

    /// The authority's certificate, what clients trust.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// Files of the node `name` in `region`, minted when missing or soon to end.
    pub fn node(&self, region: &RegionName, name: &str) -> Result<Files, Error> {
        self.files("nodes", name, &SpiffeId::node(&self.trust_domain, region, name)?)
    }

    /// Files of the client `name`, minted when missing or soon to end.
    pub fn client(&self, name: &str) -> Result<Files, Error> {
        self.files("clients", name, &SpiffeId::client(&self.trust_domain, name)?)
    }

    /// Signs a certificate as told, good or bad.
    pub fn mint(&self, leaf: &Leaf) -> Result<Pair, Error> {
        let key = KeyPair::generate()?;
        let cert = leaf_params(leaf)?.signed_by(&key, &self.issuer)?.pem();
        Ok(Pair { cert, key: key.serialize_pem() })
    }

    /// Mints `leaf` into `<dir>/<folder>/<name>.{crt,key}`, over what is there.
    pub fn write(&self, folder: &str, name: &str, leaf: &Leaf) -> Result<Files, Error> {
        let pair = self.mint(leaf)?;
        let files = self.paths(folder, name);
        write(&files.key, &pair.key, 0o600)?;
        write(&files.cert, &pair.cert, 0o644)?;
        Ok(files)
    }

    fn files(&self, folder: &str, name: &str, id: &SpiffeId) -> Result<Files, Error> {
        let files = self.paths(folder, name);
        let fresh = files.key.exists() && still_good(&files.cert, id);
        if fresh { Ok(files) } else { self.write(folder, name, &Leaf::named(id.as_str())) }
    }

    fn paths(&self, folder: &str, name: &str) -> Files {
        let dir = self.dir.join(folder);
        Files {
            cert: dir.join(format!("{name}.crt")),
            key: dir.join(format!("{name}.key")),
            ca: self.ca_file(),
        }
    }
}

fn still_good(cert: &Path, id: &SpiffeId) -> bool {
    let Ok(svid) = CertificateDer::from_pem_file(cert)
        .map_err(drop)
        .and_then(|leaf| Svid::of(&leaf).map_err(drop))
    else {
        return false;
    };
    let until = OffsetDateTime::now_utc() + LEAF_LEFT_MIN;
    let until_ms = u64::try_from(until.unix_timestamp()).unwrap_or(0) * 1000;
    svid.id == *id && svid.not_after.ms() > until_ms
}

fn ca_params(trust_domain: &str) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(&format!("{trust_domain} development CA"));
    params.not_before = now - BACKDATE;
    params.not_after = now + CA_LIFE;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf_params(leaf: &Leaf) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(leaf.dns.clone())?;
    for address in [std::net::Ipv4Addr::LOCALHOST.into(), std::net::Ipv6Addr::LOCALHOST.into()] {
        params.subject_alt_names.push(SanType::IpAddress(address));
    }
    for uri in &leaf.uris {
        params.subject_alt_names.push(SanType::URI(Ia5String::try_from(uri.as_str())?));
    }
    params.distinguished_name = common_name("hansa");
    params.not_before = leaf.not_before;
    params.not_after = leaf.not_after;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // A node calls its peers with the certificate that it serves with.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    if leaf.is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    }
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut full = DistinguishedName::new();
    full.push(DnType::CommonName, name);
    full
}

/// Writes aside and renames, so that a reader sees the old file or the new one.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let aside = path.with_extension("tmp");
    let attempt = || {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(mode).open(&aside)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&aside, path)
    };
    attempt().map_err(|source| Error::File { path: path.to_owned(), source })
}
