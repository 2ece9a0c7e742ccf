//! Prompts to token ids, answers of the engine to responses: one task after the other.

use std::ops::ControlFlow;
use std::sync::Arc;

use assay_engine::{Answer, Engine, EngineError, Request};
use assay_tasks::{EncodeError, Instance, InstanceKind, Response, TaskError, encode_pair_after};

use crate::stops::{self, Detector};
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

    /// A request for at most `max_tokens` after `prompt`.
    pub fn generate(&self, prompt: &str, stops: Arc<[String]>, max_tokens: usize) -> Result<Prepared, PrepareError> {
        let room = self.positions.checked_sub(max_tokens).filter(|room| *room > 0);
        let room = room.ok_or(PrepareError::NoRoom {
            wanted: max_tokens,
            positions: self.positions,
        })?;
        let mut prompt = self.codec.encode(prompt);
        keep_last(&mut prompt, room);
        Ok(Prepared::Generate {
            prompt,
            max_tokens,
            stops,
        })
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
                let mut detector = Detector::new(self.codec.clone(), stops);
                let stop = Box::new(move |generated: &[u32]| detector.is_over(generated));
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
                let text = self.codec.decode(tokens);
                let text = match prepared {
                    Prepared::Generate { stops, .. } => stops::cut(&text, stops),
                    Prepared::Score { .. } => &text,
                };
                Response::Text(text.to_string())
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
