//! What a submission is: safetensors, formats, recipe, verdict, weight. No network.
//!
//! Two ways in:
//! - [`verify`] looks at a folder's [`Listing`] (names, lengths, headers, small texts; what a browser can send before an upload) and
//!   answers with an [`Inspection`]: verdict, coded problems in Korean and English, exact weight, hints. [`verify_data`] reads the tensors too.
//! - [`Checkpoint`] hands the tensors of an accepted folder to the engine, each as one canonical [`Matrix`].
//!
//! Nothing that comes from a submission is executed, and nothing sizes an allocation before it is bounded.

mod base;
pub mod config;
mod foreign;
pub mod inspection;
mod lineage;
pub mod listing;
pub mod load;
pub mod model;
pub mod number;
mod problem;
mod quant;
mod recipe;
pub mod safetensors;
mod strict_json;
mod threads;
mod tokenizer;
mod verify;
mod weigh;

pub use base::BaseModel;
pub use inspection::{Fit, Group, Hint, Inspection, Memory, Parameters, Verdict, Weight};
pub use lineage::{Cell, Lineage, LineageRow, Relation, verify_lineage};
pub use listing::{Content, ListedFile, Listing, LookError};
pub use load::{
    CacheCodes, Checkpoint, Codebook, Coded, Codes, GroupScale, HeadScale, InputScale, Inputs, Matrix, OpenError,
    Rounding, Scales, Transform, Transforms, Weights, Zeros, same,
};
pub use model::{Linear, Module, Norm};
pub use verify::{verify, verify_data};
