//! Everything about checkpoints that needs whole folders.

// helpers of tests are tests: a fixture that cannot be read should stop right there
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod against;
mod data;
mod fixtures;
mod folder;
mod foreign;
mod formats;
mod golden;
mod hostile_codes;
mod hostile_configs;
mod hostile_containers;
mod hostile_files;
mod hostile_micro;
mod hostile_tensors;
mod legacy;
mod lineage;
mod load;
mod malformed;
mod mutation;
mod rotations;
mod roundtrip;
mod sample;
mod support;
mod weight;
mod written;
