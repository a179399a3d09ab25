//! Certificates for servers on the loopback address, made anew for each start.
//!
//! Owns one authority, whose key is forgotten at once, and one leaf that serves both servers and is
//! etcd's only client besides.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// All in PEM.
pub(crate) struct Certs {
    pub(crate) authority: String,
    pub(crate) leaf: String,
    pub(crate) key: String,
    /// With this the API server signs the tokens of ServiceAccounts.
    pub(crate) signing_key: String,
    pub(crate) verifying_key: String,
}

pub(crate) fn make() -> Result<Certs, rcgen::Error> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "tenure tests");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let mut leaf = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    leaf.distinguished_name.push(DnType::CommonName, "root");
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    leaf.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let leaf = leaf.signed_by(&key, &authority)?;
    let signing = KeyPair::generate()?;
    Ok(Certs {
        authority: authority.pem(),
        leaf: leaf.pem(),
        key: key.serialize_pem(),
        signing_key: signing.serialize_pem(),
        verifying_key: signing.public_key_pem(),
    })
}
