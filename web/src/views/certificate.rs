//! The certificate a grade ended with: one digest to compare, and what went into it.

use assay_contest::Certificate;

/// A certificate as the report shows it.
#[derive(Clone, Debug, Default)]
pub struct CertificateView {
    /// The digest: equal digests are equal grades.
    pub digest: String,
    /// Whether the digest is that of the parts below.
    pub sound: bool,
    /// What was graded by what: the suffix of a part's message key (`fact-…`), its value, and whether that is a digest.
    pub parts: Vec<(&'static str, String, bool)>,
}

impl CertificateView {
    /// From what the worker reported.
    pub fn new(certificate: &Certificate) -> CertificateView {
        let digests = |text: &String| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let parts = [
            ("checkpoint", Some(&certificate.checkpoint)),
            ("rules", Some(&certificate.contest)),
            ("tasks", Some(&certificate.tasks)),
            ("profile", Some(&certificate.profile)),
            ("engine", Some(&certificate.engine)),
            ("shaders", certificate.shaders.as_ref()),
            ("device", Some(&certificate.device)),
            ("precision", Some(&certificate.precision)),
            ("answers", Some(&certificate.outputs)),
        ];
        CertificateView {
            digest: certificate.digest.clone(),
            sound: certificate.verify(),
            parts: parts
                .into_iter()
                .filter_map(|(key, value)| value.filter(|text| !text.is_empty()).map(|text| (key, text)))
                .map(|(key, text)| (key, text.clone(), digests(text)))
                .collect(),
        }
    }

    /// The digest in groups of eight, as people compare it by eye.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        let digest = self.digest.as_str();
        (0..digest.len())
            .step_by(8)
            .filter_map(move |at| digest.get(at..digest.len().min(at + 8)))
    }
}
