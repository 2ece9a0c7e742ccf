//! Prompts to token ids, answers of the engine to responses: one task after the other.

use std::ops::ControlFlow;
use std::sync::Arc;

use assay_engine::{Answer, Engine, EngineError, Request};
use assay_tasks::{EncodeError, Instance, InstanceKind, Response, TaskError, encode_pair_after};

use crate::stops::Detector;
use crate::thinking::Thinking;
use crate::tokenizer::Codec;

/// Tokens generated where a task does not say, as lm-evaluation-harness's `hf` model has it.
const DEFAULT_MAX_TOKENS: usize = 256;

/// One request in token ids.
#[derive(Clone)]
pub enum Prepared {
    Generate {
        prompt: Vec<u32>,
        max_tokens: usize,
        stops: Arc<[String]>,
    },
    Score {
        context: Vec<u32>,
        continuation: Vec<u32>,
    },
}

impl Prepared {
    /// Most tokens it can come to hold.
    pub fn most(&self) -> usize {
        match self {
            Prepared::Generate { prompt, max_tokens, .. } => prompt.len() + max_tokens,
            Prepared::Score { context, continuation } => context.len() + continuation.len(),
        }
    }
}

/// A prompt that cannot be fed to the model.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The tokenizer leaves nothing to score, or nothing to score it after.
    #[error("document {doc} of {task}: {error}")]
    Encode {
        task: String,
        doc: usize,
        error: EncodeError,
    },
    /// Not even the end of the prompt fits beside what is to be generated or scored.
    #[error("a prompt leaves no room: {wanted} tokens are to follow it, and the model has {positions} positions")]
    NoRoom { wanted: usize, positions: usize },
}

/// How texts are turned into ids and back for one model.
#[derive(Clone)]
pub struct Voice {
    pub codec: Arc<Codec>,
    /// Positions of the model: longer prompts lose their beginning, as in the harness.
    pub positions: usize,
    /// Any of these ids ends a generation.
    pub eos: Vec<u32>,
    /// BOS, or EOS where there is no BOS: stands for an empty context.
    pub prefix: u32,
    /// Whether answers are thought about first, and where the thought ends.
    pub thinking: Thinking,
}

impl Voice {
    /// The request of an instance.
    pub fn prepare(&self, instance: &Instance) -> Result<Prepared, PrepareError> {
        match &instance.kind {
            InstanceKind::Generate {
                prompt,
                until,
                max_tokens,
            } => {
                let max_tokens = max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
                self.generate(prompt, until.as_slice().into(), max_tokens)
            }
            InstanceKind::Loglikelihood { context, continuation } => {
                let bare = context.is_empty();
                let encode = |text: &str| {
                    if bare {
                        self.codec.encode_bare(text)
                    } else {
                        self.codec.encode(text)
                    }
                };
                let pair = encode_pair_after(self.prefix, context, continuation, &encode);
                let (mut context, continuation) = pair.map_err(|error| PrepareError::Encode {
                    task: instance.task.clone(),
                    doc: instance.doc,
                    error,
                })?;
                // The model sees all but the last token.
                let most = self.positions + 1;
                if continuation.len() >= most {
                    return Err(PrepareError::NoRoom {
                        wanted: continuation.len(),
                        positions: self.positions,
                    });
                }
                keep_last(&mut context, most - continuation.len());
                Ok(Prepared::Score { context, continuation })
            }
        }
    }

    /// A request for at most `max_tokens` after `prompt`. As in the harness, the end-of-sequence token's text counts as
    /// a stop too, where a model should spell it out.
    pub fn generate(&self, prompt: &str, stops: Arc<[String]>, max_tokens: usize) -> Result<Prepared, PrepareError> {
        let room = self.positions.checked_sub(max_tokens).filter(|room| *room > 0);
        let room = room.ok_or(PrepareError::NoRoom {
            wanted: max_tokens,
            positions: self.positions,
        })?;
        let mut prompt = self.codec.encode(prompt);
        keep_last(&mut prompt, room);
        let eos = self.eos_text();
        let stops = match eos.is_empty() || stops.contains(&eos) {
            true => stops,
            false => stops.iter().cloned().chain([eos]).collect(),
        };
        Ok(Prepared::Generate {
            prompt,
            max_tokens,
            stops,
        })
    }

    fn eos_text(&self) -> String {
        self.eos.first().map(|eos| self.codec.show(&[*eos])).unwrap_or_default()
    }

    /// Runs requests; `on_done` is told of each answer and may end the run.
    pub fn ask(
        &self,
        engine: &mut Engine,
        prepared: &[Prepared],
        on_done: &mut dyn FnMut(usize, &Answer) -> ControlFlow<()>,
    ) -> Result<Vec<Response>, EngineError> {
        Ok(self.responses(&self.run(engine, prepared, on_done)?, prepared))
    }

    /// As [`ask`](Self::ask), with the tokens or log-probabilities themselves.
    pub fn run(
        &self,
        engine: &mut Engine,
        prepared: &[Prepared],
        on_done: &mut dyn FnMut(usize, &Answer) -> ControlFlow<()>,
    ) -> Result<Vec<Answer>, EngineError> {
        let requests = prepared.iter().map(|prepared| self.request(prepared)).collect();
        engine.run(requests, on_done)
    }

    /// What answers to requests mean to their task.
    pub fn responses(&self, answers: &[Answer], prepared: &[Prepared]) -> Vec<Response> {
        let pairs = answers.iter().zip(prepared);
        pairs
            .map(|(answer, prepared)| self.response(answer, prepared))
            .collect()
    }

    fn request(&self, prepared: &Prepared) -> Request {
        match prepared.clone() {
            Prepared::Generate {
                prompt,
                max_tokens,
                stops,
            } => {
                let mut detector = Detector::new(self.codec.clone(), stops, &self.eos_text());
                let watched = self.thinking.is_watched();
                let stop = Box::new(move |generated: &[u32]| watched && detector.is_over(generated));
                Request::Generate {
                    prompt,
                    max_tokens,
                    eos: self.eos.clone(),
                    stop,
                }
            }
            Prepared::Score { context, continuation } => Request::Score { context, continuation },
        }
    }

    /// What the answer to a request means to its task.
    pub fn response(&self, answer: &Answer, prepared: &Prepared) -> Response {
        match answer {
            Answer::Generated { tokens, .. } => {
                let stops = match prepared {
                    Prepared::Generate { stops, .. } => stops.as_ref(),
                    Prepared::Score { .. } => &[],
                };
                Response::Text(self.thinking.answer(&self.codec, tokens, stops))
            }
            Answer::Scored { logprobs, greedy } => Response::Loglikelihood {
                value: logprobs.iter().sum(),
                greedy: *greedy,
            },
        }
    }
}

fn keep_last(ids: &mut Vec<u32>, most: usize) {
    ids.drain(..ids.len().saturating_sub(most));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(positions: usize) -> Voice {
        Voice {
            codec: Arc::new(crate::tokenizer::tests::fixture()),
            positions,
            eos: vec![7],
            prefix: 1,
            thinking: Thinking::default(),
        }
    }

    fn instance(kind: InstanceKind) -> Instance {
        Instance {
            task: "t".into(),
            doc: 0,
            index: 0,
            repeat: 0,
            kind,
        }
    }

    #[test]
    fn a_long_prompt_loses_its_beginning() {
        let text = "one two three four five six seven eight nine ten";
        let whole = voice(4096).codec.encode(text);
        let Ok(Prepared::Generate { prompt, .. }) = voice(10).generate(text, Arc::new([]), 4) else {
            panic!()
        };
        assert_eq!(prompt, whole[whole.len() - 6..]);
        assert!(matches!(
            voice(4).generate(text, Arc::new([]), 4),
            Err(PrepareError::NoRoom { wanted: 4, .. })
        ));
        assert!(voice(5).generate(text, Arc::new([]), 4).is_ok());
    }

    #[test]
    fn a_scored_pair_keeps_its_continuation() {
        let kind = InstanceKind::Loglikelihood {
            context: "Question: two and two?\nAnswer:".into(),
            continuation: " four".into(),
        };
        let Ok(Prepared::Score { context, continuation }) = voice(4096).prepare(&instance(kind.clone())) else {
            panic!()
        };
        assert_eq!(continuation, voice(1).codec.encode(" four"));
        // The model reads all but the last token.
        let tight = voice(continuation.len());
        let Ok(Prepared::Score {
            context: cut,
            continuation: kept,
        }) = tight.prepare(&instance(kind.clone()))
        else {
            panic!()
        };
        assert_eq!(
            (cut.as_slice(), kept),
            (&context[context.len() - 1..], continuation.clone())
        );
        let none = voice(continuation.len() - 1).prepare(&instance(kind));
        assert!(matches!(none, Err(PrepareError::NoRoom { .. })));
    }

    /// Contexts and continuations of every profile, choices after a template's trailing line breaks among them, and
    /// pairs whose meeting is spanned by a token: the ids that the harness's `TemplateLM.loglikelihood` hands to
    /// `_loglikelihood_tokens`, with `tok_encode` the fixtures' tokenizer's `encode`.
    #[test]
    fn pairs_have_the_harness_s_tokens() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures");
        let golden = std::fs::read_to_string(format!("{root}/profiles/golden.json")).unwrap();
        let golden: serde_json::Value = serde_json::from_str(&golden).unwrap();
        let voice = voice(65_536);
        let prepare = |context: &str, continuation: &serde_json::Value| {
            voice.prepare(&instance(InstanceKind::Loglikelihood {
                context: context.into(),
                continuation: continuation.as_str().unwrap().into(),
            }))
        };
        let ids = |ids: &serde_json::Value| serde_json::from_value::<Vec<u32>>(ids.clone()).unwrap();
        let mut spanned = 0;
        for pair in golden["pairs"].as_array().unwrap() {
            let (before, after) = (ids(&pair["tokens"][0]), ids(&pair["tokens"][1]));
            match prepare(pair["context"].as_str().unwrap(), &pair["continuation"]) {
                Ok(Prepared::Score { context, continuation }) => {
                    assert_eq!((context, continuation), (before, after), "{pair}");
                }
                // The harness stops at an assertion here.
                Err(PrepareError::Encode { .. }) => {
                    assert!(after.is_empty(), "{pair}");
                    spanned += 1;
                }
                _ => panic!("{pair}"),
            }
        }
        assert_eq!(spanned, 4);
        let mut compared = 0;
        for profile in assay_contest::Profile::ALL {
            for (task, rows) in golden[profile.name()]["tasks"].as_object().unwrap() {
                let mut prompt = "";
                for row in rows.as_array().unwrap() {
                    prompt = row["prompt"].as_str().unwrap_or(prompt);
                    let Some(tokens) = row.get("tokens") else { continue };
                    let Ok(Prepared::Score { context, continuation }) = prepare(prompt, &row["continuation"]) else {
                        panic!("{profile} {task}")
                    };
                    let written: Vec<String> = context.iter().map(u32::to_string).collect();
                    let digest = assay_tasks::results::hash(&written.join(","));
                    assert_eq!(continuation, ids(&tokens["continuation"]), "{profile} {task} {row}");
                    assert_eq!(
                        context.len() as u64,
                        tokens["context"].as_u64().unwrap(),
                        "{profile} {task}"
                    );
                    assert_eq!(digest[..16], *tokens["digest"].as_str().unwrap(), "{profile} {task}");
                    compared += 1;
                }
            }
        }
        assert!(compared > 1000, "{compared}");
    }

    #[test]
    fn an_empty_context_is_the_prefix_token() {
        let kind = InstanceKind::Loglikelihood {
            context: String::new(),
            continuation: " four".into(),
        };
        let Ok(Prepared::Score { context, continuation }) = voice(64).prepare(&instance(kind)) else {
            panic!()
        };
        assert_eq!((context, continuation), (vec![1], voice(1).codec.encode(" four")));
    }
}
