//! Everything about checkpoints that needs whole folders.

mod against;
mod data;
mod fixtures;
mod formats;
mod golden;
mod hostile_configs;
mod hostile_containers;
mod hostile_files;
mod hostile_tensors;
mod load;
mod mutation;
mod sample;
mod support;
