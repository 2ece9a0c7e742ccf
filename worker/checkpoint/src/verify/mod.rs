//! The verdict.

use std::collections::BTreeMap;

use assay_contest::Problem;

use crate::config::ModelConfig;
use crate::listing::Listing;
use crate::model::Module;
use crate::quant::Storage;
use crate::safetensors::{Header, parse_header};

/// What the engine needs of a folder, or why it cannot have it.
pub(crate) type Loadable = (ModelConfig, BTreeMap<Module, Storage>, Vec<(String, Header)>);

pub(crate) fn loadable(listing: &Listing) -> Result<Loadable, Vec<Problem>> {
    let config = ModelConfig::from_bytes(listing.text("config.json").unwrap_or_default())?;
    let mut headers = Vec::new();
    for file in &listing.files {
        if let crate::listing::Content::Header(prefix) = &file.content {
            headers.push((
                file.name.clone(),
                parse_header(prefix, file.bytes).map_err(|e| vec![e.problem(&file.name)])?,
            ));
        }
    }
    let storage = Module::all(&config).into_iter().map(|m| (m, Storage::Dense)).collect();
    Ok((config, storage, headers))
}

/// Looks at a folder's listing: headers only, no tensor data.
pub fn verify(
    listing: &Listing,
    _base: Option<&crate::BaseModel>,
    _rules: Option<&assay_contest::CheckpointRules>,
) -> crate::Inspection {
    let problems = loadable(listing).err().unwrap_or_default();
    let verdict = if problems.is_empty() {
        crate::Verdict::Accepted
    } else {
        crate::Verdict::Rejected
    };
    crate::Inspection {
        verdict,
        format: String::new(),
        scheme: String::new(),
        problems,
        findings: Vec::new(),
        bytes: crate::Weight::default(),
        hints: Vec::new(),
    }
}

/// Reads the tensors too.
pub fn verify_data(_dir: &std::path::Path, inspection: &crate::Inspection) -> crate::Inspection {
    inspection.clone()
}
