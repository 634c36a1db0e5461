//! Who a certificate names (RFC 5280).
//!
//! Invariant: an identity is taken from a certificate that was verified, or not at all.
use std::fmt::Write as _;
use x509_cert::Certificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{Ia5StringRef, PrintableStringRef, Utf8StringRef};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode, Tag, Tagged};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Common Name (X.520).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Which part of a client's certificate is its identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdentityFrom {
    /// The Common Name of its subject.
    #[default]
    CommonName,
    /// The first DNS name, URI or e-mail address among the alternative names of its subject.
    SubjectAltName,
    /// The SHA-256 of the whole certificate, in lower-case hexadecimal.
    Fingerprint,
}

impl IdentityFrom {
    /// The identity in a certificate; `None` if it has no such part, or one that is empty or not readable.
    pub(crate) fn read(self, certificate: &[u8]) -> Option<String> {
        let found = match self {
            Self::Fingerprint => Some(fingerprint(certificate)),
            Self::CommonName => common_name(&Certificate::from_der(certificate).ok()?),
            Self::SubjectAltName => alternative_names(&Certificate::from_der(certificate).ok()?).into_iter().next(),
        };
        found.filter(|name| !name.is_empty() && !name.contains('\0'))
    }
}

fn fingerprint(certificate: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

fn common_name(certificate: &Certificate) -> Option<String> {
    let parts = certificate.tbs_certificate.subject.0.iter().flat_map(|part| part.0.iter());
    parts.filter(|part| part.oid == COMMON_NAME).find_map(text)
}

/// The text of an attribute, in the encodings that are in use.
fn text(part: &AttributeTypeAndValue) -> Option<String> {
    let value = &part.value;
    match value.tag() {
        Tag::Utf8String => value.decode_as::<Utf8StringRef<'_>>().ok().map(|text| text.to_string()),
        Tag::PrintableString => value.decode_as::<PrintableStringRef<'_>>().ok().map(|text| text.to_string()),
        Tag::Ia5String => value.decode_as::<Ia5StringRef<'_>>().ok().map(|text| text.to_string()),
        _ => None,
    }
}

fn alternative_names(certificate: &Certificate) -> Vec<String> {
    let Ok(Some((_, names))) = certificate.tbs_certificate.get::<SubjectAltName>() else { return Vec::new() };
    let text = |name: &GeneralName| match name {
        GeneralName::DnsName(text) | GeneralName::UniformResourceIdentifier(text) | GeneralName::Rfc822Name(text) => {
            Some(text.to_string())
        }
        _ => None,
    };
    names.0.iter().filter_map(text).collect()
}

/// Names that a server's certificate is for, and when it ends, in seconds since 1970.
pub(crate) fn summary(certificate: &[u8]) -> (Vec<String>, Option<u64>) {
    let Ok(certificate) = Certificate::from_der(certificate) else { return (Vec::new(), None) };
    let mut names = alternative_names(&certificate);
    if names.is_empty() {
        names.extend(common_name(&certificate));
    }
    let end = certificate.tbs_certificate.validity.not_after.to_unix_duration().as_secs();
    (names, Some(end))
}
