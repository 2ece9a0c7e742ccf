//! The tokenizer and chat template a grade speaks with: the base's pinned ones, or in a self-check the checkpoint's own.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use assay_checkpoint::BaseModel;
use assay_checkpoint::config::ModelConfig;
use assay_contest::Profile;
use assay_contest::rules::SamplePrompt;
use assay_contest::wire::Generation;
use assay_engine::Answer;
use assay_tasks::{ChatTemplate, JinjaTemplate, Limit, Message, Response, Role, Settings};

use crate::evaluate::{Prepared, Voice};
use crate::grounds::Grounds;
use crate::halt::{self, Halt, infra};
use crate::stops;
use crate::thinking::Thinking;
use crate::tokenizer::Codec;

/// What turns prompts into token ids and answers into texts.
pub struct Texts {
    pub voice: Voice,
    /// None with the plain profile.
    pub template: Option<JinjaTemplate>,
}

impl Texts {
    /// Reads the files in `dir`. `special` is the configuration whose special tokens count, `positions` the model's.
    pub fn read(dir: &Path, grounds: &Grounds, special: &ModelConfig, positions: usize) -> Result<Texts, Halt> {
        let path = dir.join("tokenizer.json");
        let json = fs::read(&path).map_err(|error| infra("tokenizer.json", error.to_string()))?;
        let prefix = special.bos.or(special.eos.first().copied());
        let codec = Codec::from_bytes(&json, prefix).map_err(|error| infra("tokenizer.json", error.to_string()))?;
        Ok(Texts {
            voice: Voice {
                thinking: Thinking::of(grounds.enable_thinking, grounds.profile, &codec),
                codec: Arc::new(codec),
                positions,
                eos: special.eos.clone(),
                prefix: prefix.unwrap_or(0),
            },
            template: template(dir, grounds)?,
        })
    }

    /// How prompts are built on these grounds.
    pub fn settings(&self, grounds: &Grounds) -> Settings<'_> {
        Settings {
            profile: grounds.profile,
            limit: grounds.limit.map(|limit| Limit::Docs(limit as usize)),
            num_fewshot: None,
            seed: grounds.seed,
            chat: self.template.as_ref().map(|template| template as &dyn ChatTemplate),
            thinking: grounds.enable_thinking,
            max_gen_toks: grounds.max_gen_toks.map(|most| most as usize),
        }
    }

    /// The requests of the contest's sample prompts.
    pub fn samples(&self, prompts: &[SamplePrompt]) -> Result<Vec<Prepared>, Halt> {
        let request = |sample: &SamplePrompt| {
            let text = match &self.template {
                Some(template) => {
                    let message = Message {
                        role: Role::User,
                        content: sample.prompt.clone(),
                    };
                    let text = template.render(&[message], true);
                    text.map_err(|error| infra("chat_template.jinja", error.to_string()))?
                }
                None => sample.prompt.clone(),
            };
            let request = self.voice.generate(&text, Arc::new([]), sample.max_tokens as usize);
            request.map_err(|error| halt::no_room(&error.to_string()))
        };
        prompts.iter().map(request).collect()
    }

    /// What the model said to a sample prompt.
    pub fn generation(&self, sample: &SamplePrompt, asked: &Prepared, answer: &Answer) -> Option<Generation> {
        let Response::Text(text) = self.voice.response(answer, asked) else {
            return None;
        };
        Some(Generation {
            kind: sample.kind.clone(),
            prompt: sample.prompt.clone(),
            text: stops::whole_characters(&text).to_string(),
            base: sample.base.clone(),
        })
    }
}

/// The base's configuration.
pub fn base_config(base: &BaseModel) -> Result<ModelConfig, Halt> {
    let bytes = serde_json::to_vec(&base.config).map_err(|error| infra("config.json", error.to_string()))?;
    ModelConfig::from_bytes(&bytes).map_err(|_| infra("config.json", "the base's config is not usable"))
}

/// The chat template, where the profile has one.
fn template(dir: &Path, grounds: &Grounds) -> Result<Option<JinjaTemplate>, Halt> {
    if grounds.profile == Profile::Plain {
        return Ok(None);
    }
    let source = fs::read_to_string(dir.join("chat_template.jinja"));
    let source = source.map_err(|error| infra("chat_template.jinja", error.to_string()))?;
    JinjaTemplate::new(&source)
        .map(|template| Some(template.with_thinking(grounds.enable_thinking)))
        .map_err(|error| infra("chat_template.jinja", error.to_string()))
}
