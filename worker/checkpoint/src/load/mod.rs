//! Loading an accepted checkpoint's tensors for the engine.

mod cache;
mod matrix;
mod quantized;
mod read;
mod transform;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use assay_contest::Problem;

use crate::config::ModelConfig;
use crate::model::{Linear, Module, Norm};
use crate::quant::Storage;
use crate::quant::cache::CacheScheme;
use crate::quant::transform::{Assigned, Turn};

pub use matrix::{
    CacheCodes, Codebook, Coded, Codes, GroupScale, HeadScale, InputScale, Inputs, Matrix, Rounding, Scales, Weights,
    Zeros,
};
pub(crate) use matrix::{field, stream};
pub(crate) use read::{FLOATS, Shards, halves, words};
pub use transform::{Transform, Transforms, same};

/// Why a checkpoint cannot be opened or a tensor cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be read.
    #[error(transparent)]
    Look(#[from] crate::listing::LookError),
    /// The checkpoint is not one we run; the problems say why.
    #[error("the checkpoint is rejected: {}", summary(.0))]
    Rejected(Vec<Problem>),
    /// A tensor could not be read: the file changed or the disk failed.
    #[error("{tensor}: {source}")]
    Read {
        /// which tensor
        tensor: String,
        /// what the system said
        source: std::io::Error,
    },
    /// A tensor that this model does not have, or with contents its header did not announce.
    #[error("{tensor}: {reason}")]
    Tensor {
        /// which tensor
        tensor: String,
        /// what is wrong
        reason: String,
    },
}

fn summary(problems: &[Problem]) -> String {
    let shown: Vec<String> = problems
        .iter()
        .take(3)
        .map(|p| format!("{} ({})", p.message.en, p.code))
        .collect();
    let more = problems.len().saturating_sub(shown.len());
    if more > 0 {
        format!("{}; and {more} more", shown.join("; "))
    } else {
        shown.join("; ")
    }
}

/// An accepted checkpoint folder, its files open. Tensors are read on demand; nothing is kept.
#[derive(Debug)]
pub struct Checkpoint {
    config: ModelConfig,
    storage: BTreeMap<Module, Storage>,
    cache: Option<CacheScheme>,
    transforms: Assigned,
    shards: Shards,
    /// matrices of rotations already read: most are shared by many modules
    turned: Mutex<BTreeMap<Turn, Arc<Transform>>>,
}

impl Checkpoint {
    /// Opens a folder, applying every rule of [`crate::verify`] that needs no contest and no base model.
    pub fn open(dir: &Path) -> Result<Checkpoint, OpenError> {
        let listing = crate::listing::Listing::read_dir(dir)?;
        let loadable = crate::verify::loadable(&listing).map_err(OpenError::Rejected)?;
        let shards = Shards::open(dir, loadable.headers)?;
        Ok(Checkpoint {
            config: loadable.model,
            storage: loadable.storage,
            cache: loadable.cache,
            transforms: loadable.transforms,
            shards,
            turned: Mutex::default(),
        })
    }

    /// Of parts that were verified together.
    pub(crate) fn verified(config: ModelConfig, storage: BTreeMap<Module, Storage>, shards: Shards) -> Checkpoint {
        Checkpoint {
            config,
            storage,
            cache: None,
            transforms: Assigned::default(),
            shards,
            turned: Mutex::default(),
        }
    }

    /// The same with scales as its files have them, for comparing with what a tool computed rather than for running.
    pub(crate) fn with_stored_scales(mut self) -> Checkpoint {
        self.shards.as_stored = true;
        self
    }

    /// The model's architecture.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// One of a layer's seven matrices.
    pub fn linear(&self, layer: usize, which: Linear) -> Result<Matrix, OpenError> {
        self.matrix(Module::Layer(layer, which))
    }

    /// The embedding, [vocab, hidden].
    pub fn embedding(&self) -> Result<Matrix, OpenError> {
        self.matrix(Module::Embedding)
    }

    /// The head, [vocab, hidden]; `None` when it is the embedding (`tie_word_embeddings`), even if a copy is stored.
    pub fn head(&self) -> Result<Option<Matrix>, OpenError> {
        if self.config.tie {
            Ok(None)
        } else {
            self.matrix(Module::Head).map(Some)
        }
    }

    /// The weight of a norm as every bfloat16 runtime holds it: rounded to bfloat16, widened to f32.
    pub fn norm(&self, which: Norm) -> Result<Vec<f32>, OpenError> {
        let name = which.tensor(self.config.family).ok_or_else(|| OpenError::Tensor {
            tensor: format!("{which:?}"),
            reason: "this family has no such norm".to_owned(),
        })?;
        let width = which.width(&self.config);
        let dense = self.shards.dense(&name, 1, width)?;
        let mut out = vec![0.0; width];
        dense.row_f32(0, &mut out);
        Ok(out)
    }

    /// How a matrix is stored.
    pub(crate) fn storage(&self, module: Module) -> Option<Storage> {
        self.storage.get(&module).copied()
    }

    /// The open files.
    pub(crate) fn shards(&self) -> &Shards {
        &self.shards
    }

    pub(crate) fn matrix(&self, module: Module) -> Result<Matrix, OpenError> {
        let name = module.name(self.config.family);
        let (rows, cols) = module.shape(&self.config);
        let transforms = self.transforms(module)?;
        let matrix = match self.storage.get(&module) {
            Some(Storage::Dense) => self.shards.dense(&format!("{name}.weight"), rows, cols),
            Some(Storage::Sparse(mask)) => self.shards.sparse(&name, rows, cols, *mask),
            Some(Storage::Quantized(scheme)) => self.shards.quantized(&name, rows, cols, *scheme),
            None => Err(OpenError::Tensor {
                tensor: name,
                reason: "this model has no such matrix".to_owned(),
            }),
        };
        Ok(Matrix { transforms, ..matrix? })
    }
}
