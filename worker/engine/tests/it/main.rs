//! The engine's tests: held to golden files, to f64, and to itself bit by bit.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

mod ahead;
mod bits;
mod engine;
mod golden;
mod gpu;
mod gpu_kernels;
mod kernels;
mod numerics;
mod pages;
mod rotations;
mod schedule;
mod speed;
