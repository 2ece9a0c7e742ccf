//! End-to-end tests of Assay live in `e2e/`; fixtures shared by all crates in `fixtures/`. Here is what those tests and the
//! programs in `bin/` share.

pub mod person;
