//! The contest's base model: what a submission's texts are compared with.

use std::path::Path;
use std::sync::OnceLock;

use serde_json::Value;

use crate::listing::{Content, ListedFile, Listing, LookError};
use crate::tokenizer::Meaning;

/// Config, tokenizer and chat template of the base model, pinned by the contest.
#[derive(Debug)]
pub struct BaseModel {
    /// config.json
    pub config: Value,
    /// tokenizer.json
    pub tokenizer: Option<Vec<u8>>,
    /// chat_template.jinja, or the template inside tokenizer_config.json
    pub chat_template: Option<Vec<u8>>,
    /// generation_config.json
    pub generation_config: Option<Value>,
    /// The tokenizer, parsed on first use: it is the same for every submission.
    meaning: OnceLock<Option<Meaning>>,
}

impl BaseModel {
    /// From parts already read.
    pub fn new(
        config: Value,
        tokenizer: Option<Vec<u8>>,
        chat_template: Option<Vec<u8>>,
        generation_config: Option<Value>,
    ) -> BaseModel {
        BaseModel {
            config,
            tokenizer,
            chat_template,
            generation_config,
            meaning: OnceLock::new(),
        }
    }

    /// Reads a base model's folder; its tensors are not looked at.
    pub fn read_dir(dir: &Path) -> Result<BaseModel, LookError> {
        let listing = Listing::read_dir(dir)?;
        let bad = |name: &str, reason: String| LookError::Base {
            path: dir.join(name),
            reason,
        };
        let source = listing
            .text("config.json")
            .ok_or_else(|| bad("config.json", "missing".to_owned()))?;
        let config = crate::config::read_json(source).map_err(|p| bad("config.json", p.message.en))?;
        let generation_config = match listing.text("generation_config.json") {
            Some(source) => {
                Some(crate::config::read_json(source).map_err(|p| bad("generation_config.json", p.message.en))?)
            }
            None => None,
        };
        let tokenizer = match listing.file("tokenizer.json") {
            Some(ListedFile {
                content: Content::Text(bytes),
                ..
            }) => {
                Meaning::parse(bytes).map_err(|reason| bad("tokenizer.json", reason))?;
                Some(bytes.clone())
            }
            Some(_) => return Err(bad("tokenizer.json", "not a plain file of a readable size".to_owned())),
            None => None,
        };
        Ok(BaseModel::new(
            config,
            tokenizer,
            crate::tokenizer::chat_template(&listing),
            generation_config,
        ))
    }

    /// The tokenizer's meaning; `None` without one (or with an unreadable one, which `read_dir` refuses).
    pub(crate) fn tokenizer_meaning(&self) -> Option<&Meaning> {
        self.meaning
            .get_or_init(|| self.tokenizer.as_deref().and_then(|bytes| Meaning::parse(bytes).ok()))
            .as_ref()
    }
}
