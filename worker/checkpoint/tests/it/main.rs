//! Everything about checkpoints that needs whole folders.

mod fixtures;
mod formats;
mod golden;
mod hostile;
mod load;
mod mutation;
mod sample;
mod support;
